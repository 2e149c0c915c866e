"""`loopline profile` as an object: the same figures on a terminal, as JSON, a page, a notebook."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from loopline.counts import saved, summary
from loopline.counts.saved import Profiled
from loopline.counts.summary import Change, Part, Summary, Together
from loopline.data.multivariate import Apart
from loopline.data.profiling import Progress, Wanted, profile_all, told_apart
from loopline.errors import SourceError
from loopline.publishing import sheets
from loopline.publishing.charts.chart import Charts
from loopline.publishing.sheets import Sheet
from loopline.store.files import publish

if TYPE_CHECKING:
    from loopline.compute.base import Compute
    from loopline.publishing.kept import Kept

_VERSION = re.compile(r"([a-z0-9][a-z0-9-]*):([0-9]+)(?:@([a-z0-9][a-z0-9-]*))?")
_DRAWN = 12
"""Columns that a notebook draws; `charts` has all."""


@dataclass(frozen=True, repr=False)
class Described:
    """One table, or two and how far the second has drifted from the first."""

    tables: tuple[Profiled, ...]
    psi: float = summary.LIMIT
    """From which PSI on a column has drifted, where chance does not explain it."""
    multivariate: Apart | None = None
    """How well rows of the second are told from those of the first; where it was asked."""
    kept: "tuple[Kept | None, ...]" = ()
    """Which of the tables are versions'."""

    @cached_property
    def columns(self) -> tuple[tuple[Summary, ...], ...]:
        """Of each table every column."""
        return tuple(tuple(summary.summaries(table)) for table in self.tables)

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Every column of the second table beside the first's, the worst first."""
        if self._second is None:
            return ()
        return tuple(summary.changes(self.tables[0], self._second, self.psi))

    @cached_property
    def pairs(self) -> tuple[Together, ...]:
        """The columns that were asked for together."""
        return tuple(summary.together(self.tables[0], self._second))

    @cached_property
    def slices(self) -> tuple[Part, ...]:
        """The slices of both tables, the worst first."""
        if self._second is None:
            return ()
        return tuple(summary.parts(self.tables[0], self._second, self.psi))

    @property
    def drifted(self) -> bool:
        """Whether a column has drifted or is gone, a pair has moved, or rows are told apart."""
        if self._second is not None and self._second.lacks:
            return True
        apart = self.multivariate is not None and self.multivariate.drifted
        return (
            apart
            or any(one.drifted for one in self.changes)
            or any(one.moved for one in self.pairs)
        )

    @property
    def _second(self) -> Profiled | None:
        return self.tables[1] if len(self.tables) > 1 else None

    @cached_property
    def sheets(self) -> tuple[tuple[str, Sheet], ...]:
        """Every table of texts, under its line."""
        first = self.tables[0]
        found = [
            (
                f"{first.name}: {_counted(first.rows, 'row')}, "
                f"{_counted(len(first.types), 'column')}",
                sheets.columns(self.columns[0]),
            )
        ]
        is_compared = len(self.tables) > 1
        if is_compared:
            second, number = self.tables[1], sum(one.drifted for one in self.changes)
            told = (
                f"{second.name}: {_counted(second.rows, 'row')}; {number} of "
                f"{_counted(len(self.changes), 'column')} have drifted (PSI above {self.psi:g}, "
                "beyond chance)"
            )
            if second.lacks:
                told += f"\nIt lacks {', '.join(second.lacks)}"
            if second.adds:
                told += f"\nIt adds {', '.join(second.adds)}"
            found.append((told, sheets.changes(self.changes)))
        if self.pairs:
            told = "Columns together"
            if is_compared:
                moved = sum(one.moved for one in self.pairs)
                told += f": {moved} of {len(self.pairs)} have moved"
            found.append((told, sheets.together(self.pairs, is_compared=is_compared)))
        if first.by and is_compared:
            total = (first.rows, self.tables[1].rows)
            drifted = sum(one.drifted > 0 for one in self.slices)
            told = f"Slices by {first.by}: columns have drifted in {drifted} of {len(self.slices)}"
            found.append((told, sheets.parts(self.slices, total=total)))
        elif first.by:
            rows = [(name, first.slice(name).rows) for name in first.slices]
            rows.sort(key=lambda one: -one[1])
            found.append((f"Slices by {first.by}", sheets.slices(rows, first.rows)))
        return tuple(found)

    @property
    def told_apart(self) -> str:
        """How well the tables are told from each other, in words; empty where nobody asked."""
        if self.multivariate is None:
            return ""
        area = self.multivariate.roc_auc
        said = (
            "By all columns together rows of B are told from those of A with an area of "
            f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f}; 0.5 is not at all): "
            + ("drifted" if self.multivariate.drifted else "not drifted")
        )
        if self.multivariate.telling:
            found = self.multivariate.telling.items()
            told = ", ".join(f"{name} {lost:.3f}" for name, lost in found)
            said += f"\n  what tells them, and the area lost without it: {told}"
        return said

    def json(self) -> str:
        """Return every figure with its bound, as JSON."""
        said: dict[str, Any] = {
            "datasets": [
                {"name": table.name, "rows": table.rows, "columns": columns, **_sliced(table)}
                for table, columns in zip(self.tables, self.columns, strict=True)
            ]
        }
        if len(self.tables) > 1:
            drifted = sum(one.drifted for one in self.changes)
            said |= {"psi_limit": self.psi, "drifted": drifted, "drift": self.changes}
            said |= {"lacks": self.tables[1].lacks, "adds": self.tables[1].adds}
        if self.pairs:
            said["pairs"] = self.pairs
        if self.tables[0].by and len(self.tables) > 1:
            said["slices"] = self.slices
        if self.multivariate is not None:
            said["multivariate"] = self.multivariate
        return msgspec.json.format(msgspec.json.encode(said)).decode()

    def save(self, file: str | Path) -> Path:
        """Save the counts as Parquet; such a file stands for its table.

        Of a version's predictions there is a row for each hour.

        Raises:
            StoreError: it cannot be written there.
        """
        place = Path(file)
        publish(str(place), self._save, _draft(place))
        return place

    def _save(self, stream: BinaryIO) -> None:
        rows = (
            row
            for table, kept in zip_longest(self.tables, self.kept)
            for row in (saved.rows_of(table) if kept is None else kept.rows())
        )
        saved.write_rows(rows, stream, self.tables[0].by)

    def page(self, file: str | Path) -> Path:
        """Write all of it as one HTML page that needs nothing else.

        Raises:
            StoreError: it cannot be written there.
        """
        from loopline.publishing import profile

        place, text = Path(file), profile.html(self.tables, self.changes, self.sheets)
        publish(str(place), lambda stream: stream.write(text.encode()), _draft(place))
        return place

    def charts(self) -> Charts:
        """Return each column's distribution, the second table's over the first's."""
        return self._drawn()

    def __repr__(self) -> str:
        return "\n".join(title for title, _ in self.sheets)

    def _repr_html_(self) -> str:
        parts = [f"<p>{escape(title)}</p>{_table(sheet)}" for title, sheet in self.sheets]
        parts += [f"<p>{escape(self.told_apart)}</p>"] if self.multivariate else []
        return f"<div>{''.join(parts)}{self._drawn(_DRAWN)._repr_html_()}</div>"

    def _drawn(self, *most: int) -> Charts:
        from loopline.publishing import profile

        return Charts(profile.charts(self.tables, self.changes, *most))


def describe(  # noqa: PLR0913 - the options of `loopline profile`, by name
    first: str | Path,
    second: str | Path | None = None,
    *,
    query: str | None = None,
    columns: Sequence[str] = (),
    without: Sequence[str] = (),
    pairs: Sequence[str | tuple[str, str]] = (),
    by: str = "",
    psi: float = summary.LIMIT,
    multivariate: bool = False,
    compute: "Compute | None" = None,
    root: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Described:
    """Describe a table, and how far a second has drifted from it.

    Both are files, folders, globs, Delta tables, URLs, profiles that were saved, or versions of the
    project that `root` (by default the working directory) lies in: `churn:7` is what it was made
    from, `churn:7@production` what it was asked there. `pairs` are columns to be counted together,
    as `("a", "b")` or `"a:b"`; `by` cuts the rows into slices. `progress` hears how many rows are
    counted, and of how many where that is known.

    Raises:
        LooplineError: one cannot be read or counted, or both do not fit each other.
    """
    here = Path.cwd() if root is None else root
    named = tuple(each if isinstance(each, str) else ":".join(each) for each in pairs)
    places = [str(place) for place in (first, second) if place is not None]
    kept = tuple(_kept(place, here) for place in places)
    only = tuple(columns) or _shared(kept)
    wanted = Wanted(only, tuple(without), named, by)
    if multivariate and len(places) == 1:
        raise SourceError("Two tables are told apart: name a second one.")
    if multivariate and any(kept):
        raise SourceError(
            "A version keeps counts, and no rows to tell apart by all columns together. Name its "
            "data, or leave out --multivariate."
        )
    given = [place if one is None else one.table for place, one in zip(places, kept, strict=True)]
    found = tuple(profile_all(given, here, query, wanted, compute, progress))
    apart = told_apart(places, here, found, query, compute) if multivariate else None
    return Described(found, psi, apart, kept)


def _kept(place: str, here: Path) -> "Kept | None":
    """Return the version that `place` names; None where it names a file, or is no such name."""
    named = _VERSION.fullmatch(place)
    if named is None or (here / place).exists():
        return None
    # What a version takes to read is imported for it alone: that lasts as long as counting does.
    from loopline.publishing import kept

    return kept.find(place, here, named[1], int(named[2]), named[3])


def _shared(kept: "Sequence[Kept | None]") -> tuple[str, ...]:
    """Return the columns that versions have in common: of a table beside one, these matter."""
    tables = [list(each.table.types) for each in kept if each is not None]
    if len(kept) == 1 or not tables:
        return ()
    return tuple(name for name in tables[0] if all(name in names for names in tables))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _draft(place: Path) -> Path:
    return place.with_name(f".{place.name}.draft")


def _sliced(table: Profiled) -> dict[str, Any]:
    if not table.by:
        return {}
    return {
        "by": table.by,
        "slices": {
            name: {"rows": (part := table.slice(name)).rows, "columns": summary.summaries(part)}
            for name in table.slices
        },
    }


def _table(sheet: Sheet) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in sheet.heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in sheet.rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
