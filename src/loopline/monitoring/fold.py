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
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, select

from loopline.compute.base import Compute
from loopline.contract.schema import NAME, Contract
from loopline.errors import BundleRefusedError, MonitoringError, StoreError, UnknownVersionError
from loopline.monitoring import hours, labels, spans
from loopline.monitoring.reference import Reference, travelling
from loopline.monitoring.spreading import Spread
from loopline.monitoring.stretches import Segment, Writer, Written, stored_name, table
from loopline.serving import upload
from loopline.serving.log import SEGMENT, final, is_damaged, read_frames
from loopline.store.database import Database, folded
from loopline.store.objects import Objects
from loopline.store.tables import OvertakenError, Tables

__all__ = ["Fold", "Folded", "Segment", "Waiting", "stored_name", "table"]

LEASE_SECONDS = 30.0
"""After so long without a sign a folder is taken for dead; one that was not does no harm."""
KEPT = timedelta(days=1)
"""How long a segment stays that is folded whole, in case a table has to be restored."""
_ROUNDS = 20
"""How often segments are sent to a cluster in one fold: again for versions that it has not seen,
and where another process was faster. What is left then is left to the next fold."""


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

    @property
    def new(self) -> int:
        """How much was new, of any kind."""
        return self.predictions + self.labels + self.errors


@dataclass(frozen=True)
class Waiting:
    """What of the log is not folded."""

    size: int = 0
    """Bytes."""
    since: float | None = None
    """When the oldest segment of it was written to last, in seconds since 1970."""


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
        compute: Compute | None = None,
    ) -> None:
        """`log` is the folder with a folder for each project.

        `contract` says what is explained, and what of a request is checked; `uploaded` is the
        store that has what other homes wrote. `compute` reads, writes and counts the segments;
        without it this process does, one after another.
        """
        self._log = log / project
        self._project = project
        self._reference = reference
        self._tables = tables
        self._database = database
        self._contract = contract
        self._compute = compute
        self._sent: dict[int, Reference] = {}
        self._write = Writer(project, self._opened, tables, contract)
        self._uploaded = None if uploaded is None or uploaded.is_below(log.parent) else uploaded
        self._holder = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"

    def __call__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Folded:
        """Fold what is new. `clock` is the real time, by which leases run out."""
        done = Folded()
        ends = self._ends()
        segments = self._segments()
        new = [one for one in segments if one.size > ends.get(self._key(one), 0)]
        if self._compute is not None and new:
            self._spread(self._compute, new, done, clock)
        for segment in () if self._compute is not None else new:
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
        if not self._take(segment, clock):
            done.is_alone = False
            return
        before = done.new
        try:
            source = self._source(segment)
            while (
                source is not None
                and self._stretch(segment, source, done)
                and self._take(segment, clock)
            ):
                pass
        except (UnknownVersionError, BundleRefusedError, MonitoringError) as error:
            done.held[self._key(segment)] = str(error)
        finally:
            self._database.give_lease(f"fold/{self._key(segment)}", self._holder)
        done.segments += done.new > before

    def _take(self, segment: Segment, clock: Callable[[], datetime]) -> bool:
        """Take or renew the lease of one segment; False while another process folds it."""
        lease = f"fold/{self._key(segment)}"
        return self._database.take_lease(lease, self._holder, now=clock(), seconds=LEASE_SECONDS)

    def _spread(
        self,
        compute: Compute,
        segments: Sequence[Segment],
        done: Folded,
        clock: Callable[[], datetime],
    ) -> None:
        """Fold segments wherever `compute` runs; their leases are held, and counts added, here."""
        taken = [segment for segment in segments if self._take(segment, clock)]
        done.is_alone &= len(taken) == len(segments)
        new: set[Segment] = set()
        try:
            with self._kept(taken, clock):
                left = taken
                for _ in range(_ROUNDS):
                    left = self._round(compute, left, done, new) if left else []
        finally:
            for segment in taken:
                self._database.give_lease(f"fold/{self._key(segment)}", self._holder)
        done.segments += len(new)

    def _round(
        self,
        compute: Compute,
        segments: Sequence[Segment],
        done: Folded,
        new: set[Segment],
    ) -> list[Segment]:
        """Fold what is left of segments, and return those that have more or must wait."""
        store = None if self._uploaded is None else self._uploaded.url
        work = Spread(self._project, self._contract, self._tables.url, store, self._sent)
        starts = [(segment, self._start(segment)) for segment in segments]
        left = []
        for (segment, start), told in zip(starts, compute.map(work, starts), strict=True):
            before = done.new
            if told.held is not None:
                done.held[self._key(segment)] = told.held
            elif told.needs is not None:
                try:
                    self._send(told.needs, done)
                    left.append(segment)
                except (UnknownVersionError, BundleRefusedError) as error:
                    done.held[self._key(segment)] = str(error)
            elif told.written is None:
                left.append(segment)
            else:
                has_more = self._add(segment, start, told.written, done)
                left += [segment] if has_more and told.written.end < segment.size else []
            if done.new > before:
                new.add(segment)
        return left

    @contextlib.contextmanager
    def _kept(self, segments: Sequence[Segment], clock: Callable[[], datetime]) -> Iterator[None]:
        """Renew the leases of segments meanwhile: a cluster takes its time."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(LEASE_SECONDS / 3):
                for segment in segments:
                    with contextlib.suppress(StoreError):  # one that is away is asked again
                        self._take(segment, clock)

        renewing = threading.Thread(target=renew, name="leases", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()

    def _send(self, version: int, done: Folded) -> None:
        """Have a version's reference sent along from now on."""
        if version in self._sent:
            return
        whole = self._reference(version)
        sent = self._sent[version] = travelling(whole)
        if sent is not whole and self._contract is not None and self._contract.review is not None:
            done.unexplained[version] = (
                "it is answered by its original or a network, which no cluster asks for reasons. "
                "Fold without --on spark, or explain one: loopline explain PREDICTION-ID"
            )

    def _opened(self, version: int) -> Reference:
        return self._reference(version)

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
        start = self._start(segment)
        try:
            written = self._write(segment, source, start)
        except FileNotFoundError:  # it has just been uploaded: the next fold reads it there
            return False
        except OvertakenError:
            return True  # someone faster folds it: look again at what is left
        return self._add(segment, start, written, done)

    def _start(self, segment: Segment) -> int:
        with self._database.read() as connection:
            return _offset(connection, self._key(segment))

    def _add(self, segment: Segment, start: int, written: Written, done: Folded) -> bool:
        """Add the counts of a stretch, unless another did; False when there was nothing."""
        name = self._key(segment)
        if written.end == start:
            self._end(name, written, done)
            return False
        done.unexplained |= written.unexplained
        with self._database.begin() as connection:
            if _offset(connection, name) != start:
                return True
            hours.add(connection, self._project, written.cells)
            _move(connection, name, start, written.end)
        done.predictions += written.predictions
        done.labels += written.labels
        done.errors += written.errors
        done.implausible += written.implausible
        return True

    def _end(self, name: str, written: Written, done: Folded) -> None:
        """Settle an uploaded segment that has no more whole frame, and something behind the last.

        Torn where its writer was killed, it would be fetched again and again.
        """
        if written.size is None or written.end >= written.size:
            return
        if written.is_damaged:
            done.held[name] = (
                f"It is damaged after byte {written.end:,}, and what follows cannot be read. It is "
                "kept: restore it from a backup, or move it away."
            )
            return
        with self._database.begin() as connection:
            if _offset(connection, name) == written.end:
                _move(connection, name, written.end, written.size)


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
