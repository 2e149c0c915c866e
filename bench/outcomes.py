"""What new outcomes cost, by how many predictions there are.

    python -m bench.outcomes [--sizes N ...] [--new N]

A month of predictions that all have an outcome, by id or by key, as a server and a watcher leave
them: appended fold by fold, gathered by compaction. Then outcomes of one day come, and are counted.
"""

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from loopline.contract.schema import Contract
from loopline.counts.kernel import Profile
from loopline.model.signature import Input, Signature
from loopline.monitoring import labels, performance
from loopline.monitoring.fold import table
from loopline.monitoring.reference import Reference
from loopline.monitoring.settled import Settling
from loopline.monitoring.windows import Window, microseconds
from loopline.store.database import Database
from loopline.store.objects import Objects
from loopline.store.tables import Tables
from loopline.training.baselines import restore

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS, FOLDS = 30, 300
CONTRACT = Contract.model_validate(
    {
        "project": "bench",
        "problem": {"task": "binary", "target": "y", "costs": {"false_positive": 5}},
        "goals": [{"metric": "roc_auc", "at_least": 0.5}],
        "data": {"source": "x.csv", "key": "key", "columns": {"housing": {}, "married": {}}},
        "monitor": {"minimum_labels": 50},
    }
)
REFERENCE = Reference(
    1,
    Signature(
        "bench",
        "binary",
        (Input("housing", "category"), Input("married", "boolean")),
        (),
        ("no", "yes"),
        0.5,
    ),
    Profile({}),
    restore({"name": "everyone", "threshold": 0.0, "constant": 0.7}),
)


def predictions(first: int, rows: int, of: int) -> pl.DataFrame:
    """Return rows of a log whose ids begin with their time, as a server's do; keys are random."""
    draw = np.random.default_rng(first)
    number = np.arange(first, first + rows)
    at = microseconds(START) + number * (DAYS * 86_400_000_000 // of)
    keys = (number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)).tolist()
    return pl.DataFrame(
        {
            "prediction_id": [f"{each:013x}000abcdef01-0" for each in at.tolist()],
            "key": [f"{key:016x}" for key in keys],
            "environment": pl.repeat("prod", rows, eager=True),
            "version": pl.repeat(1, rows, eager=True),
            "shadow": pl.repeat(False, rows, eager=True),
            "arrival": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "event_time": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "plausible": pl.repeat(True, rows, eager=True),
            "score": draw.random(rows),
            "housing": np.array(["own", "rent", "free"])[draw.integers(0, 3, rows)],
            "married": draw.random(rows) < 0.5,
            **{f"feature_{place}": draw.normal(size=rows) for place in range(10)},
        }
    )


def outcomes(rows: pl.DataFrame, segment: str, *, by: str, seed: int) -> pl.DataFrame:
    """Return an outcome of each row, told a day later, by `prediction_id` or `key`."""
    said = np.random.default_rng(seed).random(len(rows)) < rows["score"].to_numpy()
    other = "key" if by == "prediction_id" else "prediction_id"
    return pl.DataFrame(
        {
            by: rows[by],
            other: pl.repeat(None, len(rows), dtype=pl.String, eager=True),
            "label": np.where(said, "yes", "no"),
            "observed_at": rows["arrival"] + timedelta(days=1, seconds=seed),
            "arrival": rows["arrival"] + timedelta(days=1, seconds=seed),
            "offset": pl.repeat(seed, len(rows), dtype=pl.Int64, eager=True),
            "row": np.arange(len(rows)),
            "segment": pl.repeat(segment, len(rows), eager=True),
        }
    ).select(labels.empty().columns)


def run(size: int, new: int) -> dict[str, object]:
    """Fill a store, count everything, then count `new` outcomes of one day by id and by key."""
    with tempfile.TemporaryDirectory() as folder:
        objects = Objects((Path(folder) / "store").as_uri())
        tables, database = Tables(objects), Database(f"sqlite:///{folder}/loopline.db")
        settle = Settling(CONTRACT, lambda _: REFERENCE, tables, database)
        per = size // FOLDS
        for fold in range(FOLDS):
            every = predictions(fold * per, per, size)
            tables.write(table("bench"), every)
            for part, by in ((every[::2], "prediction_id"), (every[1::2], "key")):
                tables.write(labels.table("bench"), outcomes(part, f"{fold} {by}", by=by, seed=0))
        for key in (table("bench"), labels.table("bench")):
            tables.compact(key)
        found: dict[str, object] = {"predictions": size, "first counting": _seconds(settle)}
        day = predictions(20 * size // DAYS, size // DAYS, size).sample(new, seed=1)
        for place, by in enumerate(("prediction_id", "key"), 1):
            fresh = outcomes(day, f"new {by}", by=by, seed=place)
            tables.write(labels.table("bench"), fresh)
            found[f"{new:,} by {by}"] = _seconds(settle)
        first = microseconds(START) // 3_600_000_000
        month = [Window(first, first + 24 * DAYS)]
        asked = (CONTRACT, REFERENCE, database, "prod", month)
        found["figures of the month"] = _seconds(lambda: performance.measure(*asked))
        return found


def _seconds(do: object) -> float:
    assert callable(do)
    began = time.process_time()
    do()
    return round(time.process_time() - began, 3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--new", type=int, default=1000)
    options = parser.parse_args()
    for size in options.sizes:
        print(json.dumps(run(size, options.new)), flush=True)
