"""`loopline new`: a project from a data file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loopline.cli.main import plain

if TYPE_CHECKING:
    from loopline.scaffold.create import Created


@click.command(help="Make the project NAME from data: CSV, Parquet, JSON lines or a Delta table.")
@click.argument("name")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The data; packed (.gz, .zst, .zip) or not. It stays where it is.",
)
@click.option("--target", required=True, metavar="COLUMN", help="The column to predict.")
@click.option(
    "--task",
    type=click.Choice(["binary", "multiclass", "regression"]),
    help="What kind of answer; guessed from the target when absent.",
)
@click.option(
    "--dir",
    "parent",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder to make the project in; by default this one.",
)
def command(name: str, data: Path, target: str, task: str | None, parent: Path | None) -> None:
    """Make the project and say what was guessed."""
    from loopline.scaffold.create import create

    created = create(name, data, target, task=task, parent=parent)
    for line in _summary(created, data):
        click.echo(plain(line))


def _summary(created: "Created", data: Path) -> list[str]:
    guesses, target = created.guesses, created.guesses.target
    seen = [column for column in guesses.columns if column.reaches_model]
    kept_out = [column for column in guesses.columns if not column.reaches_model]
    positive = f", positive: {target.positive}" if target.positive is not None else ""
    folder = _shown(created.folder)
    lines = [
        f"Made {folder} from {guesses.rows:,} rows of {data.name}.",
        f"  task     {target.task}: {target.why}{positive}",
        f"  split    {guesses.split['by']}: {guesses.why_split}",
        f"  model    sees {len(seen)} of {len(guesses.columns)} columns"
        + (f" and {', '.join(guesses.features)}" if guesses.features else ""),
    ]
    if kept_out:
        lines.append("  kept out of the model (loopline.yaml says more):")
        width = min(30, max(len(column.name) for column in kept_out))
        said = {column.name: column.why or column.keys["type"] for column in kept_out[:15]}
        lines += [f"    {name:{width}}  {why}" for name, why in said.items()]
        lines += [f"    and {len(kept_out) - 15} more"] if len(kept_out) > 15 else []
    lines += ["Next:", f"  cd {folder}", "  loopline check", "  loopline run"]
    return lines


def _shown(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
