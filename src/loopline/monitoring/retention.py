"""Predictions and outcomes go when they are older than the contract keeps them.

By the time of the event, and by arrival where an event is implausibly far from it; outcomes by when
they were observed. Hourly counts stay: they hold no rows.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from loopline.monitoring import fold, labels
from loopline.store.ledger import iso
from loopline.store.tables import Tables


@dataclass(frozen=True)
class Expired:
    """What went, and how old it was at least."""

    before: str
    predictions: int
    labels: int


def expire(tables: Tables, project: str, retention: timedelta, now: datetime) -> Expired:
    """Delete what is older than `retention` at `now`."""
    before = iso(now - retention)
    moment = f"arrow_cast('{before}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    old = f"CASE WHEN plausible THEN event_time ELSE arrival END < {moment}"
    return Expired(
        before,
        tables.delete(fold.table(project), old),
        tables.delete(labels.table(project), f"observed_at < {moment}"),
    )
