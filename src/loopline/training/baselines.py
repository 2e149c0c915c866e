"""The answers without machine learning that a model must beat."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from loopline.contract.money import best_quantile, cost_matrix, has_costs
from loopline.data.columns import Columns
from loopline.data.row_sql import evaluate, parse
from loopline.errors import TrainingError
from loopline.training.features import target_columns
from loopline.training.material import Material

Scores = Callable[[Columns], np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """One simple rule, fitted on the training rows."""

    name: str
    """`majority`, `cheapest answer`, `mean`, `median`, `last_value` or the contract's rule."""
    scores: Scores
    """Answers rows like a model does: probabilities, a column per class, or predictions."""
    threshold: float = 0.5
    """Binary: positive at or above it."""
    kept: dict[str, Any] | None = None
    """What `restore` makes it of, as JSON; None for `last_value`, which is made of data."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as what it is kept as; a function of a function cannot."""
        return (restore, (self.kept,)) if self.kept is not None else (Baseline, astuple(self))


def restore(kept: dict[str, Any]) -> Baseline:
    """Make a fitted baseline again from its `kept`, without the rows it was fitted on."""
    if "constant" in kept:
        scores = _constant(np.asarray(kept["constant"], dtype=np.float64))
    else:
        scores = _said(kept["features"], kept["rule"], kept["share"])
    return Baseline(kept["name"], scores, kept["threshold"], kept)


def fit(material: Material) -> Baseline:
    """Return the baseline that the contract names; without a name, majority or mean.

    Raises:
        TrainingError: it needs what the data does not have.
    """
    wanted = material.contract.problem.baseline
    if wanted is not None and wanted.rule is not None:
        return _rule(material, wanted.rule)
    if wanted is not None and wanted.kind == "last_value":
        return _last_value(material)
    if material.contract.problem.task == "regression":
        return _middle(material)
    return _majority(material)


def _always(name: str, value: Any, threshold: float = 0.5) -> Baseline:
    constant = np.asarray(value).tolist()
    return restore({"name": name, "threshold": threshold, "constant": constant})


def _constant(value: np.ndarray) -> Scores:
    """Answer every row alike."""

    def scores(columns: Columns) -> np.ndarray:
        rows = len(next(iter(columns.values())))
        return np.tile(value, (rows, *[1] * value.ndim))

    return scores


def _middle(material: Material) -> Baseline:
    """The mean; with costs, the constant that costs least: a quantile, the median if alike."""
    truth = material.target.values[material.training]
    quantile = best_quantile(material.contract.problem)
    if quantile is None:
        return _always("mean", truth.mean())
    name = "median" if quantile == 0.5 else f"{quantile:.0%} quantile"
    return _always(name, np.quantile(truth, quantile))


def _shares(material: Material) -> np.ndarray:
    """Return each class's share of the training rows; binary: of the positive class."""
    truth = material.target.values[material.training]
    if material.contract.problem.task == "binary":
        return np.asarray(truth.mean())
    size = len(material.target.classes)
    return np.bincount(truth.astype(int), minlength=size) / len(truth)


def _majority(material: Material) -> Baseline:
    """The class shares as probabilities, decided for the most frequent class.

    Where the contract prices a binary error, the constant answer that costs least stands in its
    place: a model that only learned the prices must not look like one that learned the data.
    """
    shares = _shares(material)
    problem = material.contract.problem
    if problem.task != "binary" or not has_costs(problem):
        return _always("majority", shares)
    costs = np.array([1 - shares, shares]) @ cost_matrix(problem, material.target.classes)
    everyone, nobody = 0.0, 2.0
    return _always("cheapest answer", shares, everyone if costs[1] < costs[0] else nobody)


def _rule(material: Material, sql: str) -> Baseline:
    features = {
        name: parse(text, material.types) for name, text in material.contract.data.features.items()
    }
    types = dict(material.types) | {name: found.type for name, found in features.items()}
    rule = parse(sql, types)
    columns = material.contract.data.columns
    known_afterwards = {name for name, column in columns.items() if column.leaks}
    if forbidden := sorted((known_afterwards | target_columns(material)) & set(rule.columns)):
        raise TrainingError(
            f"problem.baseline.rule uses {', '.join(forbidden)}, which is known only afterwards. "
            "Write a rule over what is known when the decision is made."
        )
    needed = {name: features[name].steps for name in rule.columns if name in features}
    share = float(_shares(material))
    return restore(
        {
            "name": f"rule: {sql}",
            "threshold": 0.5,
            "features": needed,
            "rule": rule.steps,
            "share": share,
        }
    )


def _said(features: dict[str, Any], rule: list[list[Any]], share: float) -> Scores:
    """Answer by a parsed rule over columns and features; `share` where it says nothing."""

    def scores(columns: Columns) -> np.ndarray:
        size = len(next(iter(columns.values())))
        made = {name: evaluate(steps, columns, size) for name, steps in features.items()}
        said = evaluate(rule, columns | made, size)
        return np.where(np.isnan(said), share, said)

    return scores


def _last_value(material: Material) -> Baseline:
    """The truth of the same key's latest earlier row, as if it were known at once.

    A row without one gets what is usual in the training rows.
    """
    data, task = material.contract.data, material.contract.problem.task
    if data.key is None or data.time is None:
        raise TrainingError(
            "problem.baseline.kind is last_value, which needs data.key and data.time: the last "
            "value of what, and when?"
        )
    key_name, time_name = data.key, data.time
    usual = _middle(material).scores if task == "regression" else _constant(_shares(material))
    known = np.flatnonzero(np.isfinite(material.target.values))
    history = _History(
        material.columns[key_name][known],
        material.columns[time_name][known],
        material.target.values[known],
    )

    def scores(columns: Columns) -> np.ndarray:
        last = history.before(columns[key_name], columns[time_name])
        found = np.isfinite(last)
        answers = usual(columns)
        if task == "multiclass":
            answers[found] = np.eye(answers.shape[1])[last[found].astype(int)]
        else:
            answers[found] = last[found]
        return answers

    return Baseline("last_value", scores)


class _History:
    """Values by key and time."""

    def __init__(self, keys: np.ndarray, times: np.ndarray, values: np.ndarray) -> None:
        self._times: dict[object, list[int]] = {}
        self._values: dict[object, list[float]] = {}
        order = np.argsort(times, kind="stable")
        order = order[~np.isnat(times[order])]
        for key, time, value in _triples(keys[order], times[order], values[order]):
            self._times.setdefault(key, []).append(time)
            self._values.setdefault(key, []).append(value)

    def before(self, keys: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the last value of each key strictly before each time, NaN where there is none."""
        found = np.full(len(keys), np.nan)
        for place, (key, time, _) in enumerate(_triples(keys, times, found)):
            earlier = bisect_left(self._times.get(key, ()), time)
            if earlier > 0:
                found[place] = self._values[key][earlier - 1]
        return found


def _triples(
    keys: np.ndarray, times: np.ndarray, values: np.ndarray
) -> Iterator[tuple[object, int, float]]:
    # A time that is missing is numpy's lowest integer: nothing lies before it.
    moments = times.astype("datetime64[us]").astype(np.int64)
    return zip(keys.tolist(), moments.tolist(), values.tolist(), strict=True)
