"""Where a model is good and where it is not: calibration, score distribution, confusion, slices."""

from itertools import pairwise
from typing import Any

import numpy as np

from loopline.contract.metrics import METRICS
from loopline.data.columns import Columns
from loopline.evaluation.metrics import CALIBRATION_BINS, Answer, Scorecard, decide
from loopline.model.signature import Signature

Rows = tuple[dict[str, Any], ...]

SLICE_SHARE = 0.01
SLICE_ROWS = 30
"""A slice has at least this share of the rows, and at least this many."""
_SHOWN = 10
_MOST_GROUPS = 50
DISTINCT = 20
"""Numbers that are groups by themselves; where a column has more of them, its quarters are."""


def calibration(task: str, truth: np.ndarray, scores: np.ndarray) -> Rows:
    """Return what was predicted beside what came true, from low to high.

    Binary: ten bins of equal width. Multiclass: the same of the answered class's probability.
    Regression: tenths of the rows by prediction.
    """
    if task == "multiclass":
        truth = (scores.argmax(axis=1) == truth).astype(np.float64)
        scores = scores.max(axis=1)
    if task == "regression":
        places = np.array_split(np.argsort(scores, kind="stable"), CALIBRATION_BINS)
    else:
        bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        places = [np.flatnonzero(bins == number) for number in range(CALIBRATION_BINS)]
    return tuple(
        {
            "predicted": float(scores[rows].mean()),
            "observed": float(truth[rows].mean()),
            "rows": len(rows),
        }
        for rows in places
        if len(rows)
    )


def distribution(task: str, truth: np.ndarray, scores: np.ndarray) -> Rows:
    """Return how many rows of each class have a score in each twentieth; binary only."""
    if task != "binary":
        return ()
    edges = np.linspace(0, 1, 21)
    negative, positive = (np.histogram(scores[truth == value], edges)[0] for value in (0, 1))
    return tuple(
        {
            "low": float(edges[place]),
            "high": float(edges[place + 1]),
            "negative": int(negative[place]),
            "positive": int(positive[place]),
        }
        for place in range(20)
    )


def confusion(classes: tuple[str, ...], truth: np.ndarray, answer: Answer) -> Rows:
    """Return how often each class was answered as each."""
    if not classes:
        return ()
    said = decide(answer) if answer.scores.ndim == 1 else answer.scores.argmax(axis=1)
    size = len(classes)
    table = np.bincount(truth.astype(int) * size + said.astype(int), minlength=size * size)
    return tuple(
        {"actual": actual, "answered": answered, "rows": int(table[place * size + other])}
        for place, actual in enumerate(classes)
        for other, answered in enumerate(classes)
    )


def groups(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the groups that a column makes, each with the mask of its rows, largest first.

    A category's values; a number's, or its quarters where it has more than twenty. Rows without
    a value are in no group.
    """
    if values.dtype == object:
        known = np.array([value is not None for value in values], dtype=bool)
        names, codes = np.unique(values[known].astype(str), return_inverse=True)
        labels = names.tolist()
    else:
        numbers = values.astype(np.float64)
        known = np.isfinite(numbers)
        distinct, codes = np.unique(numbers[known], return_inverse=True)
        labels = [f"{value:g}" for value in distinct]
        if len(distinct) > DISTINCT:
            edges = np.unique(np.quantile(numbers[known], [0, 0.25, 0.5, 0.75, 1]))
            codes = np.clip(np.searchsorted(edges, numbers[known], "right") - 1, 0, len(edges) - 2)
            labels = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    everyone = np.full(len(values), -1)
    everyone[known] = codes
    sizes = np.bincount(codes, minlength=len(labels))
    order = sorted(range(len(labels)), key=lambda place: (-sizes[place], labels[place]))
    return {labels[place]: everyone == place for place in order if sizes[place]}


def slices(columns: Columns, signature: Signature, card: Scorecard, metric: str) -> Rows:
    """Return the worst values of category and boolean inputs by `metric`, worst first."""
    kinds = {each.name: each.type for each in signature.inputs if each.required}
    found: list[dict[str, Any]] = []
    for name, kind in kinds.items():
        if kind not in {"category", "boolean"} or name not in columns:
            continue
        members = groups(columns[name])
        least = max(SLICE_ROWS, SLICE_SHARE * len(columns[name]))
        large = [(value, mask) for value, mask in members.items() if mask.sum() >= least]
        large = large[:_MOST_GROUPS]
        if not large:
            continue
        figures = card.under(np.array([mask for _, mask in large], dtype=np.float64))[metric]
        found += [
            {"column": name, "value": value, "rows": int(mask.sum()), "figure": float(figure)}
            for (value, mask), figure in zip(large, figures, strict=True)
            if np.isfinite(figure)
        ]
    worst_first = -1 if METRICS[metric].direction == "lower" else 1
    found.sort(key=lambda each: (worst_first * each["figure"], each["column"], each["value"]))
    return tuple(found[:_SHOWN])
