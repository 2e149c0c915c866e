"""`loopline review`: what waits for an expert, and why the model said what it did."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loopline.cli.main import find_project, json_option, plain, project_option
from loopline.cli.table import print_table

if TYPE_CHECKING:
    from loopline.response.review import Waiting

_TOLD = 3


@click.group(help="List the predictions that wait for an expert, with their reasons.")
def command() -> None:
    """Hold the verb below."""


@command.command("list", help="List what waits, the oldest first.")
@click.option("--env", "environment", metavar="NAME", help="Only those of this environment.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many to list."
)
@json_option
@project_option
def list_(environment: str | None, limit: int, as_json: bool, project: Path | None) -> None:
    """Print one line a prediction."""
    import msgspec

    from loopline.project import Project
    from loopline.response.review import queue

    space = Project.open(find_project(project))
    found = queue(space.tables, space.contract.project, environment=environment, limit=limit)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    if space.contract.review is None:
        click.echo("The contract asks for no review. Write one: review: {sample: 1%}")
    if not found.waiting:
        click.echo("Nothing waits for an expert in what was folded: loopline watch --once")
        return
    print_table(
        ("prediction", "of", "where", "version", "why", "answer", "its reasons"),
        [
            (
                plain(one.prediction_id),
                one.at[:16].replace("T", " "),
                one.environment,
                one.version,
                one.why,
                _answer(one),
                plain(_reasons(one)),
            )
            for one in found.waiting
        ],
    )
    click.echo(
        f"\n{len(found.waiting):,} of {found.total:,} that wait. All reasons of one: loopline "
        "explain ID. Its outcome answers it: loopline feedback"
    )


def _answer(one: "Waiting") -> str:
    if one.score is None:
        return plain(str(one.answer))
    if one.answer == one.score:
        return f"{one.score:.6g}"
    return f"{plain(str(one.answer))} ({one.score:.3g})"


def _reasons(one: "Waiting") -> str:
    if one.reasons is None:
        return "not explained"
    told = one.reasons["reasons"][:_TOLD]
    return ", ".join(f"{each['column']} {each['adds']:+.3g}" for each in told)
