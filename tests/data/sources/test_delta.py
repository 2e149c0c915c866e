import polars as pl
import pytest

from loopline.data.sources.base import read_source, stamp
from loopline.errors import SourceError
from loopline.settings import Settings


def test_a_delta_table_is_known_by_its_log_and_its_stamp_by_each_version(tmp_path):
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    frame.write_delta(tmp_path / "table")
    before = stamp("table", tmp_path)

    assert read_source("table", tmp_path, Settings.read(tmp_path, {})).equals(frame)

    frame.write_delta(tmp_path / "table", mode="append")
    assert len(read_source("table", tmp_path, Settings.read(tmp_path, {}))) == 4
    assert stamp("table", tmp_path) != before


def test_a_table_that_is_not_there_or_empty_is_refused(tmp_path):
    pl.DataFrame({"a": pl.Series([], dtype=pl.Int64)}).write_delta(tmp_path / "empty")
    settings = Settings.read(tmp_path, {})

    with pytest.raises(SourceError, match="There is no Delta table"):
        read_source({"path": "nowhere", "format": "delta"}, tmp_path, settings)
    with pytest.raises(SourceError, match="has no rows"):
        read_source("empty", tmp_path, settings)
