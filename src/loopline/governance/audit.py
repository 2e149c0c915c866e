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


_TOLD: dict[str, str] = {
    "snapshot.frozen": "{rows:,} rows from {source}",
    "data.quarantined": "{rows:,} rows kept apart in {table}",
    "run.finished": "{candidate} on {snapshot}, seed {seed}",
    "version.registered": "from {run}, answers by {runtime}",
    "promotion.requested": "{environment}, needs {needed} approval(s)",
    "promotion.approved": "{environment}",
    "estimate.compared": "{environment}, {labels:,} outcomes of {rows:,} predictions",
    "data.checked": "{failing:,} of {asked:,} checks fail",
    "labels.corrected": "{new:,} outcomes differ from what was said before",
}
"""What is said of events that have no words of their own."""


def summary(row: dict[str, Any]) -> str:
    """Return what a row says in one line: its own words where it has any, else its figures."""
    kind, payload = row["kind"], row["payload"]
    if kind == "release.written":
        served = ", ".join(f"{payload['project']}:{one['version']}" for one in payload["serves"])
        return f"serves {served}" + (f": {payload['why']}" if payload["why"] else "")
    if kind == "action.taken":
        return f"{payload['kind']} {payload['outcome']}: {payload['why']}"
    told = _TOLD[kind].format(**payload) if kind in _TOLD else ""
    if kind == "version.registered":
        told = f"gate {'passed' if payload['gate_passed'] else 'failed'}, {told}"
    own = next((payload[key] for key in ("message", "why") if payload.get(key)), "")
    if told or own:
        return ": ".join(filter(None, (told, str(own))))
    return ", ".join(
        f"{key} {value}" for key, value in payload.items() if isinstance(value, str | int | float)
    )


def about(row: dict[str, Any]) -> str:
    """Return what an event is about as people call it: findings and actions have ids for names."""
    kind, payload = row["kind"], row["payload"]
    if kind.startswith("finding."):
        return f"{payload['subject']} of {payload['project']}:{payload['version']}"
    return str(payload["environment"] if kind == "action.taken" else row["subject"])


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
