"""What a season is compared with: the same weekdays of earlier weeks, or the month a year ago.

Off unless the contract asks (`monitor.reference`). Such a reference moves with what it measures: a
slow decay becomes its own yardstick, and what was wrong last week is wrong in this week's
reference too. Where there is too little of it, the profile stored with the version stands in.
"""

from dataclasses import replace
from typing import Literal

from sqlalchemy import select

from loopline.contract.schema import Monitor
from loopline.counts.kernel import ColumnCounts, Profile, count_values, digest_of
from loopline.monitoring import hours
from loopline.monitoring.hours import INPUT, OUTPUT
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import HOUR, Window
from loopline.store.database import Database, counts

Season = Literal["training", "same_weekday", "same_month_last_year"]

WEEKS = 4
"""How many of the weeks before are taken together."""
_WEEK = 7 * 24
_YEAR = 52 * _WEEK
"""So that weekdays meet weekdays."""
_MONTH = 4 * _WEEK


def windows(season: Season, window: Window) -> list[Window]:
    """Return the stretches of the past that `window` is compared with."""
    length = window.last - window.first
    if season == "same_weekday":
        step = -(-length // _WEEK) * _WEEK
        return [
            Window(window.first - step * number, window.last - step * number)
            for number in range(1, WEEKS + 1)
        ]
    if season == "same_month_last_year":
        more = max(_MONTH - length, 0) // 2
        return [Window(window.first - _YEAR - more, window.last - _YEAR + more)]
    return []


def seasonal(
    database: Database,
    project: str,
    environment: str,
    reference: Reference,
    monitor: Monitor,
    window: Window,
) -> tuple[Reference, frozenset[str]]:
    """Return the reference with the columns of the season, and which those are.

    Inputs are taken of every version that answered then; answers of this version alone.
    """
    profile = dict(reference.profile.columns)
    found: dict[str, ColumnCounts] = {}
    for past in windows(monitor.reference, window):
        for version in _versions(database, project, environment, past):
            counted = hours.total(database, project, environment, version, past)
            for (kind, name), each in counted.items():
                is_ours = kind == INPUT or (kind == OUTPUT and version == reference.version)
                if not is_ours or name not in profile or not isinstance(each, ColumnCounts):
                    continue
                same = _on_grid(each, profile[name])
                if same is not None:
                    found[name] = found[name] + same if name in found else same
    enough = {name: each for name, each in found.items() if each.rows >= monitor.minimum_rows}
    return replace(reference, profile=Profile({**profile, **enough})), frozenset(enough)


def _versions(database: Database, project: str, environment: str, window: Window) -> list[int]:
    query = (
        select(counts.c.version)
        .where(
            counts.c.project == project,
            counts.c.environment == environment,
            counts.c.hour >= window.first * HOUR,
            counts.c.hour < window.last * HOUR,
        )
        .distinct()
    )
    with database.read() as connection:
        return sorted(connection.execute(query).scalars())


def _on_grid(counted: ColumnCounts, like: ColumnCounts) -> ColumnCounts | None:
    """Return another version's counts on this one's grid; None where that cannot be exact."""
    if (counted.kind, counted.offset, counted.names) == (like.kind, like.offset, like.names):
        return counted
    if counted.kind != "category" or like.kind != "category" or len(counted.cells):
        return None
    if digest_of(like.named) != like.names:
        return None
    return count_values({**counted.named, None: counted.missing}, like)
