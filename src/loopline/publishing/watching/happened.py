"""What happened in an environment, as marks on the axis of time."""

from loopline.publishing.charts.marks import Mark
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.stretches import milliseconds
from loopline.response.rules import COOLING


def marks(past: Past, environment: str) -> list[Mark]:
    """Return the releases here, and what rules did besides releasing."""
    found = []
    for release in past.releases:
        if release.environment != environment:
            continue
        back = release.rolled_back
        label = f"v{release.version}" if back is None else f"back to v{release.version}"
        told = f"{past.name(release.version)} serves, by {release.by}: {release.why}"
        found.append(Mark(milliseconds(release.at), label, told))
    for action in past.actions:
        if action.environment != environment or action.kind == "alert":
            continue
        if action.outcome in (COOLING, "done"):  # done ones are releases, which are marked
            continue
        label = f"{action.kind} {action.outcome}"
        found.append(Mark(milliseconds(action.at), label, action.why))
    return found
