"""One month folded by one process, by four with two killed, and by Spark: the same integers.

Each way folds the same segments into a place of its own; what comes of it is told as a digest of
every stored count, and of the ids of all predictions. Outcomes come late, twice, corrected and out
of order; joined here and on Spark they leave one digest too.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from bench.segments import write_segment
from loopline.compute.base import Compute
from loopline.contract.schema import Contract
from loopline.counts.kernel import count_arrays
from loopline.model.signature import Input, Signature
from loopline.monitoring import fold, hours, settled
from loopline.monitoring.reference import Reference
from loopline.store.database import Database, counts
from loopline.store.objects import Objects
from loopline.store.tables import Tables

HOURS = 720
_HOUR = 3_600_000_000
_START = 379_704 * _HOUR  # 26 April 2013
_BATCH = 25
_CHANCE = 0.08
"""That a process which is to die does so at one of its steps."""


def reference() -> Reference:
    """Return what is known of the version that answered."""
    draw = np.random.default_rng(1)
    signature = Signature(
        "month", "binary", (Input("distance", "number"), Input("carrier", "category")), (),
        ("no", "yes"), 0.5,
    )  # fmt: skip
    carriers = np.array(draw.choice(["UA", "AA", "B6"], 1000), dtype=object)
    scores = draw.uniform(size=1000)
    columns = {"distance": draw.normal(1000, 300, 1000), "carrier": carriers}
    return Reference(1, signature, count_arrays({**columns, "probability": scores}), None)


def contract() -> Contract:
    """Return a contract that compares one group."""
    return Contract.model_validate(
        {
            "project": "month",
            "problem": {"task": "binary", "target": "y"},
            "goals": [{"metric": "roc_auc", "at_least": 0.5}],
            "data": {"source": "x.csv", "columns": {"carrier": {}}},
        }
    )


def write_month(log: Path, segments: int, predictions: int) -> None:
    """Write sealed segments of a month, with outcomes for every third prediction."""
    draw = random.Random(7)
    folder = log / "month" / "production"
    folder.mkdir(parents=True)
    told: list[list[Any]] = []
    each = predictions // segments
    for number in range(segments):
        frames: list[list[Any]] = []
        for begin in range(0, each, _BATCH):
            rows = min(_BATCH, each - begin)
            arrival = _START + (number * each + begin) * HOURS * _HOUR // predictions
            scores = [draw.random() for _ in range(rows)]
            inputs = [
                [draw.gauss(1000, 300) for _ in range(rows)],
                [draw.choice(["UA", "AA", "B6", None]) for _ in range(rows)],
            ]
            labels = ["yes" if score >= 0.5 else "no" for score in scores]
            request = f"s{number}-{begin}"
            frames.append(["p", request, None, arrival, 1, False, 300, "me", rows, inputs,
                           [labels, scores]])  # fmt: skip
            for row in range(0, rows, 3):
                outcome = [f"{request}-{row}", None, draw.choice(["yes", "no"]), arrival]
                told.append(outcome)
                if row % 2 == 0:  # corrected later, and said twice
                    told += [[*outcome[:2], "yes", arrival + 5], [*outcome[:2], "yes", arrival + 5]]
        write_segment(folder, number + 1, frames)
    draw.shuffle(told)
    sent = [["f", _START + HOURS * _HOUR, told[at : at + 500]] for at in range(0, len(told), 500)]
    write_segment(folder, segments + 1, sent)


class Place:
    """Where one way folds to."""

    def __init__(self, root: Path, log: Path) -> None:
        root.mkdir(exist_ok=True)
        self.root, self.log = root, log
        self.tables = Tables(Objects((root / "store").as_uri()))
        self.database = Database(f"sqlite:///{root / 'loopline.db'}")

    def fold(self, compute: Compute | None = None) -> fold.Fold:
        """Return what folds the month into this place."""
        return fold.Fold(
            self.log, "month", lambda _: reference(), self.tables, self.database, compute=compute
        )

    def settle(self, compute: Compute | None = None) -> None:
        """Join and count the outcomes."""
        settled.Settling(contract(), lambda _: reference(), self.tables, self.database, compute)()

    def digest(self, *, outcomes: bool = False) -> str:
        """Return what was counted, and which predictions are there, in one number."""
        known = hours.OF_OUTCOMES if outcomes else ~hours.OF_OUTCOMES
        with self.database.read() as connection:
            rows = sorted(map(tuple, connection.execute(select(counts).where(known))))
        found = hashlib.sha256(repr(rows).encode())
        ids = self.tables.read("predictions/month", columns=["prediction_id"])
        found.update("\n".join(ids["prediction_id"].sort().to_list()).encode())
        return found.hexdigest()[:16]


def fold_as_one_of_many(root: Path, log: Path, seed: int) -> None:
    """Fold until nothing is left, and die at one of the steps where `seed` says so."""
    fold.LEASE_SECONDS = 2.0
    place, chance = Place(root, log), random.Random(seed)

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if chance.random() < _CHANCE:
                os.kill(os.getpid(), 9)
            return function(*arguments, **named)

        return call

    if seed:
        place.tables._commit = deadly(place.tables._commit)  # type: ignore[method-assign]
        hours.add = deadly(hours.add)
        fold._move = deadly(fold._move)
    folding = place.fold()
    while True:
        done = folding()
        if done.is_alone and not done.segments:
            return
        time.sleep(0.1)


def _four(root: Path, log: Path) -> list[int]:
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.folding", "--one-of", str(root), str(log), str(seed)]
        )
        for seed in (0, 0, 7, 11)
    ]
    return [process.wait() for process in started]


def main() -> None:
    """Fold and settle one month three ways, and print what came of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=int, default=72_000)
    parser.add_argument("--segments", type=int, default=24)
    parser.add_argument("--one-of", nargs=3, metavar=("ROOT", "LOG", "SEED"))
    asked = parser.parse_args()
    if asked.one_of:
        fold_as_one_of_many(Path(asked.one_of[0]), Path(asked.one_of[1]), int(asked.one_of[2]))
        return
    folder = Path(tempfile.mkdtemp())
    try:
        _run(folder, asked.segments, asked.predictions)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, segments: int, predictions: int) -> None:
    from loopline.compute.spark import Spark

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    log = folder / "log"
    write_month(log, segments, predictions)
    began = time.monotonic()
    spark = Spark()
    print(f"Spark's session took {time.monotonic() - began:.1f} s to start.", flush=True)
    ways: dict[str, Callable[[Place], Any]] = {
        "one process": lambda place: place.fold()(),
        "four, two of them killed": lambda place: _four(place.root, log),
        spark.name: lambda place: place.fold(spark)(),
    }
    print("| folded by | seconds | counts and ids | outcomes |\n| --- | --- | --- | --- |")
    for name, way in ways.items():
        place = Place(folder / hashlib.sha256(name.encode()).hexdigest()[:8], log)
        began = time.monotonic()
        done = way(place)
        seconds = time.monotonic() - began
        ended = f" (exit codes {done})" if isinstance(done, list) else ""
        place.settle(spark if name == spark.name else None)
        told = (place.digest(), place.digest(outcomes=True))
        print(f"| {name}{ended} | {seconds:.1f} | {told[0]} | {told[1]} |", flush=True)


if __name__ == "__main__":
    main()
