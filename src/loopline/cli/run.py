"""`loopline run`: data to a trained, proven, registered version."""

from pathlib import Path
from typing import Any

import click

from loopline.cli.main import find_project, json_option, plain, project_option


@click.command(help="Take the data to a trained, proven, registered version that dev serves.")
@click.option("--fresh", is_flag=True, help="Run even where nothing has changed since the last.")
@click.option("--strict", is_flag=True, help="Exit with 1 when the gate fails.")
@json_option
@project_option
def command(fresh: bool, strict: bool, as_json: bool, project: Path | None) -> None:
    """Run what has changed, and print what came of it."""
    from loopline.pipeline import cache
    from loopline.settings import Settings

    root = find_project(project)
    found = None if fresh else cache.find(root, Settings.read(root))
    is_new = found is None
    if found is not None:
        if not as_json:
            click.echo("Nothing has changed since the last run; --fresh runs all the same.")
    else:
        found = _run(root, quiet=as_json)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        _print(found, is_new=is_new)
    if strict and not found["gate_passed"]:
        raise SystemExit(1)


def _run(root: Path, *, quiet: bool) -> dict[str, Any]:
    from loopline.project import Project

    last: list[str] = []

    def say(stage: str, text: str) -> None:
        if quiet:
            return
        click.echo(f"{stage if last[-1:] != [stage] else '':<10}{plain(text)}")
        last.append(stage)

    return Project.open(root).run(progress=say).summary()


def _print(found: dict[str, Any], *, is_new: bool) -> None:
    for check in found["findings"]:
        click.echo(f"  {click.style('data', fg='yellow')}    {plain(check)}")
    for warning in found["warnings"]:
        click.echo(f"  {click.style('note', fg='yellow')}    {plain(warning)}")
    passed = click.style("passed", fg="green"), click.style("failed", fg="red")
    for gate in found["gates"]:
        click.echo(f"  {passed[not gate['passed']]}  {plain(gate['reason'])}")
    name = found["version"]
    verdict = "passed its gate" if found["gate_passed"] else "did not pass its gate"
    # What serves may have changed since an earlier run, and asking would open the database.
    served = "dev serves it." if is_new else "For what serves now: loopline status"
    click.echo(f"{click.style(name, bold=True)} {verdict}{'; ' if is_new else '. '}{served}")
    click.echo(f"  report  {found['page']}")
    click.echo(f"  next    loopline serve   or: loopline model show {name}")
