"""One stretch of a segment: into the tables, and into counts that are yet to be added.

It needs no database, so it runs wherever segments and tables are reached. An append names the
segment and where the stretch ends: a table that has it refuses it, and whoever does the stretch
again gets the same counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path

import polars as pl

from loopline.contract.schema import Contract
from loopline.errors import StoreError
from loopline.monitoring import hours, labels
from loopline.monitoring.drivers import Reasons
from loopline.monitoring.quality import Checks
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import OWN, Stretch, gather, of_a_server, typed
from loopline.serving.log import is_damaged, read_frames
from loopline.store.tables import Tables

_SUFFIXES = {pl.Float64: "number", pl.Boolean: "boolean", pl.String: "text"}


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
class Written:
    """What a stretch came to: its rows are in the tables, its counts are to be added."""

    end: int
    """Where it ends in the segment; where it began, when there was nothing new."""
    cells: dict[hours.Cell, hours.Counts]
    predictions: int = 0
    labels: int = 0
    errors: int = 0
    implausible: int = 0
    unexplained: dict[int, str] = field(default_factory=dict)
    """Version to why some of what is reviewed has no reasons."""
    size: int | None = None
    """Of nothing new in a segment that was read from the store: its bytes."""
    is_damaged: bool = False
    """Of nothing new: whether what follows cannot be read."""


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


class Writer:
    """Writes the stretches of one project's log into its tables, and counts them."""

    def __init__(
        self,
        project: str,
        reference: Callable[[int], Reference],
        tables: Tables,
        contract: Contract | None,
    ) -> None:
        """`contract` says what is explained, and what of a request is checked."""
        self._project = project
        self._reference = reference
        self._tables = tables
        self._reasons = Reasons(None if contract is None else contract.review)
        self._checks = Checks(contract)

    def __call__(self, segment: Segment, source: Path | bytes, start: int) -> Written:
        """Write and count what follows `start` in a segment, whose bytes are in `source`.

        Raises:
            FileNotFoundError: the file has gone, to the store.
            OvertakenError: another process is on the way.
            MonitoringError: a frame is none that a server wrote, or does not fit its version.
        """
        name = f"{self._project}/{segment.place}"
        self._reasons.forget()
        frames = read_frames(source, start)
        with of_a_server():
            first = next(frames, None)
        if first is None:
            if not isinstance(source, bytes):
                return Written(start, {})
            return Written(start, {}, size=len(source), is_damaged=is_damaged(source, start))
        ahead = self._ahead(name, start)
        stretch = gather(chain([first], frames), start, ahead)
        # A log that was cut back after it was read holds less than the tables, which are right.
        end = max(stretch.end, ahead or 0)
        rows, cells = self._write(stretch, segment, name, (start, end))
        return Written(
            end,
            cells,
            0 if rows is None else len(rows),
            len(stretch.labels),
            stretch.errors.total(),
            0 if rows is None else int((~rows["plausible"]).sum()),
            self._reasons.unexplained,
        )

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
            for counted in (counts, reasoned.cells, failing):
                hours.gather(cells, counted)
        return pl.concat(frames, how="diagonal") if frames else None, cells
