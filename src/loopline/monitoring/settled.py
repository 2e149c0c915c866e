"""Counts of what turned out true, by the hour of the event, each outcome counted exactly once.

Performance over any stretch of time is then a sum, however many outcomes there are. A label may
come late, twice, corrected or in any order: what it changes is found by comparing the labels of the
predictions concerned as they stood with how they stand, and moved from one count to another in the
transaction that also says up to which version of the two tables this is done. Killed anywhere, the
next one finds the same difference; who was slower finds the versions moved, and changes nothing.
Where the contract compares other groups than before, everything is counted anew.
"""

import io
import json
import zlib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from urllib.parse import unquote

import polars as pl
from sqlalchemy import Connection, delete, select

from loopline.compute.base import Compute
from loopline.contract.schema import Contract
from loopline.monitoring import hours, joining, labels, realised
from loopline.monitoring.fold import table
from loopline.monitoring.hours import OF_OUTCOMES, Cell, Counts
from loopline.monitoring.labels import TRUTH, Labels
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import HOUR
from loopline.store.database import Database, counts, folded
from loopline.store.objects import Objects
from loopline.store.tables import Tables

_FORMAT = 2
"""Of the counts: with another, everything is counted anew."""


@dataclass(frozen=True)
class _State:
    """Up to which versions of the tables outcomes are counted; -1 for none of it."""

    predictions: int = -1
    labels: int = -1
    asked: int = -1
    """Digest of what is counted, beyond what always is."""


class Settling:
    """Keeps one project's counts of outcomes up to date."""

    def __init__(
        self,
        contract: Contract,
        reference: Callable[[int], Reference],
        tables: Tables,
        objects: Objects,
        database: Database,
        compute: Compute | None = None,
    ) -> None:
        """With `compute` everything is joined and counted there; else here, what is new."""
        self._compute = compute
        self._contract = contract
        self._project = contract.project
        self._reference = reference
        self._tables = tables
        self._objects = objects
        self._database = database

    def __call__(self) -> bool:
        """Count what changed since; False where nothing did, or another was faster.

        Raises:
            BundleRefusedError, UnknownVersionError: a version that answered cannot be opened.
        """
        with self._database.read() as connection:
            before = state(connection, self._project)
        predictions, outcomes = self._keys
        now = _State(self._version(predictions), self._version(outcomes), _digest(self._contract))
        if now == before or now.predictions < 0:
            return False
        if now.labels < 0:
            return False  # nothing is known of any of them: the first outcome will find them
        removed, added, oldest = self._difference(before, now)
        with self._database.begin() as connection:
            if state(connection, self._project) != before:
                return False
            if oldest is not None:
                own = (counts.c.project == self._project) & OF_OUTCOMES
                # Of hours whose predictions have all been deleted for their age, counts stay.
                kept = counts.c.hour >= oldest // HOUR * HOUR
                connection.execute(delete(counts).where(own, kept))
            hours.move(connection, self._project, removed, added)
            _keep(connection, self._project, now)
        return True

    def _difference(
        self, before: _State, now: _State
    ) -> tuple[dict[Cell, Counts], dict[Cell, Counts], int | None]:
        """Return the counts to take away and to add.

        Where all are counted anew, so is said from when on: the oldest prediction.
        """
        if self._compute is not None:
            versions = now.predictions, now.labels
            found = joining.count(
                self._compute, self._contract, self._reference, self._tables, versions
            )
            return {}, found.cells, found.first or 0
        fresh = self._since(self._keys[0], before.predictions, now.predictions)
        told = self._since(self._keys[1], before.labels, now.labels)
        is_whole = fresh is None or told is None or before.asked != now.asked
        if is_whole or fresh is None or told is None:
            # Older versions are gone, or held less than is asked for now.
            fresh = self._tables.read(self._keys[0], now.predictions)
            told = self._tables.read(self._keys[1], now.labels)
        removed, added = self._changes(fresh, told, now, is_whole=is_whole)
        oldest = int(str(fresh["event_time"].dt.epoch("us").min() or 0))
        return removed, added, oldest if is_whole else None

    @property
    def _keys(self) -> tuple[str, str]:
        return table(self._project), labels.table(self._project)

    def _version(self, key: str) -> int:
        return self._tables.version(key) if self._tables.exists(key) else -1

    def _since(self, key: str, before: int, now: int) -> pl.DataFrame | None:
        """Return the rows that were added between two versions; None where that is not known.

        From the table's own log, in which a compaction says that it changed no data. What is
        deleted because it is old leaves rows that are not new, and its counts stay.
        """
        if before == now:
            return self._tables.scan(key, now).head(0).collect() if now >= 0 else labels.empty()
        frames = []
        for version in range(before + 1, now + 1):
            commit = self._objects.find(f"{key}/_delta_log/{version:020}.json")
            if commit is None:
                return None
            actions = [json.loads(line) for line in commit.decode("utf-8").splitlines()]
            if any(each.get("commitInfo", {}).get("operation") == "DELETE" for each in actions):
                continue
            for action in actions:
                added = action.get("add")
                if added is None or not added.get("dataChange", True):
                    continue
                content = self._objects.find(f"{key}/{unquote(added['path'])}")
                if content is None:
                    return None
                frames.append(pl.read_parquet(io.BytesIO(content)))
        if not frames:
            return self._tables.scan(key, now).head(0).collect()
        return pl.concat(frames, how="diagonal_relaxed")

    def _changes(
        self, fresh: pl.DataFrame, told: pl.DataFrame, now: _State, *, is_whole: bool
    ) -> tuple[dict[Cell, Counts], dict[Cell, Counts]]:
        """Return the counts to take away and to add."""
        every = self._tables.scan(self._keys[1], now.labels)
        old = fresh.head(0)
        if not is_whole and len(told):
            old = self._touched(told, now.predictions).join(fresh, on="prediction_id", how="anti")
        known = _of(every, pl.concat([_named(fresh), _named(old)]))
        earlier = known
        if len(old):
            place = ["segment", "offset", "row"]
            earlier = _of(every.join(told.lazy(), on=place, how="anti"), _named(old))
        was = earlier.join(old.lazy()).select("prediction_id", TRUTH)
        moved = (
            known.join(old.lazy())
            .join(was.rename({TRUTH: "~was"}), on="prediction_id", how="left")
            .filter(pl.col(TRUTH).ne_missing(pl.col("~was")))
            .collect()
        )
        before = moved.with_columns(pl.col("~was").alias(TRUTH)).drop("~was")
        after = pl.concat(
            [moved.drop("~was"), known.join(fresh.lazy()).collect()], how="diagonal_relaxed"
        )
        return self._count(before), self._count(after)

    def _touched(self, told: pl.DataFrame, version: int) -> pl.DataFrame:
        """Return the predictions that outcomes name, by id or by key."""
        rows = self._tables.scan(self._keys[0], version)
        found = [
            rows.join(told.lazy().select(name).drop_nulls().unique(), on=name, how="semi")
            for name in ("prediction_id", "key")
        ]
        return pl.concat(pl.collect_all(found), how="diagonal").unique("prediction_id")

    def _count(self, rows: pl.DataFrame) -> dict[Cell, Counts]:
        """Count labelled rows of every version by the hour of the event."""
        return realised.count_all(rows, self._reference, self._contract.fairness)


def state(connection: Connection, project: str) -> _State:
    """Return up to where outcomes are counted: what counts of them were made from."""
    query = select(folded.c.segment, folded.c.offset)
    names = _names(project)
    rows = connection.execute(query.where(folded.c.segment.in_(names)))
    known = {row.segment: row.offset for row in rows}
    return _State(*(known.get(name, -1) for name in names))


def _names(project: str) -> tuple[str, ...]:
    return tuple(f"{project}//settled {what}" for what in ("predictions", "labels", "asked"))


def _keep(connection: Connection, project: str, state: _State) -> None:
    for name, offset in zip(_names(project), astuple(state), strict=True):
        connection.execute(delete(folded).where(folded.c.segment == name))
        connection.execute(folded.insert().values(segment=name, offset=offset))


def _digest(contract: Contract) -> int:
    """Return what tells contracts apart that compare other groups."""
    asked = sorted({(rule.by, rule.metric) for rule in contract.fairness})
    return zlib.crc32(json.dumps([_FORMAT, contract.problem.task, asked]).encode())


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.col("prediction_id", "key").cast(pl.String))


def _of(told: pl.LazyFrame, predictions: pl.DataFrame) -> Labels:
    """Return the labels of these predictions, from outcomes as rows."""
    asked = predictions.lazy()
    mine = [
        told.join(asked.select(name).drop_nulls().unique(), on=name, how="semi")
        for name in ("prediction_id", "key")
    ]
    return labels.of(pl.concat(mine).unique(["segment", "offset", "row"]))
