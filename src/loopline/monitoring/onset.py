"""Since when something is different: change points over hourly counts.

A column's hours are rows of a table, its bins the columns. Held against a reference, the stretch is
sought that is least like it. Without one, the table is parted where the two sides differ most by
the likelihood ratio of multinomials, and each part again (binary segmentation, Scott and Knott,
1974), as long as chance does not explain it: whole days of hours are shuffled, since hours of one
day are alike and a day has its shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from loopline.counts.kernel import ColumnCounts
from loopline.counts.statistics import psi

_BINS = 10
_NAMED = 20
_SHUFFLES = 99
_DEPTH = 3
_ROUNDS = 8
_EDGE = 6
_BLOCKS = 8
_DAY = 24
_SEED = 7


@dataclass(frozen=True)
class Onset:
    """When a stretch of hours begins that is not like what it is held against."""

    hour: int
    """The first of it, since 1970."""
    until: int | None = None
    """The first hour after it that is as before again; None while it lasts."""
    is_older: bool = False
    """It began before the hours that were looked at, or with the first of them."""


def table(
    reference: ColumnCounts, hours: Mapping[int, ColumnCounts]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hours, the reference in bins, and each hour in the same bins.

    Numbers: tenths of the reference, missing, and the infinities with the outermost. Categories:
    the most frequent values, all others, and missing.
    """
    order = np.array(sorted(hours), dtype=np.int64)
    if reference.kind == "category":
        frequent = sorted(reference.named, key=lambda name: (-reference.named[name], name))[:_NAMED]
        binned = [_categories(each, frequent) for each in (reference, *(hours[h] for h in order))]
    else:
        total = reference.counts.cumsum()
        wanted = total[-1] * np.arange(1, _BINS) / _BINS if len(total) else np.empty(0)
        edges = np.unique(reference.cells[np.searchsorted(total, wanted)]) if len(total) else wanted
        binned = [_numbers(each, edges) for each in (reference, *(hours[h] for h in order))]
    return order, binned[0], np.array(binned[1:]).reshape(len(order), len(binned[0]))


def find(hours: np.ndarray, expected: np.ndarray, rows: np.ndarray, limit: float) -> Onset | None:
    """Return the stretch of hours that is unlike `expected`, as the newest of them are.

    Of all stretches it is the one in which the distribution that holds there makes the hours most
    likely, beside the expected one (a scan for the largest likelihood ratio, Kulldorff, 1997; the
    largest sum of a stretch by Kadane). None where its PSI is not above `limit` beyond chance.
    """
    if not len(hours) or not expected.sum():
        return None
    usual = _smooth(expected)
    begin, end = len(hours) // 2, len(hours)
    for _ in range(_ROUNDS):
        gains = rows @ np.log(_smooth(rows[begin:end].sum(axis=0)) / usual)
        found = _largest(gains)
        if found == (begin, end):
            break
        begin, end = found
    if begin == end or _beyond_chance(expected, rows[begin:end].sum(axis=0)) <= limit:
        return None
    # A few hours at the edge are a night as easily as an end or a beginning.
    is_over = end < len(hours) and hours[-1] - hours[end] >= _EDGE
    is_older = bool(hours[begin] - hours[0] < _EDGE)
    first = int(hours[0] if is_older else hours[begin])
    return Onset(first, int(hours[end]) if is_over else None, is_older)


def _smooth(counts: np.ndarray) -> np.ndarray:
    found: np.ndarray = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return found


def _largest(gains: np.ndarray) -> tuple[int, int]:
    """Return where the stretch with the largest sum begins and ends; an empty one has none."""
    sums = np.concatenate([[0.0], gains.cumsum()])
    lowest = np.minimum.accumulate(sums)
    end = int((sums - lowest).argmax())
    return int(sums[: end + 1].argmin()), end


def changes(rows: np.ndarray) -> list[int]:
    """Return where the parts of a table of hours (rows) and bins begin; 0 is always among them."""
    generator = np.random.default_rng(_SEED)
    found = [0]

    def part(begin: int, end: int, depth: int) -> None:
        place = _change(rows[begin:end], generator)
        if place is None:
            return
        found.append(begin + place)
        if depth > 1:
            part(begin, begin + place, depth - 1)
            part(begin + place, end, depth - 1)

    part(0, len(rows), _DEPTH)
    return sorted(found)


def _change(rows: np.ndarray, generator: np.random.Generator) -> int | None:
    """Return where two parts differ most, or None where chance parts them as well."""
    if len(rows) < 2:
        return None
    gains = _gains(rows[None])[0]
    place = int(gains.argmax())
    # Short stretches have no days to shuffle; hours are then taken for independent.
    block = _DAY if len(rows) >= _BLOCKS * _DAY else max(len(rows) // _BLOCKS, 1)
    starts = np.arange(0, len(rows), block)
    blocks = [np.arange(start, min(start + block, len(rows))) for start in starts.tolist()]
    orders = [
        np.concatenate([blocks[each] for each in generator.permutation(len(blocks))])
        for _ in range(_SHUFFLES)
    ]
    by_chance = _gains(rows[np.array(orders)]).max(axis=1)
    return None if (by_chance >= gains[place]).any() else place + 1


def _gains(tables: np.ndarray) -> np.ndarray:
    """Return the log likelihood ratio of parting tables after each hour: (tables, hours - 1)."""
    left = tables.cumsum(axis=1, dtype=np.float64)
    right = left[:, -1:] - left
    found: np.ndarray = (_fit(left) + _fit(right) - _fit(left[:, -1:]))[:, :-1]
    return found


def _fit(counts: np.ndarray) -> np.ndarray:
    from scipy.special import xlogy

    rows = counts.sum(axis=-1)
    found: np.ndarray = xlogy(counts, counts).sum(axis=-1) - xlogy(rows, rows)
    return found


def _beyond_chance(expected: np.ndarray, actual: np.ndarray) -> float:
    if not expected.sum() or not actual.sum():
        return 0.0
    by_chance = (len(expected) - 1) * (1 / expected.sum() + 1 / actual.sum())
    return psi(expected, actual) - float(by_chance)


def _categories(column: ColumnCounts, names: list[str]) -> np.ndarray:
    known = [column.named.get(name, 0) for name in names]
    return np.array([*known, column.present - sum(known), column.missing], dtype=np.int64)


def _numbers(column: ColumnCounts, edges: np.ndarray) -> np.ndarray:
    found = np.zeros(len(edges) + 2, dtype=np.int64)
    np.add.at(found, np.searchsorted(edges, column.cells), column.counts)
    found[0] += column.low
    found[-2] += column.high
    found[-1] = column.missing
    return found
