"""How good answers were, from counts of scores by what turned out true.

Counts of hours, slices and workers add; every figure of their sum comes with how far the cells may
have moved it (`bound`) and with what chance makes of so few rows (a 95 % interval). A probability
is counted by its distance from the nearer end, so that cells are as narrow close to 1 as they are
close to 0: that is where the logarithmic loss needs it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from loopline.counts.kernel import SHIFT, ColumnCounts, count_column
from loopline.errors import CountsError
from loopline.kernels.count import lower_edges

BINS = 10
"""Of calibration: equal in width, over [0, 1]."""
_Z = 1.959963984540054  # of a 95 % interval
_EPSILON = float(np.finfo(np.float64).eps)
_PLAIN = ColumnCounts("number")


@dataclass(frozen=True)
class Figure:
    """One figure from counts."""

    value: float
    bound: float
    """How far the figure of the values themselves may be from it; 0 where counts are exact."""
    low: float
    high: float
    """The 95 % interval for the chance in the rows, widened by `bound`."""


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


@dataclass(frozen=True)
class Confusion:
    """Counts of decisions, by what turned out true: rows are the truth, columns what was said."""

    counts: tuple[tuple[int, ...], ...]

    def __add__(self, other: "Confusion") -> "Confusion":
        if len(self.counts) != len(other.counts):
            raise CountsError(
                f"Confusions of {len(self.counts)} and of {len(other.counts)} classes do not add."
            )
        both = zip(self.counts, other.counts, strict=True)
        return Confusion(tuple(tuple(np.add(a, b).tolist()) for a, b in both))

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(map(sum, self.counts))


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


def count_decisions(truth: np.ndarray, said: np.ndarray, classes: int = 2) -> Confusion:
    """Count decisions; truth and what was said are places of classes."""
    pairs = truth.astype(np.int64) * classes + said.astype(np.int64)
    table = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    return Confusion(tuple(tuple(row) for row in table.tolist()))


def count_errors(predicted: np.ndarray, truth: np.ndarray) -> ColumnCounts:
    """Count a regression's errors: the prediction less the truth."""
    return count_column(predicted - truth, _PLAIN)


def of_scores(scored: Scored) -> dict[str, Figure]:
    """Return `roc_auc`, `log_loss`, `brier` and `calibration_error`; those that are defined."""
    table = _probabilities(scored)
    found = {}
    if scored.rows:
        found["log_loss"] = _per_row(table, _log_loss)
        found["brier"] = _per_row(table, _square)
        found["calibration_error"] = calibration_error(scored)
    if scored.negative.rows and scored.positive.rows:
        found["roc_auc"] = roc_auc(scored)
    return found


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
    return _figure(value, ties / 2, spread, 0.0, 1.0)


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
    bound = float((rows * half).sum() + 2 * rows[is_split].sum()) / total
    scatter = sum(
        one["rows"] * sqrt(one["share"] * (1 - one["share"]) / one["rows"]) for one in bins
    )
    return _figure(float(value), bound, scatter / total, 0.0, 1.0)


def decided(scored: Scored, threshold: float) -> tuple[Confusion, int]:
    """Return the decisions at `threshold`, and how many rows share its cell: those may be wrong.

    Decisions that were counted as such (`count_decisions`) are exact.
    """
    table = _probabilities(scored)
    said = table.middle >= threshold
    unsure = (table.low < threshold) & (threshold < table.high)
    rows = tuple(
        (int(counts[~said].sum()), int(counts[said].sum()))
        for counts in (table.negative, table.positive)
    )
    return Confusion(rows), int((table.negative + table.positive)[unsure].sum())


def of_decisions(confusion: Confusion, costs: np.ndarray | None = None) -> dict[str, Figure]:
    """Return the figures of a binary model's decisions; exact. Undefined ones are left out.

    Shares have Wilson's interval (1927), the harmonic mean and the balanced accuracy that of the
    delta method, costs (truth by what was said) that of their mean.
    """
    (tn, fp), (fn, tp) = confusion.counts
    rows = confusion.rows
    shares = {
        "accuracy": (tn + tp, rows),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "false_positive_rate": (fp, fp + tn),
        "false_negative_rate": (fn, tp + fn),
        "selection_rate": (tp + fp, rows),
    }
    found = {name: share(hits, of) for name, (hits, of) in shares.items() if of}
    if tp + fn and tn + fp:
        recall, other = tp / (tp + fn), tn / (tn + fp)
        variance = recall * (1 - recall) / (tp + fn) + other * (1 - other) / (tn + fp)
        found["balanced_accuracy"] = _figure((recall + other) / 2, 0.0, sqrt(variance) / 2, 0, 1)
    if 2 * tp + fp + fn:
        f1 = 2 * tp / (2 * tp + fp + fn)
        # F1 is monotone in tp / (tp + fp + fn), a share; its interval goes the same way.
        within = share(tp, tp + fp + fn)
        found["f1"] = Figure(f1, 0.0, *(2 * end / (1 + end) for end in (within.low, within.high)))
    if costs is not None and rows:
        found["cost_per_prediction"] = cost(confusion, costs)
    return found


def of_classes(confusion: Confusion, costs: np.ndarray | None = None) -> dict[str, Figure]:
    """Return `accuracy`, and `balanced_accuracy` and `macro_f1` over the classes that occur."""
    table = np.array(confusion.counts, np.float64)
    rows = table.sum()
    if not rows:
        return {}
    hits, actual, said = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    found = {"accuracy": share(int(hits.sum()), int(rows))}
    there = actual > 0
    recalls = hits[there] / actual[there]
    variance = (recalls * (1 - recalls) / actual[there]).sum() / there.sum() ** 2
    found["balanced_accuracy"] = _figure(float(recalls.mean()), 0.0, sqrt(variance), 0.0, 1.0)
    seen = actual + said > 0
    f1 = 2 * hits[seen] / (actual + said)[seen]
    spread = sqrt(float((f1 * (1 - f1) / np.maximum(actual[seen], 1)).sum())) / seen.sum()
    found["macro_f1"] = _figure(float(f1.mean()), 0.0, float(spread), 0.0, 1.0)
    if costs is not None:
        found["cost_per_prediction"] = cost(confusion, costs)
    return found


def cost(confusion: Confusion, costs: np.ndarray) -> Figure:
    """Return what a prediction costs on average; `costs` by truth and what was said. Exact."""
    table = np.array(confusion.counts, np.float64)
    rows = table.sum()
    mean = float((table * costs).sum() / rows)
    variance = float((table * np.square(costs - mean)).sum() / rows)
    return _figure(mean, 0.0, sqrt(variance / rows), -inf, inf)


def of_errors(
    errors: ColumnCounts, *, under: float = 1.0, over: float = 1.0, quantile: float = 0.5
) -> dict[str, Figure]:
    """Return `mae`, `rmse`, `bias`, `quantile_loss` and `cost_per_prediction` of a regression.

    `under` and `over` are the cost of a unit; `quantile_loss` is that of Koenker and Bassett
    (1978). Off by at most half a cell, 0.2 % of each error.
    """
    if not errors.counts.sum() or errors.low or errors.high:
        return {}
    rows = errors.counts / errors.counts.sum()
    first = lower_edges(errors.cells, SHIFT)
    second = lower_edges(errors.cells + 1, SHIFT)
    ends = (np.where(errors.cells == 0, 0.0, second), first)
    middle = np.where(errors.cells == 0, 0.0, first / 2 + second / 2)
    losses: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "mae": np.abs,
        "bias": lambda error: error,
        "rmse": np.square,
        # What was predicted too low costs the quantile, too high the rest.
        "quantile_loss": lambda e: np.where(e < 0, -e * quantile, e * (1 - quantile)),
        "cost_per_prediction": lambda e: np.where(e < 0, -e * under, e * over),
    }
    found = {}
    for name, loss in losses.items():
        at = loss(middle)
        value = float((rows * at).sum())
        off = np.maximum(*(np.abs(loss(end) - at) for end in ends))
        bound = float((rows * off).sum())
        spread = sqrt(float((rows * np.square(at - value)).sum()) / errors.counts.sum())
        low = -inf if name in {"bias", "cost_per_prediction"} else 0.0
        found[name] = _figure(value, bound, spread, low, inf)
    found["rmse"] = _root(found["rmse"])
    return found


def fairness(groups: Mapping[str, Confusion], minimum_rows: int = 1) -> dict[str, float]:
    """Return the gaps between groups' decisions, of groups with `minimum_rows`; exact.

    `demographic_parity` compares selection rates, `equal_opportunity` recalls, `equalized_odds`
    the worse of recalls and false positive rates (Hardt et al., 2016): each as `..._difference`
    and as `..._ratio` of the least to the greatest, as fairlearn has them.
    """
    judged = [of_decisions(each) for each in groups.values() if each.rows >= minimum_rows]
    differences: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for metric in ("selection_rate", "recall", "false_positive_rate"):
        values = [figures[metric].value for figures in judged if metric in figures]
        if len(values) > 1:
            least, most = min(values), max(values)
            differences[metric] = most - least
            ratios[metric] = least / most if most else 1.0
    found = {}
    for name, metric in (("demographic_parity", "selection_rate"), ("equal_opportunity", "recall")):
        if metric in differences:
            found[f"{name}_difference"] = differences[metric]
            found[f"{name}_ratio"] = ratios[metric]
    if {"recall", "false_positive_rate"} <= differences.keys():
        both = ("recall", "false_positive_rate")
        found["equalized_odds_difference"] = max(differences[metric] for metric in both)
        found["equalized_odds_ratio"] = min(ratios[metric] for metric in both)
    return found


def share(hits: int, rows: int) -> Figure:
    """Return a share with Wilson's interval (1927); exact."""
    value = hits / rows
    square = _Z**2
    middle = (value + square / (2 * rows)) / (1 + square / rows)
    half = _Z / (1 + square / rows) * sqrt(value * (1 - value) / rows + square / (4 * rows**2))
    return Figure(value, 0.0, max(middle - half, 0.0), min(middle + half, 1.0))


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


def _per_row(table: _Table, loss: _Loss) -> Figure:
    """Return the mean of a loss; each row's is that of its cell's middle."""
    total, value, square, off = 0.0, 0.0, 0.0, 0.0
    for counts, is_positive in ((table.negative, False), (table.positive, True)):
        at = loss(table.middle, is_positive)
        ends = [np.abs(loss(end, is_positive) - at) for end in (table.low, table.high)]
        total += counts.sum()
        value += (counts * at).sum()
        square += (counts * np.square(at)).sum()
        off += (counts * np.maximum(*ends)).sum()
    mean = value / total
    spread = sqrt(max(square / total - mean**2, 0.0) / total)
    return _figure(float(mean), float(off / total), spread, 0.0, inf)


def _figure(value: float, bound: float, spread: float, least: float, most: float) -> Figure:
    wide = _Z * spread + bound
    return Figure(value, bound, max(value - wide, least), min(value + wide, most))


def _root(square: Figure) -> Figure:
    value = sqrt(square.value)
    worst = max(
        sqrt(square.value + square.bound) - value,
        value - sqrt(max(square.value - square.bound, 0.0)),
    )
    return Figure(value, worst, sqrt(square.low), sqrt(square.high))
