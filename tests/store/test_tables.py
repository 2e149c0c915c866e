"""Delta tables: appended exactly once, read as of any version."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from loopline.errors import StoreError
from loopline.store.objects import Objects
from loopline.store.tables import OvertakenError, Tables


@pytest.fixture
def tables(objects) -> Tables:
    return Tables(objects)


@pytest.fixture
def january(flights) -> pl.DataFrame:
    return flights.filter(pl.col("month") == 1).head(5000)


def test_real_rows_come_back_in_their_order_with_their_types(tables, january):
    typed = january.with_columns(pl.col("time_hour").str.to_datetime(time_zone="UTC"))

    version = tables.write("snapshots/flights", typed)

    assert version == 0
    assert tables.read("snapshots/flights").equals(typed, null_equal=True)
    assert tables.read("snapshots/flights").schema == typed.schema


def test_an_arrow_table_is_written_as_well(tables):
    tables.write("a", pa.table({"x": [1, 2]}))

    assert tables.read("a").to_dict(as_series=False) == {"x": [1, 2]}


def test_an_older_version_is_still_there(tables):
    tables.write("a", pl.DataFrame({"x": [1]}))
    tables.write("a", pl.DataFrame({"x": [2]}), mode="overwrite")

    assert tables.read("a")["x"].to_list() == [2]
    assert tables.read("a", version=0)["x"].to_list() == [1]
    with pytest.raises(StoreError, match="Could not read the table a at version 7"):
        tables.read("a", version=7)


def test_only_the_columns_asked_for_are_given(tables):
    tables.write("a", pl.DataFrame({"x": [1], "y": [2]}))

    assert tables.read("a", columns=["y"]).to_dict(as_series=False) == {"y": [2]}


def test_a_new_column_is_added_and_an_absent_one_is_null(tables):
    tables.write("a", pl.DataFrame({"x": [1]}))
    tables.write("a", pl.DataFrame({"y": ["new"]}))

    rows = tables.read("a").sort("y", nulls_last=True).rows(named=True)
    assert rows == [{"x": None, "y": "new"}, {"x": 1, "y": None}]


def test_a_column_of_another_type_is_refused_and_nothing_is_written(tables):
    tables.write("a", pl.DataFrame({"x": [1]}))

    with pytest.raises(StoreError, match="table a: x is String, but Int64 there"):
        tables.write("a", pl.DataFrame({"x": ["one"]}))

    assert tables.read("a")["x"].to_list() == [1]


def test_categories_and_columns_without_any_value_become_text(tables):
    frame = pl.DataFrame({"empty": [None, None], "kind": ["a", "b"]})

    tables.write("a", frame.with_columns(pl.col("kind").cast(pl.Categorical)))

    assert tables.read("a").schema == {"empty": pl.String, "kind": pl.String}


def test_a_batch_without_any_value_in_a_column_fits_what_is_there(tables):
    tables.write("a", pl.DataFrame({"x": [1.5]}))

    tables.write("a", pl.DataFrame({"x": [None]}))

    assert sorted(tables.read("a")["x"], key=str) == [1.5, None]


def test_overwriting_what_is_not_there_yet_makes_it(tables):
    assert tables.write("snapshots", pl.DataFrame({"x": [1]}), mode="overwrite") == 0

    assert tables.read("snapshots")["x"].to_list() == [1]


def test_overwriting_replaces_the_columns_too(tables):
    tables.write("a", pl.DataFrame({"x": [1], "y": [1]}))

    tables.write("a", pl.DataFrame({"x": ["one"]}), mode="overwrite")

    assert tables.read("a").to_dict(as_series=False) == {"x": ["one"]}
    assert tables.read("a", version=0).columns == ["x", "y"]


def test_a_transaction_done_before_does_nothing(tables):
    rows = pl.DataFrame({"x": [1]})

    first = tables.write("a", rows, transaction=("segment-1", 100))
    again = tables.write("a", rows, transaction=("segment-1", 100))
    earlier = tables.write("a", rows, transaction=("segment-1", 50))
    later = tables.write("a", rows, transaction=("segment-1", 200))
    other = tables.write("a", rows, transaction=("segment-2", 10))

    assert [first, again, earlier, later, other] == [0, 0, 0, 1, 2]
    assert tables.read("a").height == 3
    assert tables.transaction("segment-1", "a") == 200
    assert tables.transaction("segment-3", "a") is None
    assert tables.transaction("segment-1", "no/table") is None


def test_an_absent_table_is_said_to_be_absent(tables):
    assert not tables.exists("a/b")
    with pytest.raises(StoreError, match=r"There is no table a/b in file://"):
        tables.read("a/b")


def test_a_key_that_leaves_the_store_is_refused(tables):
    with pytest.raises(StoreError, match="is not a key"):
        tables.write("../a", pl.DataFrame({"x": [1]}))


def test_two_processes_that_append_the_same_transactions_write_each_once(tmp_path):
    script = """
import sys
import polars as pl
from loopline.store.objects import Objects
from loopline.store.tables import Tables
tables = Tables(Objects(sys.argv[1]))
for number in range(1, 13):
    tables.write("log", pl.DataFrame({"x": [number]}), transaction=("fold", number))
"""
    url = (tmp_path / "store").as_uri()
    writers = [subprocess.Popen([sys.executable, "-c", script, url]) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]

    assert sorted(Tables(Objects(url)).read("log")["x"]) == list(range(1, 13))


def test_a_table_that_another_writer_makes_meanwhile_is_looked_at_again(tables, monkeypatch):
    tables.write("log", pl.DataFrame({"x": [1]}), transaction=("fold", 1))
    real, unseen = Tables._find, [True]

    def find(self: Tables, key: str, version: int | None = None) -> object:
        return None if unseen and unseen.pop() else real(self, key, version)

    monkeypatch.setattr(Tables, "_find", find)
    tables.write("log", pl.DataFrame({"x": [1]}), transaction=("fold", 1))
    unseen.append(True)
    version = tables.write("log", pl.DataFrame({"x": [2]}), transaction=("fold", 2))

    assert sorted(tables.read("log")["x"]) == [1, 2]
    assert version == 1


def test_compacting_removes_small_files_once_nobody_can_be_reading_them(tables, tmp_path):
    def files() -> int:
        return len(list(tmp_path.rglob("log/*.parquet")))

    for number in range(4):
        rows = pl.DataFrame({"x": [number]})
        tables.write("log", rows, transaction=(f"segment-{number}", 8))

    assert tables.compact("log", files=3)
    assert files() == 5  # a reader may have opened the table a moment ago
    tables.write("log", pl.DataFrame({"x": [4]}))
    assert tables.compact("log", files=1, readers_hours=0)

    assert files() == 1
    assert sorted(tables.read("log")["x"]) == [0, 1, 2, 3, 4]
    assert tables.transaction("segment-2", "log") == 8


def test_a_snapshot_is_read_by_its_version_years_later(tables, tmp_path):
    for number in range(4):
        tables.write("snapshots", pl.DataFrame({"x": [number]}), mode="overwrite")
    table = DeltaTable(tmp_path / "store" / "snapshots")
    table.create_checkpoint()  # as Delta does at each hundredth version
    years_ago = time.time() - 5 * 365 * 86_400
    for file in tmp_path.rglob("_delta_log/*"):
        os.utime(file, (years_ago, years_ago))
    tables.write("snapshots", pl.DataFrame({"x": [4]}), mode="overwrite")
    DeltaTable(tmp_path / "store" / "snapshots").cleanup_metadata()

    assert tables.read("snapshots", version=1)["x"].to_list() == [1]


def test_a_full_disk_is_one_clear_message(tables, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deltalake.write_deltalake", full)

    with pytest.raises(StoreError, match=r"Could not write the table log: .*No space left"):
        tables.write("log", pl.DataFrame({"x": [1]}))


def test_a_lazy_read_filters_by_time(tables):
    times = [datetime(2013, month, 1, tzinfo=UTC) for month in (1, 2, 3)]
    tables.write("log", pl.DataFrame({"at": times}))

    late = tables.scan("log").filter(pl.col("at") > times[0]).collect()

    assert late["at"].to_list() == times[1:]


def test_an_append_that_another_process_has_begun_is_not_made_over_it(tables):
    tables.write("log", pl.DataFrame({"x": [1]}), transaction=("fold", 10), after=0)

    with pytest.raises(OvertakenError):
        tables.write("log", pl.DataFrame({"x": [1, 2]}), transaction=("fold", 20), after=0)
    tables.write("log", pl.DataFrame({"x": [1]}), transaction=("fold", 10), after=0)
    tables.write("log", pl.DataFrame({"x": [2]}), transaction=("fold", 20), after=10)

    assert sorted(tables.read("log")["x"]) == [1, 2]


def test_deleted_rows_are_counted_and_the_rest_stays(tables):
    tables.write("log", pl.DataFrame({"x": [1, 2, 3]}), transaction=("fold", 10))

    assert tables.delete("log", "x < 3") == 2
    assert tables.delete("log", "x < 3") == 0
    assert tables.delete("other", "x < 3") == 0

    assert tables.read("log")["x"].to_list() == [3]
    assert tables.transaction("fold", "log") == 10


def test_the_files_of_a_table_are_told_with_what_they_range_over(tables):
    tables.write("t", pl.DataFrame({"id": ["b", "d"], "at": [3, 1], "no": [None, None]}))
    tables.write("t", pl.DataFrame({"id": ["a", None], "at": [9, 9]}))

    parts = {part.ranges["id"]: part for part in tables.parts("t")}

    assert parts.keys() == {("b", "d"), ("a", "a")}
    assert parts["b", "d"].ranges["at"] == (1, 3)
    assert parts["b", "d"].ranges["no"] is None
    read = tables.scan_part("t", parts["a", "a"].path).collect()
    assert read["at"].to_list() == [9, 9]
    with pytest.raises(StoreError, match="is gone"):
        tables.scan_part("t", "nowhere.parquet")


def test_what_was_added_between_two_versions_is_told_without_what_was_gathered(tables):
    for number in range(4):
        tables.write("t", pl.DataFrame({"id": [number]}))
    tables.compact("t", files=2)
    last = tables.version("t")
    tables.delete("t", "id = 1")

    assert sorted(tables.added("t", 1, last)["id"]) == [2, 3]
    assert tables.added("t", last, tables.version("t"))["id"].to_list() == []
    assert tables.added("t", tables.version("t"), tables.version("t")).columns == ["id"]


def test_what_was_added_is_not_known_once_the_log_is_gone(tables, tmp_path):
    for number in range(3):
        tables.write("t", pl.DataFrame({"id": [number]}))
    [log] = [path.parent for path in tmp_path.rglob(f"{1:020}.json")]
    DeltaTable(log.parent.as_uri()).create_checkpoint()
    (log / f"{1:020}.json").unlink()

    assert tables.added("t", 0, 2) is None
