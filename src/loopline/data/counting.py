"""Counting a part of a table: its rows in the types they mean, each column on its grid.

This is what goes to a thread, or as bytes to an executor of Spark; what comes back are counts.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from loopline.counts.arrow import Counter, Draft, Grid, values
from loopline.counts.pairs import Grid as PairGrid
from loopline.counts.pairs import Pair, PairCounts, count_pairs, total
from loopline.data.batches import Piece
from loopline.errors import CountsError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

_NESTED = ("[", "{")
_FRACTION = r"[.eE]"
_NO_NUMBER = r"(?i)^[+-]?nan$"


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
class Counted:
    """What was counted of one part."""

    columns: dict[str, Draft]
    pairs: dict[Pair, PairCounts]
    slices: dict[str, dict[str, Draft]]
    is_sliced_whole: bool = True
    """Whether every value has its slice."""

    @property
    def rows(self) -> int:
        """How many rows the part has."""
        return next(iter(self.columns.values())).rows


@dataclass(frozen=True)
class Slicing:
    """Parts of the rows by the values of one column.

    Each value has a slice while there are at most `SLICES` of them; with one more, those that were
    not frequent in the first rows are one slice. Either way the sum decides, not the order.
    """

    column: str
    values: tuple[str, ...]
    """Those that keep a slice of their own."""
    is_open: bool = True
    """Whether others have one too, while there are few."""

    def slices(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield each slice's name and its rows, of those that a batch has."""
        import pyarrow.compute as pc

        texts = batch.column(self.column)
        if isinstance(texts, pa.DictionaryArray):
            texts = texts.dictionary_decode()
        texts = texts.cast(pa.large_string())
        for value in pc.unique(texts).to_pylist():
            chosen = pc.is_null(texts) if value is None else pc.equal(texts, value)
            yield self.name(value), batch.filter(chosen)

    def name(self, value: str | None) -> str:
        """Return what the slice of a value is called."""
        return f"{self.column} missing" if value is None else f"{self.column}={value}"

    @property
    def others(self) -> str:
        """The slice of all values that have none of their own."""
        return f"{self.column} other"

    def keeps(self, name: str) -> bool:
        """Whether a slice stays where there are too many."""
        kept = {self.name(None), self.others, *map(self.name, self.values)}
        return name in kept

    def is_full(self, names: Collection[str]) -> bool:
        """Whether these are more than may have a slice each."""
        return not self.is_open or len(names) > SLICES

    @classmethod
    def of(cls, column: str, slices: Iterable[str]) -> "Slicing":
        """Return what made slices of these names, and makes no others."""
        begin = f"{column}="
        values = tuple(name.removeprefix(begin) for name in slices if name.startswith(begin))
        return cls(column, values, is_open=False)


SLICES = 60


@dataclass(frozen=True)
class Counting:
    """Counts the columns of parts, each on its grid; and pairs and slices, where asked for."""

    grids: Mapping[str, Grid]
    reading: Reading | None = None
    encoded: tuple[str, ...] = ()
    pairs: Mapping[Pair, tuple[PairGrid, PairGrid]] = field(default_factory=dict)
    slicing: Slicing | None = None

    @contextmanager
    def open(self) -> "Iterator[Callable[[Part], Counted]]":
        """Return what counts a part."""
        yield self._count

    def _count(self, part: Part) -> Counted:
        counters = {name: Counter(grid) for name, grid in self.grids.items()}
        sliced = _Sliced(self.slicing, self.grids)
        together: dict[Pair, list[PairCounts]] = {pair: [] for pair in self.pairs}
        for batch in self.batches(part, counters):
            _add(batch, counters, part.piece.source)
            for pair, grids in self.pairs.items():
                together[pair].append(_together(batch, pair, grids))
            sliced.add(batch, part.piece.source)
        return Counted(
            _drafts(counters),
            {pair: total(found) for pair, found in together.items() if found},
            sliced.drafts(),
            not sliced.is_folded,
        )

    def batches(
        self, part: Part, counters: Mapping[str, Counter] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield a part's rows, in the types they mean; `counters` hear what means nothing."""
        names = list(self.grids)
        if not part.is_loose or self.reading is None:
            yield from part.piece.batches(names, self.encoded)
            return
        check_json(part.piece)
        read = self.reading.typed(part.piece.batches(names))
        if counters is not None:
            for name, number in read.lost.items():
                counters[name].unreadable += number
            for name in read.broken:
                counters[name].is_whole = False
        yield from read.table.to_batches()


class _Sliced:
    """The counters of each slice of one part."""

    def __init__(self, slicing: Slicing | None, grids: Mapping[str, Grid]) -> None:
        self._slicing, self._grids = slicing, grids
        self._counters: dict[str, dict[str, Counter]] = {}
        self.is_folded = slicing is not None and not slicing.is_open

    def add(self, batch: pa.RecordBatch, source: str) -> None:
        if self._slicing is None:
            return
        for each, rows in self._slicing.slices(batch):
            name = each
            if self.is_folded and not self._slicing.keeps(name):
                name = self._slicing.others
            if name not in self._counters:
                self._counters[name] = {c: Counter(grid) for c, grid in self._grids.items()}
                self.is_folded |= self._slicing.is_full(self._counters)
            _add(rows, self._counters[name], source)

    def drafts(self) -> dict[str, dict[str, Draft]]:
        return {name: _drafts(counters) for name, counters in self._counters.items()}


def _add(batch: pa.RecordBatch, counters: Mapping[str, Counter], source: str) -> None:
    for name, counter in counters.items():
        try:
            counter.add(batch.column(name))
        except CountsError as error:
            raise CountsError(
                f"{source}: {name}: {error}. Give both one type, or leave it out: --without {name}"
            ) from error


def _drafts(counters: Mapping[str, Counter]) -> dict[str, Draft]:
    return {name: counter.draft() for name, counter in counters.items()}


def _together(batch: pa.RecordBatch, pair: Pair, grids: tuple[PairGrid, PairGrid]) -> PairCounts:
    one, other = (
        values(batch.column(name), is_category=isinstance(grid, tuple))
        for name, grid in zip(pair, grids, strict=True)
    )
    return count_pairs(one, other, grids)


def check_json(piece: Piece) -> None:
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
