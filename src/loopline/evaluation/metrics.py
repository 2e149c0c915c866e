"""Every metric from weighted rows: one formula for the whole, a slice and a thousand resamples.

A row's contribution to nearly every metric is a few numbers that add (a hit, a squared error, a
gap in one calibration bin), so a metric of any subset is a function of the subset's sums. Weights
say which subset: ones are all rows, zeros and ones a slice, counts a bootstrap resample. Only the
two ranking metrics need the rows in order, and they take the same weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from loopline.contract.metrics import METRICS
from loopline.contract.money import best_quantile, cost_matrix, has_costs, per_unit
from loopline.contract.schema import Contract, Problem

CALIBRATION_BINS = 10
"""Equal in width, over [0, 1]."""

Floats = npt.NDArray[np.float64]
Sums = dict[str, Floats]


@dataclass(frozen=True)
class Answer:
    """What a model, or a rule without one, answers to the rows in question."""

    name: str
    scores: Floats
    """Probability of the positive class; a column per class; or the predicted value."""
    threshold: float | None = None
    """Binary: positive at or above it; 0.5 when None."""


def names(problem: Problem) -> tuple[str, ...]:
    """Return the metrics that can be computed from truth and scores for this problem."""
    return tuple(
        name
        for name, metric in METRICS.items()
        if problem.task in metric.tasks
        and not metric.service
        and (not metric.needs_costs or has_costs(problem))
    )


def primary(contract: Contract) -> str:
    """Return the metric that decides between two models.

    Money where the contract knows what errors cost; else the first goal that says which way is
    better; else the logarithmic loss, or the root mean squared error of a regression.
    """
    if has_costs(contract.problem):
        return "cost_per_prediction"
    known = names(contract.problem)
    for goal in contract.goals:
        if goal.metric in known and METRICS[goal.metric].direction != "either":
            return goal.metric
    return "rmse" if contract.problem.task == "regression" else "log_loss"


def decide(answer: Answer) -> Floats:
    """Return a binary answer's labels: 1.0 where the probability reaches the threshold."""
    threshold = 0.5 if answer.threshold is None else answer.threshold
    return (answer.scores >= threshold).astype(np.float64)


class Scorecard:
    """One answer's metrics on rows with known truth, under any weights."""

    def __init__(
        self, problem: Problem, classes: tuple[str, ...], truth: Floats, answer: Answer
    ) -> None:
        self.names = names(problem)
        self._parts = (problem, classes, truth, answer)
        tabulate, self._formulas = _TASKS[problem.task]
        rows = tabulate(problem, classes, truth, answer)
        self._summands, self._table = tuple(rows), np.column_stack(list(rows.values()))
        self._rankings = _rankings(problem.task, truth, answer.scores)

    def on(self, rows: np.ndarray) -> "Scorecard":
        """Return the scorecard of these rows (places or a mask) alone."""
        problem, classes, truth, answer = self._parts
        return Scorecard(problem, classes, truth[rows], replace(answer, scores=answer.scores[rows]))

    def under(self, weights: Floats) -> Sums:
        """Return each metric for every row of `weights`, of shape (sets, rows).

        A metric that a set leaves undefined (a precision without a positive) is NaN.
        """
        added = weights @ self._table
        sums = {name: added[:, place] for place, name in enumerate(self._summands)}
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                name: formula(sums)
                for name, formula in self._formulas.items()
                if name in self.names
            }
            if self._rankings:
                areas = [ranking.areas(weights) for ranking in self._rankings]
                found["roc_auc"] = np.mean([area for area, _ in areas], axis=0)
                found["average_precision"] = areas[0][1]
        return {name: found[name] for name in self.names}

    def whole(self) -> dict[str, float]:
        """Return each metric over all rows; what is undefined is left out."""
        found = self.under(np.ones((1, len(self._table))))
        return {name: float(value[0]) for name, value in found.items() if np.isfinite(value[0])}


class _Ranking:
    """The rows in order of one score, for the metrics that depend on order alone."""

    def __init__(self, positive: np.ndarray, scores: Floats) -> None:
        self._order = np.argsort(-scores, kind="stable")
        falling = scores[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
        self._positive = positive[self._order].astype(np.float64)

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the area under the ROC curve (ties count half) and the average precision."""
        ordered = weights[:, self._order]
        hits = np.cumsum(ordered * self._positive, axis=1)[:, self._ends]
        taken = np.cumsum(ordered, axis=1)[:, self._ends]
        misses = taken - hits
        more = np.diff(hits, axis=1, prepend=0.0)
        above = hits - more / 2
        area = (np.diff(misses, axis=1, prepend=0.0) * above).sum(axis=1)
        precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
        positives, negatives = hits[:, -1], misses[:, -1]
        return area / (positives * negatives), (more * precision).sum(axis=1) / positives


def _rankings(task: str, truth: Floats, scores: Floats) -> list[_Ranking]:
    if task == "binary":
        return [_Ranking(truth == 1, scores)]
    if task == "multiclass":  # one class against the rest, averaged over classes
        return [_Ranking(truth == place, scores[:, place]) for place in range(scores.shape[1])]
    return []


# Binary


def _tabulate_binary(
    problem: Problem, classes: tuple[str, ...], truth: Floats, answer: Answer
) -> Sums:
    said = decide(answer)
    tiny = np.finfo(np.float64).eps
    sure = np.clip(answer.scores, tiny, 1 - tiny)
    costs = cost_matrix(problem, classes)
    rows = {
        "rows": np.ones_like(truth),
        "actual": truth,
        "said": said,
        "hit": truth * said,
        "log_loss": -np.where(truth == 1, np.log(sure), np.log1p(-sure)),
        "square": np.square(answer.scores - truth),
        "cost": costs[truth.astype(int), said.astype(int)],
    }
    place = np.minimum((answer.scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    for number in range(CALIBRATION_BINS):
        rows[f"gap {number}"] = np.where(place == number, answer.scores - truth, 0.0)
    return rows


def _per_row(name: str) -> Callable[[Sums], Floats]:
    return lambda sums: sums[name] / sums["rows"]


def _accuracy(sums: Sums) -> Floats:
    return 1 - (sums["actual"] + sums["said"] - 2 * sums["hit"]) / sums["rows"]


def _recall(sums: Sums) -> Floats:
    return sums["hit"] / sums["actual"]


def _false_positive_rate(sums: Sums) -> Floats:
    return (sums["said"] - sums["hit"]) / (sums["rows"] - sums["actual"])


def _f1(sums: Sums) -> Floats:
    return 2 * sums["hit"] / (sums["actual"] + sums["said"])


def _macro_f1(sums: Sums) -> Floats:
    other = 2 * (sums["rows"] - sums["actual"] - sums["said"] + sums["hit"])
    negatives = 2 * sums["rows"] - sums["actual"] - sums["said"]
    return (_f1(sums) + other / negatives) / 2


def _calibration_error(sums: Sums) -> Floats:
    gaps: Floats = sum(
        (np.abs(sums[f"gap {number}"]) for number in range(CALIBRATION_BINS)),
        start=np.zeros_like(sums["rows"]),
    )
    return gaps / sums["rows"]


BINARY: dict[str, Callable[[Sums], Floats]] = {
    "log_loss": _per_row("log_loss"),
    "brier": _per_row("square"),
    "accuracy": _accuracy,
    "balanced_accuracy": lambda sums: (_recall(sums) + 1 - _false_positive_rate(sums)) / 2,
    "precision": lambda sums: sums["hit"] / sums["said"],
    "recall": _recall,
    "f1": _f1,
    "false_positive_rate": _false_positive_rate,
    "false_negative_rate": lambda sums: 1 - _recall(sums),
    "selection_rate": _per_row("said"),
    "calibration_error": _calibration_error,
    "macro_f1": _macro_f1,
    "cost_per_prediction": _per_row("cost"),
}
"""Those of a decision need only rows, actual, said, hit and cost: `costs.py` gives it those."""


# Multiclass


def _tabulate_multiclass(
    problem: Problem, classes: tuple[str, ...], truth: Floats, answer: Answer
) -> Sums:
    scores, actual = answer.scores, truth.astype(int)
    said = scores.argmax(axis=1)
    tiny = np.finfo(np.float64).eps
    sure = np.clip(scores, tiny, 1 - tiny)
    own = sure[np.arange(len(sure)), actual] / sure.sum(axis=1)
    rows = {
        "rows": np.ones_like(truth),
        "log_loss": -np.log(own),
        "square": np.square(scores - np.eye(len(classes))[actual]).sum(axis=1),
        "hit": (said == actual).astype(np.float64),
        "cost": cost_matrix(problem, classes)[actual, said],
    }
    for place in range(len(classes)):
        rows[f"actual {place}"] = (actual == place).astype(np.float64)
        rows[f"said {place}"] = (said == place).astype(np.float64)
        rows[f"hit {place}"] = rows[f"actual {place}"] * rows[f"said {place}"]
    return rows


def _over_classes(top: str, *below: str) -> Callable[[Sums], Floats]:
    """Average `top / below` over the classes that occur in truth or in answers."""

    def formula(sums: Sums) -> Floats:
        places = sum(name.startswith("hit ") for name in sums)
        shares = [
            sums[f"{top} {place}"] * len(below) / sum(sums[f"{part} {place}"] for part in below)
            for place in range(places)
        ]
        known = np.isfinite(shares)
        mean: Floats = np.where(known, shares, 0.0).sum(axis=0) / known.sum(axis=0)
        return mean

    return formula


_MULTICLASS: dict[str, Callable[[Sums], Floats]] = {
    "log_loss": _per_row("log_loss"),
    "brier": _per_row("square"),
    "accuracy": _per_row("hit"),
    "balanced_accuracy": _over_classes("hit", "actual"),
    "macro_f1": _over_classes("hit", "actual", "said"),
    "cost_per_prediction": _per_row("cost"),
}


# Regression


def _tabulate_regression(
    problem: Problem, _classes: tuple[str, ...], truth: Floats, answer: Answer
) -> Sums:
    error = answer.scores - truth
    # About their mean, so that the variance does not drown in a large offset.
    centred = truth - truth.mean()
    nonzero = truth != 0
    under, over = per_unit(problem)
    quantile = best_quantile(problem) or 0.5
    return {
        "rows": np.ones_like(truth),
        "absolute": np.abs(error),
        "square": np.square(error),
        "error": error,
        "quantile": np.where(error < 0, -error * quantile, error * (1 - quantile)),
        "truth": centred,
        "truth squared": np.square(centred),
        "relative": np.abs(np.divide(error, truth, out=np.zeros_like(error), where=nonzero)),
        "nonzero": nonzero.astype(np.float64),
        "cost": np.where(error < 0, -error * under, error * over),
    }


def _r2(sums: Sums) -> Floats:
    spread = sums["truth squared"] - np.square(sums["truth"]) / sums["rows"]
    return 1 - sums["square"] / np.where(spread > 0, spread, np.nan)


_REGRESSION: dict[str, Callable[[Sums], Floats]] = {
    "mae": _per_row("absolute"),
    "rmse": lambda sums: np.sqrt(sums["square"] / sums["rows"]),
    "bias": _per_row("error"),
    "quantile_loss": _per_row("quantile"),
    "r2": _r2,
    "mape": lambda sums: sums["relative"] / sums["nonzero"],
    "cost_per_prediction": _per_row("cost"),
}

_TASKS: dict[
    str,
    tuple[
        Callable[[Problem, tuple[str, ...], Floats, Answer], Sums],
        dict[str, Callable[[Sums], Floats]],
    ],
] = {
    "binary": (_tabulate_binary, BINARY),
    "multiclass": (_tabulate_multiclass, _MULTICLASS),
    "regression": (_tabulate_regression, _REGRESSION),
}
