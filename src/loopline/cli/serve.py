"""`loopline serve`: answer predictions over HTTP."""

from pathlib import Path
from typing import Literal

import click

from loopline.cli.main import project_option


@click.command(help="Answer predictions over HTTP with what is released in an environment.")
@click.option("--env", "environment", default="dev", show_default=True, help="What to serve.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port to listen on; 0 takes a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Beyond loopback, callers must send LOOPLINE_TOKEN.",
)
@click.option(
    "--log",
    default="async",
    show_default=True,
    type=click.Choice(["async", "durable", "off"]),
    help="Predictions on disk within 20 ms of the answer, before it, or not at all.",
)
@click.option("--replay", is_flag=True, help="Count predictions as arrived at their event time.")
@project_option
def command(
    environment: str,
    port: int,
    host: str,
    log: Literal["async", "durable", "off"],
    replay: bool,
    project: Path | None,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    from loopline.cli.main import find_project
    from loopline.contract.load import project_name
    from loopline.serving.server import Options, serve
    from loopline.settings import Settings

    root = find_project(project)
    options = Options(environment=environment, host=host, port=port, log=log, replay=replay)
    name = project_name(root / "loopline.yaml")
    serve(name, Settings.read(root), options, say=click.echo)
