"""`loopline generate checks`: a suite of checks that the team has in another tool's words."""

from pathlib import Path

import click

from loopline.cli.main import find_project, plain, project_option


@click.command(
    help="Write the checks of a pandera schema as a suite of SQL, which runs on data of any size "
    "and at every stage, without the schema's Python."
)
@click.option(
    "--from-pandera",
    "schema",
    metavar="FILE:NAME",
    required=True,
    help="A Python file of the project, and the schema or model in it.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write; by default NAME.sql in the project.",
)
@project_option
def command(schema: str, out: Path | None, project: Path | None) -> None:
    """Write the suite, and say what the contract must say and what is not in it."""
    from loopline.data.suites import pandera_schema
    from loopline.data.translated import translate
    from loopline.errors import ValidationError

    root = find_project(project)
    found = translate(pandera_schema(schema, root))
    if not found.queries:
        raise ValidationError(
            f"Nothing of {schema} can be written as SQL. It can be a suite as it is: "
            f"checks: [{{suite: {schema}}}]"
        )
    name = schema.rpartition(":")[2]
    file = root / f"{name}.sql" if out is None else out.absolute()
    file.write_text(found.sql, encoding="utf-8")
    click.echo(f"{plain(str(file))}: {len(found.queries)} checks")
    inside = file.relative_to(root) if file.is_relative_to(root) else file
    click.echo("In loopline.yaml:\n  data:")
    if found.types:
        click.echo("    columns:")
        for column, kind in found.types.items():
            click.echo(f"      {plain(_key(column))}: {{type: {kind}}}")
    click.echo(f"    checks: [{{suite: {plain(str(inside))}}}]")
    if found.left:
        click.echo("Not written:")
        for why in found.left:
            click.echo(f"  - {plain(why)}")


def _key(column: str) -> str:
    """Return a column's name as a key of YAML."""
    import json
    import re

    return column if re.fullmatch(r"[A-Za-z_]\w*", column) else json.dumps(column)
