"""`loopline serve`: answer predictions over HTTP."""

from pathlib import Path
from typing import Literal

import click

from loopline.cli.main import project_option


@click.command(help="Answer predictions over HTTP with what is released in an environment.")
@click.option("--env", "environment", default="dev", show_default=True, help="What to serve.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port to listen on, 0 for a free one; by default what the platform says, else 8080.",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    help="Speak the Open Inference Protocol over gRPC too, on this port; 0 takes a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Beyond loopback, callers must send a token.",
)
@click.option(
    "--log",
    default="async",
    show_default=True,
    type=click.Choice(["async", "durable", "off"]),
    help="Predictions on disk within 20 ms of the answer, before it, or not at all.",
)
@click.option("--replay", is_flag=True, help="Count predictions as arrived at their event time.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Processes that answer; by default LOOPLINE_WORKERS, else 1.",
)
@click.option(
    "--in-flight",
    default=512,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="Requests that a process has read and not answered, past which it answers 429.",
)
@click.option(
    "--figures",
    type=click.Choice(["json"]),
    help="Print what /metrics shows once a minute, for where nothing can scrape it.",
)
@project_option
def command(  # noqa: PLR0913, PLR0917 - one for each option
    environment: str,
    port: int | None,
    grpc_port: int | None,
    host: str,
    log: Literal["async", "durable", "off"],
    replay: bool,
    workers: int | None,
    in_flight: int,
    figures: str | None,
    project: Path | None,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    from loopline.cli.main import find_project
    from loopline.contract.load import project_name
    from loopline.serving import places
    from loopline.serving.place import Options
    from loopline.serving.server import serve
    from loopline.settings import Settings

    root = find_project(project)
    settings = Settings.read(root)
    options = Options(
        environment=environment,
        host=host,
        port=places.port(settings.environment, port),
        grpc_port=grpc_port,
        log=log,
        replay=replay,
        workers=workers or settings.workers,
        in_flight=in_flight,
        figures=figures is not None,
    )
    serve(project_name(root / "loopline.yaml"), settings, options, say=click.echo)
