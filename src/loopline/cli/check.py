"""`loopline check`: everything a run will need, tried without side effects."""

import json
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loopline.cli.main import find_project, json_option, plain, project_option

if TYPE_CHECKING:
    from loopline.pipeline.check import Verdict

_COLOURS = {"ok": "green", "note": "yellow", "fault": "red", "skipped": "bright_black"}


@click.command(help="Try the contract, the data and the code. Nothing is written or trained.")
@project_option
@json_option
def command(project: Path | None, as_json: bool) -> None:
    """Print what each part looks like; exit with 1 where something is wrong."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from loopline.pipeline.check import check
    from loopline.settings import Settings

    root = find_project(project)
    verdicts = check(root, Settings.read(root), datetime.now(UTC))
    faults = sum(len(verdict.said) for verdict in verdicts if verdict.state == "fault")
    if as_json:
        parts = [asdict(verdict) for verdict in verdicts]
        click.echo(json.dumps({"passed": not faults, "faults": faults, "parts": parts}, indent=2))
    else:
        for verdict in verdicts:
            _print(verdict)
        click.echo(_conclusion(faults))
    raise SystemExit(1 if faults else 0)


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
