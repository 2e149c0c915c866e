"""Segments to Delta and to counts, exactly once.

A stretch of one segment goes first into the tables, each append naming the segment and where the
stretch ends; then, in one database transaction, into the counts together with that end. Killed
anywhere, the next fold finds in the tables how far the last one came and does the very same stretch
again: tables that have it refuse it, and the counts, which do not, take it. A folder that lost its
lease while it slept finds the offset moved, and leaves it.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import polars as pl
from sqlalchemy import Connection, select

from loopline.contract.schema import NAME, Review
from loopline.errors import BundleRefusedError, MonitoringError, UnknownVersionError
from loopline.monitoring import hours, labels
from loopline.monitoring.drivers import Reasons
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import OWN, Stretch, gather, of_a_server, typed
from loopline.serving.log import read_frames
from loopline.store.database import Database, folded
from loopline.store.tables import Tables

LEASE_SECONDS = 30.0
"""After so long without a sign a folder is taken for dead; one that was not does no harm."""
_SEGMENT = re.compile(r"[0-9]{1,20}-[0-9]+-[A-Za-z0-9]+\.log")
_SUFFIXES = {pl.Float64: "number", pl.Boolean: "boolean", pl.String: "text"}


@dataclass
class Folded:
    """What one fold did."""

    segments: int = 0
    """Segments that had something new."""
    predictions: int = 0
    labels: int = 0
    errors: int = 0
    implausible: int = 0
    """Predictions whose event is implausibly far from their arrival."""
    held: dict[str, str] = field(default_factory=dict)
    """Segment to why it waits: its predictions are of a version that cannot be opened."""
    is_alone: bool = True
    """False when another process folds just now, and this one did nothing."""


@dataclass(frozen=True)
class Waiting:
    """What of the log is not folded."""

    size: int = 0
    """Bytes."""
    since: float | None = None
    """When the oldest segment of it was written to last, in seconds since 1970."""


def table(project: str) -> str:
    """Return the key of the table of predictions."""
    return f"predictions/{project}"


def stored_name(name: str, dtype: pl.DataType, schema: pl.Schema) -> str:
    """Return how the table calls the input `name` of type `dtype`.

    By its name, unless Loopline's own columns or an earlier version's other type have it.
    """
    # Delta tells no case apart: Score and score are one name.
    wanted = f"input_{name}" if name.lower() in OWN else name
    if schema.get(wanted, dtype) == dtype:
        return wanted
    return f"{wanted}_{_SUFFIXES.get(type(dtype), 'time')}"


class Fold:
    """Folds the log of one project."""

    def __init__(
        self,
        log: Path,
        project: str,
        reference: Callable[[int], Reference],
        tables: Tables,
        database: Database,
        review: Review | None = None,
    ) -> None:
        """`log` is the folder with a folder for each project; `review` says what is explained."""
        self._log = log / project
        self._project = project
        self._reference = reference
        self._tables = tables
        self._database = database
        self._reasons = Reasons(review)
        self._holder = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"

    def __call__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Folded:
        """Fold what is new. `clock` is the real time, by which leases run out."""
        done = Folded()
        lease = f"fold/{self._project}"
        try:
            for environment, path in self._segments():
                if not self._database.take_lease(
                    lease, self._holder, now=clock(), seconds=LEASE_SECONDS
                ):
                    done.is_alone = False
                    break
                self._segment(environment, path, done)
            if done.segments:
                # A look every ten seconds would leave thousands of small files behind in a day.
                for key in (table(self._project), labels.table(self._project)):
                    self._tables.compact(key)
        finally:
            self._database.give_lease(lease, self._holder)
        return done

    def waiting(self) -> Waiting:
        """Return what of the log is not folded; right after a fold, what it could not fold."""
        size, oldest = 0, None
        for _, path, left in self._grown():
            size += left
            written = path.stat().st_mtime
            oldest = written if oldest is None else min(oldest, written)
        return Waiting(size, oldest)

    def _segment(self, environment: str, path: Path, done: Folded) -> None:
        name = f"{self._project}/{environment}/{path.name}"
        before = done.predictions + done.labels + done.errors
        try:
            while self._stretch(name, environment, path, done):
                pass
        except (UnknownVersionError, BundleRefusedError, MonitoringError) as error:
            done.held[name] = str(error)
        done.segments += done.predictions + done.labels + done.errors > before

    def _segments(self) -> Iterator[tuple[str, Path]]:
        """Yield environment and path of segments that have grown, oldest first."""
        yield from ((environment, path) for environment, path, _ in self._grown())

    def _grown(self) -> Iterator[tuple[str, Path, int]]:
        """Yield environment, path and bytes that are not folded of segments that have grown."""
        query = select(folded.c.segment, folded.c.offset)
        with self._database.read() as connection:
            known = {row.segment: row.offset for row in connection.execute(query)}
        for place in sorted(self._log.glob("*")):
            if not NAME.fullmatch(place.name):
                continue
            found = [path for path in place.glob("*.log") if _SEGMENT.fullmatch(path.name)]
            for path in sorted(found, key=lambda path: (int(path.name.split("-")[0]), path.name)):
                done = known.get(f"{self._project}/{place.name}/{path.name}", 0)
                left = path.stat().st_size - done
                if left > 0:
                    yield place.name, path, left

    def _stretch(self, name: str, environment: str, path: Path, done: Folded) -> bool:
        """Fold what follows the last offset of one segment; False when there was nothing."""
        with self._database.read() as connection:
            start = _offset(connection, name)
        frames = read_frames(path, start)
        with of_a_server():
            first = next(frames, None)
        if first is None:
            return False
        ahead = self._reached(name)
        stretch = gather(chain([first], frames), start, ahead if ahead > start else None)
        # A log that was cut back after it was read holds less than the tables, which are right.
        end = max(stretch.end, ahead)
        rows, cells = self._rows(stretch, environment)
        if rows is not None:
            self._tables.write(table(self._project), rows, transaction=(name, end))
        if stretch.labels:
            outcomes = labels.outcomes(stretch, name)
            self._tables.write(labels.table(self._project), outcomes, transaction=(name, end))
        with self._database.begin() as connection:
            if _offset(connection, name) != start:
                return True  # someone faster folded it: look again at what is left
            hours.add(connection, self._project, cells)
            _move(connection, name, start, end)
        done.predictions += 0 if rows is None else len(rows)
        done.labels += len(stretch.labels)
        done.errors += stretch.errors.total()
        done.implausible += 0 if rows is None else int((~rows["plausible"]).sum())
        return True

    def _reached(self, name: str) -> int:
        """Return how far a segment is in the tables: further than in the counts after a kill."""
        tables = (table(self._project), labels.table(self._project))
        return max(self._tables.transaction(name, key) or 0 for key in tables)

    def _rows(
        self, stretch: Stretch, environment: str
    ) -> tuple[pl.DataFrame | None, dict[hours.Cell, hours.Counts]]:
        """Return a stretch as rows of the table, and counted."""
        cells = hours.of_service(stretch, environment)
        key = table(self._project)
        schema = pl.Schema()
        if stretch.predictions and self._tables.exists(key):
            schema = self._tables.scan(key).collect_schema()
        frames = []
        for predictions in stretch.predictions.values():
            reference = self._reference(predictions.version)
            found = typed(predictions, reference.signature, environment)
            inputs = [
                series.alias(stored_name(series.name, series.dtype, schema))
                for series in found.inputs
            ]
            place = (environment, predictions.version)
            reasoned = self._reasons(found, reference, place)
            own = found.own.with_columns(reasoned.review, reasoned.reasons)
            frames.append(own.with_columns(inputs))
            schema = pl.Schema({**frames[-1].schema, **schema})
            counts = hours.of_predictions(found, reference, place)
            for cell, counted in [*counts.items(), *reasoned.cells.items()]:
                cells[cell] = hours.plus(cells.get(cell), counted)
        return pl.concat(frames, how="diagonal") if frames else None, cells


def _offset(connection: Connection, segment: str) -> int:
    query = select(folded.c.offset).where(folded.c.segment == segment)
    return connection.execute(query).scalar_one_or_none() or 0


def _move(connection: Connection, segment: str, start: int, end: int) -> None:
    if start == 0:
        connection.execute(folded.insert().values(segment=segment, offset=end))
    else:
        mine = folded.update().where(folded.c.segment == segment)
        connection.execute(mine.values(offset=end))
