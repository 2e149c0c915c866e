"""SQLite or PostgreSQL, with one writer at a time, brought up to date when opened.

The same SQLAlchemy Core code runs on both. A write transaction takes the writer's lock at its very
start (SQLite: BEGIN IMMEDIATE; PostgreSQL: an advisory lock), so reading the last event and adding
the next cannot be torn apart, and nobody is asked to try again halfway.
"""

import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    delete,
    event,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from loopline.errors import MissingExtraError, StoreError

BUSY_SECONDS = 30.0
"""How long a writer waits for another before it gives up."""
_LEAST_FREE_BYTES = 1 << 18
"""With less free, an error of SQLite's files is a full disk."""

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("project", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
"""The ledger: one chain of hashes per project. Only `ledger.py` writes it."""

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("payload", Text, nullable=False),
)
"""Every training, as JSON of its `Run`."""

counts = Table(
    "counts",
    metadata,
    Column("project", Text, primary_key=True),
    Column("environment", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("column", Text, primary_key=True),
    Column("slice", Text, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
)
"""Hourly counts, which add. `hour` is its start, in microseconds since 1970."""

spans = Table(
    "spans",
    metadata,
    Column("project", Text, primary_key=True),
    Column("environment", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("hours", BigInteger, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("payload", LargeBinary),
)
"""Counts of six hours, a day or a week: the sum of their hours, once they are over. `start` is in
microseconds since 1970."""

keyed = Table(
    "keyed",
    metadata,
    Column("project", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", BigInteger, nullable=False),
    Column("hour", BigInteger, nullable=False),
)
"""In which hours, since 1970, rows of a table have a business key: `name` is its hash."""

folded = Table(
    "folded",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("offset", BigInteger, nullable=False),
)
"""How far each log segment has been folded."""

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
)
"""Who does what alone; `until` in microseconds since 1970."""

mirrored = Table(
    "mirrored",
    metadata,
    Column("run", Text, primary_key=True),
    Column("where", Text, nullable=False),
    Column("at", Text, nullable=False),
)
"""Runs that another tracker has, and where."""

_schema = Table("schema", MetaData(), Column("number", BigInteger, nullable=False))
_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITE = "loopline_write"
_AFTER = "loopline_after_commit"
_ONE_WRITER = 0x100911E  # PostgreSQL: the number of the advisory lock; any constant does


class Database:
    """One opened database, at the newest schema."""

    def __init__(self, url: str) -> None:
        """Open the database at `url` and bring it up to date.

        Raises:
            StoreError: it cannot be opened, or a newer Loopline wrote it.
        """
        self.engine: Engine = _engine(url)
        self.folder: Path | None = None
        """Where a SQLite file lies; None for a server."""
        if self.engine.dialect.name == "sqlite" and self.engine.url.database:
            self.folder = Path(self.engine.url.database).absolute().parent
            self.folder.mkdir(parents=True, exist_ok=True)
        _migrate(self)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Give a connection in a write transaction, alone; commits, or undoes everything.

        Raises:
            StoreError: the database cannot be reached, or another writer holds it too long.
        """
        with self._connect(write=True) as connection:
            yield connection
            after = connection.info.pop(_AFTER, [])
        for call in after:
            call()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one consistent state; nothing written there is kept."""
        with self._connect(write=False) as connection:
            yield connection

    def take_lease(self, name: str, holder: str, *, now: datetime, seconds: float) -> bool:
        """Take or renew the lease `name` for `holder`; False while another holds it.

        One that ends further ahead than twice `seconds` is a clock's that was put back since, and
        stops nobody; hosts whose clocks differ by less than `seconds` do each other no harm.
        """
        until = _microseconds(now + timedelta(seconds=seconds))
        farthest = _microseconds(now + timedelta(seconds=2 * seconds))
        with self.begin() as connection:
            held = connection.execute(select(leases).where(leases.c.name == name)).first()
            if held is None:
                connection.execute(leases.insert().values(name=name, holder=holder, until=until))
                return True
            if held.holder != holder and _microseconds(now) < held.until <= farthest:
                return False
            mine = update(leases).where(leases.c.name == name)
            connection.execute(mine.values(holder=holder, until=until))
            return True

    def give_lease(self, name: str, holder: str) -> None:
        """Give the lease back, if `holder` has it."""
        with self.begin() as connection:
            connection.execute(
                delete(leases).where(leases.c.name == name, leases.c.holder == holder)
            )

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _connect(self, *, write: bool) -> Iterator[Connection]:
        try:
            with self.engine.connect() as connection:
                connection.execution_options(**{_WRITE: write})
                with connection.begin() as transaction:
                    try:
                        yield connection
                    except BaseException:
                        connection.info.pop(_AFTER, None)
                        raise
                    if not write:
                        transaction.rollback()
        except IntegrityError:
            raise  # a row is there already: the caller's to judge
        except DBAPIError as error:
            raise StoreError(_explain(self.engine, error)) from error


def after_commit(connection: Connection, call: Any) -> None:
    """Have `call()` made once the write transaction of `connection` is committed."""
    connection.info.setdefault(_AFTER, []).append(call)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise StoreError(
                f"LOOPLINE_DATABASE names {parsed.get_backend_name()}, which is not supported. "
                "Write sqlite:///PATH or postgresql://USER@HOST/NAME."
            )
        engine = create_engine(parsed)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError(
            f"LOOPLINE_DATABASE is not a database's URL: {error}. "
            "Write sqlite:///PATH or postgresql://USER@HOST/NAME."
        ) from error
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name} is not installed, and PostgreSQL needs it. "
            'Install it with: pip install "loopline[postgresql]"'
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin transactions of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    _turn_to_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # a decision that was answered survives a power cut
    cursor.close()


def _turn_to_wal(cursor: Any) -> None:
    """Turn to WAL; where two do so to a new file at once, SQLite refuses one instead of waiting."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITE):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS * 1000:.0f}ms'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ONE_WRITER})")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def _explain(engine: Engine, error: DBAPIError) -> str:
    where = engine.url.render_as_string(hide_password=True)
    reason = str(error.orig).strip()
    if "database is locked" in reason or "lock timeout" in reason:
        return (
            f"Another process has been writing to {where} for more than {BUSY_SECONDS:.0f} "
            "seconds. Wait for it to end, or stop it, and try again."
        )
    if engine.url.database and ("disk I/O error" in reason or "disk is full" in reason):
        free = shutil.disk_usage(Path(engine.url.database).parent).free
        if free < _LEAST_FREE_BYTES:  # SQLite does not say so of the files beside the database
            return (
                f"The database {where} cannot be used: its disk is full ({free:,} bytes are free). "
                "Make room on the disk, and call this again."
            )
    return f"The database {where} cannot be used: {reason}"


def _migrate(database: Database) -> None:
    """Apply the migrations that the database lacks, all in one transaction."""
    files = sorted(_MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    newest = int(files[-1].name[:4])
    with database.read() as connection:
        at = _schema_number(connection)
    if at == newest:
        return
    with database.begin() as connection:
        at = _schema_number(connection)  # another process may have been faster
        if at > newest:
            raise StoreError(
                f"The database has schema {at}, but this Loopline knows only up to {newest}: a "
                "newer Loopline wrote it. Install that version or a later one."
            )
        if at == 0:
            _schema.create(connection)
            connection.execute(_schema.insert().values(number=0))
        for file in files[at:]:
            script = file.read_text(encoding="utf-8")
            if connection.dialect.name == "postgresql":
                script = re.sub(r"\bBLOB\b", "BYTEA", script)
            for statement in _statements(script):
                connection.exec_driver_sql(statement)
        connection.execute(update(_schema).values(number=newest))


def _schema_number(connection: Connection) -> int:
    if not inspect(connection).has_table("schema"):
        return 0
    return int(connection.execute(select(_schema.c.number)).scalar_one())


def _statements(script: str) -> list[str]:
    """Split a migration at its semicolons; none contains one inside a text."""
    lines = [line for line in script.splitlines() if not line.lstrip().startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
