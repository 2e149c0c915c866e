"""The ledger as an auditor reads it: one plain row per event."""

from collections.abc import Collection
from typing import Any

import msgspec

from loopline.store.ledger import Event, Ledger


def rows(
    ledger: Ledger, *, kinds: Collection[str] = (), containing: str = "", limit: int | None = None
) -> list[dict[str, Any]]:
    """Return events as rows, oldest first: of these kinds, with this text, the last `limit`.

    The text is looked for, whatever its case, in actor, kind, subject and payload.
    """
    found = [event for event in ledger.events(kinds) if _contains(event, containing.casefold())]
    if limit is not None:
        found = found[max(len(found) - limit, 0) :]
    return [_row(event) for event in found]


def summary(row: dict[str, Any]) -> str:
    """Return what a row says in one line: its own words where it has any, else its figures."""
    payload = row["payload"]
    if row["kind"] == "release.written":
        served = ", ".join(f"{payload['project']}:{one['version']}" for one in payload["serves"])
        return f"serves {served}" + (f": {payload['why']}" if payload["why"] else "")
    for key in ("message", "why"):
        if isinstance(payload.get(key), str) and payload[key]:
            return str(payload[key])
    return ", ".join(
        f"{key} {value}" for key, value in payload.items() if isinstance(value, str | int | float)
    )


def printable(text: str) -> str:
    """Return `text` as a terminal may show it: on one line, and unable to move or hide anything."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _contains(event: Event, text: str) -> bool:
    places = [event.actor, event.kind, event.subject]
    if any(text in place.casefold() for place in places):
        return True
    return text in msgspec.json.encode(event.payload).decode("utf-8").casefold()


def _row(event: Event) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(event)
    return row
