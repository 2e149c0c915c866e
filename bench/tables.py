"""The figures of `bench.serving` as tables: on a terminal, and between the marks of a page."""

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import (
    FLOOR,
    OURS,
    SHAPES,
    Spread,
    Start,
    Turn,
    goals,
    ratio,
    short,
    shown,
    told,
)
from bench.load import BenchError

_MARKS = "<!-- figures -->\n", "<!-- /figures -->"


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
        ratio(turns, OURS, name, shape),
        ratio(turns, FLOOR, name, shape),
        ratio(turns, FLOOR, name, shape, cpu=True),
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


def markdown(
    machine: Mapping[str, Any],
    titles: Mapping[str, str],
    starts: Mapping[str, Start],
    turns: Sequence[Turn],
) -> Iterator[str]:
    """Yield the tables as a page has them."""
    for shape in SHAPES:
        yield f"{told(shape).capitalize()}:\n\n"
        yield _row("server", *_HEADS) + _row(*["---"] * (len(_HEADS) + 1))
        for name, title in titles.items():
            cells = [shown(figure) for figure in _figures(turns, name, shape)]
            yield _row(title, *cells)
        yield "\n"
    yield _row("server", "start to first answer, s", "resident, MiB") + _row(*["---"] * 3)
    for name, title in titles.items():
        largest = max(turn.resident_mib for turn in turns if turn.server == name)
        yield _row(title, f"{starts[name].first_answer_seconds:.2f}", f"{largest:.0f}")
    yield f"\n{_about(machine)}\n\n"
    yield _row("goal", "found", "reached") + _row(*["---"] * 3)
    for goal in goals(turns, starts):
        yield _row(f"{goal.name}: {goal.wanted}", short(goal.found), goal.verdict)


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


def show(
    machine: Mapping[str, Any],
    titles: Mapping[str, str],
    starts: Mapping[str, Start],
    turns: Sequence[Turn],
) -> None:
    """Print the tables, and what was to be reached."""
    from rich.console import Console
    from rich.table import Table

    # Without a terminal rich would cut the table to 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 180)
    for shape in SHAPES:
        table = Table(title=told(shape).capitalize(), title_justify="left")
        table.add_column("server")
        for head in _HEADS:
            table.add_column(head, justify="right")
        for name, title in titles.items():
            table.add_row(title, *[shown(one) for one in _figures(turns, name, shape)])
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
        found = f"{short(goal.found)} {goal.unit}"
        console.print(f"  {goal.name}: {found}, {goal.wanted}: {goal.verdict}", highlight=False)
    console.print(f"{_about(machine)} Medians over rounds, lowest and highest in brackets.")
