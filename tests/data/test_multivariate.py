"""Two tables told apart by all columns together, where each alone looks as before."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from loopline.counts import saved
from loopline.data.multivariate import Sample
from loopline.data.profiling import profile_all, told_apart
from loopline.errors import SourceError

ROWS = 800


def table(seed: int, tied: float) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=ROWS)
    y = tied * x + np.sqrt(1 - tied**2) * generator.normal(size=ROWS)
    return pl.DataFrame(
        {
            "x": x,
            "y": [None if n % 50 == 0 else v for n, v in enumerate(y)],
            "word": [["a", "b", "c"][n % 3] for n in generator.integers(0, 9, ROWS)],
            "flag": generator.random(ROWS) > 0.5,
            "key": [f"k{seed}-{n}" for n in range(ROWS)],
        }
    )


def test_a_changed_relation_is_seen_that_no_column_shows(tmp_path: Path) -> None:
    table(1, 0.0).write_parquet(tmp_path / "a.parquet")
    table(2, 0.0).write_csv(tmp_path / "same.csv")
    table(3, 0.95).write_csv(tmp_path / "tied.csv")

    def found(name: str):
        places = ["a.parquet", name]
        return told_apart(places, tmp_path, profile_all(places, tmp_path))

    same, tied = found("same.csv"), found("tied.csv")

    assert not same.drifted
    assert same.roc_auc.value == pytest.approx(0.5, abs=0.05)
    assert tied.drifted
    assert tied.roc_auc.value > 0.7
    assert set(tied.telling) == {"x", "y"}
    assert tied.rows == 2 * ROWS


def test_a_sample_is_even_and_the_same_however_its_rows_come() -> None:
    def drawn(step: int) -> list[int]:
        sample = Sample(500)
        for start in range(0, 20_000, step):
            rows = range(start, min(start + step, 20_000))
            sample.add(pa.record_batch({"n": list(rows)}))
        return sample.table()["n"].to_pylist()

    first = drawn(777)

    assert first == drawn(20_000) == drawn(4000)
    assert len(first) == 500
    assert np.mean(first) == pytest.approx(10_000, abs=900)


def test_a_saved_profile_and_a_handful_of_rows_cannot_be_told_apart(tmp_path: Path) -> None:
    table(1, 0.0).write_parquet(tmp_path / "a.parquet")
    table(1, 0.0)[:50].write_parquet(tmp_path / "few.parquet")
    found = profile_all(["a.parquet"], tmp_path)
    with (tmp_path / "p.parquet").open("wb") as stream:
        saved.write(found, stream)

    with pytest.raises(SourceError, match="a saved profile: its columns' counts, and no rows"):
        told_apart(["p.parquet", "a.parquet"], tmp_path, found)
    with pytest.raises(SourceError, match="here are 50 rows"):
        told_apart(["a.parquet", "few.parquet"], tmp_path, found)
