"""How good answers were, from counts of scores by what turned out true.

Counts of hours, slices and workers add; every figure of their sum comes with how far the cells may
have moved it (`bound`) and with what chance makes of so few rows (a 95 % interval). A probability
is counted by its distance from the nearer end, so that cells are as narrow close to 1 as they are
close to 0: that is where the logarithmic loss needs it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

import numpy as np

from loopline.counts.figure import Figure, Z, around
from loopline.counts.kernel import SHIFT, ColumnCounts, count_column
from loopline.errors import CountsError
from loopline.kernels.count import lower_edges

BINS = 10
"""Of calibration: equal in width, over [0, 1]."""
_EPSILON = float(np.finfo(np.float64).eps)
_PLAIN = ColumnCounts("number")


@dataclass(frozen=True)
class Scored:
    """Counts of a binary model's probabilities, by what turned out true."""

    negative: ColumnCounts
    positive: ColumnCounts

    def __add__(self, other: "Scored") -> "Scored":
        return Scored(self.negative + other.negative, self.positive + other.positive)

    @property
    def rows(self) -> int:
        """All rows."""
        return self.negative.rows + self.positive.rows


def count_scores(probabilities: np.ndarray, truth: np.ndarray) -> Scored:
    """Count probabilities of the positive class, where `truth` is 1 or 0.

    Raises:
        CountsError: a probability lies outside of 0 to 1, or is missing.
    """
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise CountsError("A probability lies outside of 0 to 1, or is missing. Leave it out.")
    folded = folded_probabilities(probabilities)
    is_true = truth == 1
    return Scored(count_column(folded[~is_true], _PLAIN), count_column(folded[is_true], _PLAIN))


def folded_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities as they are counted: from 1/2 on by their distance to 1, below zero.

    That is exact, since halves and doubles round nothing.
    """
    folded = np.where(probabilities < 0.5, probabilities, probabilities - 1)
    is_one = probabilities == 1  # no distance at all: the cell of -0 would be that of 0
    return np.where(is_one, -5e-324, folded)


def of_scores(scored: Scored) -> dict[str, Figure]:
    """Return the figures of a binary model's probabilities; those that are defined.

    `roc_auc`, `average_precision`, `log_loss`, `brier` and `calibration_error`.
    """
    table = _probabilities(scored)
    found = {}
    if scored.rows:
        for name, loss in (("log_loss", _log_loss), ("brier", _square)):
            parts = [(table.negative, loss, False), (table.positive, loss, True)]
            found[name] = _mean((table, *part) for part in parts)
        found["calibration_error"] = calibration_error(scored)
    if scored.positive.rows:
        found["average_precision"] = average_precision(scored)
        if scored.negative.rows:
            found["roc_auc"] = roc_auc(scored)
    return found


def of_class_scores(scored: Sequence[Scored]) -> dict[str, Figure]:
    """Return the figures of probabilities of several classes, each counted against the rest.

    `log_loss`, `brier` and the mean `roc_auc` over classes. Which rows of one class's counts are
    which of another's is not known, so intervals take them for alike: they are wide rather than
    narrow.
    """
    tables = [_probabilities(each) for each in scored]
    if not tables or not scored[0].rows:
        return {}
    found = {"log_loss": _mean((table, table.positive, _log_loss, True) for table in tables)}
    squares = [
        _mean([(table, table.negative, _square, False), (table, table.positive, _square, True)])
        for table in tables
    ]
    found["brier"] = _together(squares, len(squares), 0.0, inf)
    if all(each.negative.rows and each.positive.rows for each in scored):
        found["roc_auc"] = _together([roc_auc(each) for each in scored], 1, 0.0, 1.0)
    return found


def _together(figures: Sequence[Figure], times: float, least: float, most: float) -> Figure:
    """Return the mean of figures that may vary together, times a number."""
    value, bound, spread = (
        float(np.mean(each)) * times
        for each in zip(*((one.value, one.bound, one.spread) for one in figures), strict=True)
    )
    return around(value, bound, spread, least, most)


def roc_auc(scored: Scored) -> Figure:
    """Return the area under the ROC curve; pairs in one cell count half.

    Off by at most half the share of such pairs. The interval is Hanley and McNeil's (1982).
    """
    table = _probabilities(scored)
    negatives, positives = table.negative.sum(), table.positive.sum()
    below = table.negative.cumsum() - table.negative
    pairs = positives * negatives
    ties = float((table.positive * table.negative).sum() / pairs)
    value = float((table.positive * below).sum() / pairs) + ties / 2
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    rest = (positives - 1) * (q1 - value**2) + (negatives - 1) * (q2 - value**2)
    spread = sqrt(max(value * (1 - value) + rest, 0.0) / pairs)
    return around(value, ties / 2, spread, 0.0, 1.0)


def average_precision(scored: Scored) -> Figure:
    """Return the mean precision at each positive, by falling probability; a cell is one step.

    Bounded by its rows' best and worst order. The interval is the logit one of Boyd, Eng and Page
    (2013).
    """
    from scipy.special import digamma

    table = _probabilities(scored)
    hits, misses = table.positive[::-1], table.negative[::-1]
    before, wrong = hits.cumsum() - hits, misses.cumsum() - misses
    there = hits > 0
    hits, misses, before, wrong = (each[there] for each in (hits, misses, before, wrong))
    most = before + hits
    precision = most / (most + wrong + misses)
    best = most / (most + wrong)
    # The cell's negatives before all of its positives: the sum of (b + i) / (b + i + w) over these.
    false = wrong + misses
    worst = hits - false * (digamma(most + false + 1) - digamma(before + false + 1))
    total = float(hits.sum())
    value, low, high = (
        float(each / total) for each in ((hits * precision).sum(), worst.sum(), (hits * best).sum())
    )
    bound = max(high - value, value - low, 0.0)
    if not 0 < value < 1:
        return Figure(value, bound, max(value - bound, 0.0), min(value + bound, 1.0))
    logit, wide = log(value / (1 - value)), Z / sqrt(total * value * (1 - value))
    ends = [1 / (1 + exp(-min(max(logit + side, -700), 700))) for side in (-wide, wide)]
    return Figure(value, bound, max(ends[0] - bound, 0.0), min(ends[1] + bound, 1.0))


def calibration(scored: Scored) -> list[dict[str, float]]:
    """Return each bin's rows, mean probability and share of positives; a cell is in one bin.

    A probability is off by at most half a cell (0.2 % of its distance from the nearer end).
    """
    table = _probabilities(scored)
    rows = table.negative + table.positive
    places = np.minimum((table.middle * BINS).astype(np.int64), BINS - 1)
    found = []
    for place in range(BINS):
        inside = places == place
        total = float(rows[inside].sum())
        if total:
            found.append(
                {
                    "rows": total,
                    "probability": float((table.middle * rows)[inside].sum()) / total,
                    "share": float(table.positive[inside].sum()) / total,
                }
            )
    return found


def calibration_error(scored: Scored) -> Figure:
    """Return the mean gap between probability and share over equal bins (Guo et al., 2017).

    Off by half a cell, and by what cells hold that lie across a bin's edge. Its interval is what
    each bin's share scatters, added up: it is wide rather than narrow.
    """
    table = _probabilities(scored)
    rows = table.negative + table.positive
    total = rows.sum()
    bins = calibration(scored)
    value = sum(abs(one["probability"] - one["share"]) * one["rows"] for one in bins) / total
    is_split = np.floor(table.low * BINS) != np.floor(np.nextafter(table.high, 0) * BINS)
    half = np.maximum(table.high - table.middle, table.middle - table.low)
    bound = float(((rows * half).sum() + 2 * rows[is_split].sum()) / total)
    scatter = sum(
        one["rows"] * sqrt(one["share"] * (1 - one["share"]) / one["rows"]) for one in bins
    )
    return around(float(value), bound, float(scatter / total), 0.0, 1.0)


@dataclass(frozen=True)
class _Table:
    """Cells of probabilities, rising."""

    low: np.ndarray
    high: np.ndarray
    middle: np.ndarray
    negative: np.ndarray
    positive: np.ndarray


def _probabilities(scored: Scored) -> _Table:
    cells = np.union1d(scored.negative.cells, scored.positive.cells)
    # Those of 1/2 and more were counted below zero, and come last.
    cells = np.concatenate([cells[cells >= 0], cells[cells < 0]])
    first, second = lower_edges(cells, SHIFT), lower_edges(cells + 1, SHIFT)
    is_end = (cells == 0) | (cells == -1)
    low = np.where(cells < 0, 1 + first, first)
    high = np.where(cells < 0, 1 + second, np.where(cells == 0, 0.0, second))
    low = np.where(cells == -1, 1.0, low)
    middle = np.where(is_end, low, low / 2 + high / 2)
    found = []
    for column in (scored.negative, scored.positive):
        place = {cell: at for at, cell in enumerate(cells.tolist())}
        counts = np.zeros(len(cells))
        counts[[place[cell] for cell in column.cells.tolist()]] = column.counts
        found.append(counts)
    return _Table(low, high, middle, *found)


_Loss = Callable[[np.ndarray, bool], np.ndarray]


def _log_loss(probability: np.ndarray, is_positive: bool) -> np.ndarray:
    sure = np.clip(probability, _EPSILON, 1 - _EPSILON)
    loss: np.ndarray = -np.log(sure) if is_positive else -np.log1p(-sure)
    return loss


def _square(probability: np.ndarray, is_positive: bool) -> np.ndarray:
    loss: np.ndarray = np.square(probability - is_positive)
    return loss


def _mean(parts: Iterable[tuple[_Table, np.ndarray, _Loss, bool]]) -> Figure:
    """Return the mean of a loss; each row's is that of its cell's middle.

    A part is cells, how many rows each of them holds, the loss, and whether they came true.
    """
    total, value, square, off = 0.0, 0.0, 0.0, 0.0
    for table, counts, loss, is_positive in parts:
        at = loss(table.middle, is_positive)
        ends = [np.abs(loss(end, is_positive) - at) for end in (table.low, table.high)]
        total += counts.sum()
        value += (counts * at).sum()
        square += (counts * np.square(at)).sum()
        off += (counts * np.maximum(*ends)).sum()
    mean = value / total
    spread = sqrt(max(square / total - mean**2, 0.0) / total)
    return around(float(mean), float(off / total), spread, 0.0, inf)
