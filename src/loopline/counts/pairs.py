"""Counts of two columns together: how they go with each other, from integers that add.

A number falls into a coarse cell, 16 to a doubling, a category's value into a place of its own or
into that of all others; rows are counted by the pair of both. The grids are fixed by the reference,
so pairs of hours, workers and engines add as columns do. Two columns of numbers have a correlation,
two categories Cramér's V, one of each the correlation ratio of the ranks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import asin, cos, erfc, pi, sqrt
from typing import Any, Literal

import msgspec
import numpy as np

from loopline.counts.figure import Z
from loopline.counts.kernel import narrow, offset_for, seconds
from loopline.errors import CountsError
from loopline.kernels.count import cells_of, lower_edges

Grid = float | tuple[str, ...]
"""Of numbers their offset; of a category the values that are told apart, all others being one more.
"""
Pair = tuple[str, str]
"""Two columns, in the order that their counts have them."""
Measure = Literal["spearman", "correlation_ratio", "cramers_v"]
VALUES = 50
"""Values of a category that are told apart in a pair: the most frequent."""
LIMIT = 0.1
"""From so much on a change is told, where the contract says nothing else."""
CHANCE = 0.001
"""A change is none while chance alone brings as much more often than this."""
_SHIFT = 52 - 4
_ROUNDS = 100
_WIDE = 1 << 32


@dataclass(frozen=True)
class PairCounts:
    """How often two columns' values lie in a pair of places."""

    grids: tuple[Grid, Grid]
    cells: np.ndarray
    """Pairs of places that occur, rising: the first column's times 2^32 and the second's."""
    counts: np.ndarray
    """How many rows lie in each."""

    def __add__(self, other: "PairCounts") -> "PairCounts":
        return total([self, other])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PairCounts) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # arrays inside

    @property
    def rows(self) -> int:
        """Rows where both columns have a value."""
        return int(self.counts.sum())

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Each pair's place in the first column and in the second."""
        first = (self.cells + _WIDE // 2) // _WIDE
        return first, self.cells - first * _WIDE

    @cached_property
    def spread(self) -> float:
        """Return the standard error of how the two go together: of resampled rows (Efron, 1979).

        By a seed of its own, so that the same counts always say the same.
        """
        if not self.rows:
            return 0.0
        draw = np.random.default_rng(7)
        drawn = draw.multinomial(self.rows, self.counts / self.rows, size=_ROUNDS)
        both, is_category = self._ranked()
        found = [_value(*both, each.astype(np.float64), is_category) for each in drawn]
        known = [one for one in found if one is not None]
        return float(np.std(known, ddof=1)) if len(known) > 1 else 0.0

    def _ranked(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[bool, bool]]:
        """Return the pairs' places from zero, in the order of what lies there, and the kinds."""
        first, second = (np.unique(place, return_inverse=True)[1] for place in self.places)
        return (first, second), (_is_category(self.grids[0]), _is_category(self.grids[1]))

    def to_bytes(self) -> bytes:
        """Return the counts as bytes; equal counts are equal bytes."""
        cells = self.cells.astype("<i8").tobytes()
        return msgspec.msgpack.encode([self.grids, cells, narrow(self.counts)])

    @classmethod
    def from_bytes(cls, content: bytes) -> "PairCounts":
        """Read what `to_bytes` wrote."""
        (one, other), cells, (width, counts) = msgspec.msgpack.decode(content)
        return cls(
            (_grid(one), _grid(other)),
            np.frombuffer(cells, "<i8").astype(np.int64),
            np.frombuffer(counts, width).astype(np.int64),
        )


@dataclass(frozen=True)
class Association:
    """How two columns go together."""

    measure: Measure
    """`spearman` (1904) of two columns of numbers, of their cells' ranks: numbers of one cell are
    ties. Cramér's V of two categories, with Bergsma's correction (2013). Of one of each
    `correlation_ratio`: the root of Kelley's epsilon squared (1935) of the ranks."""
    value: float
    bound: float
    """How far that of the values themselves may be; those of a category are told apart up to
    `VALUES`, the rest are one value by definition."""
    rows: int
    pearson: float | None = None
    """Of two columns of numbers; each number stands for the middle of its cell."""
    pearson_bound: float | None = None


@dataclass(frozen=True)
class Moved:
    """How two columns go together now, beside the reference."""

    reference: Association
    current: Association
    change: float
    low: float
    """The change's 95 % interval."""
    high: float
    p_value: float
    """How often chance alone would bring as much."""

    def is_beyond(self, limit: float) -> bool:
        """Whether the change is above a limit and chance does not explain it."""
        return abs(self.change) > limit and self.p_value < CHANCE


def grid_for(values: np.ndarray) -> Grid:
    """Return the grid that a column's own values fix."""
    if values.dtype.kind != "O":
        return offset_for(_numbers(values))
    names, numbers = np.unique([name for name in values if name is not None], return_counts=True)
    order = np.lexsort((names, -numbers))[:VALUES]
    return tuple(sorted(str(name) for name in names[order]))


def count_pairs(first: np.ndarray, second: np.ndarray, grids: tuple[Grid, Grid]) -> PairCounts:
    """Count rows by the places of both columns; rows that lack one, or are infinite, are left out.

    Raises:
        CountsError: a column is of another kind than its grid.
    """
    [found] = count_groups(first, second, np.zeros(len(first), np.intp), 1, grids)
    return found


def count_groups(
    first: np.ndarray, second: np.ndarray, groups: np.ndarray, size: int, grids: tuple[Grid, Grid]
) -> list[PairCounts]:
    """Count the pairs of each of `size` groups of rows; `groups` gives each row's, from 0.

    Raises:
        CountsError: a column is of another kind than its grid.
    """
    (one, here), (other, there) = (
        _places(values, grid) for values, grid in zip((first, second), grids, strict=True)
    )
    both = here & there
    cells, of = one[both] * _WIDE + other[both], groups[both]
    order = np.lexsort((cells, of))
    cells, of = cells[order], of[order]
    begins = np.flatnonzero((np.diff(cells, prepend=0) != 0) | (np.diff(of, prepend=-1) != 0))
    counts = np.diff(begins, append=len(cells)).astype(np.int64)
    limits = np.searchsorted(of[begins], np.arange(size + 1))
    cells = cells[begins]
    return [
        PairCounts(grids, cells[low:high], counts[low:high])
        for low, high in zip(limits[:-1].tolist(), limits[1:].tolist(), strict=True)
    ]


def of_places(
    first: np.ndarray, second: np.ndarray, counts: np.ndarray, grids: tuple[Grid, Grid]
) -> PairCounts:
    """Return counts by the places of both columns, in the order of `PairCounts.places`."""
    return PairCounts(grids, first * _WIDE + second, counts)


def total(parts: Sequence[PairCounts]) -> PairCounts:
    """Return the sum of one or more counts of one pair.

    Raises:
        CountsError: they stand on different grids.
    """
    grids = parts[0].grids
    if any(each.grids != grids for each in parts):
        raise CountsError(
            "Pairs on different grids do not add: count both against the same reference."
        )
    cells, places = np.unique(np.concatenate([each.cells for each in parts]), return_inverse=True)
    counts = np.zeros(len(cells), np.int64)
    np.add.at(counts, places, np.concatenate([each.counts for each in parts]))
    return PairCounts(grids, cells, counts)


def association(pairs: PairCounts) -> Association | None:
    """Return how two columns go together; None where one is constant, or no row has both."""
    (first, second), is_category = pairs._ranked()
    weights = pairs.counts.astype(np.float64)
    value = _value(first, second, weights, is_category)
    if value is None:
        return None
    angles = [
        0.0 if is_text else _angle(*_rank_error(place, weights))
        for place, is_text in zip((first, second), is_category, strict=True)
    ]
    if all(is_category):
        return Association("cramers_v", value, 0.0, pairs.rows)
    if any(is_category):
        groups, numbers = (first, second) if is_category[0] else (second, first)
        eta, most = _ratio(groups, numbers, weights), int(groups.max()) + 1
        ends = [_epsilon(end, pairs.rows, most) for end in _around(eta, sum(angles))]
        off = max(abs(end - value) for end in ends)
        return Association("correlation_ratio", value, off, pairs.rows)
    pearson, off = _pearson_of(pairs, weights)
    bound = max(abs(end - value) for end in _around(value, sum(angles)))
    return Association("spearman", value, bound, pairs.rows, pearson, off)


def moved(reference: PairCounts, current: PairCounts) -> Moved | None:
    """Return how far two columns go together otherwise than in the reference.

    None where that cannot be said: a column is constant, or there are too few rows.
    """
    before, now = association(reference), association(current)
    if before is None or now is None:
        return None
    error = sqrt(reference.spread**2 + current.spread**2)
    change = now.value - before.value
    p_value = float(change == 0) if error == 0 else erfc(abs(change) / error / sqrt(2))
    off = Z * error
    return Moved(before, now, change, change - off, change + off, p_value)


def spelled(pair: tuple[str, str]) -> str:
    """Return two columns as one name."""
    return ":".join(pair)


def pair_of(text: str, columns: Sequence[str]) -> tuple[str, str] | None:
    """Return the two of `columns` that `text` names; None where it names no two."""
    parts = text.split(":")
    for place in range(1, len(parts)):
        first, second = ":".join(parts[:place]).strip(), ":".join(parts[place:]).strip()
        if first in columns and second in columns and first != second:
            return first, second
    return None


Pairs = Mapping[Pair, PairCounts]


def encode(pairs: Pairs) -> bytes:
    """Return the counts of several pairs as bytes."""
    return msgspec.msgpack.encode([[*names, each.to_bytes()] for names, each in pairs.items()])


def decode(content: bytes) -> dict[tuple[str, str], PairCounts]:
    """Read what `encode` wrote."""
    return {
        (first, second): PairCounts.from_bytes(each)
        for first, second, each in msgspec.msgpack.decode(content)
    }


def _grid(stored: Any) -> Grid:
    return tuple(stored) if isinstance(stored, list) else float(stored)


def _is_category(grid: Grid) -> bool:
    return isinstance(grid, tuple)


def _numbers(values: np.ndarray) -> np.ndarray:
    return seconds(values) if values.dtype.kind == "M" else values.astype(np.float64)


def _places(values: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's place on the grid, and whether it has one."""
    if (values.dtype.kind == "O") != _is_category(grid):
        kinds = ("numbers", "a category")
        one, other = kinds if _is_category(grid) else kinds[::-1]
        raise CountsError(f"The pair's reference has {other} here, and this is {one}.")
    if isinstance(grid, tuple):
        known: dict[Any, int] = {name: place for place, name in enumerate(grid)}
        known[None] = -1
        found = np.array([known.get(value, len(grid)) for value in values.tolist()], np.int64)
        return found, found >= 0
    numbers = _numbers(values)
    there = np.isfinite(numbers)
    return cells_of(np.where(there, numbers, 0.0), grid, _SHIFT), there


def _value(
    first: np.ndarray, second: np.ndarray, weights: np.ndarray, is_category: tuple[bool, bool]
) -> float | None:
    """Return the measure of a pair; None where a column is constant."""
    used = weights > 0
    first, second, weights = first[used], second[used], weights[used]
    if not len(weights) or first.min() == first.max() or second.min() == second.max():
        return None
    if all(is_category):
        return _cramers_v(first, second, weights)
    if any(is_category):
        groups, numbers = (first, second) if is_category[0] else (second, first)
        groups = np.unique(groups, return_inverse=True)[1]
        eta = _ratio(groups, numbers, weights)
        return _epsilon(eta, float(weights.sum()), int(groups.max()) + 1)
    return _pearson(_ranks(first, weights), _ranks(second, weights), weights)


def _cramers_v(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> float:
    rows = float(weights.sum())
    one, other = np.bincount(first, weights), np.bincount(second, weights)
    square = float((weights**2 / (one[first] * other[second])).sum()) - 1
    r, c = (float(np.count_nonzero(each)) for each in (one, other))
    if rows <= 1:
        return 0.0
    square = max(0.0, square - (r - 1) * (c - 1) / (rows - 1))
    r, c = r - (r - 1) ** 2 / (rows - 1), c - (c - 1) ** 2 / (rows - 1)
    least = min(r, c) - 1
    return min(1.0, sqrt(square / least)) if least > 0 else 0.0


def _ratio(groups: np.ndarray, numbers: np.ndarray, weights: np.ndarray) -> float:
    """Return the root of the share of the ranks' variance that lies between groups."""
    ranks = _ranks(numbers, weights)
    ranks = ranks - _mean(ranks, weights)
    sums, sizes = np.bincount(groups, weights * ranks), np.bincount(groups, weights)
    between = float((sums[sizes > 0] ** 2 / sizes[sizes > 0]).sum())
    within = float((weights * ranks**2).sum())
    return sqrt(min(1.0, between / within)) if within else 0.0


def _epsilon(eta: float, rows: float, groups: int) -> float:
    if rows <= groups:
        return 0.0
    return sqrt(max(0.0, 1 - (1 - eta**2) * (rows - 1) / (rows - groups)))


def _pearson_of(pairs: PairCounts, weights: np.ndarray) -> tuple[float, float]:
    """Return Pearson's correlation (1895) of the cells' middles, and how far that may be.

    A number is moved by at most half a cell's width, so that each centred column is turned by an
    angle whose sine is at most the root mean square of these halves over the spread.
    """
    columns, angle = [], 0.0
    for place in pairs.places:
        low, high = lower_edges(place, _SHIFT), lower_edges(place + 1, _SHIFT)
        middle = np.where(place == 0, 0.0, low / 2 + high / 2)
        half = np.where(place == 0, 0.0, high / 2 - low / 2)
        largest = max(float(np.abs(middle).max()), 5e-324)
        middle, half = middle / largest, half / largest  # so that no square overflows
        spread = sqrt(_mean(np.square(middle - _mean(middle, weights)), weights))
        angle += _angle(sqrt(_mean(np.square(half), weights)), spread)
        columns.append(middle)
    found = _pearson(columns[0], columns[1], weights)
    return found, max(abs(end - found) for end in _around(found, angle))


def _rank_error(place: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return how far ranks lie from their cell's middle one at most, and how far they spread."""
    rows = np.bincount(place, weights)[place]
    ranks = _ranks(place, weights)
    between = _mean(np.square(ranks - _mean(ranks, weights)), weights)
    within = _mean((np.square(rows) - 1) / 12, weights)
    return sqrt(within), sqrt(between + within)


def _angle(off: float, spread: float) -> float:
    return asin(min(1.0, off / spread)) if spread else pi / 2


def _around(value: float, angle: float) -> tuple[float, float]:
    """Return the cosines at an angle either side of that whose cosine is `value`."""
    own = float(np.arccos(min(1.0, max(-1.0, value))))
    return cos(min(pi, own + angle)), cos(max(0.0, own - angle))


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float((values * weights).sum() / weights.sum())


def _pearson(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> float:
    one, other = (values - _mean(values, weights) for values in (first, second))
    spreads = sqrt(_mean(np.square(one), weights) * _mean(np.square(other), weights))
    return min(1.0, max(-1.0, _mean(one * other, weights) / spreads)) if spreads else 0.0


def _ranks(place: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the middle rank of each pair's cell."""
    rows = np.bincount(place, weights)
    ranks: np.ndarray = (rows.cumsum() - rows / 2)[place]
    return ranks
