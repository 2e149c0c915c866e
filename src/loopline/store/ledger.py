"""Append-only, hash-chained events: the truth that all state is read from.

Each event's hash covers its own content and the hash before it, so nothing can be changed, left out
or reordered without breaking the chain from there on. Cutting off the end would leave a shorter
chain that holds; therefore the last number and hash are also kept in a small file outside the
database (`heads/PROJECT`), and every release document carries them under its signature.
"""

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, select

from loopline.errors import BrokenLedgerError, StoreError
from loopline.store.database import Database, after_commit, events

FIRST = "0" * 64
"""What the first event has as the hash before it."""

# Built once: building them anew took half of an append.
_LAST = (
    select(events.c.number, events.c.hash)
    .where(events.c.project == bindparam("of"))
    .order_by(events.c.number.desc())
    .limit(1)
)
_ADD = events.insert()


@dataclass(frozen=True)
class Event:
    """One decision or finding: who, when, what, on which evidence."""

    number: int
    """1, 2, 3, ... within the project, without a gap."""
    at: str
    actor: str
    kind: str
    subject: str
    payload: dict[str, Any]
    previous: str
    """The hash of the event before."""
    hash: str


class Ledger:
    """The events of one project."""

    def __init__(
        self, database: Database, project: str, actor: str, heads: Path | None = None
    ) -> None:
        """`heads` is where the last number and hash are kept; by default beside a SQLite file."""
        self.database = database
        self.project = project
        self.actor = actor
        if heads is None and database.folder is not None:
            heads = database.folder / "heads"
        self._head = None if heads is None else heads / project

    def append(
        self,
        kind: str,
        subject: str,
        payload: Any,
        *,
        now: datetime,
        actor: str | None = None,
        connection: Connection | None = None,
    ) -> Event:
        """Add one event and return it.

        `payload` is a record or a dict; NaN and infinities in it become null. With `connection`,
        the event is part of that write transaction (of `database.begin()`); else of its own.
        """
        if connection is None:
            with self.database.begin() as own:
                return self.append(kind, subject, payload, now=now, actor=actor, connection=own)
        last, previous = self.head(connection)
        text = msgspec.json.encode(payload, order="sorted").decode("utf-8")
        row: dict[str, Any] = {
            "project": self.project,
            "number": last + 1,
            "at": iso(now),
            "actor": actor or self.actor,
            "kind": kind,
            "subject": subject,
            "payload": text,
            "previous": previous,
        }
        row["hash"] = _hash(**row)
        connection.execute(_ADD, row)
        after_commit(connection, lambda: self._keep_head(row["number"], row["hash"]))
        return _event(row)

    def events(
        self,
        kinds: Collection[str] = (),
        subject: str | None = None,
        after: int = 0,
        connection: Connection | None = None,
    ) -> list[Event]:
        """Return the events in order; of these kinds, about this, beyond that number.

        With `connection`, those of that transaction are among them.
        """
        query = select(events).where(events.c.project == self.project, events.c.number > after)
        if kinds:
            query = query.where(events.c.kind.in_(list(kinds)))
        if subject is not None:
            query = query.where(events.c.subject == subject)
        with nullcontext(connection) if connection else self.database.read() as reading:
            rows = reading.execute(query.order_by(events.c.number)).mappings().all()
        return [_event(dict(row)) for row in rows]

    def head(self, connection: Connection) -> tuple[int, str]:
        """Return the last event's number and hash; (0, FIRST) when there is none."""
        last = connection.execute(_LAST, {"of": self.project}).first()
        return (0, FIRST) if last is None else (last.number, last.hash)

    def verify(self, anchors: Collection[tuple[int, str]] = ()) -> int:
        """Return how many events were checked, when the chain holds.

        `anchors` are numbers and hashes known from elsewhere that the chain must contain.

        Raises:
            BrokenLedgerError: it does not; names the first broken link and what differs.
        """
        known = dict(anchors)
        if (kept := self._kept_head()) is not None:
            known[kept[0]] = kept[1]
        checked, last = 0, FIRST
        for row in self._rows():
            checked, last = checked + 1, _check(row, checked + 1, last)
            if known.get(checked, last) != last:
                raise BrokenLedgerError(
                    f"Event {checked} is not the one that was recorded: its hash is {last[:12]}, "
                    f"but {known[checked][:12]} is known from outside the database. The chain was "
                    "written anew up to there."
                )
        missing = max(known, default=0)
        if missing > checked:
            raise BrokenLedgerError(
                f"Event {checked + 1} is missing: the chain ends after event {checked}, but event "
                f"{missing} was recorded. The end was cut off, or an older copy was restored."
            )
        return checked

    def _rows(self) -> Iterator[Row[Any]]:
        query = select(events).where(events.c.project == self.project).order_by(events.c.number)
        with self.database.read() as connection:
            yield from connection.execution_options(yield_per=1000).execute(query)

    def _keep_head(self, number: int, digest: str) -> None:
        if self._head is None:
            return
        try:
            self._head.parent.mkdir(parents=True, exist_ok=True)
            # One write of fixed length, so that it needs no draft and rename (a quarter of the
            # append's time). Another process may put an older head over a newer one; it holds too.
            handle = os.open(self._head, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.write(handle, f"{number:020} {digest}\n".encode("ascii"))
            finally:
                os.close(handle)
        except OSError as error:
            raise StoreError(
                f"Event {number} is recorded, but its hash cannot be kept in {self._head}: {error}"
            ) from error

    def _kept_head(self) -> tuple[int, str] | None:
        if self._head is None or not self._head.exists():
            return None
        number, _, digest = self._head.read_text(encoding="utf-8").strip().partition(" ")
        if not number and not digest:  # killed between making the file and writing to it
            return None
        if not number.isdecimal() or len(digest) != len(FIRST):
            raise BrokenLedgerError(
                f"{self._head} should hold the last event's number and hash, and does not. It was "
                "changed by hand, or damaged."
            )
        return int(number), digest


def iso(moment: datetime) -> str:
    """Return `moment` (aware) as it is stored: ISO 8601 in UTC, ending in Z."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _hash(*, previous: str, payload: str, **fields: Any) -> str:
    """SHA-256 over the hash before and the event's JSON: keys sorted, no spaces, UTF-8."""
    content = {**fields, "payload": msgspec.Raw(payload.encode("utf-8"))}
    own = msgspec.json.encode(content, order="sorted")
    return hashlib.sha256(previous.encode("ascii") + own).hexdigest()


def _check(row: Row[Any], expected: int, last: str) -> str:
    """Return the hash of `row` if it is the event that follows; else say what is wrong."""
    stored = dict(row._mapping)
    digest = stored.pop("hash")
    if row.number != expected:
        raise BrokenLedgerError(
            f"Event {expected} is missing: after event {expected - 1} comes event {row.number}."
        )
    if row.previous != last:
        raise BrokenLedgerError(
            f"The order is broken at event {expected} ({row.kind} of {row.at}): it follows an "
            f"event with hash {row.previous[:12]}, but event {expected - 1} has {last[:12]}. "
            f"Event {expected - 1} was replaced, or events were moved."
        )
    if _hash(**stored) != digest:
        raise BrokenLedgerError(
            f"The content of event {expected} was changed: {row.kind} about {row.subject} by "
            f"{row.actor}, dated {row.at}, does not have the hash {digest[:12]} it was recorded "
            "with."
        )
    return str(digest)


def _event(row: dict[str, Any]) -> Event:
    fields = {name: value for name, value in row.items() if name != "project"}
    return Event(**{**fields, "payload": msgspec.json.decode(fields["payload"])})
