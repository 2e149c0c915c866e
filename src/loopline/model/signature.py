"""A model's inputs and outputs, as callers and the plan see them.

The server reads this and nothing of the contract: what a caller may send, how it becomes the
float64 matrix the plan runs on, and what comes back.
"""

from dataclasses import dataclass
from typing import Any, Literal

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
