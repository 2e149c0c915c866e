"""One row at a time over HTTP: Loopline beside MLflow, FastAPI + scikit-learn and the floor.

Every server runs during the whole benchmark and is loaded in turn, so that a round sees the same
machine; a ratio is taken within a round, and what is printed is its median with the lowest and the
highest. On a shared machine the ratios hold, the rates alone do not.
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
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from bench.load import BenchError, Load, Server, Tool, ask, free_port, measure, tool
from bench.peers import TRAINED_ON, Model, Peer, environment, make_model, peers

CLIENTS = (1, 32)
AGREES_WITHIN = 1e-12
_FLOOR, _OURS, _OTHERS = "floor", "loopline-async", ("mlflow", "fastapi")


@dataclass(frozen=True)
class Turn:
    """One server under one load, in one round."""

    server: str
    clients: int
    round: int
    load: Load
    cpu_ms: float
    """For each request, over all processes of the server."""
    resident_mib: float


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


def ratio(turns: Sequence[Turn], over: str, under: str, clients: int) -> Spread | None:
    """Return how many times the rate of `under` that of `over` is, taken within each round."""
    rates = {(turn.server, turn.round): turn.load.rate for turn in turns if turn.clients == clients}
    rounds = sorted({number for server, number in rates if server == over})
    found = [
        rates[over, number] / rates[under, number] for number in rounds if (under, number) in rates
    ]
    return Spread.of(found) if found else None


def goals(turns: Sequence[Turn], starts: Mapping[str, Start]) -> list[Goal]:
    """Return what can be judged of the goals, from what was measured."""
    found = []

    def times(name: str, over: str, under: str, limit: float) -> None:
        spread = ratio(turns, over, under, 32)
        if spread is not None:
            found.append(Goal(name, spread.median, limit, at_least=True, unit="times"))

    best = _best(turns, [name for name in _OTHERS if name in starts], 32)
    if best is not None:
        times(f"durable, 32 clients, beside the best peer ({best})", "loopline-durable", best, 15)
    times("durable, 32 clients, beside MLflow", "loopline-durable", "mlflow", 100)
    times("log off, 32 clients, beside the HTTP floor", "loopline-off", _FLOOR, 0.5)
    for server, limit in (("loopline-off", 0.4), ("loopline-durable", 0.8)):
        middle = [t.load.p50_ms for t in turns if (t.server, t.clients) == (server, 1)]
        if middle:
            name = f"{server}, one client, p50"
            found.append(Goal(name, statistics.median(middle), limit, at_least=False, unit="ms"))
    ours = [name for name in starts if name.startswith("loopline")]
    if ours:
        slowest = max(starts[name].first_answer_seconds for name in ours)
        found.append(Goal("start to first answer", slowest, 1.0, at_least=False, unit="s"))
        largest = max(turn.resident_mib for turn in turns if turn.server in ours)
        found.append(Goal("resident memory", largest, 80, at_least=False, unit="MiB"))
    return found


def disagreement(peer: Peer, port: int, model: Model) -> float | None:
    """Return the largest difference between what a server answers and what the estimator says.

    Raises:
        BenchError: a row is refused, or the difference is more than `AGREES_WITHIN`.
    """
    answers = ask(port, peer.path, [peer.body(row) for row in model.rows])
    if peer.probability is None:
        return None
    said = [peer.probability(json.loads(answer)) for answer in answers]
    largest = max(abs(a - b) for a, b in zip(said, model.expected, strict=True))
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
        _say(f"Training on {TRAINED_ON:,} real flights; a few minutes.")
        model = make_model(folder)
        machine["features"], machine["encoded_columns"] = len(model.kinds), model.encoded
        running: dict[str, _Running] = {}
        for name, peer in peers(model).items():
            if not options.only or name in options.only:
                running[name] = _start(name, peer, model, folder, stack)
        turns = list(_rounds(running, options))
    starts = {name: each.start for name, each in running.items()}
    if not options.json:
        titles = {name: each.peer.title for name, each in running.items()}
        _print(machine, titles, starts, turns)
    return {
        "machine": machine,
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
    bodies: tuple[bytes, ...]
    start: Start


def _start(name: str, peer: Peer, model: Model, folder: Path, stack: ExitStack) -> _Running:
    port = free_port()
    server = Server(
        peer.command(port),
        folder=peer.folder,
        environment=environment(model),
        log=folder / f"{name}.log",
    )
    stack.callback(server.stop)
    bodies = tuple(peer.body(row) for row in model.rows)
    seconds = server.first_answer(port, peer.path, bodies[0])
    difference = disagreement(peer, port, model)
    agrees = "" if difference is None else f"; differs from the estimator by {difference:.1g}"
    _say(f"  {name:<17}answered after {seconds:.2f} s{agrees}")
    return _Running(peer, server, port, bodies, Start(seconds, difference))


def _rounds(running: Mapping[str, _Running], options: argparse.Namespace) -> Iterator[Turn]:
    """Load every server in turn; each round begins with another one."""
    names = list(running)
    for number in range(options.rounds):
        first = number % len(names)
        for clients in CLIENTS:
            rates = []
            for name in names[first:] + names[:first]:
                turn = _turn(name, running[name], number, clients, options)
                rates.append(f"{name} {_short(turn.load.rate)}")
                yield turn
            many = f"{clients} client{'s' if clients > 1 else ''}"
            _say(f"  round {number + 1} of {options.rounds}, {many}: {', '.join(rates)} req/s")


def _turn(
    name: str, each: _Running, number: int, clients: int, options: argparse.Namespace
) -> Turn:
    before = each.server.usage()
    load = measure(
        each.port,
        each.peer.path,
        each.bodies,
        clients=clients,
        seconds=options.seconds,
        by=options.client,
    )
    after = each.server.usage()
    each.server.settle()
    cpu_ms = (after.cpu_seconds - before.cpu_seconds) / load.requests * 1000
    return Turn(name, clients, number, load, cpu_ms, after.resident_mib)


def _print(
    machine: Mapping[str, Any],
    titles: Mapping[str, str],
    starts: Mapping[str, Start],
    turns: Sequence[Turn],
) -> None:
    from rich.console import Console
    from rich.table import Table

    # Without a terminal rich would cut the table to 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 150)
    for clients in CLIENTS:
        many = "1 client" if clients == 1 else f"{clients} clients"
        table = Table(title=f"One row, {many}", title_justify="left")
        table.add_column("server")
        heads = ["req/s", "p50 ms", "p99 ms", "CPU ms a request"]
        for head in [*heads, f"{titles.get(_OURS, _OURS)} is so many times it", "floor is"]:
            table.add_column(head, justify="right")
        for name, title in titles.items():
            own = [turn for turn in turns if (turn.server, turn.clients) == (name, clients)]
            figures: list[Spread | float | None] = [
                Spread.of([turn.load.rate for turn in own]),
                statistics.median(turn.load.p50_ms for turn in own),
                statistics.median(turn.load.p99_ms for turn in own),
                statistics.median(turn.cpu_ms for turn in own),
                ratio(turns, _OURS, name, clients),
                ratio(turns, _FLOOR, name, clients),
            ]
            table.add_row(title, *[_shown(figure) for figure in figures])
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
    for goal in goals(turns, starts):
        wanted = f"{'at least' if goal.at_least else 'at most'} {goal.limit:g} {goal.unit}"
        verdict = "met" if goal.is_met else "NOT MET"
        console.print(f"{verdict:<8}{goal.name}: {_short(goal.found)} {goal.unit}, {wanted}")
    console.print(
        f"{machine['cores']} cores, load {machine['load_before']:.1f} before; load made by "
        f"{machine['client']}; one sync to this disk takes {machine['sync_ms']} ms; Python "
        f"{machine['python']}. Medians over rounds, lowest and highest in brackets."
    )


def _best(turns: Sequence[Turn], names: Sequence[str], clients: int) -> str | None:
    """Return which of `names` answered most requests in the median."""
    rates = {
        name: [t.load.rate for t in turns if (t.server, t.clients) == (name, clients)]
        for name in names
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
        },
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = ["loopline-off", _OURS, "loopline-durable", *_OTHERS, _FLOOR]
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="of each load (default 3)")
    parser.add_argument("--rounds", type=_rounds_wanted, default=5, help="default 5")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="SERVER", help=f"of {', '.join(names)}"
    )
    parser.add_argument(
        "--client", choices=["wrk", "python"], default=tool(), help="what makes the load"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    return parser.parse_args(arguments)


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
