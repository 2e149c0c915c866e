"""The command `loopline`: one verb a file, each imported when it is called; and what verbs share.

`loopline --help` reads the table below and imports no verb, so that it answers at once.
"""

import errno
import importlib
import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from loopline import __version__
from loopline.errors import LooplineError

VERBS = {
    "new": "Make a project from a data file, ready to run.",
    "check": "Try the contract, the data and the code, without side effects.",
    "run": "Take the data to a trained, proven, registered version.",
    "model": "List, show, compare, promote and roll back versions.",
    "rollout": "Pause, resume or hurry a version on its way to everybody.",
    "serve": "Answer predictions over HTTP.",
    "token": "Make, list and revoke what callers of the server must send.",
    "score": "Score a file, a folder, a table or a query, however large.",
    "feedback": "Read what turned out true, when it is known.",
    "explain": "Say why a prediction came out so.",
    "watch": "Compare what happens with what was promised, and respond.",
    "findings": "List what is not as promised, explain it, and say that you know of it.",
    "review": "List what waits for an expert, with its reasons.",
    "quality": "Show every check of the data, at every stage.",
    "up": "Run the server and the watcher together.",
    "profile": "Describe any table, and how far another has drifted from it.",
    "status": "Say where this project's loop stands, and what is next.",
    "audit": "List every decision and finding, and prove nothing was changed.",
    "generate": "Write files that other tools run, such as an image.",
    "deploy": "Build the image of what is released, and run it on a platform.",
    "demo": "See a model's whole life on real flights, in about two minutes.",
}
"""Verb to its line of help. The module `loopline.cli.VERB` holds it, as `command`."""

_DISK = {
    errno.ENOSPC: "Make room on the disk",
    errno.EDQUOT: "Make room in your quota",
    errno.EROFS: "Make it writable, or name another home with LOOPLINE_HOME",
    errno.EACCES: "Make it readable and writable, or name another home with LOOPLINE_HOME",
    errno.EPERM: "Make it readable and writable, or name another home with LOOPLINE_HOME",
}
"""What a disk can refuse that is no fault of ours, and what to do about it."""

_EPILOG = """Commands that act on a project look for loopline.yaml here and in the folders above;
--project names another folder.

\b
Completion of commands and options in your shell:
  bash  eval "$(_LOOPLINE_COMPLETE=bash_source loopline)"
  zsh   eval "$(_LOOPLINE_COMPLETE=zsh_source loopline)"
  fish  _LOOPLINE_COMPLETE=fish_source loopline | source

Exit codes: 0 done, 1 refused or failed, 2 misused.
"""


if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"loopline.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Commands: {', '.join(VERBS)}."
            raise click.UsageError(f"There is no command '{args[0]}'. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        options = click.Command.shell_complete(self, ctx, incomplete)
        verbs = [CompletionItem(verb, help=VERBS[verb]) for verb in VERBS]
        return [verb for verb in verbs if verb.value.startswith(incomplete)] + options

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="loopline %(version)s")
def cli() -> None:
    """The whole life of a machine-learning model, from one file: loopline.yaml."""


project_option = click.option(
    "--project",
    "project",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="The project's folder; by default the nearest one upwards with a loopline.yaml.",
)
"""`--project DIR`: gives the command `project: Path | None`, to hand to `find_project`."""

json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
"""`--json`: gives the command `as_json: bool`."""


_MAKE = "loopline new NAME --data FILE --target COLUMN"


def find_project(start: Path | None = None) -> Path:
    """Return the folder of the project: `start` itself, or the nearest one from here upwards.

    Raises:
        LooplineError: there is no loopline.yaml.
    """
    if start is not None:
        folder = start.parent if start.name == "loopline.yaml" else start
        if (folder / "loopline.yaml").is_file():
            return folder.resolve()
        raise LooplineError(f"There is no loopline.yaml in {folder}. Make one with: {_MAKE}")
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "loopline.yaml").is_file():
            return folder
    raise LooplineError(
        f"There is no loopline.yaml in {here} or above it. Go to a project's folder, name one with "
        f"--project, or make one with: {_MAKE}"
    )


def plain(text: str) -> str:
    """Return `text` as a terminal may show it: names from data cannot move or hide anything."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)


def main() -> None:
    """Run the command line, and exit with its code."""
    from loopline.settings import colour

    ended(lambda: cli.main(prog_name="loopline", standalone_mode=False, color=colour()))


def ended(call: Callable[[], object]) -> NoReturn:
    """Do `call`, and exit with its code, or with what its refusal is to the shell."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without the letters of a name
            stream.reconfigure(errors="backslashreplace")
    # SIGTERM ends a command as Ctrl-C does, so that the leases it holds are given back.
    signal.signal(signal.SIGTERM, lambda *_: _stop("Stopped.", 143))
    try:
        code = call()
    except click.exceptions.Abort:  # click's form of Ctrl-C
        _stop("Stopped.", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _stop("Stopped.", 130)
    except LooplineError as error:
        _stop(str(error), 1)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = f": {error.filename}" if error.filename else ""
        _stop(f"{error.strerror}{where}. {_DISK[error.errno]}, and call this again.", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int) -> NoReturn:
    click.echo(plain(message), err=True)
    sys.exit(code)
