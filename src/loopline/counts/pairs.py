"""Counts of two columns of numbers together: their correlation, from integers that add.

Each number falls into a coarse cell, 16 to a doubling, and rows are counted by the pair of cells.
The grid is that of the columns' own references, so pairs of hours and workers add as columns do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from loopline.counts.kernel import ColumnCounts
from loopline.errors import CountsError
from loopline.kernels.count import cells_of, lower_edges

_SHIFT = 52 - 4


@dataclass(frozen=True)
class PairCounts:
    """How often two columns' numbers lie in a pair of coarse cells."""

    offsets: tuple[float, float]
    counts: Mapping[tuple[int, int], int]

    def __add__(self, other: "PairCounts") -> "PairCounts":
        if self.offsets != other.offsets:
            raise CountsError(
                "Pairs on different grids do not add: count both against the same reference."
            )
        cells = sorted(self.counts.keys() | other.counts.keys())
        both = {cell: self.counts.get(cell, 0) + other.counts.get(cell, 0) for cell in cells}
        return PairCounts(self.offsets, both)

    @property
    def rows(self) -> int:
        """Rows where both columns have a finite number."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Correlation:
    """How two columns of numbers go together."""

    pearson: float
    pearson_bound: float
    """How far that of the numbers may be."""
    spearman: float
    """Of the ranks of cells: numbers of one cell are ties."""
    rows: int


def count_pairs(
    first: np.ndarray, second: np.ndarray, like: tuple[ColumnCounts, ColumnCounts]
) -> PairCounts:
    """Count rows by both columns' cells, on the grids of `like`; others than finite are left out.

    Raises:
        CountsError: one of the columns is not of numbers.
    """
    if any(column.kind != "number" for column in like):
        raise CountsError("Pairs are counted of columns of numbers; one of these is none.")
    offsets = like[0].offset, like[1].offset
    there = np.isfinite(first) & np.isfinite(second)
    pairs = np.column_stack(
        [cells_of(v[there], o, _SHIFT) for v, o in zip((first, second), offsets, strict=True)]
    )
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    found = zip(map(tuple, cells.tolist()), counts.tolist(), strict=True)
    return PairCounts(offsets, dict(found))


def correlation(pairs: PairCounts) -> Correlation | None:
    """Return Pearson's (1895) and Spearman's (1904) correlation; None where one is constant.

    Each number stands for the middle of its cell, so it is moved by at most half a cell's width.
    Pearson's then moves by no more than twice the root mean square of these halves over the spread,
    added for both columns (the triangle inequality for the centred columns at unit length).
    """
    if not pairs.counts:
        return None
    cells = np.array(list(pairs.counts), np.int64)
    weights = np.array(list(pairs.counts.values()), np.float64)
    columns, off = [], 0.0
    for place in (0, 1):
        own = cells[:, place]
        low, high = lower_edges(own, _SHIFT), lower_edges(own + 1, _SHIFT)
        middle = np.where(own == 0, 0.0, low / 2 + high / 2)
        half = np.where(own == 0, 0.0, high / 2 - low / 2)
        spread = sqrt(_mean(np.square(middle - _mean(middle, weights)), weights))
        if spread == 0:
            return None
        off += 2 * sqrt(_mean(np.square(half), weights)) / spread
        columns.append(middle)
    ranks = [_ranks(cells[:, place], weights) for place in (0, 1)]
    return Correlation(
        _pearson(columns[0], columns[1], weights),
        min(off, 2.0),
        _pearson(ranks[0], ranks[1], weights),
        pairs.rows,
    )


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float((values * weights).sum() / weights.sum())


def _pearson(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> float:
    one, other = (values - _mean(values, weights) for values in (first, second))
    spreads = sqrt(_mean(np.square(one), weights) * _mean(np.square(other), weights))
    return min(1.0, max(-1.0, _mean(one * other, weights) / spreads))


def _ranks(cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the middle rank of each pair's cell."""
    different, places = np.unique(cells, return_inverse=True)
    rows = np.bincount(places, weights=weights, minlength=len(different))
    ranks: np.ndarray = (rows.cumsum() - rows / 2)[places]
    return ranks
