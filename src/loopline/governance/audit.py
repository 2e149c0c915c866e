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
    """Return what a row says in one line: its own words where it has any, else its payload."""
    payload = row["payload"]
    words = [payload[key] for key in ("message", "why") if isinstance(payload.get(key), str)]
    said = next((text for text in words if text), None)
    return said or msgspec.json.encode(payload).decode("utf-8")


def _contains(event: Event, text: str) -> bool:
    places = [event.actor, event.kind, event.subject]
    if any(text in place.casefold() for place in places):
        return True
    return text in msgspec.json.encode(event.payload).decode("utf-8").casefold()


def _row(event: Event) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(event)
    return row
