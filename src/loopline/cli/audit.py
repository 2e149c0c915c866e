"""`loopline audit`: every decision and finding, and the proof that none was changed."""

from pathlib import Path

import click

from loopline.cli.main import find_project, json_option, project_option
from loopline.cli.table import hang


@click.group(help="List every decision and finding, and prove nothing was changed.")
def command() -> None:
    """Hold the verbs below."""


@command.command("list", help="List what happened, oldest first: who, when, what, why.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind; may be repeated.")
@click.option("--containing", default="", metavar="TEXT", help="Only what contains this text.")
@click.option("--limit", type=click.IntRange(1), help="Only the last so many.")
@json_option
@project_option
def list_(
    kinds: tuple[str, ...], containing: str, limit: int | None, as_json: bool, project: Path | None
) -> None:
    """Print the ledger's events."""
    import msgspec

    from loopline.governance import audit
    from loopline.project import Project

    ledger = Project.open(find_project(project)).ledger
    rows = audit.rows(ledger, kinds=kinds, containing=containing, limit=limit)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)))
        return
    if not rows:
        click.echo("Nothing of the kind has happened yet.")
    lines = [
        (
            str(row["number"]),
            row["at"][:16].replace("T", " "),
            *(audit.printable(text) for text in (row["actor"], row["kind"], audit.about(row))),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row, fields in zip(rows, lines, strict=True):
        begin = "  ".join(map(str.ljust, fields, widths))
        click.echo(hang(begin, audit.printable(audit.summary(row))))


@command.command(help="Prove that no event and no release was changed, left out or reordered.")
@json_option
@project_option
def verify(as_json: bool, project: Path | None) -> None:
    """Check the chain of events and the signed releases; name the first broken link."""
    import msgspec

    from loopline.project import Project
    from loopline.registry import proof

    events, releases = proof.verify(Project.open(find_project(project)).registry)
    if as_json:
        proven = {"holds": True, "events": events, "releases": releases}
        click.echo(msgspec.json.format(msgspec.json.encode(proven)))
        return
    click.echo(
        f"{events} events hold together, from the first to the last, and {releases} signed "
        f"release{' agrees' if releases == 1 else 's agree'} with them."
    )
