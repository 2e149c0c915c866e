"""What the commands themselves cost: help, a run with nothing to do, and a server's start.

CPU seconds for what ends by itself, since a shared machine's clock says little; seconds for the
start, which is waited for. Medians over ten runs, with the least and the most.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.ended import ended
from bench.figures import Goal, Spread
from bench.load import BenchError, Server, free_port
from bench.peers import INFER, PROJECT, environment, loopline, make_project, tensors

_TRAINED_ON = 4_000
"""A small training will do: neither help nor a cached run looks at it, and a start reads trees."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the commands; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.commands", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, choices=range(1, 101), metavar="1..100")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    options = parser.parse_args(arguments)
    return ended(partial(_measured, options))


def _measured(options: argparse.Namespace) -> int:
    found = _measure(options.runs)
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    for name, (values, limit, unit) in found.items():
        spread = Spread.of(values)
        goal = Goal(name, spread.median, limit, at_least=False, unit=unit)
        print(f"{'met' if goal.is_met else 'NOT MET':<8}{name}: {spread} {unit}, at most {limit:g}")
    return 0


def cpu_seconds(command: Sequence[str], folder: Path) -> float:
    """Return the CPU time, the system's included, of a command and what it waits for.

    Raises:
        BenchError: it fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, check=False, timeout=600
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode:
        raise BenchError(f"{' '.join(command)} failed: {ran.stderr.decode(errors='replace')}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _measure(runs: int) -> dict[str, tuple[list[float], float, str]]:
    with tempfile.TemporaryDirectory(prefix="loopline-bench-") as name:
        folder = Path(name) / PROJECT
        rows = make_project(folder, _TRAINED_ON)

        def cpu(command: list[str]) -> list[float]:
            cpu_seconds(command, folder)  # so that no measured one reads files from the disk
            return [cpu_seconds(command, folder) for _ in range(runs)]

        return {
            "loopline --help": (cpu(loopline("--help")), 0.15, "CPU s"),
            "loopline run, all cached": (cpu(loopline("run")), 1.0, "CPU s"),
            "loopline serve, start to first answer": (
                [_start_seconds(folder, tensors(rows[:1])) for _ in range(runs)],
                1.0,
                "s",
            ),
        }


def _start_seconds(folder: Path, body: bytes) -> float:
    port = free_port()
    server = Server(
        loopline("serve", "--port", str(port)),
        folder=folder,
        environment=environment(),
        log=folder / "serve.log",
    )
    try:
        return server.first_answer(port, INFER, body)
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
