"""Counts by the hour: what drift and service figures are sums of.

One row for each environment, version, hour and column. Inputs and outputs go by the hour of the
event, latencies and errors by the hour of arrival; `slice` says which of these a row is.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from sqlalchemy import Connection, bindparam, func, select

from loopline.counts.kernel import ColumnCounts, count_arrays
from loopline.model.signature import outputs
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import Stretch, Typed
from loopline.monitoring.windows import HOUR, Window
from loopline.store.database import Database, counts

INPUT, OUTPUT, LATENCY, ERRORS, APART = "input", "output", "latency", "errors", "apart"
"""Slices. `apart` counts predictions whose event is implausibly far from their arrival."""


class Cell(NamedTuple):
    """What one row of counts is about."""

    environment: str
    version: int
    hour: int
    column: str
    slice: str


Counts = ColumnCounts | Counter[str]
"""A column's cells; or, for errors and what is apart, plain numbers by name."""


def plus(before: Counts | None, more: Counts) -> Counts:
    """Return the sum of two counts of the same kind."""
    if before is None:
        return more
    if isinstance(before, Counter):
        assert isinstance(more, Counter)  # noqa: S101 - a slice holds one kind
        return before + more
    assert not isinstance(more, Counter)  # noqa: S101
    return before + more


def of_predictions(
    typed: Typed, reference: Reference, place: tuple[str, int]
) -> dict[Cell, Counts]:
    """Count inputs and outputs by the hour of the event, in the cells of the reference.

    `place` is environment and version.
    """
    found: dict[Cell, Counts] = {}
    profile = reference.profile
    kinds = {
        INPUT: {name: typed.columns[name] for name in watched(reference)},
        OUTPUT: outputs(reference.signature, typed.scores),
    }
    plausible = np.flatnonzero(typed.is_plausible)
    for hour, rows in _by_hour(typed.hours, plausible):
        for kind, columns in kinds.items():
            here = {name: values[rows] for name, values in columns.items()}
            for name, counted in count_arrays(here, like=profile).columns.items():
                found[Cell(*place, hour, name, kind)] = counted
    apart = np.flatnonzero(~typed.is_plausible)
    for hour, rows in _by_hour(typed.arrival_hours, apart):
        found[Cell(*place, hour, "", APART)] = Counter(rows=len(rows))
    return found


def of_service(stretch: Stretch, environment: str) -> dict[Cell, Counts]:
    """Count latencies and errors by the hour of arrival."""
    found: dict[Cell, Counts] = {}
    for (version, hour), seconds in stretch.latencies.items():
        counted = count_arrays({LATENCY: np.asarray(seconds)}, like=None)
        found[Cell(environment, version, hour, "", LATENCY)] = counted.columns[LATENCY]
    errors: dict[Cell, Counter[str]] = {}
    for (version, hour, kind), number in stretch.errors.items():
        errors.setdefault(Cell(environment, version, hour, "", ERRORS), Counter())[kind] += number
    return {**found, **errors}


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


def _by_hour(hours: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each hour and which of `rows` lie in it, in their order."""
    if len(rows) == 0:
        return
    order = rows[np.argsort(hours[rows], kind="stable")]
    begins = np.flatnonzero(np.diff(hours[order], prepend=hours[order[0]] - 1))
    for places in np.split(order, begins[1:]):
        yield int(hours[places[0]]), places


def add(connection: Connection, project: str, cells: Mapping[Cell, Counts]) -> None:
    """Add counts to those stored, in the write transaction of `connection`."""
    known = _stored(connection, project, cells)
    new, changed = [], []
    for cell, counted in cells.items():
        before = known.get(cell)
        total = counted if before is None else plus(_decode(cell.slice, before), counted)
        row = {"b_project": project, **{f"b_{k}": v for k, v in cell._asdict().items()}}
        row |= {"b_hour": cell.hour * HOUR, "b_payload": _encode(total)}
        (new if before is None else changed).append(row)
    names = ("project", *Cell._fields)
    if new:
        values = {name: bindparam(f"b_{name}") for name in (*names, "payload")}
        connection.execute(counts.insert().values(values), new)
    if changed:
        mine = [counts.c[name] == bindparam(f"b_{name}") for name in names]
        connection.execute(
            counts.update().where(*mine).values(payload=bindparam("b_payload")), changed
        )


def _stored(
    connection: Connection, project: str, cells: Mapping[Cell, Counts]
) -> dict[Cell, bytes]:
    """Return what is stored for `cells`; looks only at the hours they span, place by place."""
    spans: dict[tuple[str, int], list[int]] = {}
    for cell in cells:
        spans.setdefault((cell.environment, cell.version), []).append(cell.hour)
    found: dict[Cell, bytes] = {}
    for (environment, version), hours in spans.items():
        window = Window(min(hours), max(hours) + 1)
        rows = _rows(connection, project, environment, version, window)
        found |= {cell: payload for cell, payload in rows if cell in cells}
    return found


def total(
    database: Database, project: str, environment: str, version: int, window: Window
) -> dict[tuple[str, str], Counts]:
    """Return the sum over a window, by slice and column."""
    found: dict[tuple[str, str], Counts] = {}
    with database.read() as connection:
        for cell, payload in _rows(connection, project, environment, version, window):
            key = (cell.slice, cell.column)
            found[key] = plus(found.get(key), _decode(cell.slice, payload))
    return found


def first_hour(database: Database, project: str, environment: str, version: int) -> int | None:
    """Return the hour of a version's first event in an environment."""
    query = select(func.min(counts.c.hour)).where(
        counts.c.project == project,
        counts.c.environment == environment,
        counts.c.version == version,
        counts.c.slice == OUTPUT,
    )
    with database.read() as connection:
        first = connection.execute(query).scalar_one()
    return None if first is None else int(first) // HOUR


def _rows(
    connection: Connection, project: str, environment: str, version: int, window: Window
) -> Iterator[tuple[Cell, bytes]]:
    query = select(counts).where(
        counts.c.project == project,
        counts.c.environment == environment,
        counts.c.version == version,
        counts.c.hour >= window.first * HOUR,
        counts.c.hour < window.last * HOUR,
    )
    for row in connection.execute(query.order_by(counts.c.hour)):
        yield (
            Cell(row.environment, row.version, row.hour // HOUR, row.column, row.slice),
            row.payload,
        )


def _encode(counted: Counts) -> bytes:
    if isinstance(counted, Counter):
        return msgspec.json.encode(dict(sorted(counted.items())))
    return counted.to_bytes()


def _decode(kind: str, payload: bytes) -> Counts:
    if kind in (ERRORS, APART):
        return Counter(msgspec.json.decode(payload, type=dict[str, int]))
    return ColumnCounts.from_bytes(payload)
