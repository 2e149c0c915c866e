"""Predictions and outcomes go when they are older than the contract keeps them.

By the time of the event, and by arrival where an event is implausibly far from it, whole hours at a
time; outcomes by when they were observed, but none before its prediction: what was counted of it
could not be corrected then. Hourly counts stay: they hold no rows.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from loopline.monitoring import fold, labels
from loopline.monitoring.labels import NAMES
from loopline.monitoring.places import Places
from loopline.store.database import Database
from loopline.store.ledger import iso
from loopline.store.tables import Tables


@dataclass(frozen=True)
class Expired:
    """What went, and how old it was at least."""

    before: str
    predictions: int
    labels: int


def expire(
    tables: Tables, database: Database, project: str, retention: timedelta, now: datetime
) -> Expired:
    """Delete what is older than `retention` at `now`, up to a full hour."""
    before = (now - retention).replace(minute=0, second=0, microsecond=0)
    moment = f"arrow_cast('{iso(before)}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    old = f"CASE WHEN plausible THEN event_time ELSE arrival END < {moment}"
    predictions = tables.delete(fold.table(project), old)
    places = Places(project, tables, database)
    kept = _kept(tables, places, project, before)
    gone = f"observed_at < {moment}"
    for name in NAMES:
        if len(kept[name]):
            names = ", ".join("'" + each.replace("'", "''") + "'" for each in kept[name].to_list())
            gone += f" AND NOT coalesce({name} IN ({names}), false)"
    outcomes = tables.delete(labels.table(project), gone)
    with database.begin() as connection:
        places.forget(connection, before, kept["key"].drop_nulls())
    return Expired(iso(before), predictions, outcomes)


def _kept(tables: Tables, places: Places, project: str, before: datetime) -> dict[str, pl.Series]:
    """Return the ids and keys of old outcomes that have a prediction still."""
    key = labels.table(project)
    if not (tables.exists(key) and tables.exists(fold.table(project))):
        return {name: pl.Series(dtype=pl.String) for name in NAMES}
    old = tables.scan(key).filter(pl.col("observed_at") < before).select(NAMES).collect()
    there = places.rows("prediction", old, tables.version(fold.table(project)))
    return {name: old.join(there, on=name, how="semi")[name].unique() for name in NAMES}
