"""Rows as a stream: what people bring, cut into pieces that fit in memory however large it is.

A piece is what is scored, written and counted as one. Those of Parquet only say where they lie, so
that whoever works on one reads it, on another thread or another machine; of what can only be read
from its beginning (CSV, JSON lines, a query) a piece holds its rows. The same source is cut into
the same pieces every time. Training reads the same sources whole, in `sources/`.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

import pyarrow as pa

from loopline.data.sources.base import check_mapping, describe, fields, files_of, unread
from loopline.errors import SourceError, StoreError
from loopline.store.files import File, is_remote, of_path, of_url

if TYPE_CHECKING:
    from loopline.data.streams import Layout
    from loopline.settings import Settings

PIECE_ROWS = 1 << 17
BATCH_ROWS = 1 << 15
"""Rows that a model sees at a time: they and what is made of them stay in a processor's cache."""
_PARQUET, _ARROW = b"PAR1", b"ARROW1"
_LARGE_GROUP = 1 << 22
"""More than any writer makes by itself: what is larger is read from its beginning, as CSV is."""


@dataclass(frozen=True)
class Groups:
    """Some row groups of one Parquet file."""

    file: File
    numbers: tuple[int, ...]
    constants: tuple[tuple[str, Any], ...] = ()
    """Columns that a table keeps in its files' names."""
    schema: pa.Schema | None = None
    """Of the table that the file is of: an older file may lack a column, or have it smaller."""

    def batches(
        self, columns: Sequence[str], encoded: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """Read them, a batch at a time; a column that the file lacks is left out.

        Of a table's file it is null.

        Texts of the columns `encoded` come as places in a dictionary.
        """
        import pyarrow.parquet as pq

        constants = dict(self.constants)
        with self.file.open() as stream, _read(self.file):
            # Unbuffered it would hold whole column chunks: 10 million rows may be one row group.
            footer = pq.read_metadata(stream)
            there = set(footer.schema.to_arrow_schema().names)
            parquet = pq.ParquetFile(
                stream,
                metadata=footer,
                buffer_size=1 << 20,
                read_dictionary=[name for name in encoded if name in there],
            )
            wanted = [name for name in columns if name in there]
            for batch in parquet.iter_batches(
                BATCH_ROWS, row_groups=list(self.numbers), columns=wanted, use_threads=False
            ):
                yield _as_table(batch, self.schema, columns, constants) if self.schema else batch


@dataclass(frozen=True)
class Piece:
    """A stretch of rows of one source."""

    source: str
    first_row: int
    """Counted from 0 in its source."""
    rows: int
    held: tuple[pa.RecordBatch, ...] = ()
    groups: Groups | None = None

    def batches(
        self, columns: Sequence[str], encoded: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """Yield its rows, at most `BATCH_ROWS` at a time.

        Texts of the columns `encoded` may come as places in a dictionary, where that is how they
        are kept.

        Raises:
            StoreError: it lies in a file that cannot be read any more.
        """
        if self.groups is not None:
            yield from self.groups.batches(columns, encoded)
        for batch in self.held:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS)


class Source(Protocol):
    """One file, or one query."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns, as its first rows show them."""

    @property
    def rows(self) -> int | None:
        """How many it has, where that is known beforehand."""

    @property
    def is_typed(self) -> bool:
        """Whether its columns have types; else texts, or a block's guess, are yet to be read."""

    @property
    def is_bare(self) -> bool:
        """Whether every value is a bare text, whatever it means; else a text is meant as one."""

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Cut it into pieces that have `columns`."""


@dataclass(frozen=True)
class Incoming:
    """Everything that is to be scored."""

    sources: tuple[Source, ...]
    stamp: str | None
    """Changes when the rows may have; None where that cannot be told."""

    @property
    def rows(self) -> int | None:
        """How many there are, where that is known beforehand."""
        known = [source.rows for source in self.sources]
        return None if None in known else sum(rows for rows in known if rows is not None)

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Cut all sources into pieces that have `columns`, in order."""
        for source in self.sources:
            yield from source.pieces(columns)


def open_incoming(source: Any, root: Path, settings: "Settings") -> Incoming:
    """Open a path, a glob, a URL or `data.source` in full, and look at its columns.

    Raises:
        SourceError: it is not there, or cannot be read.
        StoreError: a cloud does not answer.
    """
    where = fields(source)
    if where["url"] is not None:
        return Incoming((_Query(where, root, settings),), None)
    place = where["path"]
    local = not is_remote(place)
    if where["format"] == "delta" or _is_delta(root, place):
        return open_delta(str(root / place) if local else place)
    try:
        files = [of_path(path) for path in files_of(root / place)] if local else of_url(place)
    except OSError as error:
        from loopline.data.sources.files import absent

        raise SourceError(absent(root / place)) from error
    stamp = "\n".join(f"{file.place} {file.size} {file.stamp}" for file in files)
    return Incoming(tuple(_file(file, where) for file in files), stamp)


def is_csv(source: Source) -> bool:
    """Whether a source is CSV, where no value and an empty text are written alike."""
    return isinstance(source, _Csv)


def _is_delta(root: Path, place: str) -> bool:
    if not is_remote(place):
        return (root / place / "_delta_log").is_dir()
    if any(sign in place for sign in "*?[") or Path(place).suffix:
        return False
    try:
        return bool(of_url(f"{place.rstrip('/')}/_delta_log/"))
    except StoreError:
        return False


def _file(file: File, where: Mapping[str, Any]) -> Source:
    # Parquet and Arrow say what they are; of the rest, polars and others are asked.
    magic = file.head(len(_ARROW)) if where["format"] in {None, "parquet"} else b""
    if magic.startswith(_PARQUET):
        with file.open() as stream, _read(file):
            return _Parquet.of(file, stream)
    if magic == _ARROW and where["format"] is None:
        return _Arrow.of(file)
    from loopline.data.streams import read_layout

    layout = read_layout(file, where)
    if layout.format == "parquet":
        with file.open() as stream, _read(file):
            return _Parquet.of(file, stream)
    kind = _Lines if layout.format == "jsonl" else _Csv
    return kind.of(file, layout)


def open_delta(place: str, version: int | None = None) -> Incoming:
    """Open a Delta table at a path or URL, as it is now or was at `version`.

    Raises:
        SourceError: there is none, or only a newer reader would read it rightly.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        table = DeltaTable(place, version=version)
        check_mapping(table.metadata().configuration, place)
        # Refuses what only a newer reader would read rightly, such as deletion vectors.
        schema = table.to_pyarrow_dataset().schema
        added = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    except (TableNotFoundError, FileNotFoundError) as error:
        raise SourceError(f"There is no Delta table {place}.") from error
    except (DeltaError, OSError, ValueError) as error:
        raise unread(place, error) from error
    kept = table.metadata().partition_columns
    found = []
    for entry in sorted(added, key=lambda entry: str(entry["path"])):
        values = tuple((name, entry[f"partition.{name}"]) for name in kept)
        file = File(f"{place.rstrip('/')}/{unquote(entry['path'])}", entry["size_bytes"], "")
        with file.open() as stream, _read(file):
            one = _Parquet.of(file, stream)
        found.append(replace(one, constants=values, schema=schema, is_of_table=True))
    empty = Held(place, schema.empty_table().to_batches(), schema)
    return Incoming(tuple(found) or (empty,), f"{place} version {table.version()}")


@dataclass(frozen=True)
class _Parquet:
    file: File
    schema: pa.Schema
    group_rows: tuple[int, ...]
    constants: tuple[tuple[str, Any], ...] = ()
    is_of_table: bool = False
    is_typed: bool = True
    is_bare: bool = False

    @classmethod
    def of(cls, file: File, stream: Any) -> "_Parquet":
        import pyarrow.parquet as pq

        parquet = pq.ParquetFile(stream)
        known = parquet.metadata
        sizes = tuple(known.row_group(place).num_rows for place in range(known.num_row_groups))
        return cls(file, parquet.schema_arrow, sizes)

    @property
    def name(self) -> str:
        return self.file.place

    @property
    def rows(self) -> int:
        return sum(self.group_rows)

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        if max(self.group_rows, default=0) > _LARGE_GROUP:
            every = self._groups(range(len(self.group_rows)))
            yield from _gathered(self.name, every.batches(columns))
            return
        first, row, gathered = 0, 0, 0
        for place, rows in enumerate(self.group_rows):
            gathered += rows
            is_last = place == len(self.group_rows) - 1
            if gathered and (is_last or gathered + self.group_rows[place + 1] > PIECE_ROWS):
                groups = self._groups(range(first, place + 1))
                yield Piece(self.name, row, gathered, groups=groups)
                first, row, gathered = place + 1, row + gathered, 0

    def _groups(self, numbers: range) -> Groups:
        schema = self.schema if self.is_of_table else None
        return Groups(self.file, tuple(numbers), self.constants, schema)


@dataclass(frozen=True)
class Held:
    """Rows that are in memory already."""

    name: str
    held: Sequence[pa.RecordBatch]
    schema: pa.Schema
    is_typed: bool = True
    is_bare: bool = False

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(batch.num_rows for batch in self.held)

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Gather them into pieces."""
        return _gathered(self.name, (_only(batch, columns) for batch in self.held))


@dataclass(frozen=True)
class _Arrow:
    """An Arrow file, which Feather's second version is too."""

    file: File
    schema: pa.Schema
    rows: None = None
    is_typed: bool = True
    is_bare: bool = False

    @classmethod
    def of(cls, file: File) -> "_Arrow":
        with file.open() as stream, _read(file, "Arrow"):
            return cls(file, pa.ipc.open_file(stream).schema)

    @property
    def name(self) -> str:
        return self.file.place

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        return _gathered(self.name, (_only(batch, columns) for batch in self._batches()))

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with self.file.open() as stream, _read(self.file, "Arrow"):
            reader = pa.ipc.open_file(stream)
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)


@dataclass(frozen=True)
class _Csv:
    file: File
    layout: "Layout"
    rows: None = None
    is_typed: bool = False
    is_bare: bool = True

    @classmethod
    def of(cls, file: File, layout: "Layout") -> "_Csv":
        return cls(file, layout)

    @property
    def name(self) -> str:
        return self.file.place

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self.layout.names])

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        from loopline.data.streams import csv_batches

        return _gathered(self.name, csv_batches(self.file, self.layout, columns))


@dataclass(frozen=True)
class _Lines:
    file: File
    layout: "Layout"
    schema: pa.Schema
    rows: None = None
    is_typed: bool = False
    is_bare: bool = False

    @classmethod
    def of(cls, file: File, layout: "Layout") -> "_Lines":
        from loopline.data.streams import line_batches

        first = next(line_batches(file, layout, None), None)
        return cls(file, layout, pa.schema([]) if first is None else first.schema)

    @property
    def name(self) -> str:
        return self.file.place

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        from loopline.data.streams import line_batches

        return _gathered(self.name, line_batches(self.file, self.layout, columns))


class _Query:
    rows: None = None
    is_typed = False
    is_bare = False

    def __init__(self, where: Mapping[str, Any], root: Path, settings: "Settings") -> None:
        from loopline.data.sources.sql import Sql

        self.name = describe(where)
        frames = Sql().stream(where, root, settings, PIECE_ROWS)
        self._batches = (batch for frame in frames for batch in _batches_of(frame))
        self._first = next(self._batches)
        self.schema = self._first.schema

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Cut what the query gives; once, for it is asked once."""

        def rest() -> Iterator[pa.RecordBatch]:
            yield self._first
            yield from self._batches

        return _gathered(self.name, (_only(batch, columns) for batch in rest()))


def _batches_of(frame: Any) -> list[pa.RecordBatch]:
    table: pa.Table = frame.rechunk().to_arrow()
    return table.to_batches() or [
        pa.RecordBatch.from_arrays([pa.array([], f.type) for f in table.schema], table.schema.names)
    ]


def _gathered(name: str, batches: Iterable[pa.RecordBatch]) -> Iterator[Piece]:
    """Gather batches into pieces of about `PIECE_ROWS`."""
    row, held, rows = 0, list[pa.RecordBatch](), 0
    for batch in batches:
        if held and rows + batch.num_rows > PIECE_ROWS:
            yield Piece(name, row, rows, tuple(held))
            row, held, rows = row + rows, [], 0
        if batch.num_rows:
            held.append(batch)
            rows += batch.num_rows
    if held:
        yield Piece(name, row, rows, tuple(held))


def _only(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    return batch.select([name for name in columns if name in batch.schema.names])


def _as_table(
    batch: pa.RecordBatch,
    schema: pa.Schema,
    columns: Sequence[str],
    constants: Mapping[str, Any],
) -> pa.RecordBatch:
    """Return the rows of one file as those of its table."""
    names = [name for name in columns if name in schema.names]
    arrays = []
    for name in names:
        kind = schema.field(name).type
        if name in constants:
            arrays.append(pa.repeat(pa.scalar(constants[name], kind), batch.num_rows))
        elif name not in batch.schema.names:
            arrays.append(pa.nulls(batch.num_rows, kind))
        else:
            values = batch.column(name)
            is_encoded = pa.types.is_dictionary(values.type)
            arrays.append(values if is_encoded or values.type == kind else values.cast(kind))
    if not names:  # rows are counted all the same
        return batch
    return pa.RecordBatch.from_arrays(arrays, names)


@contextlib.contextmanager
def _read(file: File, kind: str = "Parquet") -> Iterator[None]:
    """Turn what Arrow says of a file into our error."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        first = str(error).split("\n", 1)[0]
        raise SourceError(f"{file.place} cannot be read as {kind}: {first}") from error
