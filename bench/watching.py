"""What watching costs: drift, checks, fairness and a month of counts, beside what people use.

    python -m bench.watching [--only TASK] [--rows N] [--rounds N] [--limit SECONDS] [--page]

Each contender is a process of its own over the same files, in turn: 40 columns of numbers and 10 of
categories, reference and current. A ratio is taken within a round. Peers are given their own
environments and what their documentation recommends; of them the work alone is timed as well,
without imports and reading. Loopline is always the whole command. Files are made once, in
`~/.cache/loopline-bench/data`.

A peer is stopped after `--limit` seconds, which is a result, and not asked again with more rows;
one that fails is told with its reason. What was measured until an interruption is printed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import venvs
from bench.figures import Goal, Spread
from bench.load import BenchError
from bench.peers import loopline
from bench.tables import written

_HERE = Path(__file__).resolve()
_ROOT = _HERE.parents[1]
_PAGE = _ROOT / "docs" / "explanation" / "watching-speed.md"
_SECONDS = 900.0
"""For Loopline itself, which must come to its end."""
_LIMIT = 120.0
_GROWTH = (1_000_000, 10_000_000, 100_000_000)
_SIZES = (10_000, 100_000, 1_000_000)
_BLOCK = 1_000_000
FLOOR, OWN, DELTA = "decode", "loopline", "loopline on Delta"
PEERS = frozenset({
    "scipy", "nannyml", "evidently", "polars", "pandera", "great_expectations", "fairlearn",
})  # fmt: skip
_BESIDE = {"drift": OWN, "checks": "loopline_checks", "fairness": "loopline_fairness"}
"""What each task's ratios are to."""


@dataclass(frozen=True)
class Turn:
    """One contender, once."""

    task: str
    contender: str
    rows: int
    round: int
    seconds: float | None
    """Of the whole process; None where it was stopped, or failed."""
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    work_seconds: float | None = None
    """Of the work alone, as the contender timed itself."""
    said: str = ""
    """What it found; or, where it failed, why."""


@dataclass(frozen=True)
class Asked:
    """What one run of the benchmark is asked for."""

    sizes: Sequence[int] = _SIZES
    growth: Sequence[int] = _GROWTH
    rounds: int = 3
    without: Sequence[str] = ()
    limit: float = _LIMIT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.watching", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="1..20")
    parser.add_argument(
        "--only", action="append", choices=[*TASKS], help="these tasks alone; may be repeated"
    )
    parser.add_argument("--without", action="append", default=[], help="not this contender")
    parser.add_argument(
        "--rows", action="append", type=int, help="of drift and checks; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="small files, once: does it run?")
    parser.add_argument("--most", type=int, default=_GROWTH[-1], help="rows that growth ends with")
    parser.add_argument("--limit", type=float, default=_LIMIT, help="seconds that a peer has")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    parser.add_argument("--page", action="store_true", help="write the tables into the docs")
    options = parser.parse_args(arguments)
    asked = Asked(
        options.rows or ((2_000,) if options.quick else _SIZES),
        (20_000, 80_000) if options.quick else tuple(n for n in _GROWTH if n <= options.most),
        1 if options.quick else options.rounds,
        options.without,
        options.limit,
    )
    turns: list[Turn] = []
    code = 0
    try:
        for task in options.only or TASKS:
            turns.extend(TASKS[task](asked))
    except BenchError as error:
        print(error, file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    if options.json:
        print(json.dumps([asdict(turn) for turn in turns], indent=1))
        return code
    _print(turns)
    if options.page and not code:
        written(_PAGE, "".join(markdown(turns)))
    return code


def data() -> Path:
    """Return the folder where files are made, once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "loopline-bench" / "data"


def pair(rows: int) -> tuple[Path, Path]:
    """Return two tables of so many rows; four columns of the second are shifted."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = data() / f"{rows}x50"
    places = folder / "a.parquet", folder / "b.parquet"
    if (folder / "sets.json").exists():
        return places
    folder.mkdir(parents=True, exist_ok=True)
    levels = [5, 8, 12, 20, 40, 80, 150, 300, 600, 1000]
    for seed, place in enumerate(places, start=1):
        draw = np.random.default_rng(seed)
        shapes: list[Callable[[int], np.ndarray]] = [
            lambda j, d=draw: d.normal(j, 1 + j / 9, rows),
            lambda _, d=draw: d.lognormal(0, 1, rows),
            lambda _, d=draw: d.poisson(4, rows).astype(float),
            lambda _, d=draw: d.exponential(3, rows) * (d.random(rows) > 0.8),
        ]
        columns = {}
        for j in range(40):
            values = shapes[j % 4](j) + (1.0 * (seed - 1) if j in {1, 9, 17, 25} else 0.0)
            columns[f"n{j}"] = pa.array(values, mask=draw.random(rows) < 0.03)
        for j, different in enumerate(levels):
            texts = pa.array([f"v{n}" for n in range(different)])
            codes = pa.array(draw.integers(0, different, rows).astype(np.int32))
            columns[f"c{j}"] = pa.DictionaryArray.from_arrays(codes, texts).dictionary_decode()
        pq.write_table(pa.table(columns), place, compression="snappy", row_group_size=131072)
    sets = {f"c{j}": [f"v{n}" for n in range(different)] for j, different in enumerate(levels)}
    (folder / "sets.json").write_text(json.dumps(sets))
    return places


def long_file(rows: int) -> Path:
    """Return a table of so many rows and a few columns, one of them a key; written in blocks."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = data() / f"{rows}-long.parquet"
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    draw, size = np.random.default_rng(1), min(rows, _BLOCK)
    texts = pa.array([f"v{n}" for n in range(200)])
    codes = pa.array(draw.integers(0, 200, size).astype(np.int32))
    block = {
        "normal": pa.array(draw.normal(30, 4, size)),
        "lognormal": pa.array(draw.lognormal(0, 1, size).astype(np.float32)),
        "count": pa.array(draw.poisson(4, size).astype(np.int32)),
        "word": pa.DictionaryArray.from_arrays(codes, texts).dictionary_decode(),
    }
    draft = place.with_suffix(".draft")
    schema = pa.table(block | {"key": pa.array(["k"] * size)}).schema
    with pq.ParquetWriter(draft, schema, compression="snappy", use_dictionary=["word"]) as writer:
        for start in range(0, rows, size):
            keys = pa.array(np.arange(start, start + size)).cast(pa.string())
            table = pa.table(block | {"key": keys}, schema=schema)
            writer.write_table(table, row_group_size=131072)
    draft.replace(place)
    return place


Measured = tuple[float | None, float, float, str]
"""Seconds (None if it was stopped), CPU seconds, peak MiB, and what it printed."""

_INSIDE = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
try:
    ran = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, timeout=float(sys.argv[1]))
except subprocess.TimeoutExpired:
    ran = None
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
said = ran.stdout.decode(errors="replace") if ran else ""
print(json.dumps([seconds if ran else None, cpu, peak, said]))
sys.exit(ran.returncode if ran else 0)
"""
"""A process between, so that what its children used is the contender's alone."""


def measured(command: Sequence[str], seconds: float = _SECONDS) -> Measured:
    """Run a process to its end, or for so many seconds.

    Raises:
        BenchError: it fails; the text says how.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("LOOPLINE_")}
    quiet = {"DO_NOT_TRACK": "1", "GX_ANALYTICS_ENABLED": "false", "NML_DISABLE_USAGE_LOGGING": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", _INSIDE, str(seconds), *command],
        cwd=_ROOT,
        env=own | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        said = ran.stderr.strip().splitlines()
        raise BenchError(f"{' '.join(command[:3])} failed: {said[-1] if said else ''}")
    took, cpu, peak, out = json.loads(ran.stdout)
    return took, cpu, peak, out


def ratio(
    turns: Sequence[Turn], over: str, under: str, *, cpu: bool = False, work: bool = False
) -> Spread | None:
    """Return how many times as long `over` took as `under`, taken within each round.

    Of the whole process, in seconds or CPU seconds; or of the `work` as each timed it itself.
    """
    found = {
        (turn.contender, turn.round): turn.work_seconds
        if work
        else turn.cpu_seconds
        if cpu
        else turn.seconds
        for turn in turns
        if turn.seconds is not None
    }
    times = []
    for (name, number), seconds in found.items():
        other = found.get((under, number))
        if name == over and seconds and other:
            times.append(seconds / other)
    return Spread.of(times) if times else None


def goals(turns: Sequence[Turn]) -> list[Goal]:
    """Return what can be judged of the goals, from what was measured."""
    found = []

    def most(name: str, value: float | None, limit: float, unit: str) -> None:
        if value is not None:
            found.append(Goal(name, value, limit, at_least=False, unit=unit))

    drift = [turn for turn in turns if turn.task == "drift"]
    largest = [turn for turn in drift if turn.rows == max((t.rows for t in drift), default=0)]
    for is_cpu, what in ((False, "time"), (True, "CPU time")):
        beside = ratio(largest, OWN, FLOOR, cpu=is_cpu)
        most(f"drift beside the decode floor, {what}", beside and beside.median, 1.3, "times")
    peer = ratio(largest, "nannyml", OWN)
    if peer is not None:
        found.append(Goal("drift beside NannyML", peer.median, 25, at_least=True, unit="times"))
    peaks = {turn.rows: turn.peak_mib for turn in turns if turn.task == "growth"}
    if len(peaks) > 1:
        grown = peaks[max(peaks)] / peaks[min(peaks)]
        most(f"memory, {min(peaks):,} to {max(peaks):,} rows", grown, 1.5, "times")
    months = [turn.work_seconds for turn in turns if turn.task == "month" and turn.work_seconds]
    most("a month of a billion", statistics.median(months) * 1e3 if months else None, 50, "ms")
    checks = [turn for turn in turns if turn.task == "checks"]
    for name, what in (("loopline_checks", "the source"), ("loopline_stage", "a later stage")):
        beside = ratio(checks, name, "polars", work=True)
        most(f"82 checks of {what} beside one polars pass", beside and beside.median, 1.5, "times")
    return found


def _peer(name: str, contender: str) -> list[str]:
    python = sys.executable if name == "own" else str(venvs.made(name) / "python")
    return [python, str(_HERE.with_name("watching_peers.py")), contender]


def _turn(
    task: str, contender: str, rows: int, number: int, command: Sequence[str], limit: float
) -> Turn:
    """Have one contender do it once; a peer may be stopped or fail, Loopline may not."""
    print(f"  {task}, {rows:,} rows: {contender}", file=sys.stderr, flush=True)
    is_own = contender not in PEERS
    try:
        took, cpu, peak, out = measured(command, _SECONDS if is_own else limit)
    except BenchError as error:
        if is_own:
            raise
        return Turn(task, contender, rows, number, None, said=str(error))
    if took is None:
        if is_own:
            raise BenchError(f"{contender} took more than {_SECONDS:.0f} s with {rows:,} rows.")
        said = f"stopped after {limit:.0f} s"
        return Turn(task, contender, rows, number, None, cpu, peak, said=said)
    if contender in {OWN, DELTA}:
        found = json.loads(out)
        names = sorted(one["column"] for one in found.get("drift", ()) if one["drifted"])
        said = json.dumps({"drifted": names})
        return Turn(task, contender, rows, number, took, cpu, peak, said=said)
    told = json.loads(out.strip().splitlines()[-1])
    work = told.pop("seconds")
    return Turn(
        task, contender, rows, number, took, cpu, peak, work, json.dumps(told) if told else ""
    )


def _in_rounds(
    task: str, rows: int, commands: Mapping[str, list[str]], asked: Asked, stopped: set[str]
) -> Iterator[Turn]:
    """Yield each contender's turns, round by round; one in `stopped` has none, or no more."""
    for number in range(asked.rounds):
        for name, command in commands.items():
            if name in asked.without or name in stopped:
                continue
            turn = _turn(task, name, rows, number, command, asked.limit)
            if turn.seconds is None:
                stopped.add(name)
            yield turn


def _drift(asked: Asked) -> Iterator[Turn]:
    stopped: set[str] = set()
    for rows in asked.sizes:
        first, second = map(str, pair(rows))
        deltas = [_as_delta(Path(place)) for place in (first, second)]
        commands = {
            FLOOR: [*_peer("own", "decode"), first, second],
            OWN: loopline("profile", first, second, "--json"),
            DELTA: loopline("profile", *deltas, "--json"),
            "scipy": [*_peer("own", "scipy"), first, second],
        }
        for name in ("nannyml", "evidently"):
            if name not in asked.without and name not in stopped:
                commands[name] = [*_peer(name, name), first, second]
        yield from _in_rounds("drift", rows, commands, asked, stopped)


def _as_delta(place: Path) -> str:
    import pyarrow.parquet as pq
    from deltalake import write_deltalake

    folder = place.with_suffix(".delta")
    if not (folder / "_delta_log").is_dir():
        write_deltalake(str(folder), pq.ParquetFile(place).read())
    return str(folder)


def _checks(asked: Asked) -> Iterator[Turn]:
    rows = max(asked.sizes)
    first, second = map(str, pair(rows))
    peers = {
        "polars": "own", "loopline_checks": "own", "loopline_stage": "own", "pandera": "own",
        "great_expectations": "great-expectations",
    }  # fmt: skip
    commands = {
        name: [*_peer(where, name), first, second]
        for name, where in peers.items()
        if name not in asked.without
    }
    yield from _in_rounds("checks", rows, commands, asked, set())


def _fairness(asked: Asked) -> Iterator[Turn]:
    commands = {name: [*_peer("own", name), "", ""] for name in ("loopline_fairness", "fairlearn")}
    yield from _in_rounds("fairness", 100_000, commands, asked, set())


def _growing(asked: Asked) -> Iterator[Turn]:
    for rows in asked.growth:
        command = loopline("profile", str(long_file(rows)), "--json")
        yield _turn("growth", OWN, rows, 0, command, asked.limit)


def _month(asked: Asked) -> Iterator[Turn]:
    commands = {"month": [*_peer("own", "month"), "", ""]}
    yield from _in_rounds("month", 1_000_000_000, commands, asked, set())


TASKS: Mapping[str, Callable[[Asked], Iterator[Turn]]] = {
    "drift": _drift,
    "growth": _growing,
    "month": _month,
    "checks": _checks,
    "fairness": _fairness,
}


_HEADS = ("", "rows", "seconds", "of it work", "CPU s", "peak MiB", "times Loopline", "found")


def _figures(turns: Sequence[Turn]) -> Iterator[list[str]]:
    """Yield the row of each contender and size of one task, as `_HEADS` says."""
    for name, rows in dict.fromkeys((turn.contender, turn.rows) for turn in turns):
        same = [turn for turn in turns if turn.rows == rows]
        own = [turn for turn in same if turn.contender == name]
        ended = [turn for turn in own if turn.seconds is not None]
        work = [turn.work_seconds for turn in ended if turn.work_seconds is not None]
        beside = _BESIDE.get(own[0].task)
        times = ratio(same, name, beside) if beside and beside != name else None
        yield [
            name,
            f"{rows:,}",
            str(Spread.of([turn.seconds or 0.0 for turn in ended])) if ended else "",
            str(Spread.of(work)) if work else "",
            str(Spread.of([turn.cpu_seconds for turn in ended])) if ended else "",
            f"{max(turn.peak_mib for turn in own):.0f}",
            str(times) if times else "",
            own[-1].said,
        ]


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}"
        ". Whole processes, start included. Medians over rounds, lowest and highest in brackets."
    )


def _verdict(goal: Goal) -> list[str]:
    word = "at least" if goal.at_least else "at most"
    state = "met" if goal.is_met else "NOT MET"
    return [state, goal.name, f"{goal.found:.3g} {goal.unit}", f"{word} {goal.limit:g}"]


def markdown(turns: Sequence[Turn]) -> Iterator[str]:
    """Yield the tables as a page has them."""
    for task in dict.fromkeys(turn.task for turn in turns):
        yield f"{task.capitalize()}:\n\n| {' | '.join(_HEADS)} |\n|{' --- |' * len(_HEADS)}\n"
        for cells in _figures([turn for turn in turns if turn.task == task]):
            said = f"`{cells[-1]}`" if cells[-1] else ""
            yield f"| {' | '.join([*cells[:-1], said])} |\n"
        yield "\n"
    yield f"{_machine()}\n\n| | goal | found | to reach |\n| --- | --- | --- | --- |\n"
    for goal in goals(turns):
        yield f"| {' | '.join(_verdict(goal))} |\n"


def _print(turns: Sequence[Turn]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 150)
    for task in dict.fromkeys(turn.task for turn in turns):
        table = Table(title=task, title_justify="left")
        for head in _HEADS:
            table.add_column(head, justify="left" if head in {"", "found"} else "right")
        for cells in _figures([turn for turn in turns if turn.task == task]):
            table.add_row(*cells[:-1], cells[-1][:60])
        console.print(table)
    for goal in goals(turns):
        state, name, found, wanted = _verdict(goal)
        console.print(f"{state:<8}{name}: {found}, {wanted}")
    console.print(_machine())


if __name__ == "__main__":
    sys.exit(main())
