"""`loopline profile`: what any table holds, and how far another has drifted from it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loopline.cli.main import json_option, plain

if TYPE_CHECKING:
    from loopline.compute.base import Compute
    from loopline.counts.saved import Profiled
    from loopline.counts.summary import Change, Summary
    from loopline.data.multivariate import Apart


_SHOWN, _LONGEST = 3, 24
"""Values of a category in its row, and their characters; --json has more, and whole."""


_COLUMNS = ("column", "type", "missing", "zero", "5%", "median", "95%", "values")
_CHANGES = (
    "column", "verdict", "PSI", "by chance", "KS", "JS", "Wasserstein", "p", "V", "missing",
    "what changed",
)  # fmt: skip


@click.command(
    help="Describe every column of A, and how far B has drifted from it. A and B are files, "
    "folders, globs, Delta tables, object-store URLs, databases' URLs with --query, or profiles "
    "that --out saved; no project is needed. Exits 1 with --strict where a column has drifted."
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@click.option("--query", metavar="SQL", help="What to ask the databases whose URLs A and B are.")
@click.option("--columns", default="", metavar="NAMES", help="Only these, with commas.")
@click.option("--without", default="", metavar="NAMES", help="Not these, with commas.")
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
    type=click.Choice(["threads", "spark"]),
    default="threads",
    show_default=True,
    help="Where the rows are counted; the integers are the same.",
)
@click.option(
    "--threads", type=click.IntRange(1, 256), help="How many; by default one for each processor."
)
@click.option("--strict", is_flag=True, help="Exit 1 where a column has drifted.")
@json_option
def command(  # noqa: PLR0913, PLR0917 - one for each option
    first: str,
    second: str | None,
    query: str | None,
    columns: str,
    without: str,
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
    from loopline.counts.summary import changes, summaries
    from loopline.data.profiling import Wanted, profile_all, told_apart

    if multivariate and second is None:
        raise click.UsageError("--multivariate tells two tables apart: name B too.")
    if on == "spark" and threads is not None:
        raise click.UsageError("--threads is for threads; Spark's session says how wide it is.")
    wanted, places = Wanted(_names(columns), _names(without)), [first, *filter(None, [second])]
    compute = _compute(on, threads)
    found = profile_all(places, Path.cwd(), query, wanted, compute)
    apart = told_apart(places, Path.cwd(), found, query, compute) if multivariate else None
    compared = changes(found[0], found[1], psi) if len(found) > 1 else []
    if out is not None:
        _save(found, out)
    described = [summaries(table) for table in found]
    if page is not None:
        _write(page, found, described, compared, psi)
    if as_json:
        click.echo(_json(found, described, compared, psi, apart))
    else:
        _print(found, described, compared, psi)
        _print_apart(apart)
    if strict and (any(one.drifted for one in compared) or (apart and apart.drifted)):
        sys.exit(1)


def _compute(on: str, threads: int | None) -> "Compute":
    if on == "spark":
        from loopline.compute.spark import Spark

        return Spark()
    from loopline.compute.threads import Threads

    return Threads(threads)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _save(found: "Sequence[Profiled]", out: Path) -> None:
    from loopline.counts.saved import write
    from loopline.store.files import publish

    publish(str(out), lambda stream: write(found, stream), out.with_name(f".{out.name}.draft"))


def _write(
    place: Path,
    found: "Sequence[Profiled]",
    described: "Sequence[Sequence[Summary]]",
    compared: "Sequence[Change]",
    psi: float,
) -> None:
    from loopline.publishing.profile import html
    from loopline.store.files import publish

    columns = (_COLUMNS, [_described(one) for one in described[0]])
    text = html(found, compared, psi, columns, (_CHANGES, [_compared(one) for one in compared]))
    draft = place.with_name(f".{place.name}.draft")
    publish(str(place), lambda stream: stream.write(text.encode()), draft)


def _json(
    found: "Sequence[Profiled]",
    described: "Sequence[Sequence[Summary]]",
    compared: "Sequence[Change]",
    psi: float,
    apart: "Apart | None",
) -> str:
    import msgspec

    said: dict[str, Any] = {
        "datasets": [
            {"name": table.name, "rows": table.rows, "columns": columns}
            for table, columns in zip(found, described, strict=True)
        ]
    }
    if len(found) > 1:
        drifted = sum(one.drifted for one in compared)
        said |= {"psi_limit": psi, "drifted": drifted, "drift": compared}
    if apart is not None:
        said["multivariate"] = apart
    return msgspec.json.format(msgspec.json.encode(said)).decode()


def _print(
    found: "Sequence[Profiled]",
    described: "Sequence[Sequence[Summary]]",
    compared: "Sequence[Change]",
    psi: float,
) -> None:
    from loopline.cli.table import print_table

    table = found[0]
    click.echo(f"{plain(table.name)}: {table.rows:,} rows, {len(table.types)} columns")
    print_table(_COLUMNS, (_described(one) for one in described[0]))
    if len(found) == 1:
        return
    drifted = sum(one.drifted for one in compared)
    click.echo(
        f"\n{plain(found[1].name)}: {found[1].rows:,} rows; {drifted} of {len(compared)} columns "
        f"have drifted (PSI above {psi:g}, beyond chance)"
    )
    print_table(_CHANGES, (_compared(one) for one in compared))


def _print_apart(apart: "Apart | None") -> None:
    if apart is None:
        return
    area = apart.roc_auc
    click.echo(
        f"\nBy all columns together rows of B are told from those of A with an area of "
        f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f}; 0.5 is not at all): "
        + ("drifted" if apart.drifted else "not drifted")
    )
    if apart.telling:
        told = ", ".join(f"{plain(name)} {lost:.3f}" for name, lost in apart.telling.items())
        click.echo(f"  what tells them, and the area lost without it: {told}")


def _described(one: "Summary") -> tuple[str, ...]:
    from loopline.counts.summary import spell

    middle = [
        spell(one.type, value, one.quantile_bound * abs(value - one.offset))
        if (value := one.quantiles.get(share)) is not None
        else ""
        for share in ("0.05", "0.5", "0.95")
    ]
    said = ", ".join(
        f"{_short(name)} {number / one.rows:.1%}" for name, number in list(one.top.items())[:_SHOWN]
    )
    if one.distinct is not None:
        more = f" and {one.tail:,} rows of rarer ones" if one.tail else ""
        said = f"{one.distinct:,}{more}: {said}"
    if one.type == "text":
        total = sum(one.characters.values()) or 1
        said = ", ".join(f"{name} {n / total:.0%}" for name, n in one.characters.items())
        said = f"characters: {said}"
    if one.infinite:
        said += f" infinite {one.infinite:,}"
    if one.unreadable:
        said += f" unreadable {one.unreadable:,}"
    missing = f"{one.missing / one.rows:.2%}" if one.missing else ""
    zero = f"{one.zero / one.rows:.2%}" if one.zero else ""
    kind = f"{one.type}, length" if one.type == "text" else one.type
    return (one.column, kind, missing, zero, *middle, said.strip())


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def _compared(one: "Change") -> tuple[str, ...]:
    figures = one.figures
    said = []
    if one.new:
        total = figures.rows or 1
        said.append("new: " + ", ".join(f"{n} {k / total:.1%}" for n, k in one.new.items()))
    elif figures.new_rate:
        said.append(f"new values: {figures.new_rate:.1%}")
    if one.gone:
        more = f" and {len(one.gone) - 5} more" if len(one.gone) > 5 else ""
        said.append("gone: " + ", ".join(one.gone[:5]) + more)
    missing = ""
    if figures.missing_rate or figures.reference_missing_rate:
        missing = f"{figures.reference_missing_rate:.2%} → {figures.missing_rate:.2%}"
    return (
        one.column,
        "drifted" if one.drifted else "",
        f"{one.psi:.4f}",
        f"{one.psi_by_chance:.4f}",
        "" if figures.ks is None else f"{figures.ks:.4f}",
        f"{figures.jensen_shannon:.4f}",
        "" if figures.wasserstein is None else f"{figures.wasserstein:.4g}",
        f"{figures.p_value:.2g}",
        f"{figures.cramers_v:.4f}",
        missing,
        "; ".join(said),
    )
