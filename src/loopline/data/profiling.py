"""The profile of any table: its counts, in one pass over its rows, whatever their number.

The first rows of the reference fix how each column is counted (its type, its offset, the values
that a category of very many falls back on); what is compared with it is counted in the same way.
Parquet, Arrow and Delta come with their types, JSON lines and queries with some; what CSV means is
concluded from its first rows. The same rows have the same profile in whatever kind of file.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from loopline.compute.threads import Threads
from loopline.counts import arrow, pairs, saved
from loopline.counts.arrow import Draft, Grid, Type
from loopline.counts.kernel import ColumnCounts, Profile, count_values
from loopline.counts.pairs import Pair, PairCounts
from loopline.counts.saved import Profiled
from loopline.data.batches import BATCH_ROWS, Incoming, Source, open_incoming
from loopline.data.counting import Counted, Counting, Part, Reading, Slicing, check_json
from loopline.data.sources.base import describe, fields
from loopline.errors import CountsError, SourceError
from loopline.settings import Settings
from loopline.store.files import is_remote

if TYPE_CHECKING:
    import polars as pl

    from loopline.compute.base import Compute
    from loopline.data.multivariate import Apart

_AS_READ: Mapping[Type, str] = {"integer": "number", "category": "text"}
"""A column that begins with whole numbers may go on with others; texts stay as they stand, and the
first ones decide whether they are a category."""
_TRUTHS = {"true", "false"}
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Wanted:
    """Which columns are profiled: `only` these (all, where there are none), `without` those."""

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    """Columns to be counted together, two and two: `a:b`."""
    by: str = ""
    """The column whose values cut the rows into slices, each counted by itself."""

    def of(self, names: Sequence[str], where: str) -> list[str]:
        """Return the columns of `names` that are wanted.

        Raises:
            SourceError: one of them is not there.
        """
        absent = [name for name in (*self.only, *self.without) if name not in names]
        if absent:
            raise SourceError(
                f"{where} has no column {', '.join(absent)}. It has {', '.join(names)}."
            )
        return [name for name in self.only or names if name not in self.without]

    def some(self, names: Sequence[str]) -> list[str]:
        """Return which of `names` are wanted, whether or not all that are wanted are there."""
        return [
            name
            for name in names
            if (not self.only or name in self.only) and name not in self.without
        ]

    def together(self, names: Sequence[str], where: str) -> list[Pair]:
        """Return which of the columns `names` are counted together.

        Raises:
            SourceError: one of the pairs is none of them.
        """
        found = [(text, pairs.pair_of(text, names)) for text in self.pairs]
        for text, pair in found:
            if pair is None:
                raise SourceError(
                    f"--pairs {text} names no two columns of {where}. It is FIRST:SECOND, of "
                    f"{', '.join(names)}."
                )
        return [pair for _, pair in found if pair is not None]


@dataclass
class _Table:
    """A table that is about to be counted."""

    name: str
    names: list[str]
    schema: pa.Schema
    parts: Iterator[Part]
    first: Part

    @property
    def encoded(self) -> tuple[str, ...]:
        """Columns of texts: Parquet may hand out places in its dictionaries."""
        return tuple(
            name
            for name in self.names
            if arrow.type_of(kind := self.schema.field(name).type) == "category"
            and not pa.types.is_dictionary(kind)
            and not arrow.is_view(kind)
        )


def profile_all(
    places: Sequence[str | Profiled],
    root: Path,
    query: str | None = None,
    wanted: Wanted | None = None,
    compute: "Compute | None" = None,
    progress: Progress = lambda *_: None,
) -> list[Profiled]:
    """Profile one table, or two and the second as the first; either may be profiled already.

    A saved profile of two tables gives both, where it stands alone. `compute` counts, and by
    default threads of this process do; the integers are the same wherever it is. `progress` hears
    of each table how many rows are counted, and of how many where that is known.

    Raises:
        SourceError: one is not there, cannot be read, or has no rows, other columns than the first
            or columns that cannot be counted.
        CountsError: a column is of another kind than in the first, or was counted otherwise.
    """
    chosen, on = wanted or Wanted(), compute or Threads()
    found: list[Profiled] = []
    for place in places:
        like = found[0] if found else None
        if isinstance(place, Profiled):
            found.append(_kept(place, chosen, like))
            continue
        path = root / place
        if is_remote(place) or not saved.is_saved(path):
            incoming = _incoming(place, root, query)
            found.append(profile(place, incoming, on, like=like, wanted=chosen, progress=progress))
            continue
        kept = saved.read(path)
        for table in kept if len(places) == 1 else kept[:1]:
            found.append(_kept(table, chosen, found[0] if found else None))
    return found


def _kept(table: Profiled, wanted: Wanted, like: Profiled | None) -> Profiled:
    """Return a table that was counted before, beside the first one where that is another."""
    if like is None:
        return _only(table, wanted)
    mine = wanted.some(list(table.profile.columns))
    shared = _part(like, _shared(table.name, mine, like))
    return replace(regrid(table, shared), **_apart(mine, like))


def _incoming(place: str, root: Path, query: str | None) -> Incoming:
    where = fields(place)
    if where["url"] is not None and query is None:
        raise SourceError(
            f"{describe(place)} is a database's URL. Say with --query what to ask it."
        )
    if where["url"] is not None:
        where["query"] = query
    return open_incoming(where, root, Settings.read(root))


def told_apart(
    places: Sequence[str],
    root: Path,
    found: Sequence[Profiled],
    query: str | None = None,
    compute: "Compute | None" = None,
) -> "Apart":
    """Return how well the second of two tables is told from the first, by all columns together.

    Both are read once more, for a sample of their rows, which `compute` draws.

    Raises:
        SourceError: one is a saved profile, which has no rows, or they are too few.
    """
    from loopline.data.multivariate import apart, sample

    shared = [name for name in found[0].types if all(name in each.types for each in found)]
    samples, like = [], _part(found[0], shared)
    for place, counted in zip(places, found, strict=True):
        if not is_remote(place) and saved.is_saved(root / place):
            raise SourceError(
                f"{place} is a saved profile: its columns' counts, and no rows to tell apart by "
                "all columns together. Name its data, or leave out --multivariate."
            )
        wanted = Wanted(only=tuple(like.types))
        opened = partial(_again, place, root, query, wanted)
        work = _prepare(_open(place, _incoming(place, root, query), None, wanted), like)
        samples.append(sample(work, opened, counted.rows, compute or Threads()))
    return apart(like, *samples)


def _again(place: str, root: Path, query: str | None, wanted: Wanted) -> Iterator[Part]:
    table = _open(place, _incoming(place, root, query), None, wanted)
    return chain([table.first], table.parts)


def regrid(table: Profiled, like: Profiled) -> Profiled:
    """Return saved counts as if they had been counted like `like`.

    Numbers are, if their offset is the same; categories, if all their values are known by name.

    Raises:
        CountsError: they cannot be; the columns are named.
    """
    table = _part(table, list(like.types))
    counts = {
        column: _on_grid(table.profile.columns[column], reference)
        for column, reference in like.profile.columns.items()
    }
    refused = [column for column, counted in counts.items() if counted is None]
    refused += [
        pairs.spelled(pair)
        for pair, reference in like.pairs.items()
        if pair in table.pairs and table.pairs[pair].grids != reference.grids
    ]
    if refused:
        raise CountsError(
            f"{table.name} was counted by itself, and its counts of {', '.join(refused)} stand on "
            f"another grid than those of {like.name}. Profile its data beside {like.name} instead."
        )
    new = {
        column: {name: n for name, n in counted.named.items() if name not in known.named}
        for column, counted in table.profile.columns.items()
        if counted.kind == "category" and (known := like.profile.columns[column])
    }
    slices = {
        name: _sliced(profile, like.profile)
        for name, profile in table.slices.items()
        if table.by == like.by
    }
    return replace(
        table,
        profile=Profile({name: found for name, found in counts.items() if found is not None}),
        new=new,
        pairs={pair: table.pairs[pair] for pair in like.pairs if pair in table.pairs},
        by=like.by if slices else "",
        slices=slices,
    )


def _on_grid(counted: ColumnCounts, like: ColumnCounts) -> ColumnCounts | None:
    """Return counts on the grid of others; None where that cannot be exact."""
    if (counted.kind, counted.offset, counted.names) == (like.kind, like.offset, like.names):
        return counted
    if counted.kind == like.kind == "category" and not len(counted.cells):
        return replace(count_values(counted.named, like), missing=counted.missing)
    return None


def _sliced(slice_: Profile, like: Profile) -> Profile:
    found = {name: _on_grid(slice_.columns[name], each) for name, each in like.columns.items()}
    return Profile({name: each for name, each in found.items() if each is not None})


def _only(table: Profiled, wanted: Wanted) -> Profiled:
    names = wanted.of(list(table.profile.columns), table.name)
    asked = wanted.together(names, table.name)
    lacks = [pairs.spelled(pair) for pair in asked if pair not in table.pairs]
    if lacks:
        raise SourceError(
            f"{table.name} was saved without counts of {', '.join(lacks)} together. Make it again "
            f"from its data, with --pairs {','.join(lacks)}"
        )
    if wanted.by not in {"", table.by}:
        raise SourceError(
            f"{table.name} was saved without slices by {wanted.by}. Make it again from its data, "
            f"with --by {wanted.by}"
        )
    found = _part(table, names)
    return replace(found, pairs={pair: table.pairs[pair] for pair in asked}) if asked else found


def _part(table: Profiled, names: Sequence[str]) -> Profiled:
    """Return a table's counts of these columns alone."""
    return replace(
        table,
        types={name: table.types[name] for name in names},
        profile=_of(table.profile, names),
        pairs={pair: each for pair, each in table.pairs.items() if set(pair) <= set(names)},
        by=table.by if table.by in names else "",
        slices={name: _of(each, names) for name, each in table.slices.items() if table.by in names},
    )


def _of(profile: Profile, names: Sequence[str]) -> Profile:
    return Profile({name: profile.columns[name] for name in names})


def profile(
    name: str,
    incoming: Incoming,
    compute: "Compute",
    *,
    like: Profiled | None = None,
    wanted: Wanted | None = None,
    progress: Progress = lambda *_: None,
) -> Profiled:
    """Count a table; with `like` in the same way as that one, and its columns alone.

    Raises:
        SourceError: it has no rows, other columns than `like`, or columns that cannot be counted.
        CountsError: a column is of another kind than in `like`.
    """
    chosen = wanted or Wanted()
    table = _open(name, incoming, like, chosen)
    work = _prepare(table, like, chosen)
    sums = _Sums(work.slicing)
    rows = 0
    for counted in compute.map(work, chain([table.first], table.parts)):
        sums.add(counted)
        rows += counted.rows
        progress(rows, incoming.rows)
    total = sums.columns()
    types = {column: _type(column, draft, table, work) for column, draft in total.items()}
    kept = None if like is None else like.profile.columns
    counts = {
        column: arrow.settle(draft, None if kept is None else kept[column])
        for column, draft in total.items()
    }
    new = {} if like is None else {column: arrow.new(draft) for column, draft in total.items()}
    return Profiled(
        name,
        total[table.names[0]].rows,
        types,
        Profile(counts),
        new,
        pairs={pair: pairs.total(parts) for pair, parts in sums.pairs.items()},
        by="" if work.slicing is None else work.slicing.column,
        slices=sums.slices(counts),
        **({} if like is None else _apart(chosen.some(table.schema.names), like)),
    )


class _Sums:
    """Counts of parts, added as they come: memory does not grow with the rows."""

    def __init__(self, slicing: Slicing | None) -> None:
        self._slicing, self._is_folded = slicing, False
        self._drafts: dict[tuple[str, str], list[Draft]] = defaultdict(list)
        self.pairs: dict[Pair, list[PairCounts]] = defaultdict(list)

    def add(self, counted: Counted) -> None:
        self._is_folded |= not counted.is_sliced_whole
        for place, drafts in {_WHOLE: counted.columns, **counted.slices}.items():
            for column, draft in drafts.items():
                held = self._drafts[place, column]
                held.append(draft)
                if len(held) == _HELD:
                    held[:] = [arrow.add(held)]
        for pair, found in counted.pairs.items():
            self.pairs[pair] = [pairs.total([*self.pairs[pair], found])]
        self._fold()

    def _fold(self) -> None:
        """Make one slice of all that have none of their own, once there are too many."""
        if self._slicing is None:
            return
        names = {place for place, _ in self._drafts} - {_WHOLE}
        if not self._is_folded and not self._slicing.is_full(names):
            return
        self._is_folded = True
        for place, column in list(self._drafts):
            if place != _WHOLE and not self._slicing.keeps(place):
                held = self._drafts[self._slicing.others, column]
                held[:] = [arrow.add([*held, *self._drafts.pop((place, column))])]

    def columns(self) -> dict[str, Draft]:
        return {
            column: arrow.add(parts)
            for (place, column), parts in self._drafts.items()
            if place == _WHOLE
        }

    def slices(self, counts: Mapping[str, ColumnCounts]) -> dict[str, Profile]:
        found: dict[str, dict[str, ColumnCounts]] = {}
        for (place, column), parts in self._drafts.items():
            if place != _WHOLE:
                settled = arrow.settle_slice(arrow.add(parts), counts[column])
                found.setdefault(place, {})[column] = settled
        return {place: Profile(found[place]) for place in sorted(found)}


def _type(column: str, draft: Draft, table: _Table, work: Counting) -> Type:
    """Return the type of a column: whole numbers are of their own where all of them are."""
    kind = draft.grid.type
    if kind not in {"number", "integer"}:
        return kind
    if work.reading is not None:
        is_whole = column in work.reading.whole and draft.is_whole
    else:
        is_whole = arrow.type_of(table.schema.field(column).type) == "integer"
    return "integer" if is_whole else "number"


_HELD = 64
"""Counts of parts that are held before they are added."""
_WHOLE = ""
_KEPT = 30
"""Values that keep a slice of their own: the most frequent of the first rows."""


def _open(name: str, incoming: Incoming, like: Profiled | None, wanted: Wanted) -> _Table:
    schema = incoming.sources[0].schema
    for other in incoming.sources[1:]:
        _check_alike(incoming.sources[0], other)
    twice = sorted({n for n in schema.names if schema.names.count(n) > 1})
    if twice:
        raise SourceError(f"{name} has {', '.join(twice)} twice. Give each its own name.")
    if like is None:
        names = wanted.of(schema.names, name)
    else:
        names = _shared(name, wanted.some(schema.names), like)
    if not names:
        raise SourceError(f"{name} has no column to profile.")
    _check_countable(name, [schema.field(column) for column in names])
    parts = _parts(incoming.sources, names)
    first = next(parts, None)
    if first is None:
        shown = ", ".join(f"{column:.40}" for column in names[:8])
        raise SourceError(f"{name} has columns ({shown}), but no rows.")
    return _Table(name, names, schema, parts, first)


def _parts(sources: Sequence[Source], names: Sequence[str]) -> Iterator[Part]:
    for source in sources:
        for piece in source.pieces(names):
            if piece.rows:
                yield Part(piece, not source.is_typed, source.is_bare)


def _prepare(table: _Table, like: Profiled | None, wanted: Wanted | None = None) -> Counting:
    """Fix how each column is counted, by `like` or by the first rows."""
    reading = None
    if like is not None:
        like = _part(like, table.names)
    if table.first.is_loose:
        reading = _reading(table, like)
    if like is not None:
        grids = {
            name: Grid.of(like.types[name], like.profile.columns[name]) for name in table.names
        }
        return Counting(
            grids,
            reading,
            table.encoded,
            {pair: each.grids for pair, each in like.pairs.items()},
            Slicing.of(like.by, like.slices) if like.by else None,
        )
    piece = table.first.piece
    if reading is None:
        rows: Any = next(piece.batches(table.names, table.encoded))
    else:
        rows = reading.typed(piece.batches(table.names)).table.combine_chunks()
        rows = rows.slice(0, BATCH_ROWS).to_batches()[0]
    grids = {name: arrow.first_grid(rows.column(name)) for name in table.names}
    chosen = wanted or Wanted()
    return Counting(
        grids,
        reading,
        table.encoded,
        {
            pair: (_paired(pair[0], grids), _paired(pair[1], grids))
            for pair in chosen.together(table.names, table.name)
        },
        _slicing(table, chosen.by, grids, rows) if chosen.by else None,
    )


def _paired(column: str, grids: Mapping[str, Grid]) -> pairs.Grid:
    """Return how a column is counted in a pair: a truth is the number 0 or 1."""
    grid = grids[column]
    if grid.type == "text":
        raise SourceError(
            f"--pairs: {column} is free text, which goes together with nothing. Name columns of "
            "numbers, times, truths or categories."
        )
    if grid.type == "category":
        return tuple(sorted(grid.kept[: pairs.VALUES]))
    return 0.0 if grid.type == "boolean" else grid.offset


def _slicing(
    table: _Table, column: str, grids: Mapping[str, Grid], rows: pa.RecordBatch
) -> Slicing:
    """Return the slices by a column: those of the most frequent values of the first rows."""
    grid = grids.get(column)
    if grid is None:
        raise SourceError(
            f"{table.name} has no column {column} to slice by. It has {', '.join(grids)}."
        )
    if grid.type not in {"category", "boolean"} and not _are_whole(rows.column(column), grid):
        raise SourceError(
            f"--by {column}: that is of type {grid.type}. Slices are by values that repeat: name a "
            "category, a truth or whole numbers."
        )
    import pyarrow.compute as pc

    texts = rows.column(column)
    if isinstance(texts, pa.DictionaryArray):
        texts = texts.dictionary_decode()
    found = pc.value_counts(texts.drop_null().cast(pa.large_string())).to_pylist()
    frequent = sorted(found, key=lambda one: (-one["counts"], one["values"]))[:_KEPT]
    return Slicing(column, tuple(sorted(one["values"] for one in frequent)))


def _are_whole(column: pa.Array, grid: Grid) -> bool:
    if grid.type not in {"number", "integer"}:
        return False
    found = arrow.values(column, is_category=False)
    return bool(((found == np.floor(found)) | np.isnan(found)).all())


def _reading(table: _Table, like: Profiled | None) -> Reading:
    import polars as pl

    from loopline.data.conforming import infer_types, missing_tokens

    check_json(table.first.piece)
    frame = pl.from_arrow(pa.Table.from_batches(table.first.piece.batches(table.names)))
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table makes a frame
    missing, is_bare = missing_tokens(frame), table.first.is_bare
    encoded = {
        field.name for batch in table.first.piece.held for field in batch.schema if field.metadata
    }
    found: dict[str, Any] = {
        name: _meant(frame[name], kind, is_bare=is_bare or name in encoded)
        for name, kind in infer_types(frame, missing).items()
    }
    types = found if like is None else like.types
    return Reading(
        {name: _AS_READ.get(kind, kind) for name, kind in types.items()},
        missing,
        is_bare,
        frozenset(name for name, kind in found.items() if kind == "integer"),
    )


def _meant(series: "pl.Series", kind: str, *, is_bare: bool) -> str:
    """Return what a column is: texts that are meant as such write times and nothing else."""
    import polars as pl

    if series.dtype != pl.String or kind == "time":
        return kind
    if not is_bare:
        return "text"
    if kind == "category":
        different = set(series.drop_nulls().str.strip_chars().str.to_lowercase().unique())
        return "boolean" if different and different <= _TRUTHS else kind
    return kind


def _check_alike(first: Source, other: Source) -> None:
    columns, others = set(first.schema.names), set(other.schema.names)
    if columns != others:
        lacks = f" lacks {', '.join(sorted(columns - others))}" if columns - others else ""
        adds = f" adds {', '.join(sorted(others - columns))}" if others - columns else ""
        raise SourceError(
            f"{other.name} does not have the columns of {first.name}: "
            f"it{' and'.join(filter(None, [lacks, adds]))}."
        )


def _shared(name: str, names: Sequence[str], like: Profiled) -> list[str]:
    """Return the columns that a table has in common with the one it is held beside.

    Raises:
        SourceError: there are none.
    """
    both = [column for column in like.profile.columns if column in names]
    if not both:
        shown = (
            ", ".join(f"{each:.40}" for each in list(some)[:8]) for some in (names, like.types)
        )
        has, had = shown
        raise SourceError(
            f"{name} shares no column with {like.name}: it has {has}, and that {had}. Compare "
            "tables that hold the same, or rename the columns of one."
        )
    return both


def _apart(names: Sequence[str], like: Profiled) -> dict[str, Any]:
    """Return what a table lacks of another's columns, and what it adds to them."""
    return {
        "lacks": tuple(column for column in like.profile.columns if column not in names),
        "adds": tuple(column for column in names if column not in like.profile.columns),
    }


def _check_countable(name: str, fields: Sequence[pa.Field]) -> None:
    refused = [field for field in fields if arrow.type_of(field.type) is None]
    if refused:
        told = ", ".join(f"{field.name} ({field.type})" for field in refused)
        listed = ",".join(field.name for field in refused)
        raise SourceError(
            f"{name}: lists, objects and bytes have no counts: {told}. Make columns of what "
            f"matters in them, or leave them out: --without {listed}"
        )
