"""The reference pages of what a person meets: commands, settings, errors and HTTP routes.

They are made from the commands, from `settings.py`, from `errors.py` and from the routes of the
server, so they cannot say anything else. After a change:
`python -m loopline.cli.reference docs/reference`.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

_NOTE = "<!-- Made by `python -m loopline.cli.reference docs/reference`. -->\n\n"
_VARIABLE = re.compile(r"`([A-Z][A-Z_]+)`")

_COMMANDS = """# Commands

Every command is `loopline VERB`; `loopline VERB --help` says what stands here. A command that acts
on a project takes the nearest `loopline.yaml` upwards from where you are, or the folder that
`--project` names. Every read takes `--json`.

| exit code | meaning |
| --- | --- |
| 0 | done; also when a gate failed or a finding is open, unless `--strict` is given |
| 1 | refused or failed: the last line says why, and what to do |
| 2 | misused: a command, an option or a value that is not known |
| 130 | stopped by Ctrl-C; the next call goes on where this one was |
| 143 | the same, by SIGTERM |

`loopline serve`, `watch` and `up` end with 0 at Ctrl-C and at SIGTERM: that is how they end.
"""

_SETTINGS = """# Settings

`loopline.yaml` says what a project promises; the environment says where things are. Nothing else is
configured anywhere. Secrets arrive only through the environment.

| variable | what it decides |
| --- | --- |
"""

_SETTINGS_END = """
A name that the contract writes as `${NAME}`, in `data.source.url`, is read from the environment
too; where it is not set the run is refused and says so.

## Not Loopline's own

| variable | who reads it |
| --- | --- |
| `AWS_ACCESS_KEY_ID`, `AWS_REGION` and their like | the clients of `LOOPLINE_STORE` |
| `MLFLOW_TRACKING_USERNAME` and its like | MLflow's client, in the mirror |
| `COLUMNS` | how wide tables are printed where no terminal says |
| `NO_COLOR` | set to anything, nothing is coloured |
| `SAGEMAKER_BIND_TO_PORT`, `AIP_HTTP_PORT`, `PORT` | `serve`: the port, without `--port` |
| `AIP_PREDICT_ROUTE`, `AIP_HEALTH_ROUTE` | `serve`: the paths that Vertex AI calls |
| `MMS` | `serve`: 1 for SageMaker's multi-model routes |
| `AWS_LAMBDA_RUNTIME_API` | the loop of a Lambda function |
| `LOOPLINE_PROJECT`, `LOOPLINE_ENVIRONMENT` | a Cloud Function, an image: what it serves |
| `MODEL_DIR`, `AZUREML_MODEL_DIR` | an image: the folder of its model |
| `AIP_STORAGE_URI`, `MODEL_URI` | an image: the place of its model in a cloud |

## What lies in the home

| path under `LOOPLINE_HOME` | what it is |
| --- | --- |
| `loopline.db` | ledger, runs, hourly counts; elsewhere with `LOOPLINE_DATABASE` |
| `store/` | bundles, snapshots, releases, tables; elsewhere with `LOOPLINE_STORE` |
| `keys/signing.pem` | the private key that signs; readable by its owner alone, or refused |
| `keys/tokens/NAME.json` | what is kept of a token: its hash, scopes, end and rate |
| `keys/trusted/` | the public keys whose signatures count, one PEM file each |
| `heads/PROJECT` | the ledger's last number and hash, outside the database |
| `log/PROJECT/ENVIRONMENT/` | segments of the log, until they are uploaded or a day after folding |
| `reports/` | each version's evaluation, and the watch report, as HTML pages |
| `dashboards/` | what `loopline generate dashboards` wrote |
| `cache/PROJECT.json` | what the last run depended on, and its outcome |
| `studies/` | the trials of a search that was interrupted |
| `logs/` | what the mirror, and the demo's server, printed |
| `mlflow.db`, `mlflow/`, `tensorboard/` | copies for other tools |
"""

_ERRORS = """# Errors

Every error that Loopline raises on purpose is a `LooplineError`. The command line prints its
message and exits with 1; anything else is a bug, and shows its traceback. In Python catch the
class, or any above it in the tree:

```
{tree}
```

A message names the thing, the value found, what would be accepted and the next step. What to do at
night is in [When it goes wrong](../how-to/when-it-goes-wrong.md).

| error | when | HTTP status |
| --- | --- | --- |
"""

_ERRORS_END = """
The status is what a caller of the server gets. From 500 on, the caller is told only that the server
cannot answer; the message is in the server's own log.
"""

_ROUTES = "<!-- routes: begin -->\n{table}<!-- routes: end -->"
_ROUTES_PLACE = re.compile(r"<!-- routes: begin -->\n.*<!-- routes: end -->", re.DOTALL)


def commands() -> str:
    """Return the page of every command, from click's own definitions."""
    from loopline.cli.main import cli

    context = click.Context(cli, info_name="loopline")
    return _NOTE + _COMMANDS + "".join(_command(cli, context))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        if context.parent is not None:
            yield f"\n## {context.command_path}\n\n{command.help}\n"
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None  # noqa: S101 - it has just been listed
            yield from _command(found, click.Context(found, context, info_name=name))
        return
    depth = "##" if context.parent is not None and context.parent.parent is None else "###"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"\n{depth} {context.command_path}\n\n{command.help}\n\n    {usage}\n"
    options = [each for each in command.params if isinstance(each, click.Option)]
    if options:
        yield "\n| option | default | meaning |\n| --- | --- | --- |\n"
        for option in options:
            yield _option(option, context)


def _option(option: click.Option, context: click.Context) -> str:
    names, meaning = option.get_help_record(context) or ("", "")
    meaning = re.sub(r"\s*\[[^\]]*\]$", "", meaning)
    default = "**required**" if option.required else ""
    if option.show_default and option.default is not None:
        default = f"`{option.default}`"
    cells = [f"`{names}`", default, meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def settings() -> str:
    """Return the page of every environment variable, from what `Settings` says of its fields."""
    from loopline import settings as module

    rows = [
        f"| {', '.join(f'`{name}`' for name in names)} | {text} |"
        for names, text in _variables(inspect.getsource(module.Settings))
    ]
    return _NOTE + _SETTINGS + "\n".join(rows) + "\n" + _SETTINGS_END


def _variables(source: str) -> Iterator[tuple[list[str], str]]:
    """Yield the variables that a field's docstring names before its colon, and what follows it."""
    [body] = [node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said, _, meaning = " ".join(str(node.value.value).split()).partition(": ")
            if names := _VARIABLE.findall(said):
                yield names, meaning


def errors() -> str:
    """Return the page of every error, from `errors.py` and the server's table of statuses."""
    from loopline import errors as module
    from loopline.serving.app import STATUS

    tree = (module.__doc__ or "").split("\n\n")[1]
    found = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, module.LooplineError)
    ]
    rows = []
    for kind in found:
        status = next((STATUS[each] for each in kind.__mro__ if each in STATUS), 500)
        rows.append(f"| `{kind.__name__}` | {kind.__doc__} | {status} |")
    page = _ERRORS.format(tree=inspect.cleandoc(tree))
    return _NOTE + page + "\n".join(rows) + "\n" + _ERRORS_END


def routes() -> str:
    """Return the table of every route of the server."""
    from loopline.serving.app import ROUTES

    bodies: dict[tuple[str, str], dict[str, None]] = {}
    for route in ROUTES:
        found = bodies.setdefault((route.method, route.path), {})
        found |= {f"`{kind}`": None for kind in route.takes if kind}
        if route.same_as is not None and route.method == "POST":
            found[f"as `{route.same_as}`"] = None
    rows = ["| route | permission | body | what it does |", "| --- | --- | --- | --- |"]
    told = set()
    for route in ROUTES:
        where = (route.method, route.path)
        if where in told:  # several dialects speak there
            continue
        told.add(where)
        only = "" if route.only_if is None else f"; only with `{route.only_if}=1`"
        body = ", ".join(sorted(bodies[where]))
        cells = (f"`{route.method} {route.path}`", route.permission, body, route.summary + only)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def http(page: str) -> str:
    """Return the page about HTTP, which people write, with the table of routes made anew."""
    return _ROUTES_PLACE.sub(lambda _: _ROUTES.format(table=routes()), page)


def pages(folder: Path) -> dict[str, str]:
    """Return each generated page's name and text; `folder` holds the page about HTTP."""
    made: dict[str, Any] = {"commands.md": commands, "settings.md": settings, "errors.md": errors}
    written = (folder / "http.md").read_text(encoding="utf-8")
    return {name: make() for name, make in made.items()} | {"http.md": http(written)}


if __name__ == "__main__":
    for name, text in pages(Path(sys.argv[1])).items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
