"""Counts by the hour: what drift and service figures are sums of.

One row for each environment, version, hour and column. Inputs and outputs go by the hour of the
event, latencies and errors by the hour of arrival; `slice` says which of these a row is.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from sqlalchemy import Connection, Select, bindparam, select

from loopline.counts import pairs
from loopline.counts.groups import count_groups
from loopline.counts.kernel import ColumnCounts, count_column
from loopline.counts.pairs import PairCounts
from loopline.evaluation.expectation import group
from loopline.model.signature import outputs
from loopline.monitoring import spans, stored
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import Stretch, Typed
from loopline.monitoring.windows import HOUR, Window
from loopline.store.database import Database, counts

INPUT, OUTPUT, ROWS, LATENCY, ERRORS = "input", "output", "rows", "latency", "errors"
NOTES, GROUPS, IMPORTANCE = "notes", "groups", "importance"
CHECKS, PAIR = "checks", "pair"
"""Slices. `rows` counts predictions: `whole` by the hour of the event, and by the hour of arrival
those `apart`, whose event is implausibly far from it. `pair` is of two inputs together. `notes` is
what servers say of themselves, `groups` how many predictions fell into each group whose errors are
known from validation rows."""
SCORED = "scored "
"""Slices that begin so are of known outcomes: cells of the probability (folded) by truth and
answer, of several classes for each of them against the rest; or of a regression's errors."""
ANSWERED = "answered"
"""The slice of known outcomes by truth, answer and the value of a column: plain numbers."""
_APART = 24
"""Hours that lie further from each other are looked up on their own."""
_TOLD = frozenset({ERRORS, ROWS, NOTES, GROUPS, IMPORTANCE, CHECKS, ANSWERED})
"""Slices that are plain numbers by name."""
_PLAIN = ColumnCounts("number")
"""The grid of latencies: no offset, whichever hour comes first."""
OF_OUTCOMES = counts.c.slice.startswith(SCORED) | (counts.c.slice == ANSWERED)
"""Which rows in the database are of known outcomes."""


def is_outcome(slice_: str) -> bool:
    """Return whether a slice is of known outcomes."""
    return slice_ == ANSWERED or slice_.startswith(SCORED)


class Cell(NamedTuple):
    """What one row of counts is about."""

    environment: str
    version: int
    hour: int
    column: str
    slice: str


_MINE = [counts.c[name] == bindparam(f"the_{name}") for name in ("project", *Cell._fields)]
Counts = ColumnCounts | Counter[str] | PairCounts
"""A column's cells, or those of two together; or, for errors and what is apart, plain numbers by
name."""
_Key = TypeVar("_Key")


def plus(before: Counts | None, more: Counts) -> Counts:
    """Return the sum of two counts of the same kind."""
    if before is None:
        return more
    if isinstance(before, Counter):
        assert isinstance(more, Counter)  # noqa: S101 - a slice holds one kind
        return before + more
    if isinstance(before, PairCounts):
        assert isinstance(more, PairCounts)  # noqa: S101
        return before + more
    assert isinstance(more, ColumnCounts)  # noqa: S101
    return before + more


def gather(cells: dict[_Key, Counts], more: Mapping[_Key, Counts]) -> None:
    """Add counts to those in `cells`."""
    for cell, counted in more.items():
        cells[cell] = plus(cells.get(cell), counted)


def of_predictions(
    typed: Typed, reference: Reference, place: tuple[str, int]
) -> dict[Cell, Counts]:
    """Count inputs and outputs by the hour of the event, in the cells of the reference.

    `place` is environment and version.
    """
    found: dict[Cell, Counts] = {}
    plausible = np.flatnonzero(typed.is_plausible)
    hours, groups = np.unique(typed.hours[plausible], return_inverse=True)
    profile = reference.profile.columns
    columns = {(INPUT, name): typed.columns[name] for name in watched(reference)}
    for name, scores in outputs(reference.signature, typed.scores).items():
        if name in profile:
            columns[OUTPUT, name] = scores
    for (kind, name), values in columns.items():
        counted = count_groups(values[plausible], groups, len(hours), profile[name])
        for hour, here in zip(hours.tolist(), counted, strict=True):
            found[Cell(*place, hour, name, kind)] = here
    for pair, like in reference.pairs.items():
        first, second = (typed.columns[name][plausible] for name in pair)
        together = pairs.count_groups(first, second, groups, len(hours), like.grids)
        for hour, both in zip(hours.tolist(), together, strict=True):
            found[Cell(*place, hour, pairs.spelled(pair), PAIR)] = both
    for hour, rows in zip(hours.tolist(), np.bincount(groups).tolist(), strict=True):
        found[Cell(*place, hour, "", ROWS)] = Counter(whole=rows)
    expected = reference.expectation
    if expected is not None and expected.has_groups and len(plausible):
        fell = group(expected, reference.signature, typed.columns, typed.scores)[plausible]
        both_groups = Counter(zip(groups.tolist(), fell.tolist(), strict=True))
        for (group_of_hour, number), rows in both_groups.items():
            cell = Cell(*place, int(hours[group_of_hour]), "", GROUPS)
            found[cell] = plus(found.get(cell), Counter({str(number): rows}))
    for hour, rows in Counter(typed.arrival_hours[~typed.is_plausible].tolist()).items():
        cell = Cell(*place, hour, "", ROWS)
        found[cell] = plus(found.get(cell), Counter(apart=rows))
    return found


def of_service(stretch: Stretch, environment: str) -> dict[Cell, Counts]:
    """Count latencies and errors by the hour of arrival."""
    found: dict[Cell, Counts] = {}
    for (version, hour), seconds in stretch.latencies.items():
        counted = count_column(np.asarray(seconds), _PLAIN)
        found[Cell(environment, version, hour, "", LATENCY)] = counted
    named: dict[Cell, Counter[str]] = {}
    for slice_, told in ((ERRORS, stretch.errors), (NOTES, stretch.notes)):
        for (version, hour, kind), number in told.items():
            cell = Cell(environment, version, hour, "", slice_)
            named.setdefault(cell, Counter())[kind] += number
    return {**found, **named}


def watched(reference: Reference) -> list[str]:
    """Return the logged inputs that can drift: not those that are new with every row."""
    signature, profile = reference.signature, reference.profile
    return [
        column.name
        for column in signature.inputs
        if column.logged
        and column.type not in ("text", "time")
        and column.name not in (signature.key, signature.time)
        and column.name in profile.columns
    ]


def add(connection: Connection, project: str, cells: Mapping[Cell, Counts]) -> None:
    """Add counts to those stored, in the write transaction of `connection`."""
    known = _stored(connection, project, cells, outcomes=False)
    known |= _stored(connection, project, cells, outcomes=True)
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for cell, counted in cells.items():
        row = {"project": project, **cell._asdict(), "hour": cell.hour * HOUR}
        before = known.get(cell)
        if before is None:
            new.append({**row, "payload": stored.encode(counted)})
        else:
            after = plus(decode(cell.slice, before), counted)
            changed.append({**_named(project, cell), "payload": stored.encode(after)})
    if new:
        connection.execute(counts.insert(), new)
    if changed:
        connection.execute(counts.update().where(*_MINE), changed)
    lasting = {cell: more for cell, more in cells.items() if not is_outcome(cell.slice)}
    spans.add(connection, project, lasting)


def _stored(
    connection: Connection, project: str, cells: Mapping[Cell, Counts], *, outcomes: bool
) -> dict[Cell, bytes]:
    """Return what is stored for `cells`; looks only at the hours they span, place by place."""
    places: dict[tuple[str, int], set[int]] = {}
    for cell in cells:
        if is_outcome(cell.slice) is not outcomes:
            continue
        places.setdefault((cell.environment, cell.version), set()).add(cell.hour)
    found: dict[Cell, bytes] = {}
    for place, hours in places.items():
        for window in _runs(hours):
            rows = _rows(connection, project, place, window, outcomes=outcomes)
            found |= {cell: payload for cell, payload in rows if cell in cells}
    return found


def _runs(hours: set[int]) -> Iterator[Window]:
    """Yield windows that hold these hours: one that came late has not all since then read."""
    ordered = sorted(hours)
    begin = 0
    for place, hour in enumerate(ordered):
        if place + 1 == len(ordered) or ordered[place + 1] - hour > _APART:
            yield Window(ordered[begin], hour + 1)
            begin = place + 1


def move(
    connection: Connection,
    project: str,
    removed: Mapping[Cell, Counts],
    added: Mapping[Cell, Counts],
) -> None:
    """Take counts away from those stored and add others, in the write transaction given.

    What comes to nothing is not kept, so that the same outcomes leave the same rows.
    """
    add(connection, project, added)
    known = _stored(connection, project, removed, outcomes=True)
    gone: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for cell, counted in removed.items():
        left = _less(decode(cell.slice, known[cell]), counted)
        row = _named(project, cell)
        if left is None:
            gone.append(row)
        else:
            changed.append({**row, "payload": stored.encode(left)})
    if gone:
        connection.execute(counts.delete().where(*_MINE), gone)
    if changed:
        connection.execute(counts.update().where(*_MINE), changed)


def _named(project: str, cell: Cell) -> dict[str, Any]:
    """Return which row a cell is, as `_MINE` asks for it."""
    row = {"project": project, **cell._asdict(), "hour": cell.hour * HOUR}
    return {f"the_{name}": value for name, value in row.items()}


def _less(before: Counts, fewer: Counts) -> Counts | None:
    """Return `before` without `fewer`; None where nothing is left."""
    if isinstance(before, Counter):
        assert isinstance(fewer, Counter)  # noqa: S101 - a slice holds one kind
        left = before - fewer
        return left or None
    assert isinstance(before, ColumnCounts)  # noqa: S101 - no outcome is of two columns
    assert isinstance(fewer, ColumnCounts)  # noqa: S101
    numbers = before.counts.copy()
    numbers[np.searchsorted(before.cells, fewer.cells)] -= fewer.counts
    kept = numbers > 0
    if not kept.any():
        return None
    return replace(before, cells=before.cells[kept], counts=numbers[kept])


def total(
    database: Database,
    project: str,
    environment: str,
    version: int,
    window: Window,
    *,
    outcomes: bool = False,
) -> dict[tuple[str, str], Counts]:
    """Return the sum over a window, by slice and column; of known outcomes, or of all else."""
    place = (environment, version)
    with database.read() as connection:
        if outcomes:
            found: spans.Payloads = {}
            for cell, payload in _rows(connection, project, place, window, outcomes=True):
                found.setdefault((cell.slice, cell.column), []).append(payload)
        else:
            found = spans.read(connection, project, place, window, OF_OUTCOMES)
    return {key: stored.total(payloads) for key, payloads in found.items()}


def series(
    database: Database,
    project: str,
    environment: str,
    version: int,
    window: Window,
    column: tuple[str, str],
) -> dict[int, Counts]:
    """Return one column's counts of each hour of a window that has any; `column` is slice, name."""
    kind, name = column
    query = select(counts.c.hour, counts.c.payload).where(
        counts.c.project == project,
        counts.c.environment == environment,
        counts.c.version == version,
        counts.c.hour >= window.first * HOUR,
        counts.c.hour < window.last * HOUR,
        counts.c.column == name,
        counts.c.slice == kind,
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    return {row.hour // HOUR: decode(kind, row.payload) for row in rows}


def _rows(
    connection: Connection,
    project: str,
    place: tuple[str, int],
    window: Window,
    *,
    outcomes: bool,
) -> Iterator[tuple[Cell, bytes]]:
    query = _within(select(counts), project, place, window, outcomes=outcomes)
    for row in connection.execute(query.order_by(counts.c.hour)):
        yield (
            Cell(row.environment, row.version, row.hour // HOUR, row.column, row.slice),
            row.payload,
        )


def _within(
    query: Select[Any],
    project: str,
    place: tuple[str, int],
    window: Window,
    *,
    outcomes: bool,
) -> Select[Any]:
    return query.where(
        counts.c.project == project,
        counts.c.environment == place[0],
        counts.c.version == place[1],
        counts.c.hour >= window.first * HOUR,
        counts.c.hour < window.last * HOUR,
        OF_OUTCOMES if outcomes else ~OF_OUTCOMES,
    )


def decode(kind: str, payload: bytes) -> Counts:
    """Return what a row of counts of the slice `kind` holds."""
    if kind in _TOLD:
        return Counter(msgspec.json.decode(payload, type=dict[str, int]))
    if kind == PAIR:
        return PairCounts.from_bytes(payload)
    return ColumnCounts.from_bytes(payload)
