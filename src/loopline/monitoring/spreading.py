"""Stretches of the log where a cluster works on them: segments in, counts out.

An executor reads a segment, appends its rows to the tables and counts them, by the same writer as
one process alone. It has neither database nor keys: the references of versions are sent along, and
who sent the segments holds their leases and adds the counts. What an original or a network explains
has no reasons there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loopline.contract.schema import Contract
from loopline.errors import MonitoringError, StoreError
from loopline.monitoring.reference import Reference
from loopline.monitoring.stretches import Segment, Writer, Written
from loopline.serving import upload
from loopline.store.objects import Objects
from loopline.store.tables import OvertakenError, Tables


@dataclass(frozen=True)
class Told:
    """What came of one segment; nothing of it all where another process was faster."""

    written: Written | None = None
    needs: int | None = None
    """A version whose reference has to be sent along."""
    held: str | None = None
    """Why it waits."""


class _NeedsError(Exception):
    """A reference was not sent along."""

    def __init__(self, version: int) -> None:
        self.version = version


@dataclass(frozen=True)
class Spread:
    """Writes and counts stretches, wherever it is opened."""

    project: str
    contract: Contract | None
    tables: str
    """Where the tables lie."""
    store: str | None
    """Where segments lie that other homes wrote."""
    known: dict[int, Reference]

    @contextmanager
    def open(self) -> Iterator[Callable[[tuple[Segment, int]], Told]]:
        """Return what does a segment from an offset on."""
        tables = Tables(Objects(self.tables))
        yield partial(self._do, Writer(self.project, self._reference, tables, self.contract))

    def _reference(self, version: int) -> Reference:
        if version not in self.known:
            raise _NeedsError(version)
        return self.known[version]

    def _do(self, write: Writer, item: tuple[Segment, int]) -> Told:
        segment, start = item
        try:
            return Told(write(segment, self._source(segment), start))
        except (OvertakenError, FileNotFoundError):  # or it is on its way to the store
            return Told()
        except _NeedsError as missing:
            return Told(needs=missing.version)
        except MonitoringError as error:
            return Told(held=str(error))

    def _source(self, segment: Segment) -> Path | bytes:
        if segment.path is not None and segment.path.exists():
            return segment.path
        found = None
        if self.store is not None:
            key = upload.key(self.project, segment.environment, segment.name)
            found = Objects(self.store).find(key)
        if found is None:
            raise StoreError(f"There is no segment {segment.path or segment.place}.")
        return found
