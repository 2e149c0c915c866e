"""`loopline deploy`: run what is released on a platform."""

from pathlib import Path

import click

from loopline.cli.main import find_project, plain, project_option


@click.command(
    help="Build the image of what is released in an environment, and run it on a platform: "
    "local-container is a container on this machine, by podman or docker."
)
@click.option("--platform", default="local-container", show_default=True, help="Where to run it.")
@click.option("--env", "environment", default="dev", show_default=True, help="What to run.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="Where it answers, on this machine alone.",
)
@click.option("--base", metavar="IMAGE", help="Where the image starts, as for generate image.")
@click.option("--target", help="slim, batch or full; by default the smallest that serves it.")
@click.option("--offline", is_flag=True, help="Download the wheels before; the build needs none.")
@click.option("--remove", is_flag=True, help="Take the deployment away instead.")
@project_option
def command(  # noqa: PLR0913, PLR0917 - one for each option
    platform: str,
    environment: str,
    port: int,
    base: str | None,
    target: str | None,
    offline: bool,
    remove: bool,
    project: Path | None,
) -> None:
    """Deploy, and say where it answers."""
    import secrets
    from datetime import UTC, datetime

    from loopline import plugins
    from loopline.contract.load import project_name
    from loopline.delivery.build import build_image
    from loopline.delivery.image import Wanted, write_image
    from loopline.pipeline.workspace import Workspace
    from loopline.platforms.base import Deployment, Platform

    root = find_project(project)
    runs: Platform = plugins.find("loopline.platforms", platform.replace("-", "_"))()
    name = f"{project_name(root / 'loopline.yaml')}-{environment}"
    if remove:
        there = runs.remove(name)
        click.echo(f"Removed {name}" if there else f"There is no deployment {name}")
        return
    workspace = Workspace.open(root)
    image = write_image(
        workspace,
        Wanted(environment=environment, target=target, base=base, offline=offline),
        workspace.settings.home / "image",
        now=datetime.now(UTC),
    )
    built = build_image(image, target, None, say=click.echo, builders=runs.builders)
    token = workspace.settings.token or secrets.token_urlsafe(24)
    endpoint = runs.deploy(
        Deployment(name, built.reference, port, secrets={"LOOPLINE_TOKEN": token})
    )
    click.echo(f"{image.name} answers at {endpoint.url} ({plain(endpoint.name)})")
    if workspace.settings.token is None:
        click.echo(f"  token   {token}")
    click.echo(f"  try it  {endpoint.url}/docs")
    click.echo(f"  end it  loopline deploy --env {environment} --remove")
