"""The contract's checks over data of any size: piece by piece, wherever the pieces are.

A piece is checked by what checks a whole table (`validation.look`), and what pieces show adds up.
Two things no piece can tell alone. Whether a key was there before: keys are brought together and
sorted, and a row whose key is that of the row before it repeats it. And what a query of a suite
finds that groups its rows: the rows of a group are brought together. Both are exact.

A column without a type in the contract has the type that the first piece shows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from itertools import chain
from operator import add
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from loopline.compute.base import Compute, Stage
from loopline.contract.schema import Contract
from loopline.data import suites
from loopline.data.batches import Incoming, Piece, is_csv
from loopline.data.conforming import Conformed, contract_types, convert, needed
from loopline.data.results import CheckResult, share_of
from loopline.data.streams import AS_JSON
from loopline.data.validation import Seen, conclude, look
from loopline.errors import SourceError, ValidationError

MOST_REPEATED = 1_000_000
"""Rows with a key that was there before, which can be set apart where they are blocked."""
_SHOWN = 5
_KEY, _ROW = "key", "row"
_ARROW: Mapping[str, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "category": pa.string(),
    "text": pa.string(),
    "time": pa.int64(),
}
"""Contract type to that in which values travel; times as microseconds since 1970."""


@dataclass(frozen=True)
class Checked:
    """What the checks found."""

    rows: int
    good: int
    """Rows that fail no blocking check."""
    checks: tuple[CheckResult, ...]
    refusal: str | None
    """Why the data must not be used at all."""
    guessed: tuple[str, ...]
    """Columns whose type the contract does not say."""


@dataclass(frozen=True)
class Part:
    """A piece, and where its first row is in the whole."""

    piece: Piece
    first: int
    is_csv: bool

    def frame(self, columns: Sequence[str]) -> pl.DataFrame:
        """Return its rows as their source gives them.

        Raises:
            SourceError: JSON has values of several kinds in one column.
        """
        batches = list(self.piece.batches(columns))
        schema = batches[0].schema
        marked = [each.name for each in schema if AS_JSON.keys() & set(each.metadata or {})]
        if marked:
            raise SourceError(
                f"{self.piece.source}: {', '.join(marked)} has values of several kinds, or lists "
                "and objects, which are not checked piece by piece. Write Parquet, or one kind a "
                "column."
            )
        frame = pl.from_arrow(pa.Table.from_batches(batches).select(list(columns)))
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table makes a frame
        # Whether an empty text is missing the contract says, as where CSV is read whole.
        return frame.fill_null("") if self.is_csv else frame


@dataclass(frozen=True)
class _Reading:
    """How a piece becomes rows of the contract's types."""

    types: Mapping[str, str]
    missing: tuple[str, ...]

    def of(self, part: Part, names: Iterable[str] | None = None) -> Conformed:
        types = dict(self.types) if names is None else {name: self.types[name] for name in names}
        return convert(part.frame(list(types)), types, self.missing)


def check(
    opened: Callable[[], Incoming],
    contract: Contract,
    now: datetime,
    root: Path,
    compute: Compute,
) -> Checked:
    """Check all rows of what `opened` opens; `root` is the folder where suites are.

    It is opened once, and once more for each thing that no piece can tell alone.

    Raises:
        DataError: the source cannot be read, has no rows, or lacks a column.
        ValidationError: a suite cannot be run piece by piece; freshness is asked without a time.
    """
    queries = suites.in_pieces(contract.data.checks, root)
    incoming = opened()
    names, *_ = [needed(contract, source.schema.names) for source in incoming.sources]
    parts = _parts(incoming, names)
    first = next(parts, None)
    if first is None:
        raise SourceError(f"{incoming.sources[0].name} has columns, but no rows.")
    types = contract_types(first.frame(names), contract)
    reading = _Reading(types, tuple(contract.data.missing))
    repeated = _Repeated()
    if contract.data.key is not None:
        repeated = _repeated(opened, contract, reading, compute)
    alone = tuple(query for query in queries if query.by is None)
    examining = _Examining(reading, contract, alone, repeated.places)
    seen = reduce(add, compute.map(examining, chain([first], parts)))
    seen = _with_repeated(seen, contract, repeated)
    found = iter(seen.suites)
    every = tuple(
        next(found)
        if query.by is None
        else _of_groups(opened, query, examining, compute, seen.good)
        for query in queries
    )
    checks, refusal = conclude(replace(seen, suites=every), contract, now)
    said = {name for name, column in contract.data.columns.items() if column.type is not None}
    guessed = tuple(name for name in types if name not in said | {contract.data.time})
    return Checked(seen.rows, seen.good, checks, refusal, guessed)


def _parts(incoming: Incoming, columns: Sequence[str]) -> Iterator[Part]:
    row = 0
    for source in incoming.sources:
        for piece in source.pieces(columns):
            if piece.rows:
                yield Part(piece, row, is_csv(source))
                row += piece.rows


def _apart(parts: Iterable[Part], compute: Compute) -> Iterator[Part]:
    """Yield parts that Spark can bring together: a whole file of rows in its driver would not fit.

    Raises:
        SourceError: one holds its rows.
    """
    for part in parts:
        if part.piece.groups is None and compute.name.startswith("Spark"):
            raise SourceError(
                f"{part.piece.source} can only be read from its beginning, and a unique key and "
                "groups are compared across all of Spark. Write it as Parquet with row groups of "
                "at most 4 million rows, or leave out --on spark."
            )
        yield part


# Rows


@dataclass(frozen=True)
class _Examining:
    """Checks pieces."""

    reading: _Reading
    contract: Contract
    queries: tuple[suites.Query, ...]
    repeated: np.ndarray

    @contextmanager
    def open(self) -> Iterator[Callable[[Part], Seen]]:
        yield self._look

    def _look(self, part: Part) -> Seen:
        conformed = self.reading.of(part)
        return look(
            conformed, self.contract, self.queries, first=part.first, repeated=self.repeated
        )[0]

    def good(self, part: Part) -> pl.DataFrame:
        """Return the rows of a part that fail no blocking check."""
        conformed = self.reading.of(part)
        return look(conformed, self.contract, first=part.first, repeated=self.repeated)[1]


# Keys


@dataclass(frozen=True)
class _Repeated:
    """Rows whose key an earlier row has."""

    number: int = 0
    places: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Of the first of them, in order."""

    def __add__(self, more: "_Repeated") -> "_Repeated":
        places = np.sort(np.concatenate([self.places, more.places]))
        return _Repeated(self.number + more.number, places)


def _repeated(
    opened: Callable[[], Incoming], contract: Contract, reading: _Reading, compute: Compute
) -> _Repeated:
    """Find the rows whose key an earlier row has, and enough of their places to act on."""
    key = str(contract.data.key)
    listed = contract.data.columns.get(key)
    blocks = listed is not None and listed.on_fail == "block"
    most = MOST_REPEATED if blocks else _SHOWN
    schema = pa.schema([(_KEY, _ARROW[reading.types[key]]), (_ROW, pa.int64())])
    stage = Stage(schema, _KEY, (_KEY, _ROW), _Repeats(most))
    parts = _apart(_parts(opened(), [key]), compute)
    found = reduce(add, compute.gather(_Keys(reading, key), parts, [stage]), _Repeated())
    if blocks and found.number > most:
        raise ValidationError(
            f"{key}: {found.number:,} rows have a key that another row has, and on_fail: block "
            f"sets such rows apart, at most {most:,} of them. Name a column in data.key that "
            "differs in every row, or make it on_fail: warn."
        )
    return replace(found, places=found.places[:most])


@dataclass(frozen=True)
class _Keys:
    """Makes a row of each key."""

    reading: _Reading
    key: str

    @contextmanager
    def open(self) -> Iterator[Callable[[Part], Iterator[pa.RecordBatch]]]:
        yield self._rows

    def _rows(self, part: Part) -> Iterator[pa.RecordBatch]:
        frame = self.reading.of(part, [self.key]).frame
        rows = pl.int_range(part.first, part.first + frame.height, dtype=pl.Int64, eager=True)
        keys = _travelling(frame).rename({self.key: _KEY}).with_columns(rows.alias(_ROW))
        kind = _ARROW[self.reading.types[self.key]]
        table = keys.drop_nulls(_KEY).to_arrow()
        yield from table.cast(pa.schema([(_KEY, kind), (_ROW, pa.int64())])).to_batches()


@dataclass(frozen=True)
class _Repeats:
    """Finds which rows repeat a key, in keys that come sorted: memory does not grow with them."""

    most: int

    @contextmanager
    def open(self) -> Iterator[Callable[[Iterator[pa.RecordBatch]], _Repeated]]:
        yield self._find

    def _find(self, batches: Iterator[pa.RecordBatch]) -> _Repeated:
        found, last = _Repeated(), None
        for batch in batches:
            keys = pl.Series(batch.column(_KEY))
            again = keys.eq_missing(keys.shift(1, fill_value=last))
            last = keys[-1]
            rows = pl.Series(batch.column(_ROW)).filter(again).sort().to_numpy()
            both = found + _Repeated(len(rows), rows)
            found = replace(both, places=both.places[: self.most])
        return found


def _travelling(frame: pl.DataFrame) -> pl.DataFrame:
    """Return values as they travel: times as numbers, and of the two zeros one."""
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    numbers = [name for name, kind in frame.schema.items() if kind == pl.Float64]
    return frame.with_columns(pl.col(times).dt.epoch("us"), pl.col(numbers) + 0.0)


def _with_repeated(seen: Seen, contract: Contract, repeated: _Repeated) -> Seen:
    """Return what was seen with those repeated keys that were only counted."""
    more = repeated.number - len(repeated.places)
    if not more:
        return seen
    checks = [
        replace(one, failed=(n := one.failed + more), share=share_of(n, seen.rows))
        if (one.column, one.name) == (contract.data.key, "unique key")
        else one
        for one in seen.checks
    ]
    return replace(seen, checks=tuple(checks))


# Groups


def _of_groups(
    opened: Callable[[], Incoming],
    query: suites.Query,
    examining: _Examining,
    compute: Compute,
    good: int,
) -> CheckResult:
    """Return what a query finds that groups rows, which are brought together for it."""
    types = examining.reading.types
    absent = [name for name in query.columns if name not in types]
    # What a query itself calls something is no column of the data.
    names = [name for name in query.columns if name in types]
    if query.by in absent:
        raise ValidationError(
            f"{query.name} groups by {query.by}, which is no column that the contract speaks of."
        )
    schema = pa.schema([*((name, _ARROW[types[name]]) for name in names), ("~row", pa.int64())])
    work = _Good(examining, tuple(names), schema)
    asking = _Asking(query, examining.contract, {name: types[name] for name in names})
    stage = Stage(schema, str(query.by), ("~row",), asking)
    parts = _apart(_parts(opened(), list(types)), compute)
    found = list(compute.gather(work, parts, [stage]))
    failed = sum(one.failed for one in found)
    examples = tuple(each for one in found for each in one.examples)[:_SHOWN]
    share = share_of(failed, good)
    return CheckResult(query.name, None, query.check.on_fail, failed, share, examples, not failed)


@dataclass(frozen=True)
class _Good:
    """Makes rows of those that fail no blocking check."""

    examining: _Examining
    names: tuple[str, ...]
    schema: pa.Schema

    @contextmanager
    def open(self) -> Iterator[Callable[[Part], Iterator[pa.RecordBatch]]]:
        yield self._rows

    def _rows(self, part: Part) -> Iterator[pa.RecordBatch]:
        good = self.examining.good(part).select(self.names)
        rows = pl.int_range(part.first, part.first + good.height, dtype=pl.Int64, eager=True)
        table = _travelling(good).with_columns(rows.alias("~row")).to_arrow()
        yield from table.cast(self.schema).to_batches()


@dataclass(frozen=True)
class _Asking:
    """Asks a query of the rows of some groups."""

    query: suites.Query
    contract: Contract
    types: Mapping[str, str]

    @contextmanager
    def open(self) -> Iterator[Callable[[Iterator[pa.RecordBatch]], CheckResult]]:
        yield self._ask

    def _ask(self, batches: Iterator[pa.RecordBatch]) -> CheckResult:
        frame = pl.from_arrow(pa.Table.from_batches(batches))
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table makes a frame
        times = [name for name, kind in self.types.items() if kind == "time"]
        moments = pl.col(times).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return self.query.run(frame.drop("~row").with_columns(moments), self.contract)
