"""What was judged last, and on which window: the figure that decides, beside the points.

A point is a stretch, often a week; a promise is judged over `monitor.window`, often a month. So the
judged figure lies on no point, and is drawn as a line over its whole window.
"""

from loopline.monitoring.findings import RESOLVED, Finding
from loopline.monitoring.history import History
from loopline.publishing.charts.annotations import Judged
from loopline.publishing.watching.stretches import milliseconds


def newest(one: History, subject: str) -> Finding | None:
    """Return the newest judgement of a goal or fairness rule; None where there is none yet."""
    return next((each for each in one.judged if each.subject == subject), None)


def holds(finding: Finding | None) -> bool | None:
    """Return whether it holds; None where it was not judged."""
    return None if finding is None else finding.status == RESOLVED


def drawn(finding: Finding | None, figure: str, scale: float = 1.0) -> tuple[Judged, ...]:
    """Return a judgement as it lies on its chart: `figure` in words, its value times `scale`."""
    if finding is None:
        return ()
    first, last = (milliseconds(each) for each in finding.window)
    told = f"{finding.rows:,} requests"
    if finding.labels is not None:
        told = f"{finding.labels:,} outcomes"
    good = finding.status == RESOLVED
    return (Judged(first, last, finding.value * scale, f"judged {figure}", good, told),)
