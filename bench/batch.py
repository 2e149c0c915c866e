"""A million rows at once: `loopline score` beside MLflow's pyfunc, here and on Spark.

All read the same Parquet file of real flights, score it with the same fitted pipeline and write
Parquet, each as a process of its own, in turn. A ratio is taken within a round, and what is printed
is its median with the lowest and the highest. That the answers agree is checked. MLflow does what
its documentation does: `predict` on a whole table, and on Spark `spark_udf`. Both Sparks use every
core of this machine, and their sessions' start is included.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.figures import AGREES_WITHIN, Spread
from bench.load import BenchError
from bench.peers import Model, environment, loopline, make_model

_PYFUNC = "mlflow"
_SPARK, _UDF = "spark", "mlflow on spark"
_PEER = {_SPARK: _UDF}
"""Whom a contender is compared with, if not MLflow's pyfunc."""


@dataclass(frozen=True)
class Turn:
    """One contender over the whole file, in one round."""

    contender: str
    round: int
    rows: int
    seconds: float
    """Of the whole process, from its start to its end."""
    cpu_seconds: float
    peak_mib: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.batch", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="default 1,000,000")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    for be in ("--pyfunc", "--udf"):
        parser.add_argument(be, nargs=3, metavar=("MODEL", "IN", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.pyfunc:
        _pyfunc(*options.pyfunc)
        return 0
    if options.udf:
        _udf(*options.udf)
        return 0
    try:
        turns = _run(options.rows, options.rounds)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([asdict(turn) | {"rate": turn.rate} for turn in turns], indent=1))
    else:
        _print(turns)
    return 0


def ratio(turns: Sequence[Turn], over: str, under: str) -> Spread:
    """Return how many times the rate of `under` that of `over` is, taken within each round."""
    rates = {(turn.contender, turn.round): turn.rate for turn in turns}
    rounds = sorted({number for name, number in rates if name == over})
    return Spread.of([rates[over, number] / rates[under, number] for number in rounds])


def _run(rows: int, rounds: int) -> list[Turn]:
    with tempfile.TemporaryDirectory(prefix="loopline-bench-") as made:
        folder = Path(made)
        _say("Training on real flights; a few minutes.")
        model = make_model(folder)
        source = folder / "flights.parquet"
        _write_flights(source, rows)
        commands = _commands(model, source, folder)
        turns = []
        names = list(commands)
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                out = folder / f"{name.replace(' ', '-')}.parquet"
                turns.append(_turn(name, number, rows, commands[name](out), model))
                _say(f"  round {number + 1}, {name}: {turns[-1].rate:,.0f} rows a second")
            if number == 0:
                _check(folder, names)
        return turns


def _commands(
    model: Model, source: Path, folder: Path
) -> Mapping[str, Callable[[Path], list[str]]]:
    project = ["--project", str(model.project), "--replace"]

    def score(*more: str) -> Callable[[Path], list[str]]:
        return lambda out: loopline("score", str(source), str(out), *project, *more)

    def mlflow(way: str) -> Callable[[Path], list[str]]:
        start = [sys.executable, "-m", "bench.batch", way, str(model.packed), str(source)]
        return lambda out: [*start, str(out)]

    return {
        "1 thread": score("--threads", "1"),
        "2 threads": score("--threads", "2"),
        _PYFUNC: mlflow("--pyfunc"),
        _SPARK: score("--on", "spark"),
        _UDF: mlflow("--udf"),
    }


def _turn(name: str, number: int, rows: int, command: list[str], model: Model) -> Turn:
    # One thread for numerical libraries, but for what a contender is told of itself.
    chosen = environment(model)
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=chosen, cwd=Path(__file__).resolve().parents[1], stdout=subprocess.PIPE
    )
    peak = 0.0
    while True:
        # What the system says at the end has the memory of this process in it, which it came from.
        peak = max(peak, _peak_mib(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout is not None:
        process.stdout.close()
    if process.returncode:
        raise BenchError(f"{name} ended with exit code {process.returncode}.")
    cpu = usage.ru_utime + usage.ru_stime
    return Turn(name, number, rows, seconds, cpu, peak)


def _peak_mib(process: int) -> float:
    """Return the most memory that a running process has had; 0 of one that has just ended."""
    status = Path(f"/proc/{process}/status").read_text()
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) / 1024 if found else 0.0


def _check(folder: Path, names: Sequence[str]) -> None:
    """Compare every answer with the pipeline's own.

    Raises:
        BenchError: they differ.
    """
    import numpy as np
    import pyarrow.parquet as pq

    said = {
        name: pq.read_table(folder / f"{name.replace(' ', '-')}.parquet")
        .sort_by("flight_id")["probability"]
        .to_numpy()
        for name in names
    }
    for name, answers in said.items():
        largest = float(np.abs(answers - said[_PYFUNC]).max())
        if not largest <= AGREES_WITHIN:
            raise BenchError(f"{name} differs from the pipeline by {largest:.3g}.")
        if "mlflow" not in name and not np.array_equal(answers, said["1 thread"]):
            raise BenchError(f"{name} differs from one thread.")


def _write_flights(place: Path, rows: int) -> None:
    """Write so many flights, drawn from the year's, as they were known before departure."""
    import polars as pl

    from loopline.demo.flights import flights

    moment = pl.col("scheduled_departure")
    parts = {"month": "%b", "day": "%d", "weekday": "%a", "hour": "%Hh", "minute": "%Mm"}
    frame = flights().with_columns(moment.dt.strftime(f).alias(name) for name, f in parts.items())
    frame = frame.drop("scheduled_departure", "dep_delay", "arr_delay")
    drawn = frame.sample(rows, with_replacement=True, seed=7)
    drawn.with_columns(flight_id=pl.format("flight-{}", pl.int_range(rows))).write_parquet(place)


def _pyfunc(packed: str, source: str, out: str) -> None:
    """Do what MLflow's documentation does with a table."""
    import mlflow.pyfunc
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    model = mlflow.pyfunc.load_model(packed)
    frame = pd.read_parquet(source)
    names = model.metadata.get_input_schema().input_names()
    found = model.predict(frame[names])
    probabilities = [pa.array(found[:, 1])]
    pq.write_table(pa.table([pa.array(frame["flight_id"]), *probabilities],
                            names=["flight_id", "probability"]), out)  # fmt: skip


def _udf(packed: str, source: str, out: str) -> None:
    """Do what MLflow's documentation does with a table on Spark."""
    import mlflow.pyfunc
    from pyspark.sql import SparkSession, functions

    session = (
        SparkSession.builder.master("local[*]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.pyspark.python", sys.executable)
        .getOrCreate()
    )
    predict = mlflow.pyfunc.spark_udf(
        session, packed, result_type="array<double>", env_manager="local"
    )
    names = mlflow.pyfunc.load_model(packed).metadata.get_input_schema().input_names()
    rows = session.read.parquet(source)
    said = predict(functions.struct(*names))[1].alias("probability")
    rows.select("flight_id", said).write.mode("overwrite").parquet(out)


def _print(turns: Sequence[Turn]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 130)
    table = Table(title=f"{turns[0].rows:,} rows, Parquet to Parquet", title_justify="left")
    table.add_column("")
    for head in ("rows/s", "CPU s", "peak MiB", "times MLflow's"):
        table.add_column(head, justify="right")
    titles = {
        _PYFUNC: "MLflow pyfunc",
        _SPARK: "loopline score on Spark",
        _UDF: "MLflow spark_udf",
    }
    for name in dict.fromkeys(turn.contender for turn in turns):
        own = [turn for turn in turns if turn.contender == name]
        # Of Spark the process measured is the driver's shell; its executors are Java's.
        own_work = name not in {_SPARK, _UDF}
        table.add_row(
            titles.get(name, f"loopline score, {name}"),
            str(Spread.of([turn.rate for turn in own])),
            f"{statistics.median(t.cpu_seconds for t in own):.1f}" if own_work else "",
            f"{max(t.peak_mib for t in own):.0f}" if own_work else "",
            "" if name in {_PYFUNC, _UDF} else str(ratio(turns, name, _PEER.get(name, _PYFUNC))),
        )
    console.print(table)
    console.print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}"
        ". Whole processes, start included. Medians over rounds, lowest and highest in brackets."
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
