"""How good the predictions probably are, while it is not known what turned out true.

From counts and from what validation rows taught the version of its own errors, so an estimate over
any stretch of time is a sum. The figures are the gate's own, on the outcomes to expect; the
interval is where the figure should come to lie once outcomes are known (95 %): it holds the chance
in the outcomes and that of the validation rows. It knows nothing of a change in what the inputs
mean: that shows when outcomes come, and `held.py` then widens what is stated next by past misses.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from loopline.contract.money import cost_matrix, has_costs, per_unit
from loopline.contract.schema import Contract
from loopline.counts.figure import Z
from loopline.counts.kernel import SHIFT, ColumnCounts
from loopline.evaluation.expectation import Expectation, calibrated, said_of
from loopline.evaluation.metrics import Answer, Scorecard
from loopline.evaluation.report import Estimate
from loopline.kernels.count import lower_edges
from loopline.monitoring.hours import GROUPS, OUTPUT, Counts
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import Window

DRAWS = 200
_SEED = 7
_WITHIN = (0.025, 0.975)
_LEFT_OUT = ("calibration_error", "selection_rate")
"""The one is zero by assumption, the other needs no outcome to be known."""


@dataclass(frozen=True)
class Widened:
    """The interval that past misses teach, beside the one of the arithmetic."""

    low: float
    high: float
    level: float
    """How often it holds the realised figure, where the future is like those stretches."""
    stretches: int
    """Past stretches whose outcomes taught it."""


@dataclass(frozen=True)
class Estimation:
    """The figures of one version to expect in one window."""

    window: Window
    rows: int
    """Predictions it rests on."""
    method: str
    """How errors are expected: `isotonic`, `logistic`, `groups` or `tree`."""
    taught_by: int
    """Validation rows behind the method."""
    metrics: dict[str, Estimate]
    widened: dict[str, Widened] = field(default_factory=dict)
    """Metric to the interval widened by past misses, once outcomes of a past stretch came."""
    withdrawn: dict[str, str] = field(default_factory=dict)
    """Metric to why its estimate is no longer stated: widened intervals missed too often."""

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Return where a figure should come to lie, past misses included; None if withdrawn."""
        found = self.widened.get(metric) or self.metrics.get(metric)
        return None if found is None or metric in self.withdrawn else (found.low, found.high)


def measure(
    contract: Contract,
    reference: Reference,
    counted: Mapping[tuple[str, str], Counts],
    window: Window,
    share: float = 1.0,
) -> Estimation | None:
    """Estimate from the sum of a window's counts; None where nothing was learned, or no row came.

    `share` is that of the rows whose outcome is known, where the interval is held against them:
    fewer outcomes scatter more.
    """
    expected = reference.expectation
    if expected is None:
        return None
    found: tuple[int, dict[str, Estimate]] | None = None
    if reference.signature.task == "binary":
        cells = counted.get((OUTPUT, "probability"))
        if isinstance(cells, ColumnCounts) and len(cells.cells):
            found = _of_curve(contract, reference, expected, cells, share)
    else:
        groups = counted.get((GROUPS, ""), Counter())
        if isinstance(groups, Counter) and groups:
            rows = _sizes(expected, groups)
            if expected.method == "groups":
                found = _of_groups(contract, reference.signature.classes, expected, rows, share)
            else:
                found = _of_leaves(contract, expected, rows, share)
    if found is None:
        return None
    return Estimation(window, found[0], expected.method, expected.rows, found[1])


def _of_curve(
    contract: Contract,
    reference: Reference,
    expected: Expectation,
    cells: ColumnCounts,
    share: float,
) -> tuple[int, dict[str, Estimate]]:
    """Return what outcomes drawn by the calibrated probability of each cell come to."""
    signature = reference.signature
    scores, rows = _scores(cells, 0.5 if signature.threshold is None else signature.threshold)
    curves = calibrated(expected, scores)
    truth = np.repeat([1.0, 0.0], len(scores))
    answer = Answer("own", np.tile(scores, 2), signature.threshold)
    card = Scorecard(contract.problem, signature.classes, truth, answer)
    generator = np.random.default_rng(_SEED)
    sizes = np.tile(rows, (DRAWS, 1))
    if share < 1:
        sizes = generator.binomial(sizes, share)
    resampled = curves[1 + np.arange(DRAWS) % (len(curves) - 1)]
    positive = generator.binomial(sizes, resampled)
    drawn = card.under(np.hstack([positive, sizes - positive]).astype(np.float64))
    mean = card.under(np.concatenate([rows * curves[0], rows * (1 - curves[0])])[None, :])
    return int(rows.sum()), _spread(mean, drawn)


def _scores(cells: ColumnCounts, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return each cell's middle and rows; the cell that holds the threshold is parted there.

    A part has rows by its width, as if they lay evenly; no other cell has rows on both sides.
    """
    low = np.clip(lower_edges(cells.cells, SHIFT) + cells.offset, 0, 1)
    high = np.clip(lower_edges(cells.cells + 1, SHIFT) + cells.offset, 0, 1)
    rows = cells.counts.copy()
    for place in np.flatnonzero((low < threshold) & (threshold < high)).tolist():
        below = round(rows[place] * (threshold - low[place]) / (high[place] - low[place]))
        low = np.append(low, threshold)
        high = np.append(high, high[place])
        rows = np.append(rows, rows[place] - below)
        high[place], rows[place] = np.nextafter(threshold, 0), below
    return (low + high) / 2, rows


def _spread(mean: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]) -> dict[str, Estimate]:
    found = {}
    for name, values in drawn.items():
        value, known = float(mean[name][0]), values[np.isfinite(values)]
        if name in _LEFT_OUT or not np.isfinite(value) or not len(known):
            continue
        low, high = np.quantile(known, _WITHIN).tolist()
        found[name] = Estimate(value, min(low, value), max(high, value))
    return found


def _sizes(expected: Expectation, groups: Counter[str]) -> np.ndarray:
    size = max(len(expected.tallies), len(expected.leaves))
    return np.array([groups[str(place)] for place in range(size)], dtype=np.int64)


def _of_groups(
    contract: Contract,
    names: tuple[str, ...],
    expected: Expectation,
    rows: np.ndarray,
    share: float,
) -> tuple[int, dict[str, Estimate]]:
    """Return what truths drawn from validation rows answered alike come to.

    Each draw takes the chances of a group from their posterior (Jeffreys), then the outcomes.
    """
    said, tallies = said_of(expected), np.array(expected.tallies, dtype=np.float64)
    size, classes = tallies.shape
    generator = np.random.default_rng(_SEED)
    shape = tallies + 0.5
    usual = rows[:, None] * shape / shape.sum(axis=1, keepdims=True)
    sizes = rows
    drawn = np.empty((DRAWS, size, classes))
    for number in range(DRAWS):
        chances = generator.gamma(shape)
        chances /= chances.sum(axis=1, keepdims=True)
        if share < 1:
            sizes = generator.binomial(rows, share)
        drawn[number] = generator.multinomial(sizes, chances)
    table = _confusions(np.concatenate([usual[None], drawn]), said, classes)
    figures = _of_confusions(contract, names, table)
    return int(rows.sum()), _spread(figures, {name: each[1:] for name, each in figures.items()})


def _confusions(by_group: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    """Return (sets, actual, answered) from (sets, group, actual)."""
    table = np.zeros((len(by_group), classes, classes))
    for place in range(classes):
        table[:, :, place] = by_group[:, said == place].sum(axis=1)
    return table


def _of_confusions(
    contract: Contract, names: tuple[str, ...], table: np.ndarray
) -> dict[str, np.ndarray]:
    total, hits = table.sum(axis=(1, 2)), np.einsum("skk->sk", table)
    actual, said = table.sum(axis=2), table.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        recalls, both = hits / actual, 2 * hits / (actual + said)
        found = {
            "accuracy": hits.sum(axis=1) / total,
            "balanced_accuracy": _mean(recalls),
            "macro_f1": _mean(both),
        }
        if has_costs(contract.problem):
            costs = cost_matrix(contract.problem, names)
            found["cost_per_prediction"] = (table * costs).sum(axis=(1, 2)) / total
    return found


def _mean(shares: np.ndarray) -> np.ndarray:
    known = np.isfinite(shares)
    found: np.ndarray = np.where(known, shares, 0.0).sum(axis=1) / known.sum(axis=1)
    return found


def _of_leaves(
    contract: Contract, expected: Expectation, rows: np.ndarray, share: float
) -> tuple[int, dict[str, Estimate]]:
    """Return the mean error by leaf over the window's rows.

    Variance: of each leaf's mean, which validation rows gave, and of the rows that come.
    """
    total = int(rows.sum())
    weights = rows / total
    known = max(total * share, 1.0)

    def figure(value: Callable[[Mapping[str, float]], tuple[float, float]]) -> Estimate:
        pairs = np.array([value(leaf) for leaf in expected.leaves])
        taught = np.array([leaf["rows"] for leaf in expected.leaves])
        mean = float((weights * pairs[:, 0]).sum())
        spread = (np.square(weights) * pairs[:, 1] / taught).sum()
        spread += (weights * pairs[:, 1]).sum() / known
        # Between leaves too: which rows get an outcome is chance, where not all do.
        apart = (weights * np.square(pairs[:, 0] - mean)).sum()
        spread += apart * max(1 / known - 1 / total, 0.0)
        margin = Z * float(np.sqrt(spread))
        return Estimate(mean, mean - margin, mean + margin)

    mae = figure(lambda leaf: (leaf["absolute"], leaf["absolute_variance"]))
    mse = figure(lambda leaf: (leaf["square"], leaf["square_variance"]))
    parts = (np.sqrt(max(part, 0.0)) for part in (mse.value, mse.low, mse.high))
    found = {"mae": mae, "rmse": Estimate(*map(float, parts))}
    if has_costs(contract.problem):
        under, over = per_unit(contract.problem)

        def cost(leaf: Mapping[str, float]) -> tuple[float, float]:
            variance = under**2 * leaf["under_variance"] + over**2 * leaf["over_variance"]
            # An error is on one side: where one part is above zero, the other is zero.
            variance -= 2 * under * over * leaf["under"] * leaf["over"]
            return under * leaf["under"] + over * leaf["over"], max(variance, 0.0)

        found["cost_per_prediction"] = figure(cost)
    return total, found
