"""`loopline profile`: what any table holds, and how far another has drifted from it."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from loopline.cli.main import json_option, plain
from loopline.cli.places import Place, compute_on

if TYPE_CHECKING:
    from loopline.publishing.described import Described

_EVERY_SECONDS = 0.5
_ROOM = 130
"""Characters of a line, below which a table leaves out what it can."""


@click.command(
    help="Describe every column of A, and how far B has drifted from it. A and B are files, "
    "folders, globs, Delta tables, object-store URLs, databases' URLs with --query, or profiles "
    "that --out saved; - is standard input. No project is needed. In a project churn:7 is what "
    "that version was made from, and churn:7@production what it was asked there. Exits 1 with "
    "--strict where a column has drifted or is gone."
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@click.option("--query", metavar="SQL", help="What to ask the databases whose URLs A and B are.")
@click.option("--columns", default="", metavar="NAMES", help="Only these, with commas.")
@click.option("--without", default="", metavar="NAMES", help="Not these, with commas.")
@click.option(
    "--pairs",
    default="",
    metavar="A:B,...",
    help="Say also how these columns go together, two and two, with commas.",
)
@click.option(
    "--by",
    default="",
    metavar="COLUMN",
    help="Do the same for the rows of each value of this column: its slices.",
)
@click.option(
    "--psi",
    type=click.FloatRange(min=0),
    default=0.2,
    show_default=True,
    help="From which PSI on a column has drifted, where chance does not explain it.",
)
@click.option(
    "--multivariate",
    is_flag=True,
    help="Say also how well rows of B are told from those of A by all columns together.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Save the counts as Parquet; such a file can be A.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all of it as one HTML page, with both distributions of each column.",
)
@click.option(
    "--on",
    type=Place(),
    default="threads",
    show_default=True,
    help="Where the rows are counted; the integers are the same.",
)
@click.option(
    "--threads", type=click.IntRange(1, 256), help="How many; by default one for each processor."
)
@click.option("--strict", is_flag=True, help="Exit 1 where a column has drifted or is gone.")
@json_option
def command(  # noqa: PLR0913, PLR0917 - one for each option
    first: str,
    second: str | None,
    query: str | None,
    columns: str,
    without: str,
    pairs: str,
    by: str,
    psi: float,
    multivariate: bool,
    out: Path | None,
    page: Path | None,
    on: str,
    threads: int | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Profile, compare and print."""
    if multivariate and second is None:
        raise click.UsageError("--multivariate tells two tables apart: name B too.")
    from loopline.publishing.described import describe

    if first == second == "-":
        raise click.UsageError("Standard input is one table: name the other by its file.")
    with ExitStack() as opened:
        places = [_place(opened, place) for place in (first, second) if place is not None]
        say = opened.enter_context(_progress(is_shown=sys.stderr.isatty() and not as_json))
        found = describe(
            *places,
            query=query,
            columns=_names(columns),
            without=_names(without),
            pairs=_names(pairs),
            by=by.strip(),
            psi=psi,
            multivariate=multivariate,
            compute=compute_on(on, threads),
            progress=say,
        )
    if out is not None:
        found.save(out)
    if page is not None:
        found.page(page)
    if as_json:
        click.echo(found.json())
    else:
        _print(found)
    if strict and found.drifted:
        sys.exit(1)


def _place(opened: ExitStack, place: str) -> str:
    """Return where a table lies: standard input becomes a file, for it is read twice."""
    if place != "-":
        return place
    folder = opened.enter_context(TemporaryDirectory(prefix="loopline-"))
    spooled = Path(folder) / "stdin"
    with spooled.open("wb") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream, 1 << 20)
    return str(spooled)


@contextmanager
def _progress(*, is_shown: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Give what writes one line to the terminal, over and over, once it takes its time."""
    began = last = time.monotonic()

    def say(rows: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if not is_shown or now - last < _EVERY_SECONDS:
            return
        last = now
        of = f" of {total:,} ({rows / total:.0%})" if total else ""
        rate = rows / max(now - began, 1e-9)
        click.echo(f"\r\x1b[K{rows:,}{of} rows, {rate:,.0f} a second", nl=False, err=True)

    try:
        yield say
    finally:
        if last != began:
            click.echo("\r\x1b[K", nl=False, err=True)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print(found: "Described") -> None:
    from loopline.cli.table import print_table, width

    is_narrow = width() < _ROOM
    for place, (title, sheet) in enumerate(found.sheets):
        click.echo(f"{'' if place == 0 else chr(10)}{plain(title)}")
        shown = sheet.narrow() if is_narrow else sheet
        print_table(shown.heads, shown.rows, cut=len(shown.heads) - 1)
    if found.told_apart:
        click.echo(f"\n{plain(found.told_apart)}")
