"""`loopline demo`: the whole loop on real flights."""

import shutil
from pathlib import Path

import click


@click.command(help="See a model's whole life on real flights, in about two minutes.")
@click.option(
    "--dir",
    "folder",
    default="flight-delays",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the project is made; it stays there.",
)
@click.option("--replace", is_flag=True, help="Remove an earlier demo in that folder first.")
def command(folder: Path, replace: bool) -> None:
    """Tell the story."""
    from loopline.demo.story import MARK, tell

    if replace and (folder / MARK).is_file():
        shutil.rmtree(folder)
    tell(folder.absolute(), click.echo)
