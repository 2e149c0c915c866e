"""Two tables told apart by all columns together, where each alone looks as before."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from loopline.compute.threads import Threads
from loopline.counts import saved
from loopline.data import batches, multivariate
from loopline.data.multivariate import Sample
from loopline.data.profiling import profile_all, told_apart
from loopline.errors import SourceError

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
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
            sample.add(pa.record_batch({"n": list(rows)}), start)
        return sample.table()["n"].to_pylist()

    first = drawn(777)

    assert first == drawn(20_000) == drawn(4000)
    assert first == sorted(first)
    assert len(first) == 500
    assert np.mean(first) == pytest.approx(10_000, abs=900)


@pytest.mark.parametrize("on", ["three threads", "spark"])
def test_the_same_rows_are_drawn_by_one_thread_several_and_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, on: str
) -> None:
    monkeypatch.setattr(batches, "PIECE_ROWS", 5000)
    monkeypatch.setattr(batches, "BATCH_ROWS", 2000)
    places = ["a.parquet", "b.csv"]
    frames = [pl.DataFrame({"n": range(begin, begin + 30_000)}) for begin in (0, 5)]
    frames[0].write_parquet(tmp_path / places[0], row_group_size=5000)
    frames[1].write_csv(tmp_path / places[1])
    drawn: list[pa.Table] = []
    monkeypatch.setattr(multivariate, "apart", lambda _, *samples: drawn.extend(samples))
    found = profile_all(places, tmp_path)
    told_apart(places, tmp_path, found, compute=Threads(1))

    compute = Threads(3) if on == "three threads" else request.getfixturevalue("spark")
    told_apart(places, tmp_path, found, compute=compute)

    # By hand: the places with the ten thousand lowest keys, in order.
    keys = multivariate._scattered(np.arange(30_000, dtype=np.uint64))
    lowest = np.sort(np.argsort(keys)[:10_000])
    assert [table["n"].to_pylist() for table in drawn] == [
        lowest.tolist(), (lowest + 5).tolist(), lowest.tolist(), (lowest + 5).tolist()
    ]  # fmt: skip


def test_rows_that_became_fewer_since_they_were_counted_are_drawn_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame({"n": range(12_000)}).write_parquet(tmp_path / "a.parquet")
    drawn: list[pa.Table] = []
    monkeypatch.setattr(multivariate, "apart", lambda _, *samples: drawn.extend(samples))
    [found] = profile_all(["a.parquet"], tmp_path)

    told_apart(["a.parquet"], tmp_path, [replace(found, rows=1_000_000)])

    assert drawn[0].num_rows == 10_000


def test_a_saved_profile_and_a_handful_of_rows_cannot_be_told_apart(tmp_path: Path) -> None:
    table(1, 0.0).write_parquet(tmp_path / "a.parquet")
    table(1, 0.0)[:50].write_parquet(tmp_path / "few.parquet")
    found = profile_all(["a.parquet"], tmp_path)
    with (tmp_path / "p.parquet").open("wb") as stream:
        saved.write(found, stream)

    with pytest.raises(SourceError, match="a saved profile: its columns' counts, and no rows"):
        told_apart(["p.parquet", "a.parquet"], tmp_path, [*found, *found])
    with pytest.raises(SourceError, match="here are 50 rows"):
        told_apart(["a.parquet", "few.parquet"], tmp_path, [*found, *found])
