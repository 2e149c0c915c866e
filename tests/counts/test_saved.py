"""A saved profile is the same integers again, and rows that any tool can read."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopline.counts import saved
from loopline.counts.kernel import ColumnCounts, Profile, count_column
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
