"""A profile's figures as tables of texts: what a terminal, a page and a notebook show alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loopline.counts.pairs import Association
from loopline.counts.summary import Change, Part, Summary, Together, spell

_SHOWN, _LONGEST, _NAMES = 3, 24, 5
"""Values of a category in its row, their characters, and new or gone ones; --json has all."""
_MEASURES = {
    "spearman": "rank correlation",
    "correlation_ratio": "correlation ratio",
    "cramers_v": "Cramér's V",
}


@dataclass(frozen=True)
class Sheet:
    """A table: its heads, its rows, and which columns may go where there is little room."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    less: frozenset[str] = frozenset()

    def narrow(self) -> "Sheet":
        """Return the table without what may go."""
        kept = [place for place, head in enumerate(self.heads) if head not in self.less]
        return Sheet(
            tuple(self.heads[place] for place in kept),
            tuple(tuple(row[place] for place in kept) for row in self.rows),
        )


def columns(described: Sequence[Summary]) -> Sheet:
    """Return a row for each column of a table."""
    heads = ("column", "type", "missing", "zero", "5%", "median", "95%", "values")
    return Sheet(heads, tuple(_described(one) for one in described), frozenset({"zero"}))


def changes(compared: Sequence[Change]) -> Sheet:
    """Return a row for each column of a table beside another's."""
    heads = (
        "column", "verdict", "PSI", "by chance", "KS", "JS", "Wasserstein", "p", "V", "missing",
        "what changed",
    )  # fmt: skip
    less = frozenset({"by chance", "JS", "Wasserstein", "p"})
    return Sheet(heads, tuple(_compared(one) for one in compared), less)


def together(found: Sequence[Together], *, is_compared: bool) -> Sheet:
    """Return a row for each pair of columns."""
    alone = ("columns", "measure", "value", "within", "Pearson", "rows")
    moved = ("columns", "verdict", "A → B", "change, 95 %", "Pearson", "measure")
    rows = (_moved(one) if is_compared else _alone(one) for one in found)
    heads = moved if is_compared else alone
    return Sheet(heads, tuple(rows), frozenset({"Pearson", "within"}))


def parts(found: Sequence[Part], *, total: tuple[int, int]) -> Sheet:
    """Return a row for each slice of a table beside another's; `total` are the rows of both."""
    heads = ("slice", "rows of A", "rows of B", "share", "drifted", "worst columns, with PSI")
    return Sheet(
        heads, tuple(_part(one, total) for one in found), frozenset({"rows of A", "rows of B"})
    )


def slices(rows: Iterable[tuple[str, int]], total: int) -> Sheet:
    """Return a row for each slice of a table."""
    found = ((name, f"{number:,}", f"{number / (total or 1):.1%}") for name, number in rows)
    return Sheet(("slice", "rows", "share"), tuple(found))


def _described(one: Summary) -> tuple[str, ...]:
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


def _compared(one: Change) -> tuple[str, ...]:
    figures = one.figures
    said = []
    if one.new:
        total = figures.rows or 1
        said.append(_listed("new", [f"{_short(n)} {k / total:.1%}" for n, k in one.new.items()]))
    elif figures.new_rate:
        said.append(f"new values: {figures.new_rate:.1%}")
    if one.unreadable:
        said.append(f"unreadable: {one.unreadable / (figures.rows or 1):.1%}")
    if one.gone:
        said.append(_listed("gone", [_short(name) for name in one.gone]))
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


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return f"{what}: {', '.join(names[:_NAMES])}{more}"


def _alone(one: Together) -> tuple[str, ...]:
    found = one.reference
    names = " and ".join(one.columns)
    if found is None:
        return (names, "none: one is constant", "", "", "", "")
    return (
        names, _MEASURES[found.measure], f"{found.value:.3f}", f"{found.bound:.3f}",
        _pearson(found), f"{found.rows:,}",
    )  # fmt: skip


def _moved(one: Together) -> tuple[str, ...]:
    names, found = " and ".join(one.columns), one.change
    if found is None:
        return (names, *[""] * 4, "none: one is constant")
    before, now = found.reference, found.current
    return (
        names,
        "moved" if one.moved else "",
        f"{before.value:.3f} → {now.value:.3f}",
        f"{found.low:+.3f} to {found.high:+.3f}",
        f"{_pearson(before)} → {_pearson(now)}" if now.pearson is not None else "",
        _MEASURES[now.measure],
    )


def _pearson(found: Association) -> str:
    return "" if found.pearson is None else f"{found.pearson:.3f}"


def _part(one: Part, total: tuple[int, int]) -> tuple[str, ...]:
    before, now = (
        f"{rows / (whole or 1):.1%}"
        for rows, whole in zip((one.reference_rows, one.rows), total, strict=True)
    )
    worst = [f"{each.column} {each.psi:.3f}" for each in one.drift[:_SHOWN] if each.drifted]
    drifted = f"{one.drifted} of {len(one.drift)}" if one.drift else "not in both"
    return (
        one.slice, f"{one.reference_rows:,}", f"{one.rows:,}", f"{before} → {now}", drifted,
        ", ".join(worst),
    )  # fmt: skip
