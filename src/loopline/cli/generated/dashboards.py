"""`loopline generate dashboards`: alerts for Prometheus and a dashboard for Grafana."""

from pathlib import Path

import click

from loopline.cli.main import find_project, plain, project_option


@click.command(
    help="Write alert rules for Prometheus with their proof, routing for Alertmanager, what to "
    "scrape, and a dashboard for Grafana, all from the contract."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write; by default dashboards in LOOPLINE_HOME.",
)
@click.option("--webhook", metavar="URL", help="Where Alertmanager sends what it has to say.")
@click.option(
    "--server",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Where Prometheus finds loopline serve.",
)
@click.option(
    "--watcher",
    default="127.0.0.1:9464",
    show_default=True,
    metavar="HOST:PORT",
    help="Where it finds loopline watch --metrics-port.",
)
@click.option(
    "--grafana/--no-grafana",
    "has_dashboard",
    default=True,
    help='Write the dashboard too; it needs: pip install "loopline[grafana]"',
)
@project_option
def command(
    *,
    out: Path | None,
    webhook: str | None,
    server: str,
    watcher: str,
    has_dashboard: bool,
    project: Path | None,
) -> None:
    """Write the files, and say how they are tried."""
    from loopline.delivery.dashboards import PROOF, Wanted, write
    from loopline.pipeline.workspace import Workspace

    workspace = Workspace.open(find_project(project))
    folder = workspace.settings.home / "dashboards" if out is None else out.absolute()
    wanted = Wanted(webhook, server, watcher, has_dashboard)
    for file in write(workspace.contract, wanted, folder):
        click.echo(plain(str(file)))
    click.echo(f"Try the rules with: promtool test rules {plain(str(folder / PROOF))}")
