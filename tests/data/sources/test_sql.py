import sqlite3
from contextlib import closing

import polars as pl
import pytest

from loopline.data.sources.base import describe, read_source
from loopline.errors import SettingError, SourceError
from loopline.settings import Settings

QUERY = "select id, note from visits where note not like '%:x%' or note is null order by id"


@pytest.fixture
def visits(tmp_path):
    with closing(sqlite3.connect(tmp_path / "visits.db")) as database:
        database.execute("create table visits (id integer, note, seen text)")
        database.executemany(
            "insert into visits values (?, ?, ?)",
            [(1, "a", "2013-01-01"), (2, 5, None), (3, None, None), (4, ":x", None)],
        )
        database.commit()
    return tmp_path


def read(root, url, query=QUERY, environment=None):
    source = {"url": url, "query": query}
    return read_source(source, root, Settings.read(root, environment or {}))


def test_a_query_gives_its_rows_in_their_own_types(visits):
    frame = read(visits, "sqlite:///visits.db")

    assert frame.schema == {"id": pl.Int64(), "note": pl.String()}
    assert frame.rows() == [(1, "a"), (2, "5"), (3, None)]


def test_a_secret_comes_from_the_environment_and_is_never_shown(visits):
    environment = {"WHERE": "visits.db", "PASSWORD": "p@ss/w:rd"}

    assert len(read(visits, "sqlite:///${WHERE}", environment=environment)) == 3
    with pytest.raises(SettingError, match=r"\$\{WHERE\}.*WHERE is not set"):
        read(visits, "sqlite:///${WHERE}")
    with pytest.raises(SourceError) as failure:
        read(visits, "postgresql+nodriver://me:${PASSWORD}@127.0.0.1/x", environment=environment)
    assert "p@ss" not in str(failure.value)
    assert "${PASSWORD}" in str(failure.value)


def test_a_literal_password_is_masked_in_the_description():
    source = {"url": "postgresql://me:hunter2@db/x", "query": "select 1"}

    assert describe(source) == "postgresql://me:***@db/x select 1"
    assert describe("flights.csv") == "flights.csv"


@pytest.mark.parametrize(
    ("url", "query", "message"),
    [
        ("sqlite:///nothing.db", QUERY, "There is no database .*nothing.db"),
        ("sqlite:///visits.db", None, "names a database but no query"),
        ("sqlite:///visits.db", "select * from vistis", "no such table: vistis"),
        ("sqlite:///visits.db", "select id from visits where id > 9", "gives no rows"),
        ("sqlite:///visits.db", "select id, id from visits", "gives id twice"),
        ("nonsense", QUERY, "no database URL such as"),
    ],
)
def test_what_cannot_be_read_says_so_in_one_message(visits, url, query, message):
    with pytest.raises(SourceError, match=message):
        read(visits, url, query)

    assert not (visits / "nothing.db").exists()


def test_a_query_that_writes_changes_nothing(visits):
    with pytest.raises(SourceError):
        read(visits, "sqlite:///visits.db", "delete from visits")

    assert len(read(visits, "sqlite:///visits.db")) == 3
