"""`loopline score`: predictions for a file, a folder, a table or a query."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from loopline.cli.main import find_project, json_option, plain, project_option
from loopline.cli.places import Place, compute_on

if TYPE_CHECKING:
    from loopline.compute.base import Compute
    from loopline.registry.release import Served
    from loopline.serving.score import Summary
    from loopline.settings import Settings

_EVERY_SECONDS = 0.5


@click.command(
    help="Score every row of IN (a file, folder, glob, Delta table, object-store URL, or a "
    "database's URL with --query) with what an environment serves, and write the predictions to "
    "OUT. Killed and called again it goes on where it was."
)
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@click.option("--env", "environment", default="dev", show_default=True, help="Whose version.")
@click.option("--version", type=click.IntRange(1), help="This version, wherever it serves or not.")
@click.option("--query", metavar="SQL", help="What to ask the database whose URL IN is.")
@click.option(
    "--format",
    "wanted",
    type=click.Choice(["parquet", "csv", "jsonl", "delta"]),
    help="Of OUT; by default as its name ends, and Parquet for a folder.",
)
@click.option(
    "--keep",
    default="",
    metavar="COLUMNS|all",
    help="Columns of IN to carry along, with commas; the contract's key always is.",
)
@click.option("--encoding", help="Of CSV that is not UTF-8 further on than its first MiB.")
@click.option("--on", type=Place(), help="Where; by default `compute`.")
@click.option(
    "--threads", type=click.IntRange(1, 256), help="How many; by default one for each processor."
)
@click.option("--log", is_flag=True, help="Write the prediction log too, so that watch sees them.")
@click.option("--strict", is_flag=True, help="Refuse everything when one row cannot be scored.")
@click.option("--replace", is_flag=True, help="Write over what OUT holds.")
@json_option
@project_option
def command(  # noqa: PLR0913, PLR0917 - one for each option
    source: str,
    out: str,
    environment: str,
    version: int | None,
    query: str | None,
    wanted: Literal["parquet", "csv", "jsonl", "delta"] | None,
    keep: str,
    encoding: str | None,
    on: str | None,
    threads: int | None,
    log: bool,
    strict: bool,
    replace: bool,
    as_json: bool,
    project: Path | None,
) -> None:
    """Score, and say what came of it."""
    import msgspec

    from loopline.data.batches import open_incoming
    from loopline.serving.parts import Target
    from loopline.serving.score import Wanted, score
    from loopline.settings import Settings

    root = find_project(project)
    settings = Settings.read(root)
    here = Path.cwd()
    where: dict[str, Any] = {"encoding": encoding}
    where |= {"url": source, "query": query} if query is not None else {"path": source}
    found = score(
        _served(root, settings, environment, version),
        open_incoming(where, here, settings),
        Wanted(
            source=source,
            target=Target.of(out, here, wanted),
            keep=tuple(name.strip() for name in keep.split(",") if name.strip()),
            environment=environment,
            log=log,
            strict=strict,
            replace=replace,
        ),
        settings,
        _compute(root, on, threads),
        _progress() if sys.stderr.isatty() and not as_json else lambda *_: None,
    )
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    _print(found)


def _served(root: Path, settings: "Settings", environment: str, version: int | None) -> "Served":
    """Return the version that answers: the one asked for, or most callers' in the environment."""
    from loopline.contract.load import project_name
    from loopline.errors import ReleaseError
    from loopline.governance.signing import Keys
    from loopline.registry import release
    from loopline.registry.release import Served
    from loopline.store.objects import Objects

    if version is not None:
        from loopline.pipeline.workspace import Workspace

        known = Workspace.open(root).registry.get(version)
        return Served(known.number, known.bundle, known.bundle_digest)
    name = project_name(root / "loopline.yaml")
    found = release.latest(Objects(settings.store_url), Keys(settings.home), name, environment)
    if found is None:
        raise ReleaseError(
            f"Nothing of {name} is released in {environment}. Promote a version, or name one with "
            "--version."
        )
    return next(each for each in found.serves if each.version == found.version and not each.shadow)


def _compute(root: Path, on: str | None, threads: int | None) -> "Compute":
    if on is None and threads is None:
        from loopline.contract.load import load

        on = load(root / "loopline.yaml").compute
    return compute_on(on or "threads", threads)


def _progress() -> Callable[[int, int | None, int], None]:
    """Return what writes one line to the terminal, over and over."""
    began = time.monotonic()
    first: list[int] = []
    last = [0.0]

    def say(rows: int, total: int | None, rejected: int) -> None:
        now = time.monotonic()
        first.append(rows)
        if now - last[0] < _EVERY_SECONDS and rows != total:
            return
        last[0] = now
        rate = (rows - first[0]) / max(now - began, 1e-9)
        of = f" of {total:,} ({rows / total:.0%})" if total else ""
        aside = f", {rejected:,} set aside" if rejected else ""
        click.echo(f"\r\x1b[K{rows:,}{of} rows, {rate:,.0f} a second{aside}", nl=False, err=True)
        if rows == total:
            click.echo(err=True)

    return say


def _print(found: "Summary") -> None:
    said = f"{_counted(found.predictions, 'prediction')} of {found.version}"
    if found.rows and found.resumed_rows == found.rows:
        click.echo(f"{plain(found.place)} was complete already; --replace scores it again.")
        click.echo(f"  {said}")
    else:
        click.echo(f"{said} in {plain(found.place)}")
        rate = f"{found.rows_per_second:,.0f} rows a second on {found.on}"
        before = found.resumed_rows
        after = f", after {_counted(before, 'row')} of an earlier call" if before else ""
        click.echo(f"  {found.seconds:.1f} s, {rate}{after}")
    if found.rejected:
        has = "has" if found.rejected == 1 else "have"
        rows = _counted(found.rejected, "row")
        click.echo(f"  {rows} {has} none: {plain(str(found.rejected_to))}")
        for reason in found.reasons:
            click.echo(f"    {plain(reason)}")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
