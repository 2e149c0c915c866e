"""Counts of many groups of rows at once, and the sum of many counts.

An hour of predictions is often a few dozen rows, and a month has hundreds of hours: counting them
one by one would spend its time on being called. Here a column is sorted once, by group and cell;
the integers are those that `count_column` gives for each group alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from msgspec.msgpack import decode

from loopline.counts.kernel import SHIFT, ColumnCounts, count_values, seconds
from loopline.errors import CountsError
from loopline.kernels.count import cells_of, table

_APART = "Counts on different grids do not add: count all against one reference."


def count_groups(
    values: np.ndarray, groups: np.ndarray, size: int, like: ColumnCounts
) -> list[ColumnCounts]:
    """Count one column for each of `size` groups, on the grid of `like`.

    `groups` gives each row's group, from 0.

    Raises:
        CountsError: the reference has a column of another kind here.
    """
    kind = "category" if values.dtype.kind == "O" else "number"
    if like.kind != kind:
        raise CountsError(f"The reference has a {like.kind} here, and this is a {kind}.")
    if kind == "category":
        return [count_values(found, like) for found in _tallies(values, groups, size)]
    numbers = seconds(values) if values.dtype.kind == "M" else values
    finite = np.isfinite(numbers)
    cells, of = cells_of(numbers[finite], like.offset, SHIFT), groups[finite]
    order = np.lexsort((cells, of))
    cells, of = cells[order], of[order]
    begins = np.flatnonzero((np.diff(cells, prepend=0) != 0) | (np.diff(of, prepend=-1) != 0))
    counts = np.diff(begins, append=len(cells))
    cells = cells[begins]
    limits = np.searchsorted(of[begins], np.arange(size + 1))
    special = [
        np.bincount(groups[mask], minlength=size).tolist()
        for mask in (np.isnan(numbers), numbers == -np.inf, numbers == np.inf)
    ]
    return [
        ColumnCounts(
            "number", missing, cells[limits[place] : limits[place + 1]],
            counts[limits[place] : limits[place + 1]], low, high, like.offset,
        )
        for place, (missing, low, high) in enumerate(zip(*special, strict=True))
    ]  # fmt: skip


def total(parts: Sequence[ColumnCounts]) -> ColumnCounts:
    """Return the sum of one or more counts of one column.

    Raises:
        CountsError: they stand on different grids.
    """
    first = parts[0]
    grid = (first.kind, first.offset, first.names)
    if any((each.kind, each.offset, each.names) != grid for each in parts):
        raise CountsError(_APART)
    sums = table(SHIFT)
    for each in parts:
        sums.sum(each.cells, each.counts)
    cells, counts, _ = sums.read()
    named: Counter[str] = Counter()
    for each in parts:
        named.update(each.named)
    return replace(
        first,
        missing=sum(each.missing for each in parts),
        cells=cells,
        counts=counts,
        low=sum(each.low for each in parts),
        high=sum(each.high for each in parts),
        named=dict(sorted(named.items())),
    )


def total_stored(stored: Sequence[bytes]) -> ColumnCounts:
    """Return the sum of one or more counts of one column, each as `to_bytes` wrote it.

    What `total` gives of them, in a third of the time: a month of hours is 720 of them.

    Raises:
        CountsError: they stand on different grids.
    """
    first = ColumnCounts.from_bytes(stored[0])
    grid = [first.kind, first.offset, first.names]
    sums, named = table(SHIFT), _Named()
    missing = low = high = 0
    for content in stored:
        kind, absent, (below, above), offset, cells, (width, counts), values, names = decode(
            content
        )
        if [kind, offset, names] != grid:
            raise CountsError(_APART)
        if cells:
            sums.sum_stored(cells, counts, int(width[-1]))
        missing, low, high = missing + absent, low + below, high + above
        if values:
            named.add(values)
    cells, numbers, _ = sums.read()
    return replace(
        first, missing=missing, cells=cells, counts=numbers, low=low, high=high,
        named=named.read(),
    )  # fmt: skip


class _Named:
    """The sum of counts by name: most hours have the same names, and are then added as arrays."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._numbers = np.empty(0, np.int64)
        self._others: Counter[str] = Counter()

    def add(self, values: dict[str, int]) -> None:
        names = list(values)
        if not self._names:
            self._names, self._numbers = names, np.zeros(len(names), np.int64)
        if names == self._names:
            self._numbers += np.fromiter(values.values(), np.int64, len(names))
        else:
            self._others.update(values)

    def read(self) -> dict[str, int]:
        self._others.update(dict(zip(self._names, self._numbers.tolist(), strict=True)))
        return dict(sorted(self._others.items()))


def _tallies(values: np.ndarray, groups: np.ndarray, size: int) -> list[Mapping[Any, int]]:
    """Return how often each value occurs in each group."""
    codes: dict[Any, int] = {}
    coded = np.array([codes.setdefault(value, len(codes)) for value in values.tolist()], np.int64)
    names = list(codes)
    pairs, numbers = np.unique(groups * max(len(names), 1) + coded, return_counts=True)
    found: list[dict[Any, int]] = [{} for _ in range(size)]
    for pair, number in zip(pairs.tolist(), numbers.tolist(), strict=True):
        group, code = divmod(pair, len(names))
        found[group][names[code]] = number
    return list(found)
