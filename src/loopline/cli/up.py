"""`loopline up`: server and watcher as one process group."""

from pathlib import Path

import click


@click.command(help="Run the server and the watcher together until Ctrl-C.")
@click.option("--env", "environment", default="dev", show_default=True, help="What to serve.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port to listen on; 0 takes a free one.",
)
@click.option("--every", default="10s", show_default=True, help="How often the watcher looks.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Where the watcher shows its gauges; the server's own are at /metrics of its port.",
)
@click.option("--project", type=click.Path(path_type=Path), help="The project's folder.")
def command(
    environment: str, port: int, every: str, metrics_port: int | None, project: Path | None
) -> None:
    """Run both, and end with the first that ends."""
    from loopline.cli.main import find_project
    from loopline.processes import run_together
    from loopline.settings import Settings

    root = find_project(project)
    shown = [] if metrics_port is None else ["--metrics-port", str(metrics_port)]
    raise SystemExit(
        run_together(
            {
                "serve": ["serve", "--env", environment, "--port", str(port)],
                "watch": ["watch", "--every", every, *shown],
            },
            root=root,
            environment=Settings.read(root).environment,
            say=click.echo,
        )
    )
