"""How the loop stands, in a sentence for each environment: what a reader sees first.

Red is a promise that is missed; amber something found while every judged promise holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from loopline.monitoring.findings import RESOLVED
from loopline.monitoring.history import History
from loopline.publishing.watching.findings import opened_now
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.promises import promises

Tone = Literal["passed", "failed", "warned", ""]


@dataclass(frozen=True)
class Line:
    """One sentence, and how good what it says is."""

    text: str
    tone: Tone


def lines(past: Past, status: Mapping[str, Any]) -> list[Line]:
    """Return how each environment stands, the one that matters most first."""
    order = {name: place for place, name in enumerate(past.contract.environments)}
    answered = [one for one in past.histories if one.points]
    answered.sort(key=lambda one: -order.get(one.environment, -1))
    found = [_line(past, one) for one in answered]
    return found or [_silent(past, status)]


def _silent(past: Past, status: Mapping[str, Any]) -> Line:
    """Return what there is to say where nobody asked anything yet."""
    open_ = f" {opened_now(len(past.open))}." if past.open else ""
    serving = {release.environment: release for release in past.releases}
    if serving:
        places = " and ".join(serving)
        return Line(f"No predictions yet: a version serves {places}, unasked.{open_}", "")
    following = next(iter(status.get("next", ())), "")
    then = f" Next: {following}" if following else ""
    return Line(f"Nothing serves yet.{open_}{then}", "")


def _line(past: Past, one: History) -> Line:
    rows = promises(past, one)
    missed = [row["what"] for row in rows if row["holds"] is False]
    held = sum(row["holds"] is True for row in rows)
    found = [each for each in past.open if each.environment == one.environment]
    where = f"In {one.environment}"
    if missed:
        number = f"{len(missed)} of {len(rows)} promises"
        is_ = "is" if len(missed) == 1 else "are"
        text = f"{where} {number} {is_} missed: {_joined(missed)}. {opened_now(len(found))}."
        return Line(text, "failed")
    tone: Tone = "warned" if any(each.status != RESOLVED for each in found) else "passed"
    if held:
        every = "every promise holds" if held == len(rows) else (
            f"every promise that can be judged holds, {held} of {len(rows)}"
        )  # fmt: skip
        return Line(f"{where} {every}. {opened_now(len(found))}.", tone)
    why = "no promise can be judged yet" if rows else "nothing was promised"
    return Line(f"{where} {why}. {opened_now(len(found))}.", tone if found else "")


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
