"""What waits for an expert: predictions that the contract's `review` chose and nobody answered.

Which those are, and why, stands in the log since it was folded, with the reasons of each. One is
answered by its outcome, by whatever way that comes; so what waits is always the difference of the
two tables, and there is no queue to lose.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from loopline.monitoring import fold, labels
from loopline.monitoring.labels import TRUTH
from loopline.notebooks import Shown
from loopline.store.ledger import iso
from loopline.store.tables import Tables


@dataclass(frozen=True)
class Waiting(Shown):
    """One prediction that an expert is to look at."""

    prediction_id: str
    key: str | None
    environment: str
    version: int
    at: str
    """Of its event, in UTC."""
    why: str
    """`when`, by the contract's condition, or `sample`, by chance."""
    answer: str | float | None
    """The label, or the number of a regression."""
    score: float | None
    """The probability of one of two classes, or the number."""
    reasons: dict[str, Any] | None
    """As `loopline explain` gives them; None where it could not be explained."""


@dataclass(frozen=True)
class Queue(Shown):
    """What waits, the oldest first."""

    waiting: tuple[Waiting, ...]
    total: int
    """Of all that wait; `waiting` may be fewer."""


def queue(
    tables: Tables, project: str, *, environment: str | None = None, limit: int = 50
) -> Queue:
    """Return the oldest `limit` predictions that wait for an expert."""
    key = fold.table(project)
    if not tables.exists(key):
        return Queue((), 0)
    rows = tables.scan(key)
    names = rows.collect_schema().names()
    chosen = rows.filter(pl.col("review").is_not_null() & ~pl.col("shadow"))
    if environment is not None:
        chosen = chosen.filter(pl.col("environment") == environment)
    unanswered = labels.read(tables, project).join(chosen).filter(pl.col(TRUTH).is_null())
    kept = [
        name
        for name in (
            "prediction_id", "key", "environment", "version", "event_time", "review", "label",
            "score", "reasons",
        )
        if name in names
    ]  # fmt: skip
    found = unanswered.select(kept).sort("event_time", "prediction_id")
    total, first = pl.collect_all([found.select(pl.len()), found.head(limit)])
    return Queue(tuple(map(_waiting, first.to_dicts())), int(total.item()))


def _waiting(row: dict[str, Any]) -> Waiting:
    at: datetime = row["event_time"]
    score, told = row.get("score"), row["reasons"]
    label = row.get("label")
    return Waiting(
        prediction_id=row["prediction_id"],
        key=row["key"],
        environment=row["environment"],
        version=int(row["version"]),
        at=iso(at),
        why=row["review"],
        answer=score if label is None else label,
        score=score,
        reasons=None if told is None else msgspec.json.decode(told),
    )
