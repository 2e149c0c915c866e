"""How good predicted numbers were, from counts of their errors: the prediction less the truth."""

from collections.abc import Callable
from math import inf, sqrt

import numpy as np

from loopline.counts.figure import Figure, around
from loopline.counts.kernel import SHIFT, ColumnCounts, count_column
from loopline.kernels.count import cells_of, lower_edges

COARSE = 4
"""Bits of a cell that a coarse one lacks: those are 6 % wide at most."""
_PLAIN = ColumnCounts("number")
_Loss = Callable[[np.ndarray], np.ndarray]


def count_errors(predicted: np.ndarray, truth: np.ndarray) -> ColumnCounts:
    """Count a regression's errors: the prediction less the truth."""
    return count_column(predicted - truth, _PLAIN)


def coarse(errors: np.ndarray) -> np.ndarray:
    """Return the coarse cell of each finite error."""
    found: np.ndarray = cells_of(errors, 0.0, SHIFT) >> COARSE
    return found


def of_errors(
    errors: ColumnCounts,
    *,
    under: float = 1.0,
    over: float = 1.0,
    quantile: float = 0.5,
    shift: int = SHIFT,
) -> dict[str, Figure]:
    """Return `mae`, `rmse`, `bias`, `quantile_loss` and `cost_per_prediction` of a regression.

    `under` and `over` are the cost of a unit; `quantile_loss` is that of Koenker and Bassett
    (1978). Off by at most half a cell, 0.2 % of each error; `shift` is that of other cells.
    """
    if not errors.counts.sum() or errors.low or errors.high:
        return {}
    cells = _Cells(errors, shift)
    losses: dict[str, _Loss] = {
        "mae": np.abs,
        "bias": lambda error: error,
        "rmse": np.square,
        # What was predicted too low costs the quantile, too high the rest.
        "quantile_loss": lambda e: np.where(e < 0, -e * quantile, e * (1 - quantile)),
        "cost_per_prediction": lambda e: np.where(e < 0, -e * under, e * over),
    }
    found = {
        name: cells.mean(loss, -inf if name in {"bias", "cost_per_prediction"} else 0.0)
        for name, loss in losses.items()
    }
    found["rmse"] = _root(found["rmse"])
    return found


def mape(relative: ColumnCounts) -> Figure | None:
    """Return the mean share of the truth that errors come to, from counts of such shares."""
    if not relative.counts.sum() or relative.low or relative.high:
        return None
    return _Cells(relative, SHIFT).mean(np.abs, 0.0)


def r2(errors: ColumnCounts, truth: ColumnCounts) -> Figure | None:
    """Return the share of the truth's variance that predictions explain; None where it has none.

    Which error belongs to which truth is not known, so the interval takes both for moving
    together: it is wide rather than narrow.
    """
    if not errors.counts.sum() or errors.low or errors.high or not truth.counts.sum():
        return None
    missed = _Cells(errors, SHIFT).mean(np.square, 0.0)
    cells = _Cells(truth, SHIFT)
    middle = cells.mean(lambda value: value, -inf).value
    whole = cells.mean(lambda value: np.square(value - middle), 0.0)
    # The triangle's inequality: a deviation is off by no more than the rows are, squared and added.
    off = sqrt(float((cells.rows * np.square(cells.half)).sum()))
    deviation = sqrt(whole.value)
    if deviation <= off:
        return None
    value = 1 - missed.value / whole.value
    ends = [
        1 - (missed.value + side * missed.bound) / (deviation - side * off) ** 2 for side in (1, -1)
    ]
    bound = max(value - ends[0], ends[1] - value)
    ratio = missed.value / whole.value
    relative = whole.spread / whole.value
    relative += missed.spread / missed.value if missed.value else 0.0
    return around(value, bound, ratio * relative, -inf, 1.0)


def mean(counted: ColumnCounts) -> float:
    """Return the mean of what was counted, to half a cell."""
    return _Cells(counted, SHIFT).mean(lambda value: value, -inf).value


class _Cells:
    """The cells of a column: where they lie, and the share of the rows in each."""

    def __init__(self, counted: ColumnCounts, shift: int) -> None:
        self.size = int(counted.counts.sum())
        self.rows = counted.counts / self.size
        first = lower_edges(counted.cells, shift)
        second = np.where(counted.cells == 0, 0.0, lower_edges(counted.cells + 1, shift))
        self._offset = counted.offset
        self._ends = (first, second)
        self._middle = np.where(counted.cells == 0, 0.0, first / 2 + second / 2)
        self.half = np.abs(second - first) / 2

    def mean(self, loss: _Loss, least: float) -> Figure:
        """Return the mean of a loss that falls, rises or turns at zero."""
        at = loss(self._middle + self._offset)
        off = np.maximum(*(np.abs(loss(end + self._offset) - at) for end in self._ends))
        value, bound = float((self.rows * at).sum()), float((self.rows * off).sum())
        spread = sqrt(float((self.rows * np.square(at - value)).sum()) / self.size)
        return around(value, bound, spread, least, inf)


def _root(square: Figure) -> Figure:
    value = sqrt(square.value)
    worst = max(
        sqrt(square.value + square.bound) - value,
        value - sqrt(max(square.value - square.bound, 0.0)),
    )
    return Figure(value, worst, sqrt(square.low), sqrt(square.high))
