"""`loopline generate image`: a Dockerfile and what it copies."""

from pathlib import Path

import click

from loopline.cli.main import find_project, plain, project_option


@click.command(
    help="Write a folder with a Dockerfile and all that it needs, pinned by hashes: an image that "
    "answers with what is released in an environment, wherever containers run."
)
@click.option("--env", "environment", default="dev", show_default=True, help="What it serves.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write; by default image in LOOPLINE_HOME.",
)
@click.option(
    "--base",
    metavar="IMAGE",
    help="Where it starts; by default Debian's slim Python of that version.",
)
@click.option(
    "--model/--no-model",
    "has_model",
    default=True,
    help="Bake the released model in, or leave it to be mounted or fetched at start.",
)
@click.option(
    "--extra",
    "extras",
    multiple=True,
    help="Of Loopline, into the target full, such as postgresql.",
)
@click.option(
    "--requirements",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The project's own pins with hashes, into the target full; they go before Loopline's.",
)
@click.option(
    "--offline", is_flag=True, help="Download the wheels too: the build needs no registry."
)
@click.option("--build", is_flag=True, help="Build it too, with buildah, podman or docker.")
@click.option(
    "--target",
    help="Only this one: slim, batch or full; by default all, and the smallest is built.",
)
@click.option(
    "--tag", metavar="NAME", help="What to call what is built; by default PROJECT:VERSION."
)
@project_option
def command(  # noqa: PLR0913, PLR0917 - one for each option
    environment: str,
    out: Path | None,
    base: str | None,
    has_model: bool,
    extras: tuple[str, ...],
    requirements: Path | None,
    offline: bool,
    build: bool,
    target: str | None,
    tag: str | None,
    project: Path | None,
) -> None:
    """Write the folder, and say how it is built."""
    from datetime import UTC, datetime

    from loopline.delivery.build import build_image
    from loopline.delivery.image import Wanted, write_image
    from loopline.pipeline.workspace import Workspace

    root = find_project(project)
    wanted = Wanted(
        environment=environment,
        target=target,
        base=base,
        has_model=has_model,
        extras=extras,
        requirements=None if requirements is None else requirements.absolute(),
        offline=offline,
    )
    workspace = Workspace.open(root)
    folder = workspace.settings.home / "image" if out is None else out.absolute()
    image = write_image(workspace, wanted, folder, now=datetime.now(UTC))
    click.echo(f"{plain(str(image.folder))}: an image for {image.name} ({environment})")
    click.echo(f"  targets  {', '.join(reversed(image.targets))}")
    for note in image.notes:
        click.echo(f"  note     {note}")
    if build or tag:
        made = build_image(image, target, tag, say=click.echo)
        click.echo(f"Built {made.reference} with {made.builder}")
    else:
        click.echo("  build    loopline generate image --build, or your own builder there")
