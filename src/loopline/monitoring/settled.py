"""Counts of what turned out true, by the hour of the event, each outcome counted exactly once.

Performance over any stretch of time is then a sum, however many outcomes there are. A label may
come late, twice, corrected or in any order: what it changes is found by comparing the labels of the
predictions concerned as they stood with how they stand, and moved from one count to another in the
transaction that also says up to which version of the two tables this is done. Killed anywhere, the
next one finds the same difference; who was slower finds the versions moved, and changes nothing.
Where the contract compares other groups than before, everything is counted anew.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

import polars as pl
from sqlalchemy import Connection, delete, select

from loopline.compute.base import Compute
from loopline.contract.schema import Contract
from loopline.monitoring import hours, joining, labels, realised
from loopline.monitoring.fold import table
from loopline.monitoring.hours import OF_OUTCOMES, Cell, Counts
from loopline.monitoring.labels import NAMES, TRUTH
from loopline.monitoring.places import Kind, Places
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import HOUR
from loopline.store.database import Database, counts, folded
from loopline.store.tables import Tables

_FORMAT = 3
"""Of the counts: with another, everything is counted anew."""
_PLACE = ("segment", "offset", "row")
"""Which outcome it is, of all that were ever sent."""


@dataclass(frozen=True)
class State:
    """Up to which versions of the tables outcomes are counted; -1 for none of it."""

    predictions: int = -1
    labels: int = -1
    asked: int = -1
    """Digest of what is counted, beyond what always is."""
    corrected: int = 0
    """Ids and keys whose outcome was not always the same."""
    unknown: int = 0
    """Ids and keys with an outcome that no prediction had."""

    @property
    def _versions(self) -> tuple[int, int, int]:
        return self.predictions, self.labels, self.asked

    def is_as(self, other: "State") -> bool:
        """Return whether both are of the same versions, and hold the same."""
        return self._versions == other._versions


@dataclass(frozen=True)
class _Joined:
    """Outcomes and the predictions they concern, before and after what is new."""

    fresh: pl.DataFrame
    """Predictions that are new."""
    old: pl.DataFrame
    """Other predictions that new outcomes name."""
    told: pl.DataFrame
    """Outcomes that are new."""
    earlier: pl.DataFrame
    """Other outcomes of any of these."""

    @property
    def every(self) -> pl.DataFrame:
        """All outcomes of these."""
        return pl.concat([self.earlier, self.told], how="diagonal_relaxed")


@dataclass(frozen=True)
class _Difference:
    """What is to be changed, all at once."""

    now: State
    removed: dict[Cell, Counts]
    added: dict[Cell, Counts]
    oldest: int | None
    """Where all were counted anew: from when on, in microseconds."""
    named: Mapping[Kind, pl.DataFrame] = field(default_factory=dict)
    """Rows whose keys are to be noted."""


class Settling:
    """Keeps one project's counts of outcomes up to date."""

    def __init__(
        self,
        contract: Contract,
        reference: Callable[[int], Reference],
        tables: Tables,
        database: Database,
        compute: Compute | None = None,
    ) -> None:
        """With `compute` everything is joined and counted there; else here, what is new."""
        self._compute = compute
        self._contract = contract
        self._project = contract.project
        self._reference = reference
        self._tables = tables
        self._database = database
        self._places = Places(contract.project, tables, database)

    def __call__(self) -> bool:
        """Count what changed since; False where nothing did, or another was faster.

        Raises:
            BundleRefusedError, UnknownVersionError: a version that answered cannot be opened.
        """
        before = self.state()
        predictions, outcomes = self._keys
        now = State(
            self._version(predictions),
            self._version(outcomes),
            _digest(self._contract, is_here=self._compute is None),
        )
        if now.is_as(before) or now.predictions < 0:
            return False
        if now.labels < 0:
            return False  # nothing is known of any of them: the first outcome will find them
        found = self._difference(before, now)
        with self._database.begin() as connection:
            if not state(connection, self._project).is_as(before):
                return False
            if found.oldest is not None:
                self._forget(connection, found.oldest)
            hours.move(connection, self._project, found.removed, found.added)
            for kind, rows in found.named.items():
                self._places.note(connection, kind, rows)
            _keep(connection, self._project, found.now)
        return True

    def _difference(self, before: State, now: State) -> _Difference:
        """Return what changes between two states."""
        if self._compute is not None:
            return self._on(self._compute, now)
        joined = None if before.asked != now.asked else self._join(before, now)
        oldest = None
        if joined is None:  # older versions are gone, or held less than is asked for now
            joined, before = self._whole(now), State()
            counted = joined.fresh.filter("plausible")["event_time"]
            oldest = int(str(counted.dt.epoch("us").min() or 0))
        removed, added = self._changes(joined)
        named: dict[Kind, pl.DataFrame] = {"prediction": joined.fresh, "outcome": joined.told}
        return _Difference(self._after(before, now, joined), removed, added, oldest, named)

    def _on(self, compute: Compute, now: State) -> _Difference:
        """Count everything on a cluster; names are not noted then."""
        found = joining.count(
            compute, self._contract, self._reference, self._tables, (now.predictions, now.labels)
        )
        after = replace(now, corrected=found.corrected, unknown=found.unknown)
        return _Difference(after, {}, found.cells, found.first or 0)

    def _after(self, before: State, now: State, joined: _Joined) -> State:
        more = labels.differing(joined.every, joined.told)
        more -= labels.differing(joined.earlier, joined.told)
        return replace(
            now,
            corrected=before.corrected + more,
            unknown=before.unknown + self._unknown(joined),
        )

    def _whole(self, now: State) -> _Joined:
        predictions, outcomes = self._keys
        fresh = self._tables.read(predictions, now.predictions)
        told = self._tables.read(outcomes, now.labels)
        return _Joined(fresh, fresh.head(0), told, told.head(0))

    def state(self) -> State:
        """Return up to where outcomes are counted."""
        with self._database.read() as connection:
            return state(connection, self._project)

    @property
    def _keys(self) -> tuple[str, str]:
        return table(self._project), labels.table(self._project)

    def _version(self, key: str) -> int:
        return self._tables.version(key) if self._tables.exists(key) else -1

    def _join(self, before: State, now: State) -> _Joined | None:
        """Return what is new and what it concerns; None where that is not known any more."""
        fresh = self._tables.added(self._keys[0], before.predictions, now.predictions)
        told = self._tables.added(self._keys[1], before.labels, now.labels)
        if fresh is None or told is None:
            return None
        old = self._places.rows("prediction", told.select(NAMES), now.predictions)
        old = old.join(fresh, on="prediction_id", how="anti")
        concerned = pl.concat([each.select(NAMES) for each in (fresh, old, told)])
        known = self._places.rows("outcome", concerned, now.labels)
        return _Joined(fresh, old, told, known.join(told, on=_PLACE, how="anti"))

    def _forget(self, connection: Connection, oldest: int) -> None:
        """Forget what was counted, but of hours whose predictions have all gone for their age."""
        own = (counts.c.project == self._project) & OF_OUTCOMES
        connection.execute(delete(counts).where(own, counts.c.hour >= oldest // HOUR * HOUR))
        self._places.forget(connection)

    def _changes(self, joined: _Joined) -> tuple[dict[Cell, Counts], dict[Cell, Counts]]:
        """Return the counts to take away and to add."""
        known = labels.of(joined.every.lazy())
        was = labels.of(joined.earlier.lazy()).join(joined.old.lazy())
        moved = (
            known.join(joined.old.lazy())
            .join(
                was.select("prediction_id", pl.col(TRUTH).alias("~was")),
                on="prediction_id",
                how="left",
            )
            .filter(pl.col(TRUTH).ne_missing(pl.col("~was")))
            .collect()
        )
        before = moved.with_columns(pl.col("~was").alias(TRUTH)).drop("~was")
        after = pl.concat(
            [moved.drop("~was"), known.join(joined.fresh.lazy()).collect()], how="diagonal_relaxed"
        )
        return self._count(before), self._count(after)

    def _unknown(self, joined: _Joined) -> int:
        """Return how many more ids and keys than before have an outcome and no prediction."""
        more = 0
        for name in NAMES:
            told = joined.every.select(name).drop_nulls().unique()
            asked = pl.concat([joined.told.select(name), joined.fresh.select(name)])
            before = joined.earlier.select(name).drop_nulls().unique()
            told, before = (each.join(asked, on=name, how="semi") for each in (told, before))
            seen = joined.old.select(name)
            if name == "key":  # another prediction may have had the key of a new one
                same = before.join(joined.fresh, on=name, how="semi")[name]
                seen = pl.concat([seen, self._places.keyed("prediction", same).select(name)])
            now = pl.concat([seen, joined.fresh.select(name)])
            more += len(told.join(now, on=name, how="anti"))
            more -= len(before.join(seen, on=name, how="anti"))
        return more

    def _count(self, rows: pl.DataFrame) -> dict[Cell, Counts]:
        """Count labelled rows of every version by the hour of the event."""
        return realised.count_all(rows, self._reference, self._contract.fairness)


def state(connection: Connection, project: str) -> State:
    """Return up to where outcomes are counted: what counts of them were made from."""
    query = select(folded.c.segment, folded.c.offset)
    names = _names(project)
    rows = connection.execute(query.where(folded.c.segment.in_(names)))
    known = {row.segment: row.offset for row in rows}
    return State(**{what: known[name] for name, what in names.items() if name in known})


def is_to_be_counted_anew(contract: Contract, tables: Tables, database: Database) -> bool:
    """Return whether there are outcomes, and their counts are not what the contract now asks.

    So it is after a change of what it compares, or of how they are counted, until the next look.
    """
    if not all(tables.exists(of(contract.project)) for of in (table, labels.table)):
        return False
    with database.read() as connection:
        asked = state(connection, contract.project).asked
    return all(asked != _digest(contract, is_here=is_here) for is_here in (True, False))


def _names(project: str) -> dict[str, str]:
    return {f"{project}//settled {each.name}": each.name for each in fields(State)}


def _keep(connection: Connection, project: str, now: State) -> None:
    for name, what in _names(project).items():
        connection.execute(delete(folded).where(folded.c.segment == name))
        connection.execute(folded.insert().values(segment=name, offset=getattr(now, what)))


def _digest(contract: Contract, *, is_here: bool) -> int:
    """Return what tells contracts apart that compare other groups, and where names are noted."""
    asked = sorted({(rule.by, rule.metric) for rule in contract.fairness})
    return zlib.crc32(json.dumps([_FORMAT, contract.problem.task, asked, is_here]).encode())
