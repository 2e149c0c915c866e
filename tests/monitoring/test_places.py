"""Outcomes find their predictions in the files that can hold them, and read no others."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from loopline.monitoring import labels
from loopline.monitoring.fold import table
from loopline.monitoring.places import Places, can_hold
from loopline.store.database import Database
from loopline.store.tables import Part, Tables

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = int(START.timestamp()) // 3600


def day(number: int) -> pl.DataFrame:
    """Ten predictions of one day, whose ids begin with their time; keys do not, k0 comes daily."""
    at = [START + timedelta(days=number, hours=hour) for hour in range(10)]
    return pl.DataFrame(
        {
            "prediction_id": [f"{number:03}{hour:02}-0" for hour in range(10)],
            "key": ["k0", None, *[f"k{(number * 37 + hour * 11) % 101}x" for hour in range(8)]],
            "event_time": at,
            "arrival": at,
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )


@pytest.fixture
def places(tables: Tables, database: Database) -> Places:
    found = Places("credit", tables, database)
    for number in range(5):
        tables.write(table("credit"), day(number))
        with database.begin() as connection:
            found.note(connection, "prediction", day(number))
    return found


def named(ids: list[str], keys: list[str]) -> pl.DataFrame:
    names = [*((each, None) for each in ids), *((None, each) for each in keys)]
    schema = {"prediction_id": pl.String, "key": pl.String}
    return pl.DataFrame(names, schema=schema, orient="row")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read."""
    files: list[str] = []
    scan = Tables.scan_part

    def noting(own: Tables, key: str, path: str) -> pl.LazyFrame:
        files.append(path)
        return scan(own, key, path)

    monkeypatch.setattr(Tables, "scan_part", noting)
    return files


@pytest.mark.parametrize(
    ("ids", "keys", "files"),
    [
        (["00203-0", "00207-0"], [], 1),
        (["00203-0", "00400-0", "none"], [], 2),
        ([], [day(3)["key"][5]], 1),
        ([], ["k0"], 5),
        ([], ["never"], 0),
        ([], [], 0),
    ],
)
def test_rows_are_found_by_id_and_by_key_in_the_files_that_can_hold_them(
    places: Places, tables: Tables, read: list[str], ids: list[str], keys: list[str], files: int
) -> None:
    found = places.rows("prediction", named(ids, keys), 4)

    every = pl.concat(day(number) for number in range(5))
    expected = every.filter(pl.col("prediction_id").is_in(ids) | pl.col("key").is_in(keys))
    assert sorted(found["prediction_id"]) == sorted(expected["prediction_id"])
    assert found.columns == every.columns
    assert len(read) == files


def test_after_a_compaction_they_are_found_as_before(
    places: Places, tables: Tables, read: list[str]
) -> None:
    assert tables.compact(table("credit"), files=2)

    found = places.rows("prediction", named(["00203-0"], ["k0"]), tables.version(table("credit")))

    assert len(found) == 6
    assert len(read) == 1


def test_outcomes_are_found_by_the_hour_in_which_they_arrived(
    tables: Tables, database: Database
) -> None:
    places = Places("credit", tables, database)
    said = [
        (None, "k1", "yes", START, START + timedelta(days=2), 8, 0, "a"),
        ("00100-0", None, "no", START, START + timedelta(days=3), 8, 1, "a"),
    ]
    schema = labels.empty().schema
    for row in said:
        told = pl.DataFrame([row], schema=schema, orient="row")
        tables.write(labels.table("credit"), told)
        with database.begin() as connection:
            places.note(connection, "outcome", told)

    assert places.keyed("outcome", pl.Series(["k1", "k2"])).rows() == [("k1", HOUR + 48)]
    assert places.keyed("prediction", pl.Series(["k1"])).rows() == []
    assert places.rows("outcome", named([], ["k1"]), 1)["label"].to_list() == ["yes"]
    assert places.rows("outcome", named(["00100-0"], []), 1)["label"].to_list() == ["no"]


def test_what_is_forgotten_is_of_this_project_and_before_the_moment(
    places: Places, tables: Tables, database: Database
) -> None:
    other = Places("other", tables, database)
    with database.begin() as connection:
        other.note(connection, "prediction", day(0))
        places.forget(connection, before=START + timedelta(days=4))

    assert places.keyed("prediction", pl.Series(["k0"])).rows() == [("k0", HOUR + 96)]
    assert other.keyed("prediction", pl.Series(["k0"])).rows() == [("k0", HOUR)]
    with database.begin() as connection:
        places.forget(connection)
    assert places.keyed("prediction", pl.Series(["k0"])).rows() == []
    assert len(other.keyed("prediction", pl.Series(["k0"]))) == 1


@pytest.mark.parametrize(
    ("ranges", "values", "expected"),
    [
        ({"a": ("b", "d")}, ["a", "c"], True),
        ({"a": ("b", "d")}, ["a", "e"], False),
        ({"a": ("b", "d")}, ["d"], True),
        ({"a": None}, ["a"], False),  # no row has one
        ({}, ["a"], True),  # nothing is known of it
        ({"a": ("b", "d")}, [], False),
        ({"a": (START, START + timedelta(minutes=59))}, [HOUR], True),
        ({"a": (START, START + timedelta(minutes=59))}, [HOUR + 1], False),
    ],
)
def test_a_file_can_hold_what_lies_within_its_range(
    ranges: dict[str, Any], values: list[Any], expected: bool
) -> None:
    assert can_hold(Part("x", ranges), {"a": values}) is expected


def test_a_key_is_called_the_same_in_every_process(tmp_path: Path, tables: Tables) -> None:
    places = Places("credit", tables, Database(f"sqlite:///{tmp_path / 'other.db'}"))

    assert places._names("prediction", pl.Series(["k0"])) == [-8096000680560316824]
    assert places._names("outcome", pl.Series(["k0"])) != [-8096000680560316824]


def test_postgresql_notes_them_too(postgresql: str, tables: Tables) -> None:
    database = Database(postgresql)
    places = Places("credit", tables, database)
    with database.begin() as connection:
        places.note(connection, "prediction", day(0))

    found = places.keyed("prediction", pl.Series(["k0", "k11x", "k1"]))

    assert sorted(found.rows()) == [("k0", HOUR), ("k11x", HOUR + 3)]
    with database.begin() as connection:
        places.forget(connection, START + timedelta(hours=1), pl.Series(["k0"]))
    assert places.keyed("prediction", pl.Series(["k0"])).rows() == []
    database.close()
