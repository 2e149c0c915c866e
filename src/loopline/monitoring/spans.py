"""Counts of six hours, a day and a week in one row each: what a month is a sum of.

A span that is over is summed up once; the hours stay, and are the truth. What comes late is added
to its hour and to its spans in one transaction, so that a span is always the sum of its hours. A
month of fifty columns is then a dozen such rows and a few hours at its two ends, and not 36,000
rows.

Of each span that has counts there is a row from the first of them on; until the span is closed it
holds nothing, and says only that there is something to close.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, select

from loopline.monitoring import stored
from loopline.monitoring.windows import HOUR, Window, microseconds
from loopline.store.database import Database, counts, spans

if TYPE_CHECKING:
    from loopline.monitoring.hours import Cell, Counts

LENGTHS = (168, 24, 6)
"""In hours: each is whole ones of the next."""
SETTLED = timedelta(hours=1)
"""How long after its end a span is left open: most of what comes late has come by then."""
AT_ONCE = 32
"""Spans closed by one call: a log that was never summed up holds no look up for minutes."""

Payloads = dict[tuple[str, str], list[bytes]]
"""Slice and column to what was stored of it."""


class Span(NamedTuple):
    """What one row is about."""

    environment: str
    version: int
    hours: int
    """How long it is."""
    first: int
    """Its first hour, in hours since 1970."""

    @property
    def window(self) -> Window:
        """Its hours."""
        return Window(self.first, self.first + self.hours)


def of(cell: "Cell") -> list[Span]:
    """Return the spans that a cell lies in."""
    place = (cell.environment, cell.version)
    return [Span(*place, length, cell.hour - cell.hour % length) for length in LENGTHS]


def add(connection: Connection, project: str, cells: Mapping["Cell", "Counts"]) -> None:
    """Add counts to the spans that are closed, and note those that are not.

    In the write transaction that adds the same to the hours.
    """
    more: dict[Span, dict[Cell, Counts]] = {}
    for cell, counted in cells.items():
        for span in of(cell):
            more.setdefault(span, {})[cell] = counted
    new, changed = [], []
    for span, late in more.items():
        row = _row(project, span)
        found = connection.execute(select(spans.c.payload).where(*_is(row))).first()
        if found is None:
            new.append({**row, "payload": None})
        elif found.payload is not None:
            payloads = _gather({}, found.payload)
            for cell, counted in late.items():
                known = payloads.setdefault((cell.slice, cell.column), [])
                known.append(stored.encode(counted))
            mine = {f"the_{name}": value for name, value in row.items()}
            changed.append({**mine, "payload": _encode(payloads)})
    if new:
        connection.execute(spans.insert(), new)
    if changed:
        is_mine = [column == bindparam(f"the_{column.name}") for column in spans.primary_key]
        connection.execute(spans.update().where(*is_mine), changed)


def close(database: Database, project: str, now: datetime, outcomes: ColumnElement[bool]) -> int:
    """Sum up spans that are over; return how many. Short ones come first, and the newest of them.

    `outcomes` are the rows that are in no span. Whoever else closes meanwhile does no harm.
    """
    end = microseconds(now - SETTLED)
    query = (
        select(spans.c.environment, spans.c.version, spans.c.hours, spans.c.start)
        .where(spans.c.project == project, spans.c.payload.is_(None))
        .where(spans.c.start <= end - spans.c.hours * HOUR)
        .order_by(spans.c.hours, spans.c.start.desc())
        .limit(AT_ONCE)
    )
    with database.read() as connection:
        ended = connection.execute(query).all()
    for environment, version, length, start in ended:
        # One transaction each: whoever folds waits for a few milliseconds.
        _close(database, project, Span(environment, version, length, start // HOUR), outcomes)
    return len(ended)


def read(
    connection: Connection,
    project: str,
    place: tuple[str, int],
    window: Window,
    outcomes: ColumnElement[bool],
    *,
    below: int | None = None,
) -> Payloads:
    """Return what is stored of a window, but for outcomes: closed spans whole, and hours between.

    Args:
        connection: of one consistent state.
        project: whose predictions.
        place: environment and version.
        window: the hours.
        outcomes: rows to leave out.
        below: only spans shorter than so many hours.
    """
    payloads: Payloads = {}
    left = [window]
    for length in LENGTHS:
        if below is None or length < below:
            left = list(_of_length(connection, project, place, left, length, payloads))
    for hours in left:
        query = select(counts.c.slice, counts.c.column, counts.c.payload).where(
            counts.c.project == project,
            counts.c.environment == place[0],
            counts.c.version == place[1],
            counts.c.hour >= hours.first * HOUR,
            counts.c.hour < hours.last * HOUR,
            ~outcomes,
        )
        for slice_, column, payload in connection.execute(query):
            payloads.setdefault((slice_, column), []).append(payload)
    return payloads


def _of_length(
    connection: Connection,
    project: str,
    place: tuple[str, int],
    windows: Iterable[Window],
    length: int,
    payloads: Payloads,
) -> Iterator[Window]:
    """Add the closed spans of one length within `windows`; yield what they leave of these."""
    for window in windows:
        query = select(spans.c.start, spans.c.payload).where(
            spans.c.project == project,
            spans.c.environment == place[0],
            spans.c.version == place[1],
            spans.c.hours == length,
            spans.c.start >= window.first * HOUR,
            spans.c.start <= (window.last - length) * HOUR,
            spans.c.payload.is_not(None),
        )
        at = window.first
        for start, payload in connection.execute(query.order_by(spans.c.start)):
            _gather(payloads, payload)
            if start // HOUR > at:
                yield Window(at, start // HOUR)
            at = start // HOUR + length
        if at < window.last:
            yield Window(at, window.last)


def _close(database: Database, project: str, span: Span, outcomes: ColumnElement[bool]) -> None:
    row, place = _row(project, span), (span.environment, span.version)
    with database.begin() as connection:
        payloads = read(connection, project, place, span.window, outcomes, below=span.hours)
        # Where another folder closed it meanwhile, the sum is the same, with what came late since.
        mine = spans.update().where(*_is(row))
        connection.execute(mine.values(payload=_encode(payloads)))


def _encode(payloads: Payloads) -> bytes:
    """Return the sum of each slice and column, as a row of a span holds it."""
    return msgspec.msgpack.encode(
        [(*key, stored.encode(stored.total(found))) for key, found in sorted(payloads.items())]
    )


def _gather(payloads: Payloads, content: bytes) -> Payloads:
    """Return what is there, and with it what a span's row holds."""
    for slice_, column, payload in msgspec.msgpack.decode(content):
        payloads.setdefault((slice_, column), []).append(payload)
    return payloads


def _row(project: str, span: Span) -> dict[str, Any]:
    row = {"project": project, **span._asdict(), "start": span.first * HOUR}
    del row["first"]
    return row


def _is(row: Mapping[str, Any]) -> list[Any]:
    return [spans.c[name] == value for name, value in row.items()]
