"""Tokens made, revoked and run out, as the ledger has them.

The server needs no database, so the files are what counts (`access.py`); here each change of them
is an event too, written in the same step: a token that nobody recorded does not stay.
"""

from collections.abc import Sequence
from datetime import datetime

from loopline.governance.access import Access, Scope, Token
from loopline.store.ledger import Ledger, iso


def make(  # noqa: PLR0913 - what, for what, until when and how often, by name
    access: Access,
    ledger: Ledger,
    name: str,
    scopes: Sequence[Scope],
    *,
    now: datetime,
    expires_at: datetime | None = None,
    rate: float | None = None,
    burst: int | None = None,
) -> str:
    """Make a token, record it and return it: the one time it can be read.

    Raises:
        AccessError: as `Access.make` does.
        StoreError: it cannot be recorded; then there is none.
    """
    made = False
    try:
        with ledger.database.begin() as connection:
            secret = access.make(
                name, scopes, made_at=now, expires_at=expires_at, rate=rate, burst=burst
            )
            made = True
            payload = {
                "scopes": list(scopes),
                "expires_at": None if expires_at is None else iso(expires_at),
                "rate": rate,
            }
            ledger.append("token.created", name, payload, now=now, connection=connection)
    except BaseException:
        if made:
            access.revoke(name)
        raise
    return secret


def revoke(access: Access, ledger: Ledger, name: str, *, now: datetime) -> None:
    """End a token and record that it ended; ended it is, whether or not it can be recorded.

    Raises:
        AccessError: there is none of this name.
    """
    access.revoke(name)
    ledger.append("token.revoked", name, {}, now=now)


def note_expired(access: Access, ledger: Ledger, now: datetime) -> list[Token]:
    """Record which tokens have run out since this was asked last, and return them."""
    gone = [one for one in access.tokens() if one.expires_at is not None and one.expires_at <= now]
    if not gone:
        return []
    with ledger.database.begin() as connection:
        events = ledger.events(kinds=["token.expired"], connection=connection)
        known = {(event.subject, event.payload["made_at"]) for event in events}
        news = [one for one in gone if (one.name, iso(one.made_at)) not in known]
        for one in news:
            assert one.expires_at is not None  # noqa: S101 - of those that have an end
            payload = {"made_at": iso(one.made_at), "expires_at": iso(one.expires_at)}
            ledger.append("token.expired", one.name, payload, now=now, connection=connection)
    return news
