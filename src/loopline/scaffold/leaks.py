"""Columns that tell the target almost alone: more often its consequence than its cause.

Each column's values are cut into groups (categories, or up to 200 quantiles), what half of the rows
say of the target is remembered per group, and the other half is predicted from that memory, so
that a column of many values is not taken for a good one.
"""

from typing import Literal

import numpy as np
import polars as pl

from loopline.data.leakage import in_step

_ROWS = 40_000
_MOST_GROUPS, _ROWS_PER_GROUP, _FEW_VALUES = 200, 20, 20
_NUMERIC = ("number", "integer", "boolean")
_ALMOST = {"binary": 0.99, "multiclass": 0.98, "regression": 0.995}


def alone(
    frame: pl.DataFrame,
    types: dict[str, str],
    truth: np.ndarray,
    task: Literal["binary", "multiclass", "regression"],
    columns: list[str],
) -> dict[str, str]:
    """Return the columns of `columns` that tell the truth almost alone, with a figure in words.

    Args:
        frame: typed as `types` say.
        truth: binary 0/1, multiclass a class index, regression a value; NaN where unknown.
    """
    rng = np.random.default_rng(0)
    known = rng.permutation(np.flatnonzero(~np.isnan(truth)))[:_ROWS]
    first, second = known[: len(known) // 2], known[len(known) // 2 :]
    if len(first) < 20:
        return {}
    if task == "regression":  # only shares matter, and squares of huge numbers are infinite
        truth = truth / (np.abs(truth[known]).max() or 1.0)
    half, sample = len(first), frame[known]
    found = {}
    for name in columns:
        groups = _groups(sample.get_column(name), types[name], half // _ROWS_PER_GROUP)
        strength = _strength(groups[:half], truth[first], groups[half:], truth[second], task)
        if task == "regression" and types[name] in _NUMERIC:
            numbers = sample.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy()
            strength = max(strength, in_step(numbers, truth[known]))
        if strength >= _ALMOST[task]:
            words = {
                "binary": f"AUC {strength:.3f}",
                "multiclass": f"{strength:.1%} of the errors of guessing gone",
                "regression": f"R² {strength:.3f}",
            }
            found[name] = words[task]
    return found


def _groups(series: pl.Series, kind: str, most: int) -> np.ndarray:
    """Return the group of each value, missing values being a group."""
    if kind not in _NUMERIC:
        return series.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    values = series.cast(pl.Float64).to_numpy()
    present = values[np.isfinite(values)]
    edges = np.unique(present)
    if len(edges) > _FEW_VALUES:
        shares = np.linspace(0, 1, max(3, min(most, _MOST_GROUPS)))
        edges = np.unique(np.quantile(present, shares))
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values) + 1)


def _strength(
    groups: np.ndarray, truth: np.ndarray, groups_b: np.ndarray, truth_b: np.ndarray, task: str
) -> float:
    if task == "multiclass":
        return _errors_gone(groups, truth, groups_b, truth_b)
    size = int(max(groups.max(), groups_b.max())) + 1
    counts, sums = np.bincount(groups, minlength=size), np.bincount(groups, truth, minlength=size)
    # A group seen rarely leans to the mean of all, as one row more would.
    guess = ((sums + truth.mean()) / (counts + 1))[groups_b]
    if task == "binary":
        return _auc(guess, truth_b)
    spread = np.square(truth_b - truth_b.mean()).sum()
    return 1 - float(np.square(truth_b - guess).sum() / spread) if spread > 0 else 0.0


def _errors_gone(
    groups: np.ndarray, truth: np.ndarray, groups_b: np.ndarray, truth_b: np.ndarray
) -> float:
    classes = int(max(truth.max(), truth_b.max())) + 1
    size = int(max(groups.max(), groups_b.max())) + 1
    table = np.bincount(groups * classes + truth.astype(int), minlength=size * classes)
    guess = table.reshape(size, classes).argmax(axis=1)[groups_b]
    most = np.bincount(truth.astype(int)).argmax()
    errors = np.mean(truth_b != most)
    return 1 - float(np.mean(truth_b != guess) / errors) if errors > 0 else 0.0


def _auc(scores: np.ndarray, truth: np.ndarray) -> float:
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives < 5 or negatives < 5:
        return 0.0
    ranks = pl.Series(scores).rank("average").to_numpy()
    return float(
        (ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )
