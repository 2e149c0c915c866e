"""`loopline generate`: files that other tools run.

Each file of `cli/generated/` is one kind: its name is what people type, and `command` in it makes
the files. There is no list to edit.
"""

import importlib

import click

from loopline import plugins

_KINDS = "loopline.cli.generated"


class _Kinds(click.Group):
    """A group whose commands are the files of a folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name.replace("_", "-") for name in plugins.names(_KINDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"{_KINDS}.{cmd_name.replace('-', '_')}").command
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Kinds)
def command() -> None:
    """Write files that other tools run: an image, and more."""
