"""One row and a hundred over HTTP: Loopline beside five other servers and the floor.

Every server runs during the whole benchmark and is loaded in turn, so that a round sees the same
machine; a ratio is taken within a round, and what is printed is its median with the lowest and the
highest. On a shared machine the ratios hold, the rates alone do not.

MLServer, BentoML and LitServe run in environments of their own, made once; one that cannot be made
is left out, and why is said.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from bench.load import BenchError, Load, Server, Tool, ask, free_port, measure, tool
from bench.peers import TRAINED_ON, Model, Peer, environment, make_model, peers
from bench.venvs import pinned

SHAPES = tuple((rows, clients) for rows in (1, 100) for clients in (1, 32))
"""Rows of a request, and clients that ask."""
AGREES_WITHIN = 1e-12
_FLOOR, _OURS = "floor", "loopline-async"
_OTHERS = ("mlflow", "mlserver", "bentoml", "litserve", "fastapi")
_MARKS = "<!-- figures -->\n", "<!-- /figures -->"


@dataclass(frozen=True)
class Turn:
    """One server under one load, in one round."""

    server: str
    rows: int
    clients: int
    round: int
    load: Load
    cpu_ms: float
    """For each request, over all processes of the server."""
    resident_mib: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of a request, and clients."""
        return self.rows, self.clients


@dataclass(frozen=True)
class Start:
    """What one server showed before any load."""

    first_answer_seconds: float
    difference: float | None
    """The largest from the estimator's probabilities; None for the floor, which has none."""


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.lowest)}..{_short(self.highest)})"


@dataclass(frozen=True)
class Goal:
    """One thing to reach, and how far it is."""

    name: str
    found: float
    limit: float
    at_least: bool
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether it is reached."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    @property
    def wanted(self) -> str:
        """What is to be found."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"

    @property
    def verdict(self) -> str:
        """Met, or how far it is."""
        if self.is_met:
            return "met"
        times = self.limit / self.found if self.at_least else self.found / self.limit
        return f"NOT MET, by a factor of {times:.2g}"


def ratio(
    turns: Sequence[Turn], over: str, under: str, shape: tuple[int, int], *, cpu: bool = False
) -> Spread | None:
    """Return how many times the rate of `under` that of `over` is, taken within each round.

    With `cpu`, how many times the CPU time of a request of `over` that of `under` is.
    """
    found = {
        (turn.server, turn.round): 1 / turn.cpu_ms if cpu else turn.load.rate
        for turn in turns
        if turn.shape == shape and (turn.cpu_ms > 0 or not cpu)
    }
    rounds = sorted({number for server, number in found if server == over})
    times = [
        found[over, number] / found[under, number] for number in rounds if (under, number) in found
    ]
    return Spread.of(times) if times else None


def goals(turns: Sequence[Turn], starts: Mapping[str, Start]) -> list[Goal]:
    """Return what can be judged of the goals, from what was measured."""
    found = []

    def times(
        name: str, over: str, under: str | None, shape: tuple[int, int], limit: float
    ) -> None:
        spread = None if under is None else ratio(turns, over, under, shape)
        if spread is not None:
            found.append(Goal(name, spread.median, limit, at_least=True, unit="times"))

    others = [name for name in _OTHERS if name in starts]
    durable = "loopline-durable"
    for shape, limit in (((1, 32), 15), ((100, 32), 5)):
        best = _best(turns, others, shape)
        rows = "1 row" if shape[0] == 1 else f"{shape[0]} rows"
        name = f"durable, {rows}, 32 clients, beside the best peer ({best})"
        times(name, durable, best, shape, limit)
    times("durable, 1 row, 32 clients, beside MLflow", durable, "mlflow", (1, 32), 100)
    times("log off, 1 row, 32 clients, beside the floor", "loopline-off", _FLOOR, (1, 32), 0.5)
    for server, limit in (("loopline-off", 0.4), (durable, 0.8)):
        middle = [t.load.p50_ms for t in turns if (t.server, t.shape) == (server, (1, 1))]
        if middle:
            name = f"{server}, 1 row, one client, p50"
            found.append(Goal(name, statistics.median(middle), limit, at_least=False, unit="ms"))
    ours = [name for name in starts if name.startswith("loopline")]
    if ours:
        slowest = max(starts[name].first_answer_seconds for name in ours)
        found.append(Goal("start to first answer", slowest, 1.0, at_least=False, unit="s"))
        largest = max(turn.resident_mib for turn in turns if turn.server in ours)
        found.append(Goal("resident memory", largest, 80, at_least=False, unit="MiB"))
        furthest = max(starts[name].difference or 0.0 for name in ours)
        name = "difference from the original"
        found.append(Goal(name, furthest, AGREES_WITHIN, at_least=False, unit="of probability"))
    return found


def disagreement(peer: Peer, port: int, model: Model) -> float | None:
    """Return the largest difference between what a server answers and what the estimator says.

    Raises:
        BenchError: a row is refused, or the difference is more than `AGREES_WITHIN`.
    """
    alone = ask(port, peer.path, [peer.body([row]) for row in model.rows])
    together = ask(port, peer.path, [peer.body(model.rows)])
    if peer.probabilities is None:
        return None
    said = [value for answer in alone for value in peer.probabilities(json.loads(answer))]
    said += peer.probabilities(json.loads(together[0]))
    largest = max(abs(a - b) for a, b in zip(said, model.expected * 2, strict=True))
    if not largest <= AGREES_WITHIN:
        raise BenchError(f"{peer.title} differs from the estimator by {largest:.3g}.")
    return largest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _stop)
    try:
        found = _run(options)
    except KeyboardInterrupt:
        _say("Stopped.")
        return 130
    except BenchError as error:
        _say(str(error))
        return 1
    if options.json:
        print(json.dumps(found, indent=1))
    return 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    machine = _machine(options.client)
    with tempfile.TemporaryDirectory(prefix="loopline-bench-") as made, ExitStack() as stack:
        folder = Path(made)
        machine["sync_ms"] = round(_sync_ms(folder), 2)
        _say(f"Training on {options.trained_on:,} real flights; a few minutes.")
        model = make_model(folder, options.trained_on)
        machine["features"], machine["encoded_columns"] = len(model.kinds), model.encoded
        running: dict[str, _Running] = {}
        skipped: dict[str, str] = {}
        for name, peer in peers(model).items():
            if options.only and name not in options.only:
                continue
            try:
                running[name] = _start(name, peer, model, folder, stack)
            except BenchError as error:
                if name not in _OTHERS:
                    raise
                skipped[name] = str(error)
                _say(f"  {name:<17}LEFT OUT: {error}")
        turns = list(_rounds(running, options))
        machine["load_after"] = os.getloadavg()[0]
    starts = {name: each.start for name, each in running.items()}
    titles = {name: each.peer.title for name, each in running.items()}
    if options.write is not None:
        written(options.write, "".join(_markdown(machine, titles, starts, turns)))
    if not options.json:
        _print(machine, titles, starts, turns)
    return {
        "machine": machine,
        "skipped": skipped,
        "starts": {name: asdict(start) for name, start in starts.items()},
        "turns": [asdict(turn) | {"rate": turn.load.rate} for turn in turns],
        "goals": [asdict(goal) | {"is_met": goal.is_met} for goal in goals(turns, starts)],
    }


@dataclass(frozen=True)
class _Running:
    """A server that answers rightly."""

    peer: Peer
    server: Server
    port: int
    bodies: Mapping[int, tuple[bytes, ...]]
    """By how many rows they have."""
    start: Start


def _start(name: str, peer: Peer, model: Model, folder: Path, stack: ExitStack) -> _Running:
    port = free_port()
    server = Server(
        peer.command(port),
        folder=peer.folder,
        environment=environment(model) | peer.environment,
        log=folder / f"{name}.log",
    )
    stack.callback(server.stop)
    bodies = {
        rows: tuple(
            peer.body(model.rows[first : first + rows])
            for first in range(0, len(model.rows) - rows + 1, max(1, rows // 10))
        )
        for rows in {rows for rows, _ in SHAPES}
    }
    try:
        seconds = server.first_answer(port, peer.path, bodies[1][0])
        difference = disagreement(peer, port, model)
    except BenchError:
        server.stop()
        raise
    agrees = "" if difference is None else f"; differs from the estimator by {difference:.1g}"
    _say(f"  {name:<17}answered after {seconds:.2f} s{agrees}")
    return _Running(peer, server, port, bodies, Start(seconds, difference))


def _rounds(running: Mapping[str, _Running], options: argparse.Namespace) -> Iterator[Turn]:
    """Load every server in turn; each round begins with another one."""
    names = list(running)
    for number in range(options.rounds):
        first = number % len(names)
        for shape in SHAPES:
            rates = []
            for name in names[first:] + names[:first]:
                turn = _turn(name, running[name], number, shape, options)
                rates.append(f"{name} {_short(turn.load.rate)}")
                yield turn
            what = f"round {number + 1} of {options.rounds}, {_told(shape)}"
            _say(f"  {what}: {', '.join(rates)} req/s; load {os.getloadavg()[0]:.1f}")


def _turn(
    name: str,
    each: _Running,
    number: int,
    shape: tuple[int, int],
    options: argparse.Namespace,
) -> Turn:
    rows, clients = shape
    before = each.server.usage()
    asked = partial(measure, each.port, each.peer.path, each.bodies[rows], clients=clients)
    try:
        load = asked(seconds=options.seconds, by=options.client)
    except BenchError:
        if name not in _OTHERS:
            raise
        each.server.settle()  # on a busy machine a slow peer may have answered nothing in the time
        before = each.server.usage()
        load = asked(seconds=options.seconds * 5, by=options.client)
    after = each.server.usage()
    each.server.settle()
    cpu_ms = (after.cpu_seconds - before.cpu_seconds) / load.requests * 1000
    return Turn(name, rows, clients, number, load, cpu_ms, after.resident_mib)


def _told(shape: tuple[int, int]) -> str:
    rows, clients = (
        f"{n} {what}{'' if n == 1 else 's'}"
        for n, what in zip(shape, ("row", "client"), strict=True)
    )
    return f"{rows}, {clients}"


def _figures(
    turns: Sequence[Turn], name: str, shape: tuple[int, int]
) -> list[Spread | float | None]:
    """Return a server's figures under one load, in the order of `_HEADS`."""
    own = [turn for turn in turns if (turn.server, turn.shape) == (name, shape)]
    return [
        Spread.of([turn.load.rate for turn in own]),
        statistics.median(turn.load.p50_ms for turn in own),
        statistics.median(turn.load.p99_ms for turn in own),
        statistics.median(turn.cpu_ms for turn in own),
        ratio(turns, _OURS, name, shape),
        ratio(turns, _FLOOR, name, shape),
        ratio(turns, _FLOOR, name, shape, cpu=True),
    ]


_HEADS = (
    "requests a second", "p50, ms", "p99, ms", "CPU ms a request", "Loopline async is times it",
    "the floor is times it", "CPU, in floors",
)  # fmt: skip


def written(page: Path, figures: str) -> None:
    """Put `figures` between the marks of a page.

    Raises:
        BenchError: it has none.
    """
    text = page.read_text(encoding="utf-8")
    before, opens, rest = text.partition(_MARKS[0])
    _, closes, after = rest.partition(_MARKS[1])
    if not opens or not closes:
        raise BenchError(f"{page} has no {_MARKS[0].strip()} and {_MARKS[1]} for the figures.")
    page.write_text(before + opens + figures + closes + after, encoding="utf-8")


def _markdown(
    machine: Mapping[str, Any],
    titles: Mapping[str, str],
    starts: Mapping[str, Start],
    turns: Sequence[Turn],
) -> Iterator[str]:
    """Yield the tables as a page has them."""
    for shape in SHAPES:
        yield f"{_told(shape).capitalize()}:\n\n"
        yield _row("server", *_HEADS) + _row(*["---"] * (len(_HEADS) + 1))
        for name, title in titles.items():
            shown = [_shown(figure) for figure in _figures(turns, name, shape)]
            yield _row(title, *shown)
        yield "\n"
    yield _row("server", "start to first answer, s", "resident, MiB") + _row(*["---"] * 3)
    for name, title in titles.items():
        largest = max(turn.resident_mib for turn in turns if turn.server == name)
        yield _row(title, f"{starts[name].first_answer_seconds:.2f}", f"{largest:.0f}")
    yield f"\n{_about(machine)}\n\n"
    yield _row("goal", "found", "reached") + _row(*["---"] * 3)
    for goal in goals(turns, starts):
        yield _row(f"{goal.name}: {goal.wanted}", _short(goal.found), goal.verdict)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _about(machine: Mapping[str, Any]) -> str:
    names = ("mlflow", "mlserver", "bentoml", "litserve", "fastapi", "uvicorn", "scikit-learn")
    known = machine["versions"]
    versions = ", ".join(f"{name} {known[name]}" for name in names if name in known)
    return (
        f"{machine['cores']} cores of a machine with load {machine['load_before']:.1f} before and "
        f"{machine['load_after']:.1f} after; load made by {machine['client']}; one sync to its "
        f"disk takes {machine['sync_ms']} ms; Python {machine['python']}; {versions}."
    )


def _print(
    machine: Mapping[str, Any],
    titles: Mapping[str, str],
    starts: Mapping[str, Start],
    turns: Sequence[Turn],
) -> None:
    from rich.console import Console
    from rich.table import Table

    # Without a terminal rich would cut the table to 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 180)
    for shape in SHAPES:
        table = Table(title=_told(shape).capitalize(), title_justify="left")
        table.add_column("server")
        for head in _HEADS:
            table.add_column(head, justify="right")
        for name, title in titles.items():
            table.add_row(title, *[_shown(one) for one in _figures(turns, name, shape)])
        console.print(table)
    table = Table(title="Start, memory and agreement", title_justify="left")
    for head in ("server", "start to first answer, s", "resident MiB", "largest difference"):
        table.add_column(head, justify="left" if head == "server" else "right")
    for name, title in titles.items():
        largest = max(turn.resident_mib for turn in turns if turn.server == name)
        start = starts[name]
        said = "" if start.difference is None else f"{start.difference:.1g}"
        table.add_row(title, f"{start.first_answer_seconds:.2f}", f"{largest:.0f}", said)
    console.print(table)
    console.print("To reach:")
    for goal in goals(turns, starts):
        found = f"{_short(goal.found)} {goal.unit}"
        console.print(f"  {goal.name}: {found}, {goal.wanted}: {goal.verdict}", highlight=False)
    console.print(f"{_about(machine)} Medians over rounds, lowest and highest in brackets.")


def _best(turns: Sequence[Turn], names: Sequence[str], shape: tuple[int, int]) -> str | None:
    """Return which of `names` answered most requests in the median."""
    rates = {
        name: [t.load.rate for t in turns if (t.server, t.shape) == (name, shape)] for name in names
    }
    medians = {name: statistics.median(found) for name, found in rates.items() if found}
    return max(medians, key=medians.__getitem__) if medians else None


def _sync_ms(folder: Path) -> float:
    """Return how long it takes to have 4 KiB on disk: what a durable answer waits for."""
    taken = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(50):
            start = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000


def _machine(client: Tool) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "client": client,
        "versions": {
            name: version(name)
            for name in ("loopline", "mlflow", "fastapi", "uvicorn", "pandas", "scikit-learn")
        }
        | {name: pinned(name) for name in ("mlserver", "bentoml", "litserve")},
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = ["loopline-off", _OURS, "loopline-durable", *_OTHERS, _FLOOR]
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="of each load (default 3)")
    parser.add_argument("--rounds", type=_rounds_wanted, default=3, help="default 3")
    parser.add_argument(
        "--trained-on", type=int, default=TRAINED_ON, help=f"default {TRAINED_ON:,}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round of a second on a small model: does it run?"
    )
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put the tables between the marks of a page"
    )
    parser.add_argument(
        "--only", action="append", choices=names, metavar="SERVER", help=f"of {', '.join(names)}"
    )
    parser.add_argument(
        "--client", choices=["wrk", "python"], default=tool(), help="what makes the load"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds, options.rounds = 1.0, 1
        options.trained_on = min(options.trained_on, 5_000)
    return options


def _seconds(text: str) -> float:
    return _between(float(text), 1.0, 60.0)


def _rounds_wanted(text: str) -> int:
    return int(_between(int(text), 1, 100))


def _between(value: float, lowest: float, highest: float) -> float:
    if not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"{value:g} is not between {lowest:g} and {highest:g}")
    return value


def _shown(figure: Spread | float | None) -> str:
    if figure is None:
        return ""
    return str(figure) if isinstance(figure, Spread) else _short(figure)


def _short(value: float) -> str:
    """Return about three digits, which is more than such figures are good for."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
