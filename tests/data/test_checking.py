"""Checks piece by piece find what checks of the whole table find, wherever the pieces are."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from loopline.compute import threads
from loopline.compute.threads import Threads
from loopline.contract.schema import Contract
from loopline.data import batches, checking
from loopline.data.batches import open_incoming
from loopline.data.checking import Checked, check
from loopline.data.conforming import conform
from loopline.data.sources.base import read_source
from loopline.data.validation import examine
from loopline.errors import DataError, SourceError, ValidationError
from loopline.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
NOW = datetime(2013, 3, 1, tzinfo=UTC)
SQL = """
-- no flight of no length
select flight, distance from data where distance = 0;
-- every carrier flies often
with flown as (select carrier, count(*) as flights from data group by carrier)
select carrier, flights from flown where flights < 20;
-- no carrier left early
select carrier, max(left_at) from data group by carrier having max(left_at) < '2013-01-15'
"""


def flights(rows: int = 997) -> pl.DataFrame:
    """Flights with every fault that the contract below looks for."""
    draw = np.random.default_rng(3)
    numbers = np.arange(rows)
    again = {400: 17, 401: 17, 900: 3, 996: 950}
    numbers = np.array([again.get(n, n) for n in numbers.tolist()])
    names = [None if n % 211 == 5 else f"f{n}" for n in numbers.tolist()]
    carriers = draw.choice(["UA", "AA", "?", "B6", "XX"], rows, p=[0.5, 0.3, 0.1, 0.09, 0.01])
    return pl.DataFrame(
        {
            "flight": names,
            "carrier": carriers,
            "distance": draw.integers(-2, 300, rows).astype(float),
            "seats": ["many" if n % 250 == 1 else str(n % 90) for n in range(rows)],
            "left_at": [datetime(2013, 1, 1) + timedelta(hours=n) for n in range(rows)],
            "late": draw.choice(["yes", "no"], rows),
            "unused": numbers,
        }
    )


def contract(*, suite: bool = True, blocks: bool = True, **data: Any) -> Contract:
    return Contract.model_validate(
        {
            "project": "flights",
            "problem": {"task": "binary", "target": "late"},
            "goals": [{"metric": "roc_auc", "at_least": 0.6}],
            "data": {
                "source": "x",
                "key": "flight",
                "time": "left_at",
                "missing": ["?"],
                "columns": {
                    "flight": {"type": "category", "on_fail": "block" if blocks else "warn"},
                    "carrier": {"type": "category", "categories": ["UA", "AA", "B6"]},
                    "distance": {"type": "number", "minimum": 0, "on_fail": "block"},
                    "seats": {"type": "integer", "maximum": 85, "missing_at_most": 0.001},
                    "late": {"type": "boolean"},
                },
                "checks": [
                    {"rule": "distance < 299 or carrier = 'UA'"},
                    {"fresh": "30 days"},
                    {"rows_at_least": 950, "on_fail": "warn"},
                    *([{"suite": "checks.sql", "on_fail": "warn"}] if suite else []),
                ],
                **data,
            },
        }
    )  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(batches, "PIECE_ROWS", 100)
    monkeypatch.setattr(threads, "_TOGETHER", 2)  # so that a key may repeat across batches
    (tmp_path / "checks.sql").write_text(SQL)
    return tmp_path


def checked(root: Path, place: str, asked: Contract, compute: Any = None) -> Checked:
    settings = Settings.read(root)
    on = compute or Threads(2)
    return check(lambda: open_incoming(place, root, settings), asked, NOW, root, on)


def of_the_whole(root: Path, place: str, asked: Contract) -> tuple[Any, ...]:
    frame = read_source(place, root, Settings.read(root))
    found = examine(conform(frame, asked), asked, NOW, root)
    return frame.height, found.good.height, found.checks, found.refusal


def found(told: Checked) -> tuple[Any, ...]:
    return told.rows, told.good, told.checks, told.refusal


@pytest.mark.parametrize(
    ("on", "rows", "blocks"),
    [(1, 70, True), (1, 70, False), (3, 70, True), ("spark", 400, True)],
)
def test_pieces_on_threads_and_on_spark_find_what_the_whole_table_shows(
    root: Path, request: pytest.FixtureRequest, on: Any, rows: int, blocks: bool
) -> None:
    flights().write_parquet(root / "flights.parquet", row_group_size=rows)
    asked = contract(blocks=blocks)
    compute = request.getfixturevalue("spark") if on == "spark" else Threads(on)

    told = checked(root, "flights.parquet", asked, compute)

    assert found(told) == of_the_whole(root, "flights.parquet", asked)
    failed = {(one.column, one.name): one.failed for one in told.checks}
    assert failed["flight", "unique key"] == 4 + 5  # and five have none
    assert failed[None, "checks.sql: every carrier flies often"] == 1
    assert told.guessed == ()


def test_texts_of_csv_mean_the_same_in_pieces(root: Path) -> None:
    flights().write_csv(root / "flights.csv")
    asked = contract()

    told = checked(root, "flights.csv", asked)

    assert found(told) == of_the_whole(root, "flights.csv", asked)


def test_folders_are_one_table_whose_rows_count_through(root: Path) -> None:
    (root / "many").mkdir()
    every = flights()
    for place, begin in enumerate(range(0, every.height, 300)):
        every[begin : begin + 300].write_parquet(root / "many" / f"{place}.parquet")
    asked = contract()

    told = checked(root, "many", asked)

    assert found(told) == of_the_whole(root, "many", asked)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", [0.0, -0.0, 1.5, 1.5, None, float("nan"), 2.0]),
        ("integer", [1, 2, 2, None, None, 3, 1]),
        ("boolean", [True, False, True, None, True, False, False]),
        ("time", [datetime(2013, 1, day) for day in (1, 2, 1, 3, 2, 2, 4)]),
        ("category", ["a", "b", "A", "a", "", "ä", "ä"]),
    ],
)
def test_keys_of_every_type_repeat_as_in_the_whole_table(
    root: Path, kind: str, values: list[Any]
) -> None:
    frame = pl.DataFrame({"flight": values, "late": ["yes", "no"] * 3 + ["yes"]})
    frame.write_parquet(root / "keys.parquet", row_group_size=2)
    columns = {"flight": {"type": kind}, "late": {"type": "boolean"}}
    asked = contract(suite=False, columns=columns, checks=[], time=None)

    told = checked(root, "keys.parquet", asked)

    assert found(told) == of_the_whole(root, "keys.parquet", asked)
    assert sum(one.failed for one in told.checks) > 1


def test_a_column_without_a_type_has_that_of_the_first_piece_and_is_named(root: Path) -> None:
    texts = [str(n) for n in range(100)] + ["1.5"] * 100
    frame = pl.DataFrame({"seats": texts, "late": ["yes", "no"] * 100})
    frame.write_parquet(root / "seats.parquet", row_group_size=100)
    columns = {"seats": {}, "late": {"type": "boolean"}}
    asked = contract(suite=False, key=None, time=None, columns=columns, checks=[])

    told = checked(root, "seats.parquet", asked)

    assert told.guessed == ("seats",)
    assert [(one.name, one.failed) for one in told.checks if not one.passed] == [
        ("type integer", 100)
    ]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("select avg(distance) from data having avg(distance) > 5", "it sums up all rows"),
        ("select count(*) from data group by distance > 5", "something else than columns"),
        ("select flight, row_number() over (order by distance) from data", "a window"),
        ("select flight from data order by distance", "it orders rows"),
        ("select flight from data limit 3", "it has a limit"),
        ("select distinct flight from data", "it is distinct"),
        ("select a.flight from data a join data b on a.flight = b.flight", "it joins"),
        ("select flight from data union all select flight from data", "several selects"),
        ("select flight from data where distance > (select avg(distance) from data)", "inside"),
        ("select mystery(distance) from data", "a function of its"),
        ("with a as (select carrier, count(*) as n from data group by carrier) "
         "select n, count(*) from a group by n", "what was grouped before"),
        ("with a as (select carrier, count(*) as n from data group by carrier) "
         "select max(n) from a", "sums up all rows"),
    ],
)  # fmt: skip
def test_what_only_the_whole_table_can_answer_is_refused_by_name(
    root: Path, query: str, why: str
) -> None:
    flights(50).write_parquet(root / "flights.parquet")
    (root / "checks.sql").write_text(f"-- asked of all\n{query}")

    with pytest.raises(ValidationError, match=r"checks\.sql: .*cannot be asked piece by") as told:
        checked(root, "flights.parquet", contract())

    assert why in str(told.value)


def test_a_pandera_schema_is_refused(root: Path) -> None:
    flights(50).write_parquet(root / "flights.parquet")
    (root / "suite.py").write_text("schema = None")
    asked = contract(checks=[{"suite": "suite.py:schema"}])

    with pytest.raises(ValidationError, match="Write it as SQL to check data of any size"):
        checked(root, "flights.parquet", asked)


def test_more_repeated_keys_than_can_be_set_apart_are_refused_and_where_they_warn_counted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flights().write_parquet(root / "flights.parquet", row_group_size=70)
    monkeypatch.setattr(checking, "MOST_REPEATED", 3)
    monkeypatch.setattr(checking, "_SHOWN", 2)

    with pytest.raises(ValidationError, match="flight: 4 rows have a key that another row has"):
        checked(root, "flights.parquet", contract())

    told = checked(root, "flights.parquet", contract(blocks=False))
    [keys] = [one for one in told.checks if one.name == "unique key"]
    assert keys.failed == 9


def test_a_column_that_is_not_there_and_no_rows_are_said(root: Path) -> None:
    flights().drop("distance").write_parquet(root / "flights.parquet")
    flights().clear().write_parquet(root / "none.parquet")

    with pytest.raises(DataError, match="speaks of the column 'distance'"):
        checked(root, "flights.parquet", contract())
    with pytest.raises(SourceError, match="has columns, but no rows"):
        checked(root, "none.parquet", contract())


def test_json_of_several_kinds_in_a_column_is_refused(root: Path) -> None:
    (root / "mixed.jsonl").write_text('{"late": "yes", "seats": 1}\n{"late": "no", "seats": [2]}\n')
    columns = {"seats": {"type": "integer"}, "late": {"type": "boolean"}}
    asked = contract(suite=False, key=None, time=None, columns=columns, checks=[])

    with pytest.raises(SourceError, match="seats has values of several kinds"):
        checked(root, "mixed.jsonl", asked)


def test_on_spark_a_unique_key_needs_rows_that_executors_read(root: Path, spark: Any) -> None:
    flights().write_csv(root / "flights.csv")

    with pytest.raises(SourceError, match="can only be read from its beginning"):
        checked(root, "flights.csv", contract(), spark)

    without = contract(suite=False, key=None)
    assert found(checked(root, "flights.csv", without, spark)) == of_the_whole(
        root, "flights.csv", without
    )
