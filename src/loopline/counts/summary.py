"""What a table's counts say of each column, and of two tables against each other."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loopline.counts import pairs, statistics
from loopline.counts.kernel import MANTISSA_BITS, ColumnCounts, tail_cell
from loopline.counts.pairs import Association, Moved, Pair, association, moved
from loopline.counts.saved import Profiled
from loopline.counts.statistics import Drift
from loopline.notebooks import Shown

SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of which quantiles are shown; the first and the last are the least and the greatest."""
LIMIT = 0.2
"""The PSI from which on a column has drifted, unless another is asked for."""
TOP = 5
_WIDTH = 2.0**-MANTISSA_BITS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Summary(Shown):
    """One column of one table."""

    column: str
    type: str
    rows: int
    missing: int
    unreadable: int
    """Of the missing ones: texts that write no value of the type."""
    zero: int | None
    """Numbers that are zero, or empty texts; None where an offset hides it, and of others."""
    infinite: int
    distinct: int | None
    """Of categories: exact, unless `tail` is above zero; then there are more."""
    tail: int
    """Of categories: rows whose value is not kept by name."""
    top: Mapping[str, int]
    """Of categories: the most frequent values, and how often each occurs."""
    quantiles: Mapping[str, float]
    """Of numbers, times (seconds since 1970) and texts (their length), by share. Those of whole
    numbers are whole."""
    quantile_bound: float
    """How far a quantile may be from the value, relative to its distance from `offset`."""
    offset: float
    characters: Mapping[str, int]
    """Of texts: how many of each class."""


@dataclass(frozen=True)
class Change(Shown):
    """One column of a table beside the reference's."""

    column: str
    type: str
    drifted: bool
    psi: float
    psi_by_chance: float
    """What PSI would be on so few rows without any drift."""
    figures: Drift
    new: Mapping[str, int]
    """Values of a category that the reference does not have, and how often each occurs."""
    gone: tuple[str, ...]
    """Values of the reference, by name, that no longer occur."""
    unreadable: int = 0
    """Of the missing ones: texts that write no value of the reference's type."""


@dataclass(frozen=True)
class Together(Shown):
    """Two columns of one table, and how the next has them."""

    columns: Pair
    moved: bool
    """Whether they go together otherwise: by more than the limit, beyond chance."""
    reference: Association | None
    """None where one is constant."""
    current: Association | None
    change: Moved | None


@dataclass(frozen=True)
class Part(Shown):
    """One slice of one table, and how it is in the next."""

    slice: str
    reference_rows: int
    rows: int
    drift: tuple[Change, ...]
    """Of each column, the worst first; none where one of the tables lacks the slice."""

    @property
    def drifted(self) -> int:
        """How many columns have drifted."""
        return sum(one.drifted for one in self.drift)


def summaries(table: Profiled) -> list[Summary]:
    """Describe every column of a table."""
    return [
        _summary(column, table.types[column], counted)
        for column, counted in table.profile.columns.items()
    ]


def _summary(column: str, type_: str, counted: ColumnCounts) -> Summary:
    is_category = counted.kind == "category"
    places = statistics.quantiles(counted, list(SHARES))
    frequent = sorted(counted.named.items(), key=lambda pair: (-pair[1], pair[0]))
    zero: int | None = None
    if not is_category and counted.offset == 0:
        zero = int(counted.counts[counted.cells == 0].sum())
    return Summary(
        column=column,
        type=type_,
        rows=counted.rows,
        missing=counted.missing,
        unreadable=0 if is_category else counted.named.get("unreadable", 0),
        zero=zero,
        infinite=counted.low + counted.high,
        distinct=len(counted.named) if is_category else None,
        tail=int(counted.counts.sum()) if is_category else 0,
        top=dict(frequent[:TOP]) if is_category else {},
        quantiles={
            f"{share:g}": math.trunc(place) if type_ == "integer" else place
            for share, place in zip(SHARES, places, strict=True)
            if place is not None
        },
        quantile_bound=0.0 if is_category else _WIDTH / 2,
        offset=counted.offset,
        characters={
            name: number for name, number in counted.named.items() if counted.kind == "text"
        },
    )


def changes(reference: Profiled, current: Profiled, limit: float = LIMIT) -> list[Change]:
    """Compare every column that both have with the reference's, the worst first.

    Raises:
        CountsError: they were counted on different grids.
    """
    found = [
        _change(column, reference.types[column], counted, current, limit)
        for column, counted in reference.profile.columns.items()
        if column in current.profile.columns
    ]
    return sorted(found, key=lambda one: (not one.drifted, one.psi_by_chance - one.psi, one.column))


def together(reference: Profiled, current: Profiled | None = None) -> list[Together]:
    """Describe the pairs of a table; beside another's, those that moved most first."""
    found = []
    for pair, before in reference.pairs.items():
        now = None if current is None else current.pairs.get(pair)
        change = None if now is None else moved(before, now)
        found.append(
            Together(
                pair,
                change is not None and change.is_beyond(pairs.LIMIT),
                association(before),
                None if now is None else association(now),
                change,
            )
        )
    return sorted(found, key=lambda one: 0.0 if one.change is None else -abs(one.change.change))


def parts(reference: Profiled, current: Profiled, limit: float = LIMIT) -> list[Part]:
    """Compare every slice of a table with the same one of another, the worst first."""
    found = []
    for name in {**reference.slices, **current.slices}:
        before, now = (
            table.slice(name) if name in table.slices else None for table in (reference, current)
        )
        compared = () if before is None or now is None else tuple(changes(before, now, limit))
        were, are = (0 if each is None else each.rows for each in (before, now))
        found.append(Part(name, were, are, compared))
    return sorted(found, key=lambda one: (-one.drifted, _worst(one), one.slice))


def _worst(part: Part) -> float:
    return part.drift[0].psi_by_chance - part.drift[0].psi if part.drift else 0.0


def _change(
    column: str, type_: str, reference: ColumnCounts, table: Profiled, limit: float
) -> Change:
    current = table.profile.columns[column]
    found = statistics.drift(reference, current)
    gone: tuple[str, ...] = ()
    if reference.kind == "category" and current.present:
        gone = tuple(name for name in reference.named if name not in current.named)
    return Change(
        column=column,
        type=type_,
        drifted=statistics.is_more_than_chance(
            found.psi, found.psi_by_chance, found.p_value, limit
        ),
        psi=found.psi,
        psi_by_chance=found.psi_by_chance,
        figures=found,
        new=_new(reference, table.new.get(column, {})),
        gone=gone,
        unreadable=0 if current.kind == "category" else current.named.get("unreadable", 0),
    )


def spell(type_: str, value: float, bound: float = 0.0) -> str:
    """Return a quantile as people read it: the roundest number within `bound`, a time as a date."""
    if type_ != "time":
        rounded = (float(f"{value:.{digits}g}") for digits in range(1, 5))
        return f"{next((each for each in rounded if abs(each - value) <= bound), value):.4g}"
    try:
        moment = _EPOCH + timedelta(seconds=round(value))
    except OverflowError:  # a year that no calendar here has
        return f"{value:.4g} s"
    text = moment.isoformat(sep=" ").removesuffix("+00:00")
    return text.removesuffix(" 00:00:00")


def _new(reference: ColumnCounts, found: Mapping[str, int]) -> dict[str, int]:
    """Leave out what may be one of the reference's rare values."""
    rare = set(reference.cells.tolist())
    return {name: number for name, number in found.items() if tail_cell(name) not in rare}
