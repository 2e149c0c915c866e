"""`loopline feedback`: what turned out true, from a file."""

from pathlib import Path

import click

from loopline.cli.main import json_option, project_option


@click.command(
    help="Read outcomes from a CSV, Parquet or JSON lines FILE: a column prediction_id or the "
    "contract's key, a column label or the target, and observed_at where it is known."
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--env", "environment", default="dev", show_default=True, help="Whose predictions these are."
)
@project_option
@json_option
def command(file: Path, environment: str, project: Path | None, as_json: bool) -> None:
    """Keep the outcomes and say how many."""
    from datetime import UTC, datetime

    import msgspec

    from loopline.cli.main import find_project
    from loopline.monitoring import outcomes
    from loopline.pipeline.workspace import Workspace
    from loopline.serving.upload import Uploader

    space = Workspace.open(find_project(project))
    signature = outcomes.signature(space.registry, environment)
    found = outcomes.read(file, space.contract, signature, space.settings)
    log = space.settings.home / "log"
    outcomes.write(found, log, space.contract.project, environment, datetime.now(UTC))
    Uploader(log / space.contract.project / environment, space.objects).once()
    if as_json:
        click.echo(msgspec.json.encode({"kept": len(found.rows), "pending": found.pending}))
        return
    pending = f" {found.pending:,} rows have no outcome yet." if found.pending else ""
    click.echo(f"Kept {len(found.rows):,} outcomes from {file.name}.{pending}")
    click.echo("They count from the next look on: loopline watch --once")
