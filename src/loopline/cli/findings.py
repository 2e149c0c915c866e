"""`loopline findings`: what is not as promised, what explains it, and that somebody knows of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loopline.cli.main import find_project, json_option, plain, project_option
from loopline.cli.table import hang

if TYPE_CHECKING:
    from loopline.monitoring.findings import Finding


@click.group(help="List what is not as promised, explain it, and say that you know of it.")
def command() -> None:
    """Hold the verbs below."""


@command.command("list", help="List the open findings, oldest first.")
@click.option("--all", "resolved", is_flag=True, help="Those that were resolved, too.")
@json_option
@project_option
def list_(resolved: bool, as_json: bool, project: Path | None) -> None:
    """Print one line a finding."""
    import msgspec

    from loopline.monitoring.findings import Findings
    from loopline.project import Project
    from loopline.response.story import every

    ledger = Project.open(find_project(project)).ledger
    found = every(ledger) if resolved else list(Findings(ledger).open().values())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    if not found:
        click.echo("No finding is open." if not resolved else "Nothing was ever found.")
    for one in found:
        about = plain(", ".join(one.columns or (one.subject,)))
        begin = f"{one.id[:8]}  {_state(one):12}  {one.environment}  {one.kind:8}  {about}"
        click.echo(hang(begin, plain(one.message)))


@command.command(help="Explain one finding, and tell what was done about it.")
@click.argument("finding")
@json_option
@project_option
def show(finding: str, as_json: bool, project: Path | None) -> None:
    """Print a finding's evidence and story."""
    import msgspec

    from loopline.project import Project
    from loopline.response.story import tell

    found = tell(Project.open(find_project(project)).ledger, finding)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    one = found.finding
    click.echo(f"{one.id}  {_state(one)}  {one.kind} of {one.project}:{one.version}")
    click.echo(hang("  found    ", plain(one.message)))
    if one.since is not None:
        older = " or before" if one.evidence.get("is_older") else ""
        click.echo(f"  since    {_short(one.since)} UTC{older}")
    for title, key, text in (
        ("columns", "drivers", "{column}: {metric} {value:.3g}, importance {importance:.0%}"),
        ("slices", "slices", "{column} {value}"),
    ):
        for place, each in enumerate(one.evidence.get(key, [])):
            known = {"metric": "psi", "value": each.get("psi"), **each}
            known["importance"] = known.get("importance") or 0.0
            click.echo(f"  {'' if place else title:8} {plain(text.format(**known))}")
    for place, told in enumerate(one.evidence.get("coincides", [])):
        click.echo(f"  {'' if place else 'with':8} {plain(told)}")
    for at, actor, what, words in found.events:
        click.echo(hang(f"  {_short(at)}  {actor} {what}: ", plain(words)))
    for action in found.actions:
        click.echo(
            hang(f"  {_short(action.at)}  {action.kind} {action.outcome}: ", plain(action.why))
        )


@command.command(help="Say that you know of a finding; it alerts nobody until it is resolved.")
@click.argument("finding")
@click.option("--why", required=True, help="Why it may stay, or what is done about it.")
@json_option
@project_option
def ack(finding: str, why: str, as_json: bool, project: Path | None) -> None:
    """Acknowledge one open finding."""
    from datetime import UTC, datetime

    import msgspec

    from loopline.monitoring.findings import Findings
    from loopline.project import Project

    ledger = Project.open(find_project(project)).ledger
    found = Findings(ledger).acknowledge(finding, why=why, now=datetime.now(UTC))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    click.echo(f"{found.id[:8]} ({found.subject}) is known of and alerts nobody until it passes.")


def _state(finding: "Finding") -> str:
    return "acknowledged" if finding.status == "open" and finding.acknowledged else finding.status


def _short(moment: str) -> str:
    return moment[:16].replace("T", " ")
