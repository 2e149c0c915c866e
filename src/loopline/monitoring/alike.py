"""How alike the rows of one day are: a week of one weather is no seven thousand observations.

Flights of one day share their weather, visitors of one day a campaign. Chance among days makes of a
window without any drift what chance among rows never would. So the days of the weeks before the
window are held against each other: Pearson's chi-square of days by bins over its degrees of freedom
is the design effect, by how much fewer the rows are than they seem (Rao and Scott, 1984). Values,
and whether there is one, have an effect each: weather may change by the day and its station never
fail. The median of the weeks is taken, so that one week with a fault in it teaches no patience.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from loopline.counts import statistics
from loopline.counts.figure import Z
from loopline.counts.kernel import ColumnCounts
from loopline.monitoring import onset
from loopline.monitoring.windows import Window

WEEKS = 4
"""How many before the window are looked at."""
_DAY = 24
_WEEK = 7 * _DAY
_DAYS = 4
"""A week with fewer days of traffic says nothing."""
_HALF = 0.5
GAP = 1 / 3
"""From this share of a PSI on, a new gap is what has changed."""
_SURE = 10.83
"""A chi-square of one degree that chance makes once in a thousand times."""


@dataclass(frozen=True)
class Alike:
    """Design effects: 1 where rows are as independent as they seem."""

    values: float = 1.0
    missing: float = 1.0


ALONE = Alike()
"""Every row for itself."""


@dataclass(frozen=True)
class Beyond:
    """What of a PSI is more than chance."""

    by_chance: float
    """What chance among days makes of it."""
    p_value: float
    margin: float
    """How far what is beyond chance may be from that of all such weeks (95 %)."""
    margin_of_days: float
    """How much of that there is because rows of a day are alike."""


def before(window: Window) -> Window:
    """Return the weeks that a window's days are judged by."""
    return Window(window.first - WEEKS * _WEEK, window.first)


def measure(reference: ColumnCounts, hours: Mapping[int, ColumnCounts], end: int) -> Alike:
    """Return the design effects of one column from the hours of the weeks up to `end`."""
    order, _, rows = onset.table(reference, hours)
    values, missing = [], []
    for week in range(WEEKS):
        mine = (order < end - week * _WEEK) & (order >= end - (week + 1) * _WEEK)
        days, places = np.unique((end - 1 - order[mine]) // _DAY, return_inverse=True)
        if len(days) < _DAYS:
            continue
        table = np.zeros((len(days), rows.shape[1]))
        np.add.at(table, places, rows[mine])
        values.append(_effect(table[:, :-1]))
        missing.append(_effect(np.stack([table[:, :-1].sum(axis=1), table[:, -1]], axis=1)))
    return Alike(_median(values), _median(missing))


def _effect(table: np.ndarray) -> float | None:
    """Return the chi-square of days by bins over its degrees of freedom; None without any."""
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    days, bins = table.shape
    if days < _DAYS or bins < 2:
        return None
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float((np.square(table - expected) / expected).sum() / ((days - 1) * (bins - 1)))


def _median(effects: list[float | None]) -> float:
    known = [each for each in effects if each is not None]
    return max(float(np.median(known)), 1.0) if known else 1.0


def beyond(expected: np.ndarray, actual: np.ndarray, *, silent: bool, alike: Alike) -> Beyond:
    """Return what chance makes of the PSI of binned counts, where rows of a day are alike.

    With `silent` the last bin holds missing values. Times the rows, the part of a PSI beyond chance
    is about a noncentral chi-square, whose spread is known (Yurdakul, 2018). Where a new gap makes
    a third of the PSI, that is what changed, and not the weather: then values count as rows.
    """
    if not expected.sum() or not actual.sum() or len(expected) < 2:
        return Beyond(0.0, 1.0, 0.0, 0.0)
    found = _parts(expected, actual)
    if silent and _is_new_gap(found, expected, actual, alike):
        alike = Alike(1.0, alike.missing)
    by_chance, margin = _chance(found, expected, actual, alike, silent=silent)
    _, of_rows = _chance(found, expected, actual, ALONE, silent=silent)
    effects = np.full(len(expected), alike.values)
    if silent:
        effects[-1] = alike.missing
    square = float((_squares(expected, actual) / effects).sum())
    p_value = statistics.chi_square_tail(len(expected) - 1, square)
    return Beyond(by_chance, p_value, margin, max(margin - of_rows, 0.0))


def _is_new_gap(parts: np.ndarray, expected: np.ndarray, actual: np.ndarray, alike: Alike) -> bool:
    """Return whether missing values grew, by more than chance, and make a third of the PSI."""
    grew = actual[-1] * expected.sum() > expected[-1] * actual.sum()
    noise = alike.missing * (1 / expected.sum() + 1 / actual.sum())
    return bool(grew and parts[-1] >= GAP * parts.sum() and parts[-1] > _SURE * noise)


def _chance(
    parts: np.ndarray,
    expected: np.ndarray,
    actual: np.ndarray,
    alike: Alike,
    *,
    silent: bool,
) -> tuple[float, float]:
    """Return what chance makes of a PSI, and how far what is beyond that may be off."""
    each = 1 / expected.sum() + 1 / actual.sum()
    if silent:
        split = [
            (parts[:-1].sum(), len(parts) - 2, alike.values * each),
            (parts[-1], 1, alike.missing * each),
        ]
    else:
        split = [(parts.sum(), len(parts) - 1, alike.values * each)]
    by_chance = variance = 0.0
    for place, (psi, freedom, noise) in enumerate(split):
        usual = freedom * noise
        # Values that differ less than chance allows hide no gap, which is told apart.
        by_chance += min(usual, psi) if silent and place == 0 else usual
        variance += 2 * freedom * noise**2 + 4 * noise * max(psi - usual, 0.0)
    return float(by_chance), float(Z * np.sqrt(variance))


def _parts(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    e, a = expected + _HALF, actual + _HALF
    e, a = e / e.sum(), a / a.sum()
    found: np.ndarray = (a - e) * np.log(a / e)
    return found


def _squares(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Return what each bin adds to Pearson's chi-square of two rows of counts."""
    table = np.array([expected, actual], dtype=np.float64)
    wanted = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(wanted > 0, np.square(table - wanted) / wanted, 0.0)
    found: np.ndarray = parts.sum(axis=0)
    return found
