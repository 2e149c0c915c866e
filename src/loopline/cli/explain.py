"""`loopline explain`: why one prediction came out so."""

from pathlib import Path
from typing import Any

import click

from loopline.cli.main import json_option, project_option


@click.command(
    help="Say why a prediction came out so: one of the log by its PREDICTION id, or that of a new "
    "--row, a JSON object of the model's columns."
)
@click.argument("prediction", required=False)
@click.option("--row", metavar="JSON", help="A row as a caller would send it.")
@click.option(
    "--version",
    "name",
    metavar="VERSION",
    help="Which version answers the --row; by default the newest.",
)
@click.option(
    "--top",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="How many reasons.",
)
@project_option
@json_option
def command(
    prediction: str | None,
    row: str | None,
    name: str | None,
    top: int,
    project: Path | None,
    as_json: bool,
) -> None:
    """Print the answer and its reasons, the largest first."""
    import msgspec

    from loopline.cli.main import find_project
    from loopline.monitoring.reasons import explain_prediction, explain_row
    from loopline.pipeline.workspace import Workspace

    if (prediction is None) == (row is None):
        raise click.UsageError("Name either the id of a prediction, or a --row.")
    if prediction is not None and name is not None:
        raise click.UsageError("A prediction is explained by the version that made it.")
    given = None if row is None else _row(row)
    space = Workspace.open(find_project(project))
    if given is not None:
        version = space.registry.get(name or "latest")
        found = explain_row(space.registry, space.settings, version, given, top)
    else:
        found = explain_prediction(
            space.registry, space.settings, space.tables, prediction or "", top
        )
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    _print(found)


def _row(text: str) -> dict[str, Any]:
    import msgspec

    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise click.UsageError(
            f"--row is no JSON object ({error}). Write it as '{{\"age\": 39}}'."
        ) from error


def _print(found: Any) -> None:
    from loopline.cli.main import plain
    from loopline.cli.table import print_table

    told = found.explanation
    said = found.label if found.label is not None else f"{found.scores[0]:.6g}"
    sure = f" (probability {found.scores[0]:.4g})" if len(found.scores) == 1 and found.label else ""
    click.echo(plain(f"{found.version} says {said}{sure}."))
    of = f" of class {told['class']}" if "class" in told else ""
    click.echo(
        plain(
            f"Its {told['unit']}{of} is {told['value']:.4g}; where nothing is known it would be "
            f"{told['base']:.4g}.\n"
        )
    )
    sampled = told["method"] == "sampled"
    rows = [
        (
            each["column"],
            _value(found.inputs.get(each["column"], "")),
            f"{each['adds']:+.4g}",
            *([f"± {each['error']:.2g}"] if sampled else []),
        )
        for each in told["reasons"]
    ]
    rows.append(("all others", "", f"{told['others']:+.4g}", *([""] if sampled else [])))
    print_table(("column", "value", "adds", *(["error"] if sampled else [])), rows)


def _value(value: Any) -> str:
    return "missing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
