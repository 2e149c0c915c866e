"""`loopline check`: everything a run will need, tried without side effects; or data of any size."""

import json
import shutil
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loopline.cli.main import find_project, json_option, plain, project_option
from loopline.cli.places import Place, compute_on

if TYPE_CHECKING:
    from loopline.data.checking import Checked
    from loopline.pipeline.check import Verdict

_COLOURS = {"ok": "green", "note": "yellow", "fault": "red", "skipped": "bright_black"}


@click.command(
    help="Try the contract, the data and the code. Nothing is written or trained. With --data only "
    "the data, of any size: every check of the contract, piece by piece, in little memory. Exits 1 "
    "where something is wrong: a fault, or data that must not be used."
)
@click.option(
    "--data",
    "place",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[FILE]",
    help="Check this alone (a file, folder, glob, Delta table or object-store URL); by default "
    "data.source.",
)
@click.option(
    "--on",
    type=Place(),
    help="With --data: where; by default `compute`. The figures are the same.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="With --data: how many; by default one for each processor.",
)
@click.option("--strict", is_flag=True, help="With --data: exit 1 where any check fails.")
@project_option
@json_option
def command(
    *,
    place: str | None,
    on: str | None,
    threads: int | None,
    strict: bool,
    project: Path | None,
    as_json: bool,
) -> None:
    """Print what each part looks like; exit with 1 where something is wrong."""
    if place is None and (on is not None or threads is not None or strict):
        raise click.UsageError("--on, --threads and --strict are for the data alone: add --data.")
    root = find_project(project)
    if place is not None:
        raise SystemExit(_data(root, place, on, threads, strict=strict, as_json=as_json))
    raise SystemExit(_everything(root, as_json=as_json))


def _everything(root: Path, *, as_json: bool) -> int:
    from dataclasses import asdict
    from datetime import UTC, datetime

    from loopline.pipeline.check import check
    from loopline.settings import Settings

    verdicts = check(root, Settings.read(root), datetime.now(UTC))
    faults = sum(len(verdict.said) for verdict in verdicts if verdict.state == "fault")
    if as_json:
        parts = [asdict(verdict) for verdict in verdicts]
        click.echo(json.dumps({"passed": not faults, "faults": faults, "parts": parts}, indent=2))
    else:
        for verdict in verdicts:
            _print(verdict)
        click.echo(_conclusion(faults))
    return 1 if faults else 0


def _print(verdict: "Verdict") -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    state = click.style(f"{verdict.state:8}", fg=_COLOURS[verdict.state])
    for place, text in enumerate(verdict.said or ("",)):
        lines = textwrap.wrap(plain(text), width - 19, break_long_words=False) or [""]
        mark = "" if place == 0 or verdict.state == "fault" else "- "
        for number, line in enumerate(lines):
            begin = f"{verdict.part:10} {state}" if place == number == 0 else " " * 19
            click.echo(f"{begin}{mark if number == 0 else '  ' * bool(mark)}{line}")


def _conclusion(faults: int) -> str:
    if faults:
        return f"\n{faults} fault{'s' * (faults != 1)} to put right. Nothing was changed."
    return "\nAll holds. Next: loopline run"


# Data alone


def _data(
    root: Path,
    place: str,
    on: str | None,
    threads: int | None,
    *,
    strict: bool,
    as_json: bool,
) -> int:
    """Check data of any size, print what was found, and return the exit code."""
    from datetime import UTC, datetime

    import msgspec

    from loopline.contract.load import load
    from loopline.data.batches import open_incoming
    from loopline.data.checking import check
    from loopline.data.sources.base import describe
    from loopline.settings import Settings

    contract, settings = load(root / "loopline.yaml"), Settings.read(root)
    source: Any = place or contract.data.source
    base = Path.cwd() if place else root
    compute = compute_on(on or ("threads" if threads else contract.compute), threads)
    began = time.monotonic()
    found = check(
        lambda: open_incoming(source, base, settings), contract, datetime.now(UTC), root, compute
    )
    seconds = time.monotonic() - began
    failing = [each for each in found.checks if not each.passed]
    if as_json:
        told = {"source": describe(source), "on": compute.name, "seconds": round(seconds, 3)}
        told["passed"] = found.refusal is None
        click.echo(msgspec.json.format(msgspec.json.encode(told | msgspec.to_builtins(found))))
    else:
        click.echo(f"{plain(describe(source))}: {found.rows:,} rows, {found.good:,} to use")
        click.echo(
            f"  {seconds:.1f} s, {found.rows / seconds:,.0f} rows a second on {compute.name}"
        )
        _print_data(found)
    return 1 if found.refusal is not None or (strict and failing) else 0


def _print_data(found: "Checked") -> None:
    failing = [each for each in found.checks if not each.passed]
    for each in failing:
        state = click.style("fails   " if each.on_fail == "block" else "warns   ", fg="yellow")
        click.echo(f"  {state}{plain(str(each))}")
    if found.guessed:
        names = ", ".join(found.guessed[:10]) + (", ..." if len(found.guessed) > 10 else "")
        click.echo(
            f"  note    types as the first rows show, for the contract has none: {plain(names)}"
        )
    click.echo(f"\n{len(found.checks)} checks, {len(failing)} with findings. Nothing was written.")
    if found.refusal is not None:
        click.echo(click.style("Such data must not be used: ", fg="red") + plain(found.refusal))
