"""`loopline quality`: every check of the data, from the source to the outcomes."""

from pathlib import Path

import click

from loopline.cli.main import find_project, json_option, plain, project_option
from loopline.cli.table import print_table

_STAGES = ("source", "snapshot", "features", "training", "serving", "feedback")


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
    from datetime import UTC, datetime

    import msgspec

    from loopline.monitoring.quality import of_project, summary
    from loopline.pipeline.workspace import Workspace

    found = of_project(Workspace.open(find_project(project)), datetime.now(UTC))
    fails = any(not one.passed for one in found)
    if as_json:
        told = {"checks": found, "stages": summary(found)}
        click.echo(msgspec.json.format(msgspec.json.encode(told)))
    elif not found:
        click.echo("Nothing was checked yet. Run: loopline run")
    else:
        checks: dict[tuple[str, str], dict[str, list[str]]] = {}
        bad: set[tuple[str, str]] = set()
        for one in found:
            name = (one.column or "", one.name)
            cells = checks.setdefault(name, {})
            cells.setdefault(one.stage, []).append(_cell(one.share, one.passed, one.trend))
            bad |= set() if one.passed else {name}
        stages = [stage for stage in _STAGES if any(one.stage == stage for one in found)]
        rows = [
            (plain(column), plain(check), *("; ".join(cells.get(stage, [])) for stage in stages))
            for (column, check), cells in checks.items()
            if not failing or (column, check) in bad
        ]
        print_table(("column", "check", *stages), rows, whole=range(2, 2 + len(stages)))
        click.echo(f"\n{len(checks)} checks, {len(bad)} of them fail.")
    if strict and fails:
        raise SystemExit(1)


def _cell(share: float, passed: bool, trend: str) -> str:
    state = "ok" if passed and not share else f"{share:.2%}" if passed else f"FAILS {share:.2%}"
    return state if trend in ("steady", "new") else f"{state} {trend}"
