"""Statistics of one column, or of two against each other, from their counts alone.

Figures of numbers come out of cells at most 0.4 % wide; each function says what that costs. The
reference decides the bins that PSI, Jensen-Shannon and chi-square compare.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from loopline.counts.kernel import MANTISSA_BITS, SHIFT, ColumnCounts
from loopline.errors import CountsError
from loopline.kernels.count import lower_edges

BINS = 10
_FEWEST = 5  # rows of a category's value that has a bin of its own
_INFINITE = 1 << 40  # a cell beyond every finite number's
_TINY = 1 << MANTISSA_BITS  # cells of numbers that float64 holds with fewer bits
_HALF = 0.5  # added to every bin's count, so that an empty bin does not make PSI infinite


@dataclass(frozen=True)
class Drift:
    """How far a current column is from its reference."""

    psi: float
    psi_by_chance: float
    """What PSI would be on so few rows without any drift."""
    jensen_shannon: float
    ks: float | None
    """Of numbers alone; of texts, that of their lengths."""
    ks_bound: float
    """How much larger the true KS may be."""
    chi_square: float
    p_value: float
    cramers_v: float
    """The effect size of the chi-square: 0 no difference, 1 no overlap."""
    wasserstein: float | None
    wasserstein_bound: float
    """How much the true distance may differ, in the column's unit."""
    missing_rate: float
    reference_missing_rate: float
    new_rate: float
    """Of categories: the share of values that the reference does not have by name."""
    rows: int


def drift(reference: ColumnCounts, current: ColumnCounts) -> Drift:
    """Compare `current` with `reference`.

    Raises:
        CountsError: they were counted on different grids.
    """
    if (reference.kind, reference.offset, reference.names) != (
        current.kind,
        current.offset,
        current.names,
    ):
        raise CountsError("These counts stand on different grids: count both against one.")
    is_category = reference.kind == "category"
    pair = None if is_category else _aligned(reference, current)
    expected, actual = _binned(reference, current, pair)
    square, p_value, v = chi_square(expected, actual)
    distance, bound = (None, 0.0) if pair is None else _ks(pair)
    moved, moved_bound = (None, 0.0) if pair is None else _wasserstein(pair)
    return Drift(
        psi=psi(expected, actual),
        psi_by_chance=psi_by_chance(expected, actual),
        jensen_shannon=jensen_shannon(expected, actual),
        ks=distance,
        ks_bound=bound,
        chi_square=square,
        p_value=p_value,
        cramers_v=v,
        wasserstein=moved,
        wasserstein_bound=moved_bound,
        missing_rate=missing_rate(current),
        reference_missing_rate=missing_rate(reference),
        new_rate=new_rate(reference, current) if is_category else 0.0,
        rows=current.rows,
    )


def missing_rate(column: ColumnCounts) -> float:
    """Return the share of rows without a value; exact."""
    return column.missing / column.rows if column.rows else 0.0


def new_rate(reference: ColumnCounts, current: ColumnCounts) -> float:
    """Return the share of present values in hashed cells that the reference leaves empty.

    Exact where the reference keeps every value by name; else a new value may share a cell of the
    tail with a rare old one, and is then not seen.
    """
    if not current.present:
        return 0.0
    known = np.isin(current.cells, reference.cells)
    return int(current.counts[~known].sum()) / current.present


def binned(reference: ColumnCounts, current: ColumnCounts) -> tuple[np.ndarray, np.ndarray]:
    """Return both columns' counts in the reference's bins, missing values in one of their own.

    A column that falls silent has changed, though none of its values has.
    """
    is_category = reference.kind == "category"
    return _binned(reference, current, None if is_category else _aligned(reference, current))


def _binned(
    reference: ColumnCounts, current: ColumnCounts, pair: "_Pair | None"
) -> tuple[np.ndarray, np.ndarray]:
    first, second = (
        _by_name(reference, current) if pair is None else _by_mass(pair.first, pair.second)
    )
    if reference.missing or current.missing:
        return np.append(first, reference.missing), np.append(second, current.missing)
    return first, second


def _by_name(reference: ColumnCounts, current: ColumnCounts) -> tuple[np.ndarray, np.ndarray]:
    """Return two categories' counts: a bin a value by name, and one for all others.

    The others are also those that the reference has fewer than five times (Cochran, 1952): what
    occurs once in one sample and not in the next is chance, and there may be hundreds of it.
    """
    there = {name: n for name, n in reference.named.items() if n >= _FEWEST}
    pairs = [(number, current.named.get(name, 0)) for name, number in there.items()]
    frequent = np.array(pairs, np.float64).reshape(-1, 2)
    rest = np.array([[reference.present, current.present]]) - frequent.sum(axis=0)
    both = np.concatenate([frequent, rest[rest.any(axis=1)]])
    return both[:, 0], both[:, 1]


def _by_mass(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two columns' numbers in ten bins of about equal mass of the first.

    The edges come from the cumulative counts; a cell that has a tenth of the mass or more is a bin
    of its own, so that what lies beside it is told from it.
    """
    if len(first) == 0:
        return np.zeros(1), np.zeros(1)
    ends = _ends(first)
    starts = np.concatenate([[0], ends[:-1] + 1])
    return np.add.reduceat(first, starts), np.add.reduceat(second, starts)


def edges(reference: ColumnCounts, current: ColumnCounts) -> np.ndarray:
    """Return the inner edges of the bins that two columns of numbers are compared in.

    Less the offset. A number lies in the bin that ends above it; below zero, in the one that ends
    with it or above.
    """
    pair = _aligned(reference, current)
    if len(pair.cells) == 0:
        return np.empty(0)
    return lower_edges(pair.cells[_ends(pair.first)[:-1]] + 1, SHIFT)


def _ends(first: np.ndarray) -> np.ndarray:
    """Return the last cell of each bin."""
    total = first.cumsum()
    wanted = total[-1] * np.arange(1, BINS) / BINS
    heavy = np.flatnonzero(first * BINS >= total[-1])
    if total[-1] == 0:
        ends = np.array([len(first) - 1])
    else:
        deciles, last = np.searchsorted(total, wanted), [len(first) - 1]
        ends = np.unique(np.concatenate([deciles, heavy, heavy[heavy > 0] - 1, last]))
    return ends


def psi(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the population stability index of binned counts; half a row is added to each bin.

    Sum of (a - e) ln(a / e) over the bins' shares (Siddiqi, Credit Risk Scorecards, 2006).
    """
    if not expected.sum() or not actual.sum():
        return 0.0
    e, a = expected + _HALF, actual + _HALF
    e, a = e / e.sum(), a / a.sum()
    return float(((a - e) * np.log(a / e)).sum())


def jensen_shannon(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the Jensen-Shannon distance of binned counts: the root of the base-2 divergence."""
    if not expected.sum() or not actual.sum():
        return 0.0
    e, a = expected / expected.sum(), actual / actual.sum()
    middle = (e + a) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(x > 0, x * np.log2(x / middle), 0.0).sum() / 2 for x in (e, a)]
    return float(np.sqrt(max(sum(parts), 0.0)))


def chi_square(expected: np.ndarray, actual: np.ndarray) -> tuple[float, float, float]:
    """Return Pearson's chi-square of two rows of counts, its p-value and Cramer's V.

    No continuity correction. A million rows make every difference significant: V says how large
    it is.
    """
    table = np.array([expected, actual])
    table = table[:, table.sum(axis=0) > 0]
    total = table.sum()
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 0.0, 1.0, 0.0
    wanted = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    found = float(((table - wanted) ** 2 / wanted).sum())
    return found, chi_square_tail(table.shape[1] - 1, found), float(np.sqrt(found / total))


def chi_square_tail(freedom: int, value: float) -> float:
    """Return the chance that a chi-square of `freedom` degrees is above `value`; to 1e-11 of it.

    The finite sums of Abramowitz and Stegun, 26.4.4 and 26.4.5, their terms by logarithm. scipy
    has the same, and takes a quarter of a second to import.
    """
    half = value / 2
    if half <= 0:
        return 1.0
    if half == math.inf:
        return 0.0
    odd = freedom % 2
    begin = [math.erfc(math.sqrt(half))] if odd else []
    shift = 0.5 if odd else 0.0
    powers = (place + shift for place in range(freedom // 2))
    terms = [math.exp(k * math.log(half) - half - math.lgamma(k + 1)) for k in powers]
    return min(math.fsum(begin + terms), 1.0)


CHANCE = 1e-3
"""A difference that chance makes this often or oftener is none, however large its figure."""


def psi_by_chance(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the PSI to expect of binned counts without drift.

    A chi-square over the rows (Yurdakul, Statistical Properties of the PSI, 2018).
    """
    if not expected.sum() or not actual.sum():
        return 0.0
    return float((len(expected) - 1) * (1 / expected.sum() + 1 / actual.sum()))


def is_more_than_chance(psi: float, by_chance: float, p_value: float, limit: float) -> bool:
    """Whether a PSI is above its limit, and by more than chance makes of it."""
    return psi - by_chance > limit and p_value < CHANCE


def ks(reference: ColumnCounts, current: ColumnCounts) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance at the cells' edges, and how much larger it may be.

    Between the edges of a cell the two distributions may part further, by no more than what the
    cell holds of either (Massey, The Kolmogorov-Smirnov Test, 1951, for the distance). Zero and
    the infinities are one value each.
    """
    return _ks(_aligned(reference, current))


def _ks(pair: "_Pair") -> tuple[float, float]:
    if not pair.first.sum() or not pair.second.sum():
        return 0.0, 0.0
    e, a = pair.first / pair.first.sum(), pair.second / pair.second.sum()
    gaps = (e - a).cumsum()
    found = float(np.abs(gaps).max())
    before = gaps - (e - a)
    inside = np.maximum(np.abs(before + e), np.abs(before - a))
    is_one_value = np.abs(pair.cells) == _INFINITE
    is_one_value |= (pair.cells == 0) & pair.has_zero
    most = float(np.where(is_one_value, 0.0, inside).max())
    return found, max(most - found, 0.0)


def wasserstein(reference: ColumnCounts, current: ColumnCounts) -> float:
    """Return the first Wasserstein distance of the finite numbers, in the column's unit.

    Off by at most half a cell's width, 0.2 % of a number (less the offset), averaged over both
    columns' numbers: every number stands for the middle of its cell.
    """
    return _wasserstein(_aligned(reference, current))[0]


def _wasserstein(pair: "_Pair") -> tuple[float, float]:
    finite = np.abs(pair.cells) < _INFINITE
    cells, first, second = pair.cells[finite], pair.first[finite], pair.second[finite]
    if not first.sum() or not second.sum():
        return 0.0, 0.0
    e, a = first / first.sum(), second / second.sum()
    low, high = lower_edges(cells, SHIFT), lower_edges(cells + 1, SHIFT)
    at = np.where(cells == 0, 0.0, low / 2 + high / 2)
    half = np.where(cells == 0, 0.0, high / 2 - low / 2)
    return float((np.abs((e - a).cumsum())[:-1] * np.diff(at)).sum()), float(((e + a) * half).sum())


def quantiles(column: ColumnCounts, shares: list[float]) -> list[float | None]:
    """Return quantiles of the finite numbers, or of texts' lengths.

    The inverse of the empirical distribution, without interpolation (Hyndman and Fan, 1996, type
    1); off by at most half a cell, 0.2 % of the number (less the offset).
    """
    total = column.counts.cumsum()
    if column.kind == "category" or not len(total):
        return [None] * len(shares)
    places = np.searchsorted(total, np.array(shares) * total[-1])
    found = middles(column)
    return [float(found[min(place, len(found) - 1)]) for place in places.tolist()]


def histogram(column: ColumnCounts, edges: list[float]) -> list[int]:
    """Return how many numbers lie between neighbouring `edges`; a cell counts by its middle."""
    found = middles(column)
    return [
        int(column.counts[(found >= low) & (found < high)].sum()) for low, high in pairwise(edges)
    ]


def middles(column: ColumnCounts) -> np.ndarray:
    """Return the number that stands for each cell of a column of numbers: its middle."""
    found: np.ndarray = _middles(column.cells) + column.offset
    return found


def _middles(cells: np.ndarray) -> np.ndarray:
    low, high = lower_edges(cells, SHIFT), lower_edges(cells + 1, SHIFT)
    # Cell 0 is zero itself: what lies beside it in the cell is below 1e-308.
    return np.where(cells == 0, 0.0, low / 2 + high / 2)


class _Pair(NamedTuple):
    """Two columns' counts in the cells that either has, infinities as the outermost."""

    cells: np.ndarray
    first: np.ndarray
    second: np.ndarray
    has_zero: bool
    """Whether cell 0 is zero alone: no offset was taken off, and nothing is below 1e-307."""


def _aligned(reference: ColumnCounts, current: ColumnCounts) -> _Pair:
    outermost = np.array([-_INFINITE, _INFINITE])
    cells = np.concatenate([reference.cells, current.cells, outermost])
    cells.sort(kind="stable")  # two rising runs: merged rather than sorted
    cells = cells[np.append(np.diff(cells) != 0, True)]
    found = []
    for column in (reference, current):
        counts = np.zeros(len(cells))
        counts[np.searchsorted(cells, column.cells)] = column.counts
        counts[0], counts[-1] = column.low, column.high
        found.append(counts)
    used = found[0] + found[1] > 0
    cells = cells[used]
    is_tiny = (np.abs(cells) <= _TINY) & (cells != 0)
    has_zero = reference.offset == 0 and not is_tiny.any()
    return _Pair(cells, found[0][used], found[1][used], has_zero)
