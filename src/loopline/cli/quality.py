"""`loopline quality`: every check of the data, from the source to the outcomes."""

from pathlib import Path

import click

from loopline.cli.main import find_project, json_option, plain, project_option
from loopline.cli.table import print_table


@click.command(
    help="Show every check of the data at every stage: at the source, in the snapshot, in what a "
    "model sees, in the training rows, in requests and in outcomes, with how it was before."
)
@click.option("--failing", is_flag=True, help="Only the checks that fail somewhere.")
@click.option("--strict", is_flag=True, help="Exit 1 where one fails.")
@json_option
@project_option
def command(failing: bool, strict: bool, as_json: bool, project: Path | None) -> None:
    """Print a row for each check, and a column for each stage."""
    from dataclasses import replace
    from datetime import UTC, datetime

    import msgspec

    from loopline.monitoring.quality import of_project, summary
    from loopline.monitoring.stages import crossed
    from loopline.pipeline.workspace import Workspace

    found = of_project(Workspace.open(find_project(project)), datetime.now(UTC))
    fails = any(not one.passed for one in found)
    if as_json:
        told = {"checks": found, "stages": summary(found)}
        click.echo(msgspec.json.format(msgspec.json.encode(told)))
    elif not found:
        click.echo("Nothing was checked yet. Run: loopline run")
    else:
        table = crossed(found)
        shown = replace(table, checks=table.failing) if failing else table
        rows = [[plain(cell) for cell in row] for row in shown.rows]
        heads = ("column", "check", *table.places)
        print_table(heads, rows, whole=range(2, len(heads)))
        click.echo(f"\n{table.told}")
    if strict and fails:
        raise SystemExit(1)
