"""One column's two distributions, from counts: as it was trained on, and as it is now."""

import numpy as np

from loopline.counts.kernel import ColumnCounts
from loopline.counts.statistics import histogram, middles
from loopline.monitoring.drift import Drift
from loopline.monitoring.history import Pair
from loopline.publishing.charts import distributions
from loopline.publishing.charts.chart import Chart

_BINS = 24
_CATEGORIES = 10
_TAIL = 0.005
"""Left out at either end where it is far away: one wind speed of 1,048 would squeeze the rest."""


def pair(one: Pair) -> Chart:
    """Draw a column's reference and its current distribution over each other."""
    figures = one.drift.figures
    title = f"{one.drift.column}: PSI {figures['psi']:.2f}"
    told = f"{one.drift.column} is apart from its reference by a PSI of {figures['psi']:.2f}."
    notes = [_missing(one.drift)]
    if one.reference.kind == "category":
        shares = _categories(one.reference, one.current)
        notes.insert(0, _others(shares))
        spec = distributions.categories(shares, title=title)
        rows = tuple((name, f"{before:.2%}", f"{now:.2%}") for name, before, now in shares)
        head = ("value", "reference", "now")
    else:
        bins = _bins(one.reference, one.current)
        spec = distributions.histogram(bins, title=title)
        rows = tuple(
            (f"{low:.4g} to {high:.4g}", f"{before:.2%}", f"{now:.2%}")
            for low, high, before, now in bins
        )
        head = ("between", "reference", "now")
    note = " ".join(filter(None, notes))
    return Chart(title, f"{told} {note}".strip(), spec, head, rows, note)


def _missing(drift: Drift) -> str:
    now, before = drift.figures["missing_rate"], drift.figures["reference_missing_rate"]
    return "" if now == before == 0 else f"Missing: {before:.1%} then, {now:.1%} now."


def _categories(reference: ColumnCounts, current: ColumnCounts) -> list[tuple[str, float, float]]:
    """Return the most frequent values of both, and their shares."""
    before, now = max(reference.present, 1), max(current.present, 1)
    shares = [
        (name, reference.named.get(name, 0) / before, current.named.get(name, 0) / now)
        for name in set(reference.named) | set(current.named)
    ]
    # By the reference, what is new at the end.
    frequent = sorted(shares, key=lambda one: (-(one[1] + one[2]), one[0]))[:_CATEGORIES]
    return sorted(frequent, key=lambda one: (-one[1], one[0]))


def _others(shares: list[tuple[str, float, float]]) -> str:
    before = max(0.0, 1 - sum(each for _, each, _ in shares))
    now = max(0.0, 1 - sum(each for _, _, each in shares))
    if max(before, now) < 5e-4:
        return ""
    return f"Other values: {before:.1%} then, {now:.1%} now."


def _bins(
    reference: ColumnCounts, current: ColumnCounts
) -> list[tuple[float, float, float, float]]:
    """Return equal bins over the bulk of both; a few whole numbers get a bin each."""
    values, weights = _both(reference, current)
    if len(values) == 0:
        return [(0.0, 1.0, 0.0, 0.0)]
    share = weights.cumsum() / weights.sum()
    low = float(values[np.searchsorted(share, _TAIL)])
    high = float(values[min(int(np.searchsorted(share, 1 - _TAIL)), len(values) - 1)])
    whole = np.unique(np.round(values))
    if len(whole) <= _BINS and np.allclose(values, np.round(values), rtol=0.004, atol=1e-9):
        edges = [float(one) - 0.5 for one in np.arange(whole[0], whole[-1] + 2)]
        if len(edges) > 2 * _BINS:
            edges = _even(low, high)
    else:
        edges = _even(low, high)
    parts = []
    for column in (reference, current):
        found = np.array(histogram(column, edges), np.float64)
        parts.append((found / max(column.present, 1)).tolist())
    return [
        (edges[place], edges[place + 1], before, now)
        for place, (before, now) in enumerate(zip(*parts, strict=True))
    ]


def _even(low: float, high: float) -> list[float]:
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = (high - low) / _BINS
    # The last edge lies beyond the greatest value, which a bin without its end would leave out.
    return [low + step * place for place in range(_BINS)] + [float(np.nextafter(high, np.inf))]


def _both(reference: ColumnCounts, current: ColumnCounts) -> tuple[np.ndarray, np.ndarray]:
    """Return the finite values of both, rising, each column weighing one."""
    values = np.concatenate([middles(reference), middles(current)])
    weights = np.concatenate(
        [each.counts / max(each.counts.sum(), 1) for each in (reference, current)]
    )
    order = values.argsort(kind="stable")
    return values[order], weights[order]
