"""82 checks of a million rows by fifty columns, from Parquet: Loopline, pandera, a polars pass.

The floor is one lazy polars pass that counts what fails, written by hand over the same file. CPU
seconds and seconds, each the median of the runs with the least and the most; the peers take turns,
so that a busy machine is busy for all of them. Reading is part of every figure.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.figures import Goal, Spread
from loopline.contract.schema import Contract
from loopline.data.quality import tally

NUMBERS, CATEGORIES = 40, 10
BOUNDED, GAPPED = 32, 6
"""Two limits each, and a limit of what is missing: with categories, key and rule 82 checks."""
_VALUES = ("red", "green", "blue", "grey")
_LOW, _HIGH, _GAPS = -3.0, 3.0, 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return the exit code: 1 where the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.validation", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5, choices=range(1, 101), metavar="1..100")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="loopline-bench-") as folder:
        file = make(Path(folder) / "data.parquet", options.rows)
        found = measure(file, options.runs)
    ratios = [
        own / floor
        for own, floor in zip(
            found["Loopline"]["cpu"], found["one polars pass"]["cpu"], strict=True
        )
    ]
    goal = Goal(
        "CPU of Loopline to one pass", Spread.of(ratios).median, 1.5, at_least=False, unit=""
    )
    if options.json:
        print(json.dumps({"peers": found, "ratio": ratios, "met": goal.is_met}, indent=1))
        return 0 if goal.is_met else 1
    for name, figures in found.items():
        cpu, wall = Spread.of(figures["cpu"]), Spread.of(figures["seconds"])
        print(f"{name:<18}{cpu} CPU s, {wall} s, {figures['failed']} checks fail")
    print(f"{'met' if goal.is_met else 'NOT MET'}: {Spread.of(ratios)} of one pass, at most 1.5")
    return 0 if goal.is_met else 1


def make(file: Path, rows: int) -> Path:
    """Write the data: every check fails on some rows, and no column has more gaps than it may."""
    generator = np.random.default_rng(7)
    columns: dict[str, Any] = {"key": np.arange(rows).astype(str)}
    for place in range(NUMBERS - 1):
        values = generator.normal(size=rows)
        if place < GAPPED:
            values[generator.random(rows) < _GAPS / 2] = np.nan
        columns[f"n{place}"] = values
    for place in range(CATEGORIES):
        chosen = generator.choice(5, rows, p=[0.4, 0.3, 0.2, 0.099, 0.001])
        columns[f"c{place}"] = np.array([*_VALUES, "pink"])[chosen]
    pl.DataFrame(columns, nan_to_null=True).write_parquet(file)
    return file


def contract() -> Contract:
    """Return the 82 checks as a contract has them."""
    columns: dict[str, Any] = {
        f"n{place}": {
            "type": "number",
            **({"minimum": _LOW, "maximum": _HIGH} if place < BOUNDED else {}),
            **({"missing_at_most": _GAPS} if place < GAPPED else {}),
        }
        for place in range(NUMBERS - 1)
    }
    for place in range(CATEGORIES):
        columns[f"c{place}"] = {"type": "category", "categories": list(_VALUES)}
    return Contract.model_validate(
        {
            "project": "bench",
            "problem": {"task": "regression", "target": "n38"},
            "goals": [{"metric": "rmse", "at_most": 1}],
            "data": {
                "source": "data.parquet",
                "key": "key",
                "columns": {**columns, "key": {"type": "text"}},
                "checks": [{"rule": "n0 < n1 + 5", "on_fail": "warn"}],
            },
        }
    )


def by_loopline(file: Path) -> list[int]:
    """Count with Loopline; returns how many rows fail each check."""
    wanted = contract()
    types = {name: str(column.type) for name, column in wanted.data.columns.items()}
    return [one.failed for one in tally("snapshot", pl.read_parquet(file), types, wanted)]


def by_one_pass(file: Path) -> list[int]:
    """Count with one lazy polars pass, written by hand."""
    numbers = [pl.col(f"n{place}") for place in range(BOUNDED)]
    fails = [check for number in numbers for check in (number < _LOW, number > _HIGH)]
    fails += [~pl.col(f"c{place}").is_in(_VALUES) for place in range(CATEGORIES)]
    fails.append(~pl.col("key").is_first_distinct())
    fails.append(~(pl.col("n0") < pl.col("n1") + 5))
    fails += [pl.col(f"n{place}").is_null() for place in range(GAPPED)]
    sums = [check.sum().alias(str(place)) for place, check in enumerate(fails)]
    return list(pl.scan_parquet(file).select(sums).collect().row(0))


def by_pandera(file: Path) -> list[int]:
    """Validate with pandera on polars, lazily, so that every failure is found."""
    import pandera.polars as pa

    within = [pa.Check.ge(_LOW), pa.Check.le(_HIGH)]
    columns = {
        f"n{place}": pa.Column(float, within if place < BOUNDED else [], nullable=True)
        for place in range(NUMBERS - 1)
    }
    for place in range(CATEGORIES):
        columns[f"c{place}"] = pa.Column(str, pa.Check.isin(_VALUES))
    columns["key"] = pa.Column(str, unique=True)
    rule = pa.Check(lambda data: data.lazyframe.select(pl.col("n0") < pl.col("n1") + 5))
    gaps = [pa.Check(_few_gaps(f"n{place}")) for place in range(GAPPED)]
    try:
        pa.DataFrameSchema(columns, checks=[rule, *gaps]).validate(pl.read_parquet(file), lazy=True)
    except pa.errors.SchemaErrors as errors:
        return [len(errors.schema_errors)]
    return []


def _few_gaps(name: str) -> Callable[[Any], pl.LazyFrame]:
    return lambda data: data.lazyframe.select(pl.col(name).is_null().mean() <= _GAPS)


def measure(file: Path, runs: int) -> dict[str, dict[str, Any]]:
    """Let every peer do it `runs` times, in turns, after a first time that counts for nothing."""
    peers: dict[str, Callable[[Path], list[int]]] = {
        "one polars pass": by_one_pass,
        "Loopline": by_loopline,
        "pandera on polars": by_pandera,
    }
    found: dict[str, dict[str, Any]] = {
        name: {"cpu": [], "seconds": [], "failed": 0} for name in peers
    }
    for run in range(runs + 1):
        for name, count in peers.items():
            began, cpu = time.perf_counter(), _cpu()
            failed = count(file)
            taken, used = time.perf_counter() - began, _cpu() - cpu
            if run:
                found[name]["cpu"].append(used)
                found[name]["seconds"].append(taken)
            many = len(failed) == 1
            found[name]["failed"] = failed[0] if many else sum(map(bool, failed))
    if by_loopline(file).count(0) != by_one_pass(file).count(0):
        raise SystemExit("Loopline and the pass by hand disagree.")
    return found


def _cpu() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    sys.exit(main())
