"""Counts of what turned out true, by the hour of the event, each outcome counted exactly once.

Performance over any stretch of time is then a sum, however many outcomes there are. A label may
come late, twice, corrected or in any order: what it changes is found by comparing the labels of the
predictions concerned as they stood with how they stand, and moved from one count to another in the
transaction that also says up to which version of the two tables this is done. Killed anywhere, the
next one finds the same difference; who was slower finds the versions moved, and changes nothing.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import polars as pl
from sqlalchemy import Connection, delete, select

from loopline.counts.groups import count_groups
from loopline.counts.kernel import ColumnCounts
from loopline.counts.quality import folded_probabilities
from loopline.model.signature import Input, decide_places
from loopline.monitoring import hours, labels
from loopline.monitoring.fold import stored_name, table
from loopline.monitoring.hours import CONFUSION, OUTCOMES, SCORED, Cell, Counts
from loopline.monitoring.labels import TRUTH, Labels
from loopline.monitoring.performance import baseline, inputs
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import DTYPES
from loopline.monitoring.windows import HOUR
from loopline.store.database import Database, counts, folded
from loopline.store.objects import Objects
from loopline.store.tables import Tables

BASELINE = "~baseline"
"""The column of the baseline's answers; no input is called so by accident."""
_PLAIN = ColumnCounts("number")


@dataclass(frozen=True)
class _State:
    """Up to which versions of the tables outcomes are counted; -1 for none of it."""

    predictions: int = -1
    labels: int = -1


class Settling:
    """Keeps one project's counts of outcomes up to date."""

    def __init__(
        self,
        project: str,
        reference: Callable[[int], Reference],
        tables: Tables,
        objects: Objects,
        database: Database,
    ) -> None:
        self._project = project
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
            before = _state(connection, self._project)
        now = _State(*(self._version(key) for key in self._keys))
        if now == before or now.predictions < 0:
            return False
        if now.labels < 0:
            return False  # nothing is known of any of them: the first outcome will find them
        fresh = self._since(self._keys[0], before.predictions, now.predictions)
        told = self._since(self._keys[1], before.labels, now.labels)
        is_whole = fresh is None or told is None
        if fresh is None or told is None:  # older versions are gone: from the beginning
            fresh = self._tables.read(self._keys[0], now.predictions)
            told = self._tables.read(self._keys[1], now.labels)
        removed, added = self._changes(fresh, told, now, is_whole=is_whole)
        with self._database.begin() as connection:
            if _state(connection, self._project) != before:
                return False
            if is_whole:
                own = (counts.c.project == self._project) & counts.c.slice.in_(OUTCOMES)
                # Of hours whose predictions have all been deleted for their age, counts stay.
                oldest = fresh["event_time"].dt.epoch("us").min()
                kept = counts.c.hour >= int(str(oldest or 0)) // HOUR * HOUR
                connection.execute(delete(counts).where(own, kept))
            hours.move(connection, self._project, removed, added)
            _keep(connection, self._project, now)
        return True

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
        found: dict[Cell, Counts] = {}
        labelled = rows.filter(pl.col("plausible") & pl.col(TRUTH).is_not_null())
        for (environment, version), mine in labelled.group_by(["environment", "version"]):
            reference = self._reference(int(str(version)))
            place = (str(environment), reference.version)
            found |= _binary(mine, reference, place) if is_counted(reference) else {}
        return found


def is_counted(reference: Reference) -> bool:
    """Return whether outcomes of this version are counted: those of two classes are."""
    return reference.signature.task == "binary"


def grouped(reference: Reference) -> list[Input]:
    """Return the logged inputs whose values are counted apart."""
    return [
        each
        for each in reference.signature.inputs
        if each.logged and each.type in ("category", "boolean") and each.name != BASELINE
    ]


def _state(connection: Connection, project: str) -> _State:
    query = select(folded.c.segment, folded.c.offset)
    names = _names(project)
    rows = connection.execute(query.where(folded.c.segment.in_(names)))
    known = {row.segment: row.offset for row in rows}
    return _State(*(known.get(name, -1) for name in names))


def _names(project: str) -> tuple[str, str]:
    return f"{project}//settled predictions", f"{project}//settled labels"


def _keep(connection: Connection, project: str, state: _State) -> None:
    for name, offset in zip(_names(project), (state.predictions, state.labels), strict=True):
        connection.execute(delete(folded).where(folded.c.segment == name))
        connection.execute(folded.insert().values(segment=name, offset=offset))


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


def _binary(rows: pl.DataFrame, reference: Reference, place: tuple[str, int]) -> dict[Cell, Counts]:
    """Count scores by decision and truth, the baseline's likewise, and decisions by value."""
    signature = reference.signature
    truth = labels.truth(rows[TRUTH], signature)
    scores = rows["score"].to_numpy()
    kept = np.flatnonzero(np.isfinite(truth) & (scores >= 0) & (scores <= 1))
    frame, truth, scores = rows[kept], truth[kept].astype(np.int64), scores[kept]
    if not len(frame):
        return {}
    at = frame["event_time"].dt.epoch("us").to_numpy() // HOUR
    said = decide_places(signature, scores)
    found = _scored(scores, truth, said, at, "", place)
    other = baseline(reference, inputs(frame, reference))
    if other is not None:
        limit = 0.5 if other.threshold is None else other.threshold
        found |= _scored(
            other.scores, truth, (other.scores >= limit).astype(np.int64), at, BASELINE, place
        )
    pairs = [f"{actual}{answer}" for actual, answer in zip(truth, said, strict=True)]
    for column in [None, *grouped(reference)]:
        name = "" if column is None else column.name
        values = [""] * len(pairs) if column is None else _values(frame, column)
        for (hour, pair, value), number in Counter(
            zip(at.tolist(), pairs, values, strict=True)
        ).items():
            if value is not None:
                cell = Cell(*place, hour, name, CONFUSION)
                found[cell] = hours.plus(found.get(cell), Counter({f"{pair}{value}": number}))
    return found


def _scored(
    scores: np.ndarray,
    truth: np.ndarray,
    said: np.ndarray,
    at: np.ndarray,
    column: str,
    place: tuple[str, int],
) -> dict[Cell, Counts]:
    found: dict[Cell, Counts] = {}
    folded_scores = folded_probabilities(scores)
    for slice_, (actual, answer) in SCORED.items():
        mine = np.flatnonzero((truth == actual) & (said == answer))
        order, groups = np.unique(at[mine], return_inverse=True)
        counted = count_groups(folded_scores[mine], groups, len(order), _PLAIN)
        for hour, each in zip(order.tolist(), counted, strict=True):
            found[Cell(*place, hour, column, slice_)] = each
    return found


def _values(frame: pl.DataFrame, column: Input) -> Iterable[str | None]:
    where = stored_name(column.name, DTYPES[column.type], frame.schema)
    if where not in frame.columns:
        return [None] * len(frame)
    values = frame[where]
    if column.type == "boolean":
        return values.cast(pl.Int8).cast(pl.String).to_list()
    return [value if value is None else value[:200] for value in values.to_list()]
