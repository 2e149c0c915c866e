"""The metrics a contract may name: which way is better, for which tasks, in which range.

`evaluation/metrics.py` computes them; this table is what the contract can be checked against
without any data.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Literal

_CLASSES = ("binary", "multiclass")
_ALL = ("binary", "multiclass", "regression")


@dataclass(frozen=True)
class Metric:
    """What the contract knows about one metric."""

    direction: Literal["higher", "lower", "either"]
    """Which is better; `either` for one that only describes."""
    tasks: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0
    needs_costs: bool = False
    service: bool = False
    """Measured of the service rather than of labels."""


METRICS: dict[str, Metric] = {
    "roc_auc": Metric("higher", _CLASSES),
    "average_precision": Metric("higher", ("binary",)),
    "log_loss": Metric("lower", _CLASSES, high=inf),
    "brier": Metric("lower", _CLASSES, high=2.0),
    "accuracy": Metric("higher", _CLASSES),
    "balanced_accuracy": Metric("higher", _CLASSES),
    "precision": Metric("higher", ("binary",)),
    "recall": Metric("higher", ("binary",)),
    "f1": Metric("higher", ("binary",)),
    "false_positive_rate": Metric("lower", ("binary",)),
    "false_negative_rate": Metric("lower", ("binary",)),
    "selection_rate": Metric("either", ("binary",)),
    "calibration_error": Metric("lower", ("binary",)),
    "macro_f1": Metric("higher", _CLASSES),
    "cost_per_prediction": Metric("lower", _ALL, -inf, inf, needs_costs=True),
    "mae": Metric("lower", ("regression",), high=inf),
    "rmse": Metric("lower", ("regression",), high=inf),
    "bias": Metric("either", ("regression",), -inf, inf),
    "quantile_loss": Metric("lower", ("regression",), high=inf),
    "r2": Metric("higher", ("regression",), -inf, 1.0),
    "mape": Metric("lower", ("regression",), high=inf),
    "latency_p50": Metric("lower", _ALL, high=inf, service=True),
    "latency_p95": Metric("lower", _ALL, high=inf, service=True),
    "latency_p99": Metric("lower", _ALL, high=inf, service=True),
    "error_rate": Metric("lower", _ALL, service=True),
}
"""What goals may name. Latencies are seconds."""

_ESTIMATED = {
    "binary": (
        "roc_auc", "average_precision", "log_loss", "brier", "accuracy", "balanced_accuracy",
        "precision", "recall", "f1", "macro_f1", "false_positive_rate", "false_negative_rate",
        "cost_per_prediction",
    ),
    "multiclass": ("accuracy", "balanced_accuracy", "macro_f1", "cost_per_prediction"),
    "regression": ("mae", "rmse", "cost_per_prediction"),
}  # fmt: skip
"""What can be estimated before outcomes are known, by task."""

WATCHED: dict[str, Metric] = {
    "psi": Metric("lower", _ALL, high=inf),
    "prediction_psi": Metric("lower", _ALL, high=inf),
    "missing_rate": Metric("lower", _ALL),
    "new_category_rate": Metric("lower", _ALL),
    "log_lost": Metric("lower", _ALL, high=inf),
    "release_refused": Metric("lower", _ALL, high=inf),
    **{
        f"estimated_{name}": replace(
            metric, tasks=tuple(task for task in _ALL if name in _ESTIMATED[task])
        )
        for name, metric in METRICS.items()
        if any(name in names for names in _ESTIMATED.values())
    },
}
"""What responses may name besides: of the worst feature, of the predictions, or of the servers:
frames of the log that were not kept, and releases that could not be used; and what is estimated
while outcomes are not known."""
