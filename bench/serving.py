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
from typing import Any

from bench.ended import ended, say
from bench.figures import (
    AGREES_WITHIN,
    FLOOR,
    OTHERS,
    OURS,
    SHAPES,
    Start,
    Turn,
    goals,
    short,
    told,
)
from bench.load import BenchError, Server, Tool, ask, free_port, measure, tool
from bench.peers import TRAINED_ON, Model, Peer, environment, make_model, peers
from bench.tables import markdown, show, written
from bench.venvs import pinned


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
    return ended(partial(_measured, _options(arguments)))


def _measured(options: argparse.Namespace) -> int:
    found = _run(options)
    if options.json:
        print(json.dumps(found, indent=1))
    return 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    machine = _machine(options.client)
    with tempfile.TemporaryDirectory(prefix="loopline-bench-") as made, ExitStack() as stack:
        folder = Path(made)
        machine["sync_ms"] = round(_sync_ms(folder), 2)
        say(f"Training on {options.trained_on:,} real flights; a few minutes.")
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
                if name not in OTHERS:
                    raise
                skipped[name] = str(error)
                say(f"  {name:<17}LEFT OUT: {error}")
        turns = list(_rounds(running, options))
        machine["load_after"] = os.getloadavg()[0]
    starts = {name: each.start for name, each in running.items()}
    titles = {name: each.peer.title for name, each in running.items()}
    if options.write is not None:
        written(options.write, "".join(markdown(machine, titles, starts, turns)))
    if not options.json:
        show(machine, titles, starts, turns)
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
    say(f"  {name:<17}answered after {seconds:.2f} s{agrees}")
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
                rates.append(f"{name} {short(turn.load.rate)}")
                yield turn
            what = f"round {number + 1} of {options.rounds}, {told(shape)}"
            say(f"  {what}: {', '.join(rates)} req/s; load {os.getloadavg()[0]:.1f}")


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
        if name not in OTHERS:
            raise
        each.server.settle()  # on a busy machine a slow peer may have answered nothing in the time
        before = each.server.usage()
        load = asked(seconds=options.seconds * 5, by=options.client)
    after = each.server.usage()
    each.server.settle()
    cpu_ms = (after.cpu_seconds - before.cpu_seconds) / load.requests * 1000
    return Turn(name, rows, clients, number, load, cpu_ms, after.resident_mib)


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
    names = ["loopline-off", OURS, "loopline-durable", *OTHERS, FLOOR]
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


if __name__ == "__main__":
    sys.exit(main())
