"""The profile of any table: its counts, in one pass over its rows, whatever their number.

The first rows of the reference fix how each column is counted (its type, its offset, the values
that a category of very many falls back on); what is compared with it is counted in the same way.
Parquet, Arrow and Delta come with their types, JSON lines and queries with some; what CSV means is
concluded from its first rows. The same rows have the same profile in whatever kind of file.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from loopline.compute.threads import Threads
from loopline.counts import arrow, saved
from loopline.counts.arrow import Counter, Draft, Grid, Type
from loopline.counts.kernel import Profile, count_values
from loopline.counts.saved import Profiled
from loopline.data.batches import BATCH_ROWS, Incoming, Piece, Source, open_incoming
from loopline.data.sources.base import describe, fields
from loopline.errors import CountsError, SourceError
from loopline.settings import Settings
from loopline.store.files import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from loopline.compute.base import Compute
    from loopline.data.multivariate import Apart

_AS_READ: Mapping[Type, str] = {"integer": "number", "category": "text"}
"""A column that begins with whole numbers may go on with others; texts stay as they stand, and the
first ones decide whether they are a category."""
_FRACTION = r"[.eE]"
_NO_NUMBER = r"(?i)^[+-]?nan$"
_TRUTHS = {"true", "false"}
_NESTED = ("[", "{")


@dataclass(frozen=True)
class Reading:
    """What texts of CSV, JSON lines and queries mean."""

    types: Mapping[str, str]
    missing: tuple[str, ...]
    is_bare: bool = True
    """Whether all values are texts (CSV), so that some of them mean that there is none."""
    whole: frozenset[str] = frozenset()
    """Columns of numbers whose first ones are whole."""

    def typed(self, batches: Iterable[pa.RecordBatch]) -> "Typed":
        """Return rows in the types they mean."""
        import polars as pl

        from loopline.data.conforming import convert

        frame = pl.from_arrow(pa.Table.from_batches(batches))
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table makes a frame
        found = convert(frame, self.types, self.missing, keep_infinite=True)
        as_they_stand = [
            name
            for name, kind in self.types.items()
            if kind == "text" and frame.schema[name] == pl.String
        ]
        absent = list(self.missing) if self.is_bare else []
        table = found.frame.with_columns(
            pl.when(~frame[name].str.strip_chars().is_in(absent)).then(frame[name]).alias(name)
            for name in as_they_stand
        )
        lost = {
            name: int((~failed["value"].str.contains(_NO_NUMBER)).sum())
            for name, failed in found.failures.items()
        }
        return Typed(table.to_arrow(), lost, {n for n in self.whole if not _is_whole(frame[n])})


@dataclass(frozen=True)
class Typed:
    """Rows in the types that they mean."""

    table: pa.Table
    lost: Mapping[str, int]
    """Column to how many of its texts mean nothing."""
    broken: Collection[str]
    """Columns of `whole` in which a number is written as another."""


def _is_whole(series: "pl.Series") -> bool:
    import polars as pl

    if series.dtype == pl.String:
        return not series.str.contains(_FRACTION).any()
    return not series.dtype.is_float() and series.dtype != pl.Decimal


@dataclass(frozen=True)
class Part:
    """A stretch of rows, and whether their types are yet to be read."""

    piece: Piece
    is_loose: bool
    is_bare: bool = False


@dataclass(frozen=True)
class Counting:
    """Counts the columns of parts, each on its grid."""

    grids: Mapping[str, Grid]
    reading: Reading | None = None
    encoded: tuple[str, ...] = ()

    @contextmanager
    def open(self) -> "Iterator[Callable[[Part], dict[str, Draft]]]":
        """Return what counts a part."""
        yield self._count

    def _count(self, part: Part) -> dict[str, Draft]:
        counters = {name: Counter(grid) for name, grid in self.grids.items()}
        for batch in self.batches(part, counters):
            for name, counter in counters.items():
                try:
                    counter.add(batch.column(name))
                except CountsError as error:
                    raise CountsError(
                        f"{part.piece.source}: {name}: {error}. Give both one type, or leave it "
                        f"out: --without {name}"
                    ) from error
        return {name: counter.draft() for name, counter in counters.items()}

    def batches(
        self, part: Part, counters: Mapping[str, Counter] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield a part's rows, in the types they mean; `counters` hear what means nothing."""
        names = list(self.grids)
        if not part.is_loose or self.reading is None:
            yield from part.piece.batches(names, self.encoded)
            return
        _check_json(part.piece)
        read = self.reading.typed(part.piece.batches(names))
        if counters is not None:
            for name, number in read.lost.items():
                counters[name].unreadable += number
            for name in read.broken:
                counters[name].is_whole = False
        yield from read.table.to_batches()


@dataclass(frozen=True)
class Wanted:
    """Which columns are profiled: `only` these (all, where there are none), `without` those."""

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

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
    places: Sequence[str],
    root: Path,
    query: str | None = None,
    wanted: Wanted | None = None,
    compute: "Compute | None" = None,
) -> list[Profiled]:
    """Profile one table, or two and the second as the first; either may be a saved profile.

    A saved profile of two tables gives both, where it stands alone. `compute` counts, and by
    default threads of this process do; the integers are the same wherever it is.

    Raises:
        SourceError: one is not there, cannot be read, or has no rows, other columns than the first
            or columns that cannot be counted.
        CountsError: a column is of another kind than in the first, or was counted otherwise.
    """
    chosen, on = wanted or Wanted(), compute or Threads()
    found: list[Profiled] = []
    for place in places:
        like = found[0] if found else None
        path = root / place
        if is_remote(place) or not saved.is_saved(path):
            incoming = _incoming(place, root, query)
            found.append(profile(place, incoming, on, like=like, wanted=chosen))
            continue
        kept = [_only(table, chosen) for table in saved.read(path)]
        if like is None:
            found += kept if len(places) == 1 else kept[:1]
        else:
            _check_columns(place, list(kept[0].profile.columns), like)
            found.append(regrid(kept[0], like))
    return found


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

    samples = []
    for place, counted in zip(places, found, strict=True):
        if not is_remote(place) and saved.is_saved(root / place):
            raise SourceError(
                f"{place} is a saved profile: its columns' counts, and no rows to tell apart by "
                "all columns together. Name its data, or leave out --multivariate."
            )
        wanted = Wanted(only=tuple(found[0].types))
        opened = partial(_again, place, root, query, wanted)
        work = _prepare(_open(place, _incoming(place, root, query), None, wanted), found[0])
        samples.append(sample(work, opened, counted.rows, compute or Threads()))
    return apart(found[0], *samples)


def _again(place: str, root: Path, query: str | None, wanted: Wanted) -> Iterator[Part]:
    table = _open(place, _incoming(place, root, query), None, wanted)
    return chain([table.first], table.parts)


def regrid(table: Profiled, like: Profiled) -> Profiled:
    """Return saved counts as if they had been counted like `like`.

    Numbers are, if their offset is the same; categories, if all their values are known by name.

    Raises:
        CountsError: they cannot be; the columns are named.
    """
    counts, refused = {}, []
    for column, reference in like.profile.columns.items():
        counted = table.profile.columns[column]
        if (counted.kind, counted.offset, counted.names) == (
            reference.kind,
            reference.offset,
            reference.names,
        ):
            counts[column] = counted
        elif counted.kind == reference.kind == "category" and not len(counted.cells):
            values = count_values(counted.named, reference)
            counts[column] = replace(values, missing=counted.missing)
        else:
            refused.append(column)
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
    return replace(table, profile=Profile(counts), new=new)


def _only(table: Profiled, wanted: Wanted) -> Profiled:
    names = wanted.of(list(table.profile.columns), table.name)
    kept = {name: table.profile.columns[name] for name in names}
    return replace(table, types={name: table.types[name] for name in names}, profile=Profile(kept))


def profile(
    name: str,
    incoming: Incoming,
    compute: "Compute",
    *,
    like: Profiled | None = None,
    wanted: Wanted | None = None,
) -> Profiled:
    """Count a table; with `like` in the same way as that one, and its columns alone.

    Raises:
        SourceError: it has no rows, other columns than `like`, or columns that cannot be counted.
        CountsError: a column is of another kind than in `like`.
    """
    table = _open(name, incoming, like, wanted or Wanted())
    work = _prepare(table, like)
    drafts: dict[str, list[Draft]] = {column: [] for column in table.names}
    for counted in compute.map(work, chain([table.first], table.parts)):
        for column, draft in counted.items():
            drafts[column].append(draft)
            if len(drafts[column]) == _HELD:
                drafts[column] = [arrow.add(drafts[column])]
    total = {column: arrow.add(parts) for column, parts in drafts.items()}
    types = {column: _type(column, draft, table, work) for column, draft in total.items()}
    kept = None if like is None else like.profile.columns
    counts = {
        column: arrow.settle(draft, None if kept is None else kept[column])
        for column, draft in total.items()
    }
    new = {} if like is None else {column: arrow.new(draft) for column, draft in total.items()}
    return Profiled(name, total[table.names[0]].rows, types, Profile(counts), new)


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
"""Counts of parts that are held before they are added: memory does not grow with the rows."""


def _open(name: str, incoming: Incoming, like: Profiled | None, wanted: Wanted) -> _Table:
    schema = incoming.sources[0].schema
    for other in incoming.sources[1:]:
        _check_alike(incoming.sources[0], other)
    twice = sorted({n for n in schema.names if schema.names.count(n) > 1})
    if twice:
        raise SourceError(f"{name} has {', '.join(twice)} twice. Give each its own name.")
    names = wanted.of(schema.names, name)
    if like is not None:
        _check_columns(name, names, like)
        names = list(like.profile.columns)
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


def _prepare(table: _Table, like: Profiled | None) -> Counting:
    """Fix how each column is counted, by `like` or by the first rows."""
    reading = None
    if table.first.is_loose:
        reading = _reading(table, like)
    if like is not None:
        grids = {
            name: Grid.of(like.types[name], counted)
            for name, counted in like.profile.columns.items()
        }
        return Counting(grids, reading, table.encoded)
    piece = table.first.piece
    if reading is None:
        rows: Any = next(piece.batches(table.names, table.encoded))
    else:
        rows = reading.typed(piece.batches(table.names)).table.combine_chunks()
        rows = rows.slice(0, BATCH_ROWS).to_batches()[0]
    grids = {name: arrow.first_grid(rows.column(name)) for name in table.names}
    return Counting(grids, reading, table.encoded)


def _reading(table: _Table, like: Profiled | None) -> Reading:
    import polars as pl

    from loopline.data.conforming import infer_types, missing_tokens

    _check_json(table.first.piece)
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


def _check_columns(name: str, names: Sequence[str], like: Profiled) -> None:
    expected = list(like.profile.columns)
    lacks = [column for column in expected if column not in names]
    adds = [column for column in names if column not in expected]
    if lacks or adds:
        both = [column for column in expected if column in names]
        said = [f"lacks {', '.join(lacks)}"] * bool(lacks)
        said += [f"adds {', '.join(adds)}"] * bool(adds)
        hint = f"Compare what both have: --columns {','.join(both)}" if both else "They share none."
        raise SourceError(
            f"{name} does not have the columns of {like.name}: it {' and '.join(said)}. {hint}"
        )


def _check_countable(name: str, fields: Sequence[pa.Field]) -> None:
    refused = [field for field in fields if arrow.type_of(field.type) is None]
    if refused:
        told = ", ".join(f"{field.name} ({field.type})" for field in refused)
        listed = ",".join(field.name for field in refused)
        raise SourceError(
            f"{name}: lists, objects and bytes have no counts: {told}. Make columns of what "
            f"matters in them, or leave them out: --without {listed}"
        )


def _check_json(piece: Piece) -> None:
    """Refuse lists and objects in JSON lines, which come as their JSON."""
    nested = [
        field.name
        for batch in piece.held
        for place, field in enumerate(batch.schema)
        if field.metadata
        and any(text and text.startswith(_NESTED) for text in batch.column(place).to_pylist())
    ]
    if nested:
        names = list(dict.fromkeys(nested))
        raise SourceError(
            f"{piece.source}: lists and objects have no counts: {', '.join(names)}. Make columns "
            f"of what matters in them, or leave them out: --without {','.join(names)}"
        )
