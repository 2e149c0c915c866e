"""Segments to Delta and to counts, exactly once, by as many processes as there are.

A stretch of one segment goes first into the tables, each append naming the segment and where the
stretch ends; then, in one database transaction, into the counts together with that end. Killed
anywhere, the next fold finds in the tables how far the last one came and does the very same stretch
again: tables that have it refuse it, and the counts, which do not, take it.

Each segment has a lease, so that several folders share the work and one may die. It only saves
work: a folder that lost its lease while it slept finds that a table or the offset has moved, and
leaves it.

A segment is folded where it lies, in the home or in the store; one that is in both is one, by its
name. What is folded whole and grows no more is removed a day later.
"""

import contextlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import polars as pl
from sqlalchemy import Connection, select

from loopline.contract.schema import NAME, Contract
from loopline.errors import BundleRefusedError, MonitoringError, StoreError, UnknownVersionError
from loopline.monitoring import hours, labels, spans
from loopline.monitoring.drivers import Reasons
from loopline.monitoring.quality import Checks
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import OWN, Stretch, gather, of_a_server, typed
from loopline.serving import upload
from loopline.serving.log import SEGMENT, final, is_damaged, read_frames
from loopline.store.database import Database, folded
from loopline.store.objects import Objects
from loopline.store.tables import OvertakenError, Tables

LEASE_SECONDS = 30.0
"""After so long without a sign a folder is taken for dead; one that was not does no harm."""
KEPT = timedelta(days=1)
"""How long a segment stays that is folded whole, in case a table has to be restored."""
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
    unexplained: dict[int, str] = field(default_factory=dict)
    """Version to why some of what is reviewed has no reasons."""
    removed: int = 0
    """Segments that were folded long ago, and are gone now."""
    is_alone: bool = True
    """False when other processes fold too, and this one left segments to them."""


@dataclass(frozen=True)
class Segment:
    """One piece of the log, and where it lies."""

    environment: str
    name: str
    size: int
    changed: datetime
    path: Path | None
    """In the home; None for one that is in the store alone."""
    is_uploaded: bool = False

    @property
    def place(self) -> str:
        """Environment and name: what it is known by, within its project."""
        return f"{self.environment}/{self.name}"


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

    def __init__(  # noqa: PLR0913 - from where, how and whereto, by name
        self,
        log: Path,
        project: str,
        reference: Callable[[int], Reference],
        tables: Tables,
        database: Database,
        *,
        contract: Contract | None = None,
        uploaded: Objects | None = None,
    ) -> None:
        """`log` is the folder with a folder for each project.

        `contract` says what is explained, and what of a request is checked; `uploaded` is the
        store that has what other homes wrote.
        """
        self._log = log / project
        self._project = project
        self._reference = reference
        self._tables = tables
        self._database = database
        self._reasons = Reasons(None if contract is None else contract.review)
        self._checks = Checks(contract)
        self._uploaded = None if uploaded is None or uploaded.is_below(log.parent) else uploaded
        self._holder = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"

    def __call__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Folded:
        """Fold what is new. `clock` is the real time, by which leases run out."""
        done = Folded()
        self._reasons.forget()
        done.unexplained = self._reasons.unexplained
        ends = self._ends()
        segments = self._segments()
        for segment in segments:
            if segment.size > ends.get(self._key(segment), 0):
                self._share(segment, done, clock)
        if done.segments:
            # A look every ten seconds would leave thousands of small files behind in a day.
            for key in (table(self._project), labels.table(self._project)):
                self._tables.compact(key)
        spans.close(self._database, self._project, clock(), hours.OF_OUTCOMES)
        for segment in segments:
            if clock() - segment.changed > KEPT:
                done.removed += self._remove(segment, ends.get(self._key(segment), 0))
        return done

    def waiting(self) -> Waiting:
        """Return what of the log is not folded; right after a fold, what it could not fold."""
        ends = self._ends()
        left = {one: one.size - ends.get(self._key(one), 0) for one in self._segments()}
        behind = {one: size for one, size in left.items() if size > 0}
        since = min((one.changed.timestamp() for one in behind), default=None)
        return Waiting(sum(behind.values()), since)

    def _share(self, segment: Segment, done: Folded, clock: Callable[[], datetime]) -> None:
        """Fold one segment, unless another process does."""
        lease = f"fold/{self._key(segment)}"

        def take() -> bool:
            return self._database.take_lease(
                lease, self._holder, now=clock(), seconds=LEASE_SECONDS
            )

        if not take():
            done.is_alone = False
            return
        before = done.predictions + done.labels + done.errors
        try:
            source = self._source(segment)
            while source is not None and self._stretch(segment, source, done) and take():
                pass
        except (UnknownVersionError, BundleRefusedError, MonitoringError) as error:
            done.held[self._key(segment)] = str(error)
        finally:
            self._database.give_lease(lease, self._holder)
        done.segments += done.predictions + done.labels + done.errors > before

    def _key(self, segment: Segment) -> str:
        return f"{self._project}/{segment.place}"

    def _ends(self) -> dict[str, int]:
        """Return how far each segment is in the counts."""
        query = select(folded.c.segment, folded.c.offset)
        with self._database.read() as connection:
            return {row.segment: row.offset for row in connection.execute(query)}

    def _segments(self) -> list[Segment]:
        """Return every segment there is, oldest first."""
        found: dict[str, Segment] = {}
        for path in self._log.glob("*/*.log"):
            if NAME.fullmatch(path.parent.name) and SEGMENT.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):  # it has just been uploaded
                    about = path.stat()
                    changed = datetime.fromtimestamp(about.st_mtime, UTC)
                    one = Segment(path.parent.name, path.name, about.st_size, changed, path)
                    found[one.place] = one
        # The store is asked second: what goes there meanwhile is seen twice rather than never.
        entries = {} if self._uploaded is None else self._uploaded.entries(f"log/{self._project}")
        for key, (size, changed) in entries.items():
            *_, environment, name = key.split("/")
            if key.count("/") == 3 and NAME.fullmatch(environment) and SEGMENT.fullmatch(name):
                one = Segment(environment, name, size, changed, None, is_uploaded=True)
                here = found.get(one.place)
                found[one.place] = one if here is None else replace(here, is_uploaded=True)
        return sorted(found.values(), key=lambda one: (one.environment, _began(one), one.name))

    def _source(self, segment: Segment) -> Path | bytes | None:
        """Return where to read a segment: its file, or its bytes where it is in the store."""
        if segment.path is not None and segment.path.exists():
            return segment.path
        if self._uploaded is None:
            return None
        return self._uploaded.find(upload.key(self._project, segment.environment, segment.name))

    def _remove(self, segment: Segment, end: int) -> bool:
        """Remove a segment that is folded whole and grows no more, wherever it lies."""
        if segment.path is not None:
            with contextlib.suppress(FileNotFoundError), final(segment.path) as is_final:
                if not is_final or next(read_frames(segment.path, end), None) is not None:
                    return False
                if is_damaged(segment.path.read_bytes(), end):
                    return False
                segment.path.unlink()
        elif end < segment.size:
            return False
        if segment.is_uploaded and self._uploaded is not None:
            self._uploaded.delete(upload.key(self._project, segment.environment, segment.name))
        return True

    def _stretch(self, segment: Segment, source: Path | bytes, done: Folded) -> bool:
        """Fold what follows the last offset of one segment; False when there was nothing."""
        name = self._key(segment)
        with self._database.read() as connection:
            start = _offset(connection, name)
        try:
            frames = read_frames(source, start)
            with of_a_server():
                first = next(frames, None)
        except FileNotFoundError:  # it has just been uploaded: the next fold reads it there
            return False
        if first is None:
            self._end(segment, source, start, done)
            return False
        ahead = self._ahead(name, start)
        stretch = gather(chain([first], frames), start, ahead)
        # A log that was cut back after it was read holds less than the tables, which are right.
        end = max(stretch.end, ahead or 0)
        try:
            rows, cells = self._write(stretch, segment, name, (start, end))
        except OvertakenError:
            return True  # someone faster folds it: look again at what is left
        with self._database.begin() as connection:
            if _offset(connection, name) != start:
                return True
            hours.add(connection, self._project, cells)
            _move(connection, name, start, end)
        done.predictions += 0 if rows is None else len(rows)
        done.labels += len(stretch.labels)
        done.errors += stretch.errors.total()
        done.implausible += 0 if rows is None else int((~rows["plausible"]).sum())
        return True

    def _end(self, segment: Segment, source: Path | bytes, start: int, done: Folded) -> None:
        """Settle an uploaded segment that has no more whole frame, and something behind the last.

        Torn where its writer was killed, it would be fetched again and again.
        """
        name = self._key(segment)
        if not isinstance(source, bytes) or start >= len(source):
            return
        if is_damaged(source, start):
            done.held[name] = (
                f"It is damaged after byte {start:,}, and what follows cannot be read. It is kept: "
                "restore it from a backup, or move it away."
            )
            return
        with self._database.begin() as connection:
            if _offset(connection, name) == start:
                _move(connection, name, start, len(source))

    def _write(
        self, stretch: Stretch, segment: Segment, name: str, span: tuple[int, int]
    ) -> tuple[pl.DataFrame | None, dict[hours.Cell, hours.Counts]]:
        """Append a stretch to the tables, and return its rows and counts."""
        start, end = span
        while True:
            schema = self._schema()
            rows, cells = self._rows(stretch, segment.environment, schema)
            try:
                if rows is not None:
                    self._tables.write(
                        table(self._project), rows, transaction=(name, end), after=start
                    )
                break
            except StoreError:
                if self._schema() == schema:
                    raise
                # Another folder has just given one of our columns another type.
        if stretch.labels:
            outcomes = labels.outcomes(stretch, name)
            key = labels.table(self._project)
            self._tables.write(key, outcomes, transaction=(name, end), after=start)
        return rows, cells

    def _schema(self) -> pl.Schema:
        key = table(self._project)
        return self._tables.scan(key).collect_schema() if self._tables.exists(key) else pl.Schema()

    def _ahead(self, name: str, start: int) -> int | None:
        """Return where the stretch ends that a table has and the counts have not, after a kill.

        Two folders at once may have left the tables at different ends: the nearer one first.
        """
        tables = (table(self._project), labels.table(self._project))
        reached = [self._tables.transaction(name, key) or 0 for key in tables]
        return min((end for end in reached if end > start), default=None)

    def _rows(
        self, stretch: Stretch, environment: str, schema: pl.Schema
    ) -> tuple[pl.DataFrame | None, dict[hours.Cell, hours.Counts]]:
        """Return a stretch as rows of the table that has `schema`, and counted."""
        cells = hours.of_service(stretch, environment)
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
            failing = self._checks(found, reference.signature, place)
            for cell, counted in [*counts.items(), *reasoned.cells.items(), *failing.items()]:
                cells[cell] = hours.plus(cells.get(cell), counted)
        return pl.concat(frames, how="diagonal") if frames else None, cells


def _began(segment: Segment) -> int:
    return int(segment.name.partition("-")[0])


def _offset(connection: Connection, segment: str) -> int:
    query = select(folded.c.offset).where(folded.c.segment == segment)
    return connection.execute(query).scalar_one_or_none() or 0


def _move(connection: Connection, segment: str, start: int, end: int) -> None:
    if start == 0:
        connection.execute(folded.insert().values(segment=segment, offset=end))
    else:
        mine = folded.update().where(folded.c.segment == segment)
        connection.execute(mine.values(offset=end))
