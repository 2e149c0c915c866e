"""A model's inputs and outputs, as callers and the plan see them.

The server reads this and nothing of the contract: what a caller may send, how it becomes the
float64 matrix the plan runs on, and what comes back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from loopline.data.columns import Columns
from loopline.data.row_steps import evaluate

_NOTHING: dict[str, Sequence[float]] = {}
Task = Literal["binary", "multiclass", "regression"]

DATATYPES = {
    "number": "FP64",
    "integer": "INT64",
    "boolean": "BOOL",
    "category": "BYTES",
    "text": "BYTES",
    "time": "BYTES",
}
"""Contract type to Open Inference Protocol datatype."""


@dataclass(frozen=True)
class Input:
    """One column a caller sends."""

    name: str
    type: Literal["number", "integer", "boolean", "category", "text", "time"]
    required: bool = True
    """False for columns the model does not need: key, time, fairness and slice columns."""
    logged: bool = True
    """False for directly personal columns: they never reach the log."""


@dataclass(frozen=True)
class Feature:
    """One column of the matrix the model sees."""

    name: str
    kind: Literal["number", "category"]
    categories: tuple[str, ...] = ()
    """A category's code is its place here plus one; 0 is any other value, NaN is missing."""
    sql: str | None = None
    """Row SQL over the inputs; None for a column taken as it is."""
    steps: Any = None
    """The row SQL, parsed: what `data/row_sql.py` evaluates without a parser."""


@dataclass(frozen=True)
class Signature:
    """Inputs, features and outputs of one model version."""

    project: str
    task: Task
    inputs: tuple[Input, ...]
    features: tuple[Feature, ...]
    classes: tuple[str, ...] = ()
    """Class labels as text, in the order of the probabilities; binary: (negative, positive)."""
    threshold: float | None = None
    """Binary: the label is positive when the probability is at least this."""
    missing: tuple[str, ...] = ()
    """Texts that mean missing."""
    key: str | None = None
    time: str | None = None


def matrix(
    signature: Signature, columns: Columns, known: Mapping[str, Sequence[float]] = _NOTHING
) -> np.ndarray:
    """Return the float64 matrix (rows, features) that a plan runs on, row by row in memory.

    Of columns in `known` the codes are known already.

    Raises:
        KeyError: an input that a feature needs is not among `columns`.
    """
    rows = len(next(iter(columns.values())))
    seen = np.empty((rows, len(signature.features)))
    for place, feature in enumerate(signature.features):
        if feature.name in known:
            seen[:, place] = known[feature.name]
            continue
        values: Any = (
            columns[feature.name]
            if feature.steps is None
            else evaluate(feature.steps, columns, rows)
        )
        seen[:, place] = values if feature.kind == "number" else codes(feature, values)
    return seen


def feature_values(signature: Signature, columns: Columns) -> Columns:
    """Return what each feature is of each row, as a person reads it: categories as their texts.

    Raises:
        KeyError: an input that a feature needs is not among `columns`.
    """
    rows = len(next(iter(columns.values())))
    return {
        feature.name: columns[feature.name]
        if feature.steps is None
        else np.asarray(evaluate(feature.steps, columns, rows))
        for feature in signature.features
    }


def codes(feature: Feature, values: np.ndarray) -> np.ndarray:
    """Return a category's codes: place plus one, 0 for any other value, NaN for missing."""
    known: dict[str | None, float] = {
        text: place + 1.0 for place, text in enumerate(feature.categories)
    }
    known[None] = np.nan
    return np.array([known.get(value, 0.0) for value in values.tolist()], np.float64)


def decide(signature: Signature, scores: np.ndarray) -> np.ndarray:
    """Return the labels that `scores` say, as text; a regression's scores are its answer.

    Binary: positive where the probability is at least the threshold (0.5 before one is chosen).
    """
    if signature.task == "regression":
        return scores
    labels: np.ndarray = np.array(signature.classes, dtype=object)[decide_places(signature, scores)]
    return labels


def decide_places(signature: Signature, scores: np.ndarray) -> np.ndarray:
    """Return the labels that `scores` say, as places among the classes."""
    if signature.task == "multiclass":
        likeliest: np.ndarray = scores.argmax(axis=1)
        return likeliest
    threshold = 0.5 if signature.threshold is None else signature.threshold
    return (scores >= threshold).astype(np.intp)


def outputs(signature: Signature, scores: np.ndarray) -> Columns:
    """Return `scores` as the columns that callers are answered with, and that drift is watched of.

    Binary: the positive class's probability; multiclass: one for each class; else the prediction.
    """
    if signature.task == "multiclass":
        named = zip(signature.classes, scores.T, strict=True)
        return {f"probability of {label}": column for label, column in named}
    return {"prediction" if signature.task == "regression" else "probability": scores}
