"""`loopline status`: where the loop stands, and what is next."""

from pathlib import Path

import click

from loopline.cli.main import find_project, json_option, plain, project_option


@click.command(help="Say where this project's loop stands, and what is next.")
@json_option
@project_option
def command(as_json: bool, project: Path | None) -> None:
    """Print the state of every stage."""
    import msgspec

    from loopline.project import Project

    found = Project.open(find_project(project)).status()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    name, snapshot, newest = found["project"], found["snapshot"], found["newest"]
    click.echo(click.style(name, bold=True))
    data = "nothing frozen yet"
    if snapshot:
        data = f"{snapshot['id']}: {snapshot['rows']:,} rows from {snapshot['source']}"
    lines = {"data": data, "versions": "none yet"}
    if newest:
        gate = "passed its gate" if newest["gate_passed"] else "failed its gate"
        lines["versions"] = f"{found['versions']}; {name}:{newest['number']} is the newest: {gate}"
    for environment, number in found["serving"].items():
        lines[environment] = "nothing" if number is None else f"serves {name}:{number}"
    for rolling in found["rollouts"]:
        place = rolling["environment"]
        lines[place] += f"; {name}:{rolling['version']} is at {rolling['told']}"
    lines["findings"] = f"{len(found['findings'])} open" if found["findings"] else "none open"
    for one in found["estimates"]:
        name, inside = next(iter(one["inside"].items()))
        value, low, high, real = one["last"]["figures"][name]
        lines["estimates"] = (
            f"{one['environment']}: {name} was estimated at {value:.4g} ({low:.4g} to {high:.4g}) "
            f"and came true at {real:.4g}; inside in {inside} of {one['windows']} windows"
        )
    if found["last_action"]:
        done = found["last_action"]
        lines["last action"] = f"{done['kind']}, {done['outcome']} ({done['at']}): {done['why']}"
    for label, text in lines.items():
        click.echo(f"  {label:<12}{plain(text)}")
    for message in found["findings"]:
        click.echo(f"    - {plain(message)}")
    click.echo("next")
    for step in found["next"]:
        click.echo(f"  {step}")
