"""Every token is an event, and a token that could not be recorded is none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loopline.errors import AccessError, StoreError
from loopline.governance import tokens
from loopline.governance.access import Access
from loopline.store.database import Database
from loopline.store.ledger import Ledger

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Database(f"sqlite:///{tmp_path / 'loopline.db'}"), "churn", "ada")


def told(ledger: Ledger) -> list[tuple[str, str, str]]:
    return [(event.kind, event.subject, event.actor) for event in ledger.events()]


def test_a_token_made_and_revoked_is_two_events_without_the_token(
    access: Access, ledger: Ledger
) -> None:
    later = NOW + timedelta(days=90)
    secret = tokens.make(access, ledger, "batch", ["predict"], now=NOW, expires_at=later, rate=50.0)
    tokens.revoke(access, ledger, "batch", now=NOW)

    assert told(ledger) == [("token.created", "batch", "ada"), ("token.revoked", "batch", "ada")]
    assert ledger.events()[0].payload == {
        "scopes": ["predict"], "expires_at": "2026-05-30T12:00:00Z", "rate": 50.0,
    }  # fmt: skip
    assert secret not in str(ledger.events())
    assert not access.allows(f"Bearer {secret}", "predict")


def test_a_token_that_cannot_be_made_or_recorded_is_neither(
    access: Access, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.make(access, ledger, "one", ["predict"], now=NOW)
    with pytest.raises(AccessError, match="There is a token 'one' already"):
        tokens.make(access, ledger, "one", ["feedback"], now=NOW)
    with pytest.raises(AccessError, match="There is no token 'two'"):
        tokens.revoke(access, ledger, "two", now=NOW)

    def full(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(ledger, "append", full)
    with pytest.raises(StoreError, match="the disk is full"):
        tokens.make(access, ledger, "two", ["predict"], now=NOW)

    assert [token.name for token in access.tokens()] == ["one"]
    assert told(ledger) == [("token.created", "one", "ada")]


def test_a_token_that_ran_out_is_told_once_and_again_when_it_is_made_anew(
    access: Access, ledger: Ledger
) -> None:
    end = NOW + timedelta(days=1)
    tokens.make(access, ledger, "short", ["predict"], now=NOW, expires_at=end)
    tokens.make(access, ledger, "long", ["predict"], now=NOW)

    early = tokens.note_expired(access, ledger, NOW)
    first = tokens.note_expired(access, ledger, end)
    again = tokens.note_expired(access, ledger, end + timedelta(days=1))
    tokens.revoke(access, ledger, "short", now=end)
    tokens.make(access, ledger, "short", ["predict"], now=end, expires_at=end + timedelta(days=1))
    anew = tokens.note_expired(access, ledger, end + timedelta(days=2))

    assert (early, again) == ([], [])
    assert [token.name for token in first + anew] == ["short", "short"]
    assert [kind for kind, *_ in told(ledger)].count("token.expired") == 2
