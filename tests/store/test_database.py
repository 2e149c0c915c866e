"""One writer at a time, a schema that is current, and clear refusals."""

import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from loopline.errors import StoreError
from loopline.store import database as module
from loopline.store.database import Database, _turn_to_wal, metadata
from loopline.store.ledger import Ledger


def test_the_migrated_schema_is_the_one_the_code_describes(database):
    found = inspect(database.engine)

    assert set(found.get_table_names()) == {*metadata.tables, "schema"}
    for name, table in metadata.tables.items():
        columns = found.get_columns(name)
        assert [column["name"] for column in columns] == [column.name for column in table.columns]
        assert [column["nullable"] for column in columns] == [c.nullable for c in table.columns]
        key = found.get_pk_constraint(name)["constrained_columns"]
        assert key == [column.name for column in table.primary_key]


def test_opening_again_changes_nothing_and_a_later_migration_is_applied_once(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'loopline.db'}"
    with Database(url).begin() as connection:
        connection.execute(text("INSERT INTO leases VALUES ('fold', 'ada', 1)"))

    later = tmp_path / "migrations"
    later.mkdir()
    known = list(module._MIGRATIONS.glob("*.sql"))
    for file in known:
        (later / file.name).write_text(file.read_text())
    (later / f"{len(known) + 1:04}_later.sql").write_text(
        "ALTER TABLE leases ADD COLUMN note TEXT;"
    )
    monkeypatch.setattr(module, "_MIGRATIONS", later)
    Database(url)

    with Database(url).read() as connection:
        assert connection.execute(text("SELECT * FROM leases")).all() == [("fold", "ada", 1, None)]


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'loopline.db'}"
    Database(url).close()
    with monkeypatch.context() as patch:
        later = tmp_path / "migrations"
        later.mkdir()
        known = list(module._MIGRATIONS.glob("*.sql"))
        for file in known:
            (later / file.name).write_text("")
        (later / f"{len(known) + 1:04}_bad.sql").write_text(
            "CREATE TABLE more (a TEXT); DROP TABLE no_such;"
        )
        patch.setattr(module, "_MIGRATIONS", later)
        with pytest.raises(StoreError, match="no such table: no_such"):
            Database(url)

    assert "more" not in inspect(Database(url).engine).get_table_names()


def test_a_database_of_a_newer_loopline_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'loopline.db'}"
    with Database(url).begin() as connection:
        connection.execute(text("UPDATE schema SET number = 9000"))

    with pytest.raises(StoreError, match=r"schema 9000, but this Loopline knows only up to \d"):
        Database(url)


def test_a_file_that_is_no_database_and_a_url_that_is_none_are_refused(tmp_path):
    (tmp_path / "loopline.db").write_text("this is a letter to my mother, not a database\n" * 40)

    with pytest.raises(StoreError, match="cannot be used: file is not a database"):
        Database(f"sqlite:///{tmp_path / 'loopline.db'}")
    with pytest.raises(StoreError, match="not a database's URL"):
        Database("loopline.db")
    with pytest.raises(StoreError, match="names mysql, which is not supported"):
        Database("mysql://localhost/loopline")


def test_a_failed_transaction_leaves_nothing(database):
    def fail_halfway():
        with database.begin() as connection:
            connection.execute(text("INSERT INTO leases VALUES ('fold', 'ada', 1)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()

    with database.read() as connection:
        assert connection.execute(text("SELECT * FROM leases")).all() == []


def test_what_a_reader_writes_is_not_kept(database):
    with database.read() as connection:
        connection.execute(text("INSERT INTO leases VALUES ('fold', 'ada', 1)"))

    with database.read() as connection:
        assert connection.execute(text("SELECT * FROM leases")).all() == []


def test_a_reader_goes_on_while_a_writer_writes(database):
    with database.begin() as writing:
        writing.execute(text("INSERT INTO leases VALUES ('fold', 'ada', 1)"))
        with database.read() as reading:
            assert reading.execute(text("SELECT * FROM leases")).all() == []


def test_a_writer_waits_for_another_and_gives_up_with_a_clear_message(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'loopline.db'}"
    database = Database(url)
    done = threading.Event()

    def hold() -> None:
        with database.begin():
            holding.set()
            done.wait(10)

    holding = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait(10)
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.2)
    impatient = Database(url)

    with pytest.raises(StoreError, match="Another process has been writing to sqlite:///"):
        impatient.begin().__enter__()
    monkeypatch.setattr(module, "BUSY_SECONDS", 10.0)
    patient = Database(url)
    threading.Timer(0.3, done.set).start()
    with patient.begin() as connection:
        connection.execute(text("INSERT INTO leases VALUES ('fold', 'ada', 1)"))
    holder.join()


def test_processes_that_open_a_new_database_at_once_all_succeed(tmp_path):
    script = "import sys; from loopline.store.database import Database; Database(sys.argv[1])"
    url = f"sqlite:///{tmp_path / 'home' / 'loopline.db'}"

    opening = [subprocess.Popen([sys.executable, "-c", script, url]) for _ in range(3)]

    assert [process.wait(60) for process in opening] == [0, 0, 0]


def test_a_file_that_another_process_is_turning_to_wal_is_waited_for(tmp_path, monkeypatch):
    refusals = ["database is locked"] * 3

    class Cursor(sqlite3.Cursor):
        def execute(self, statement, *arguments):
            # What SQLite does, without its busy timeout, where two do this at once.
            if "journal_mode" in statement and refusals:
                raise sqlite3.OperationalError(refusals.pop())
            return super().execute(statement, *arguments)

    connection = sqlite3.connect(tmp_path / "new.db")
    monkeypatch.setattr("loopline.store.database.BUSY_SECONDS", 30.0)

    _turn_to_wal(Cursor(connection))

    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    refusals.append("disk I/O error")
    with pytest.raises(sqlite3.OperationalError, match="disk I/O"):
        _turn_to_wal(Cursor(connection))
    refusals.append("database is locked")
    monkeypatch.setattr("loopline.store.database.BUSY_SECONDS", -1.0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        _turn_to_wal(Cursor(connection))
    connection.close()


def test_a_full_disk_is_called_so(database, monkeypatch):
    def fail(free):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        with pytest.raises(StoreError) as refused, database.begin():
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error"))
        return str(refused.value)

    assert "its disk is full (4,096 bytes are free). Make room" in fail(4096)
    assert fail(1 << 40).endswith("cannot be used: disk I/O error")


def test_a_lease_is_for_one_holder_until_it_ends_or_is_given_back(database, now):
    later = now + timedelta(seconds=31)

    assert database.take_lease("fold", "ada", now=now, seconds=30)
    assert not database.take_lease("fold", "bob", now=now, seconds=30)
    assert database.take_lease("fold", "ada", now=now, seconds=30)
    assert database.take_lease("fold", "bob", now=later, seconds=30)
    database.give_lease("fold", "ada")
    assert not database.take_lease("fold", "ada", now=later, seconds=30)
    database.give_lease("fold", "bob")
    assert database.take_lease("fold", "ada", now=later, seconds=30)


def test_a_lease_of_a_clock_that_was_put_back_since_stops_nobody(database, now):
    ahead = now + timedelta(days=1)
    assert database.take_lease("fold", "ada", now=ahead, seconds=30)

    assert database.take_lease("fold", "bob", now=now, seconds=30)
    # Hosts' clocks may differ a little: that is no reason to take a lease from its holder.
    assert not database.take_lease("fold", "ada", now=now - timedelta(seconds=20), seconds=30)


class TestPostgresql:
    """The same code on a server of its own."""

    def test_threads_that_append_at_once_make_one_chain(self, postgresql, now):
        Database(postgresql).close()
        database = Database(postgresql)
        ledger = Ledger(database, "churn", "ada")
        threads = [
            threading.Thread(
                target=lambda: [
                    ledger.append("run.finished", "run-1", {"x": 1}, now=now) for _ in range(50)
                ]
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert ledger.verify() == 150
        database.close()

    def test_schema_and_leases_are_the_same(self, postgresql, now):
        database = Database(postgresql)

        assert set(inspect(database.engine).get_table_names()) == {*metadata.tables, "schema"}
        assert database.take_lease("fold", "ada", now=now, seconds=30)
        assert not database.take_lease("fold", "bob", now=now, seconds=30)
        database.close()

    def test_a_writer_that_waits_too_long_for_another_is_told(self, postgresql, monkeypatch):
        monkeypatch.setattr("loopline.store.database.BUSY_SECONDS", 0.1)
        database = Database(postgresql)
        with (
            database.begin(),
            pytest.raises(StoreError, match=r"Another process has been writing"),
            database.begin(),
        ):
            pass
        database.close()

    def test_a_server_that_is_not_there_is_one_clear_message(self, postgresql):
        with pytest.raises(StoreError, match=r"postgresql.*cannot be used: connection"):
            Database("postgresql://postgres:secret@127.0.0.1:1/postgres")
