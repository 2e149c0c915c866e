"""A saved profile is the same integers again, and rows that any tool can read."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopline.counts import saved
from loopline.counts.kernel import ColumnCounts, Profile, count_column
from loopline.counts.pairs import count_pairs
from loopline.counts.saved import Profiled
from loopline.errors import SourceError


def table(name: str) -> Profiled:
    words = np.array(["a", "b", None], object)
    columns = {
        "x": count_column(np.array([1e9, 1e9 + 1, np.inf])),
        "word": count_column(words),
        "note": ColumnCounts("text", 1, np.array([5]), np.array([2]), named={"letters": 9}),
    }
    types = {"x": "integer", "word": "category", "note": "text"}
    return Profiled(name, 3, types, Profile(columns))


def write(path: Path, *tables: Profiled) -> Path:
    with path.open("wb") as stream:
        saved.write(tables, stream)
    return path


def test_what_is_saved_is_read_again_to_the_last_integer(tmp_path: Path) -> None:
    tables = [table("a.csv"), table("b.csv")]
    path = write(tmp_path / "p.parquet", *tables)

    assert saved.is_saved(path)
    assert saved.read(path) == tables


def test_a_saved_profile_is_rows_that_other_tools_read(tmp_path: Path) -> None:
    frame = pl.read_parquet(write(tmp_path / "p.parquet", table("a.csv")))

    row = frame.filter(pl.col("column") == "x").row(0, named=True)
    assert (row["dataset"], row["slice"], row["rows"], row["high"]) == ("a.csv", "", 3, 1)
    assert row["offset"] == 1e9
    assert row["counts"] == [1, 1]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x,y\n1,2\n"])
def test_what_is_no_saved_profile_is_not_taken_for_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    pq.write_table(pa.table({"dataset": ["a"]}), tmp_path / "t.parquet")

    for path in (tmp_path / "t", tmp_path / "t.parquet", tmp_path, tmp_path / "absent"):
        assert not saved.is_saved(path)


def test_a_profile_of_another_version_or_of_nothing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.parquet", table("a.csv"))
    newer = pq.read_table(path).replace_schema_metadata({"loopline.profile": "7"})
    pq.write_table(newer, tmp_path / "newer.parquet")

    with pytest.raises(SourceError, match="is a profile of version 7"):
        saved.read(tmp_path / "newer.parquet")
    with pytest.raises(SourceError, match="profile of nothing"):
        saved.read(write(tmp_path / "none.parquet"))


def test_pairs_and_slices_are_saved_and_read_again(tmp_path: Path) -> None:
    x = np.array([1.0, 2.0, 3.0, -1e9])
    words = np.array(["a", "b", "b", "a"], object)
    whole = Profile({"x": count_column(x), "word": count_column(words)})
    slices = {
        f"word={name}": Profile(
            {
                "x": count_column(x[words == name], whole.columns["x"]),
                "word": count_column(words[words == name], whole.columns["word"]),
            }
        )
        for name in ("a", "b")
    }
    pair = count_pairs(x, words, (0.0, ("a", "b")))
    one = Profiled(
        "a.csv", 4, {"x": "number", "word": "category"}, whole,
        pairs={("x", "word"): pair}, by="word", slices=slices,
    )  # fmt: skip

    again = saved.read(write(tmp_path / "p.parquet", one))

    assert again == [one]
    assert again[0].slice("word=b").rows == 2
    assert again[0].slice("word=b").name == "a.csv, word=b"
    frame = pl.read_parquet(tmp_path / "p.parquet")
    assert frame.filter(pl.col("slice") == "word=a").height == 2
    [row] = frame.filter(pl.col("kind") == "pair").rows(named=True)
    assert (row["column"], row["other"], row["other_kept"]) == ("x", "word", ["a", "b"])
    assert sum(row["counts"]) == 4


def test_hours_of_a_version_are_read_as_their_sum(tmp_path: Path) -> None:
    like = count_column(np.array([5.0, 6.0]))
    rows = [
        {
            "dataset": "flights:3", "environment": "production", "slice": slice_,
            "type": "number", "hour": datetime(2013, 1, 1, hour, tzinfo=UTC),
            **saved.row_of("x", count_column(np.array([5.0] * (hour + 1)), like)),
        }
        for hour in range(3)
        for slice_ in ("input",)
    ]  # fmt: skip
    rows.append(
        {"dataset": "flights:3", "environment": "production", "slice": "errors", "column": "",
         "kind": "counts", "named": [("503 x", 4)]}
    )  # fmt: skip
    with (tmp_path / "p.parquet").open("wb") as stream:
        assert saved.write_rows(rows, stream) == 4

    [found] = saved.read(tmp_path / "p.parquet")

    assert (found.name, found.rows) == ("flights:3 production", 6)
    assert found.profile.columns["x"] == count_column(np.array([5.0] * 6), like)


def test_a_profile_of_the_version_before_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "p.parquet", table("a.csv"))
    newer = {"environment", "hour", "other", "other_offset", "other_cells", "kept", "other_kept"}
    rows = pq.read_table(path)
    before = rows.drop_columns(sorted(newer)).replace_schema_metadata({"loopline.profile": "1"})
    pq.write_table(before, tmp_path / "before.parquet")

    assert saved.read(tmp_path / "before.parquet") == [table("a.csv")]
