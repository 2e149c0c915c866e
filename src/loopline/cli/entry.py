"""What a container of `loopline generate image` runs: `IMAGE VERB [OPTION]...`

Platforms start an image with a word (`serve`, `train`) or with none, say the port and the model's
place in variables of their own, and mount what they bring. Each verb finds that out and is then the
ordinary command, so whatever `loopline serve --help` offers can be written after it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from loopline.cli import main as line
from loopline.errors import LooplineError, SettingError
from loopline.serving.carried import Carried, carried, open_home

VERBS = {
    "serve": "Answer predictions over HTTP; the default. Options are those of loopline serve.",
    "batch": "Score IN to OUT. Options are those of loopline score.",
    "lambda": "Answer the events of AWS Lambda.",
    "train": "Train the project's model. Options are those of loopline run.",
}
_USUAL = "serve"
_MOUNTS = "opt/ml"
"""Where SageMaker mounts what a training reads and takes what it writes."""


def main() -> None:
    """Do what the container was started for."""
    arguments = sys.argv[1:]
    verb = _USUAL
    if arguments and not arguments[0].startswith("-"):
        verb = arguments.pop(0)
    if verb not in VERBS or arguments[:1] in (["-h"], ["--help"]):
        listed = "\n".join(f"  {name:8}{text}" for name, text in VERBS.items())
        unknown = "" if verb in VERBS else f"There is no verb '{line.plain(verb)}'.\n"
        click.echo(f"{unknown}IMAGE VERB [OPTION]...\n{listed}", err=bool(unknown))
        sys.exit(2 if unknown else 0)
    line.ended(lambda: _start(verb, arguments))


def _start(verb: str, arguments: Sequence[str]) -> None:
    try:
        start(verb, arguments, dict(os.environ), Path(sys.prefix))
    except ModuleNotFoundError as error:
        raise LooplineError(
            f"{error.name} is not in this image, and '{verb}' needs it. Build another target: "
            "loopline generate image --build --target batch, or full."
        ) from error


def start(
    verb: str,
    arguments: Sequence[str],
    environ: Mapping[str, str],
    app: Path,
    root: Path = Path("/"),
) -> None:
    """Begin `verb` with what the image in `app` carries; `root` is where platforms mount.

    Raises:
        LooplineError: there is nothing to begin with.
    """
    if verb == "train":
        _train(arguments, environ, app, root)
        return
    found = carried(environ, app, root)
    os.environ.update(found.variables)
    if verb == "lambda":
        from loopline.serving.aws_lambda import start as answer_events
        from loopline.settings import Settings

        answer_events(
            found.project,
            Settings.read(app),
            found.environment,
            log="durable" if found.keeps else "off",
        )
        return
    words = _command(verb, found, arguments)
    line.cli.main(words, prog_name="loopline", standalone_mode=False)


def _command(verb: str, found: Carried, arguments: Sequence[str]) -> list[str]:
    """Return the command of a verb; of an option that is given twice the last counts."""
    folder = found.home / "served"
    folder.mkdir(parents=True, exist_ok=True)
    # A command wants a project; all that these two read of one is its name.
    (folder / "loopline.yaml").write_text(f"project: {found.project}\n", encoding="utf-8")
    place = ["--project", str(folder), "--env", found.environment]
    if verb == "batch":
        # A compute of the contract's is for where the project is.
        chosen = [] if {"--on", "--threads"} & set(arguments) else ["--on", "threads"]
        return ["score", *place, *chosen, *arguments]
    log = "async" if found.keeps else "off"
    return ["serve", *place, "--host", "0.0.0.0", "--log", log, *arguments]  # noqa: S104


def _train(arguments: Sequence[str], environ: Mapping[str, str], app: Path, root: Path) -> None:
    """Run the project that is in the image on the data that the platform mounts."""
    from loopline.delivery import training
    from loopline.pipeline.workspace import Workspace

    if not (app / "project" / "loopline.yaml").is_file():
        raise SettingError(
            "This image cannot train: the project is in the target full alone. Build it with: "
            "loopline generate image --build --target full"
        )
    mounts = root / _MOUNTS
    home = open_home(environ, app)
    os.environ["LOOPLINE_HOME"] = str(home)
    try:
        project = training.prepare(app / "project", mounts, home)
        words = ["run", "--project", str(project), *arguments]
        line.cli.main(words, prog_name="loopline", standalone_mode=False)
        place = training.hand_over(Workspace.open(project), mounts)
    except LooplineError as error:
        training.record_failure(mounts, str(error))
        raise
    if place is not None:
        click.echo(f"  model   {place}")


if __name__ == "__main__":
    main()
