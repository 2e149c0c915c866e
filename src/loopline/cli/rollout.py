"""`loopline rollout`: a version on its way to everybody, held and hurried by people."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loopline.cli.main import find_project, project_option

if TYPE_CHECKING:
    from loopline.project import Project

_PLACE = click.argument("environment", metavar="ENV")
_WHY = click.option("--why", default="", help="The reason, as the ledger keeps it.")


@click.group(help="Pause, resume or hurry a version on its way to everybody.")
def command() -> None:
    """Hold the verbs below."""


@command.command(help="Stay at this step; a version that does worse is taken out all the same.")
@_PLACE
@_WHY
@project_option
def pause(environment: str, why: str, project: Path | None) -> None:
    """Pause a rollout."""
    from loopline.registry import rollout

    opened = _open(project)
    said = rollout.pause(
        opened.registry, environment, by=opened.settings.actor, why=why, now=datetime.now(UTC)
    )
    click.echo(
        f"The rollout of {opened.registry.project}:{said.version} in {environment} is paused by "
        f"{said.by}. Go on with: loopline rollout resume {environment}"
    )


@command.command(help="Let it go on when it may.")
@_PLACE
@_WHY
@project_option
def resume(environment: str, why: str, project: Path | None) -> None:
    """Resume a rollout."""
    from loopline.registry import rollout

    opened = _open(project)
    found = rollout.resume(
        opened.registry, environment, by=opened.settings.actor, why=why, now=datetime.now(UTC)
    )
    click.echo(
        f"The rollout of {opened.registry.project}:{found.version} in {environment} goes on, at "
        f"{found.told}. What it waits for says: loopline status"
    )


@command.command(help="Take the next step now, whatever it waits for.")
@_PLACE
@click.option("--to-end", is_flag=True, help="The last step: everybody.")
@click.option("--why", required=True, help="The reason, as the ledger keeps it.")
@project_option
def skip(environment: str, to_end: bool, why: str, project: Path | None) -> None:
    """Take the next step."""
    from loopline.registry import rollout
    from loopline.registry.shares import told

    opened = _open(project)
    released = rollout.skip(
        opened.registry,
        environment,
        by=opened.settings.actor,
        why=why,
        now=datetime.now(UTC),
        to_end=to_end,
    )
    click.echo(
        f"{environment} serves {told(opened.registry.project, released.serves)} since release "
        f"{released.number} by {released.by}: {released.why}"
    )


def _open(project: Path | None) -> "Project":
    from loopline.project import Project

    return Project.open(find_project(project))
