from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from loopline.data.snapshots import content_hash, freeze, load
from loopline.data.validation import Validation, conform, validate
from loopline.errors import StoreError
from loopline.store.database import Database
from loopline.store.ledger import Ledger
from loopline.store.objects import Objects
from loopline.store.tables import Tables

NOW = datetime(2014, 1, 1, tzinfo=UTC)
TYPES = {"n": "integer", "x": "number", "c": "category", "b": "boolean", "t": "time"}


def frame():
    return pl.DataFrame(
        {
            "n": [1, None, 3],
            "x": [0.0, 1.5, None],
            "c": ["a", None, ""],
            "b": [True, None, False],
            "t": [NOW, None, NOW + timedelta(microseconds=1)],
        }
    )


@pytest.fixture
def stores(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'loopline.db'}")
    ledger = Ledger(database, "credit", "ada")
    yield Tables(Objects((tmp_path / "store").as_uri())), ledger
    database.engine.dispose()


def keep(rows, stores, quarantine=None, types=TYPES):
    apart = pl.DataFrame() if quarantine is None else quarantine
    tables, ledger = stores
    validation = Validation((), rows, apart)
    return freeze(validation, types, tables, ledger, source="x.csv", now=NOW)


def test_the_same_rows_are_the_same_snapshot_and_are_written_once(stores):
    tables, ledger = stores
    chunked = pl.concat([frame()[:1], frame()[1:]], rechunk=False)

    first = keep(frame(), stores)
    zero_below = pl.when(pl.col("x") == 0).then(-0.0).otherwise(pl.col("x"))
    again = keep(chunked.with_columns(zero_below.alias("x")), stores)

    assert again == first
    assert first.id == f"snap-{first.hash[:12]}"
    assert tables.version(first.table) == first.table_version
    assert [event.kind for event in ledger.events()] == ["snapshot.frozen"]
    assert load(first, tables).equals(frame().cast({"t": pl.Datetime("us", "UTC")}))


@pytest.mark.parametrize(
    "changed",
    [
        frame().with_columns(n=pl.Series([1, 0, 3])),
        frame().with_columns(c=pl.Series(["a", "", None])),
        frame().with_columns(c=pl.Series(["", None, "a"])),
        frame().with_columns(x=pl.Series([0.0, 1.5000000000000002, None])),
        frame().reverse(),
        frame()[:2],
    ],
)
def test_any_other_value_order_or_number_of_rows_is_another_snapshot(changed):
    assert content_hash(changed, TYPES) != content_hash(frame(), TYPES)


def test_types_are_part_of_the_hash_and_the_order_of_columns_is_not():
    other = {**TYPES, "c": "text"}

    assert content_hash(frame(), other) != content_hash(frame(), TYPES)
    assert content_hash(frame(), dict(reversed(TYPES.items()))) == content_hash(frame(), TYPES)


def test_an_older_snapshot_stays_readable_when_columns_change_their_type(stores):
    first = keep(frame(), stores)
    other = frame().select("c", n=pl.col("n").cast(pl.String))

    second = keep(other, stores, types={"c": "category", "n": "text"})

    assert second.table_version == first.table_version + 1
    assert load(second, stores[0]).equals(other.select("c", "n"))
    assert load(first, stores[0])["n"].to_list() == [1, None, 3]


def test_rows_set_apart_are_kept_once_with_their_reason(contract, stores):
    raw = pl.DataFrame({"age": ["36", "-4", "oops"], "y": ["0", "1", "0"]})
    whole = contract({"columns": {"age": {"type": "integer", "minimum": 0, "on_fail": "block"}}})
    conformed = conform(raw, whole)
    validation = validate(conformed, whole, NOW)
    tables, ledger = stores

    for _ in range(2):
        snapshot = freeze(validation, conformed.types, tables, ledger, source="x.csv", now=NOW)

    assert (snapshot.rows, snapshot.quarantined) == (1, 2)
    assert [event.kind for event in ledger.events()] == ["data.quarantined", "snapshot.frozen"]
    kept = tables.read("quarantine/credit").sort("_row")
    assert kept["age"].to_list() == ["-4", "oops"]
    assert kept["_failed"].to_list() == ["age: minimum 0", "age: type integer"]
    assert set(kept["_snapshot"]) == {snapshot.id}


def test_a_table_that_was_changed_behind_our_back_is_noticed(stores):
    snapshot = keep(frame(), stores)
    tables, _ = stores
    tables.write(
        snapshot.table, frame().with_row_index("_row").with_columns(n=pl.lit(9)), mode="overwrite"
    )
    from dataclasses import replace

    with pytest.raises(StoreError, match=r"does not hold the rows of snap-.*loopline run --fresh"):
        load(replace(snapshot, table_version=snapshot.table_version + 1), tables)


def test_flights_keep_their_order_through_the_store(flights, stores):
    sample = flights.head(50_000).select("arr_delay", "carrier")
    types = {"arr_delay": "integer", "carrier": "category"}

    snapshot = keep(sample, stores, types=types)

    assert load(snapshot, stores[0]).equals(sample)


def test_a_snapshot_found_in_the_ledger_loads_and_keeps_the_order_of_the_data(stores):
    rows = pl.DataFrame({"b": [1.0, 2.0], "a": ["x", "y"]})
    types = {"b": "number", "a": "category"}
    keep(rows, stores, types=types)

    again = keep(rows, stores, types=types)

    assert list(again.columns) == ["b", "a"]
    assert load(again, stores[0]).equals(rows)


def test_columns_called_like_loopline_s_own_are_kept_beside_them(contract, stores):
    raw = pl.DataFrame({"_ROW": ["9", "8"], "_failed": ["a", "b"], "_snapshot": ["u", "v"],
                        "age": ["36", "-4"], "y": ["0", "1"]})  # fmt: skip
    named = {name: {} for name in raw.columns}
    whole = contract({"columns": named | {"age": {"minimum": 0, "on_fail": "block"}}})
    conformed = conform(raw, whole)
    tables, ledger = stores

    validation = validate(conformed, whole, NOW)
    snapshot = freeze(validation, conformed.types, tables, ledger, source="x.csv", now=NOW)

    assert load(snapshot, tables).rows() == [(9, "a", "u", 36, 0)]
    apart = tables.read("quarantine/credit")
    assert apart.select("_ROW", "_failed", "_snapshot").rows() == [("8", "b", "v")]
    assert apart.select("__row", "__failed", "__snapshot").rows() == [
        (2, "age: minimum 0", snapshot.id)
    ]
