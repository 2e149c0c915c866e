"""One finding from beginning to end: what was found, who knew of it, and what the rules did."""

from dataclasses import dataclass
from typing import Any

import msgspec

from loopline.errors import UnknownFindingError
from loopline.monitoring.findings import Finding, Findings
from loopline.response.rules import Action
from loopline.store.ledger import Ledger


@dataclass(frozen=True)
class Story:
    """What the ledger holds of one finding."""

    finding: Finding
    """As it stands."""
    events: tuple[tuple[str, str, str, str], ...]
    """When, by whom, what (`opened`, `updated`, `acknowledged`, `resolved`), and its words."""
    actions: tuple[Action, ...]
    """What the rules did about it, oldest first."""


def every(ledger: Ledger) -> list[Finding]:
    """Return every finding there ever was as it last stood, oldest first."""
    found: dict[str, Finding] = {}
    for event in ledger.events(kinds=("finding.opened", "finding.updated", "finding.resolved")):
        found[event.subject] = msgspec.convert(event.payload, Finding)
    return list({**found, **Findings(ledger).open()}.values())


def tell(ledger: Ledger, text: str) -> Story:
    """Return the story of the finding whose id begins with `text`.

    Raises:
        UnknownFindingError: there is none, or there are several.
    """
    known = every(ledger)
    found = [one for one in known if text and one.id.startswith(text)]
    if len(found) != 1:
        what = "No finding's id begins" if not found else "Several findings' ids begin"
        ids = ", ".join(one.id[:8] for one in known[-8:])
        raise UnknownFindingError(f"{what} with {text!r}. The newest are: {ids or 'none'}.")
    [finding] = found
    events = [
        (event.at, event.actor, event.kind.removeprefix("finding."), _words(event.payload))
        for event in ledger.events(subject=finding.id)
        if event.kind.startswith("finding.")
    ]
    actions = [
        msgspec.convert(event.payload, Action) for event in ledger.events(kinds=["action.taken"])
    ]
    mine = tuple(action for action in actions if finding.id in action.findings)
    return Story(finding, tuple(events), mine)


def _words(payload: dict[str, Any]) -> str:
    return str(payload.get("message") or payload.get("why") or "")
