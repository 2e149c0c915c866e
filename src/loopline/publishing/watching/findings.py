"""Which findings were open from when to when."""

from collections.abc import Iterator, Sequence

from loopline.monitoring.history import History
from loopline.publishing.charts import lanes
from loopline.publishing.charts.chart import Chart
from loopline.publishing.watching.past import Past, Stay
from loopline.publishing.watching.stretches import milliseconds, start

_LANES = 24
"""Findings in the chart of what was open when, the newest ones."""


def charts(past: Past, one: History) -> Iterator[Chart]:
    """Yield the newest findings as bars, from when each opened to when it passed."""
    here = [stay for stay in past.stays if stay.finding.environment == one.environment]
    here = here[-_LANES:]
    if not here:
        return
    first, last = _extent(past, one, here)
    bars, rows = [], []
    for stay in here:
        finding = stay.finding
        what = f"{finding.subject}, v{finding.version}"
        end = last if stay.closed is None else milliseconds(stay.closed)
        bars.append((milliseconds(stay.opened), end, what, finding.kind, finding.message))
        rows.append(
            (stay.opened[:16].replace("T", " "),
             "open" if stay.closed is None else stay.closed[:16].replace("T", " "),
             finding.kind, finding.message)
        )  # fmt: skip
    still = sum(stay.closed is None for stay in here)
    yield Chart(
        title=f"{opened_now(still)}, {len(here) - still} passed",
        alt=f"{len(here)} findings over time, {still} of them open.",
        spec=lanes.spans(bars, first=first, last=last),
        head=("opened", "passed", "kind", "found"),
        rows=tuple(rows),
    )


def _extent(past: Past, one: History, here: Sequence[Stay]) -> tuple[int, int]:
    """Return from when to when findings are shown; a look long after the last prediction would
    squeeze all else to the left.
    """
    opened = [milliseconds(stay.opened) for stay in here]
    told = [*opened, *(milliseconds(stay.closed) for stay in here if stay.closed)]
    if not one.points:
        return min(opened), max(told)
    end = start(one.points[-1].window) + one.hours * 3_600_000
    first, now = min(start(one.points[0].window), *opened), int(past.at.timestamp() * 1000)
    last = max(*told, min(now, end), first + 1)
    return first, last + (last - first) // 40  # so that what opened just now is seen


def opened_now(number: int) -> str:
    """Return how many findings are open, as a sentence begins with it."""
    if not number:
        return "No finding is open"
    return f"{number} finding{' is' if number == 1 else 's are'} open"
