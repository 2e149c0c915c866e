"""CSV and JSON lines read from their beginning, a block at a time, whatever their size.

What a file is shows in its first block, unpacked. Values stay texts as they stand (CSV), or what
JSON makes of them; what they mean is decided where they are read.
"""

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import pyarrow as pa

from loopline.data.columns import SPACE
from loopline.data.delimited import decoded, delimiter_of, encoding_of, header
from loopline.data.sources.files import format_of
from loopline.errors import SourceError
from loopline.store.files import File

AS_JSON = {b"loopline": b"json"}
"""Marks a column of texts that each hold a value as JSON: it had values of several kinds."""

_HEAD = 1 << 20
_SAMPLE = 1 << 12
_BLOCK = 1 << 23
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, pa.ArrowException)


@dataclass(frozen=True)
class Layout:
    """What a file turned out to be."""

    format: str
    """csv, parquet or jsonl."""
    names: tuple[str, ...] = ()
    """Of a CSV file's columns."""
    delimiter: str = ","
    encoding: str = "utf-8"
    compression: str | None = None


def read_layout(file: File, where: Mapping[str, Any]) -> Layout:
    """Return what `file` is; `where` may say its format, delimiter and encoding.

    Raises:
        SourceError: it is empty, or none that is read.
    """
    packed = file.head(4)
    compression = next((kind for magic, kind in _MAGIC.items() if packed.startswith(magic)), None)
    path = Path(file.place)
    with _unpacked(file, compression) as stream:
        head = _full(stream, _HEAD)
        name = str(getattr(stream, "name", "")) if compression == "zip" else file.name
    if compression in {"gzip", "zstd"}:
        name = name.removesuffix(Path(name).suffix) if "." in name else name
    if not head.strip():
        raise SourceError(f"{file.place} is empty.")
    kind = where.get("format") or format_of(name, head)
    if kind == "parquet" and compression is not None:
        raise SourceError(
            f"{file.place} is Parquet packed once more, which cannot be read in parts. Unpack it."
        )
    if kind != "csv":
        if kind == "jsonl" and head.lstrip()[:1] == b"[":
            raise SourceError(
                f"{file.place} holds one JSON array. Write one object per line (JSON lines)."
            )
        return Layout(kind, compression=compression)
    if len(head) == _HEAD and b"\x00" not in head[:_SAMPLE]:
        # Cut where a line ends, so that no sign is cut in two; UTF-16's are whole as it is.
        head = head[: head.rfind(b"\n") + 1 or len(head)]
    encoding = where.get("encoding") or encoding_of(path, head)
    text, encoding = decoded(path, head, encoding)
    delimiter = delimiter_of(path, text, where.get("delimiter"))
    return Layout("csv", tuple(header(path, text, delimiter)), delimiter, encoding, compression)


def csv_batches(file: File, layout: Layout, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a CSV file, every value of `columns` as text.

    Raises:
        SourceError: a line has more or fewer values than the header, a quote is never closed, or a
            byte is not in the file's encoding.
    """
    from pyarrow import csv

    wanted = [name for name in columns if name in layout.names]
    convert = csv.ConvertOptions(
        # Of columns that nobody wants one is read all the same, for rows are counted in it.
        include_columns=wanted or [layout.names[0]],
        column_types=dict.fromkeys(layout.names, pa.string()),
        # As callers' CSV is read: no value between two delimiters is a missing one.
        strings_can_be_null=True,
        null_values=[""],
    )
    parse = csv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=True)
    wide = codecs.lookup(layout.encoding).name.startswith(("utf-16", "utf-32"))
    is_utf8 = wide or layout.encoding in {"utf-8", "utf-8-sig", "ascii"}
    read = csv.ReadOptions(
        column_names=list(layout.names),
        skip_rows_after_names=1,
        block_size=_BLOCK,
        encoding="utf8" if is_utf8 else layout.encoding,
        use_threads=False,
    )
    row = 0
    with _unpacked(file, layout.compression) as stream:
        try:
            reader = csv.open_csv(
                _ended(stream, layout.encoding if wide else None), read, parse, convert
            )
            for batch in reader:
                row += batch.num_rows
                yield batch
        except pa.ArrowInvalid as error:
            raise SourceError(_broken_csv(file, layout, row, str(error))) from error
        except UnicodeDecodeError as error:
            raise SourceError(_broken_csv(file, layout, row, "invalid UTF8")) from error


def line_batches(
    file: File, layout: Layout, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of JSON lines: `columns`, or all that the first block has.

    Raises:
        SourceError: a line is not a JSON object.
    """
    decode = msgspec.json.Decoder(dict[str, Any]).decode_lines
    line = 1
    with _unpacked(file, layout.compression) as stream:
        for block in _blocks(stream):
            try:
                rows = decode(block)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise SourceError(_broken_line(file, block, line)) from None
            line += block.count(b"\n")
            names = columns
            if names is None:
                names = list(dict.fromkeys(name for row in rows for name in row))
            fields, arrays = [], []
            for name in names:
                array, metadata = from_json([row.get(name) for row in rows])
                fields.append(pa.field(name.strip(SPACE), array.type, metadata=metadata))
                arrays.append(array)
            if rows:
                yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def from_json(values: list[Any]) -> tuple[pa.Array, dict[bytes, bytes] | None]:
    """Return `values` as an Arrow array, or each as JSON's text where Arrow has no one type."""
    kinds = set(map(type, values)) - {type(None)}
    plain: tuple[set[type], ...] = (set(), {str}, {bool}, {int}, {float}, {int, float})
    if kinds in plain:
        try:
            return pa.array(values, pa.string() if not kinds else None), None
        except (pa.ArrowInvalid, OverflowError):
            pass  # an integer beyond 64 bits
    texts = [None if value is None else msgspec.json.encode(value).decode() for value in values]
    return pa.array(texts, pa.string()), AS_JSON


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines, about a block at a time."""
    rest = b""
    while chunk := stream.read(_BLOCK):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield rest + chunk[:end]
            rest = chunk[end:]
        else:
            rest += chunk
    if rest.strip():
        yield rest


def _broken_line(file: File, block: bytes, first: int) -> str:
    for number, line in enumerate(block.split(b"\n"), start=first):
        try:
            if line.strip():
                msgspec.json.decode(line, type=dict)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            return f"{file.place}:{number}: not a JSON object: {fault}."
    return f"{file.place} cannot be read as JSON lines."


def _broken_csv(file: File, layout: Layout, row: int, said: str) -> str:
    if "invalid UTF8" in said:
        return (
            f"{file.place}: a byte after row {row:,} is not {layout.encoding}. Say what it is: "
            "--encoding cp1252, for example."
        )
    if "straddling" in said:
        return (
            f"{file.place}: a quote that opens after row {row:,} is not closed within "
            f"{_BLOCK >> 20} MiB. Mend the file."
        )
    return f"{file.place}: after row {row:,}: {said.splitlines()[0]} Mend the line."


def _full(stream: BinaryIO, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (chunk := stream.read(size - len(found))):
        found += chunk
    return bytes(found)


def _ended(stream: BinaryIO, wide: str | None) -> BinaryIO:
    """Return `stream` so that it ends with a line's end; a header alone is none without it.

    Where it is in the encoding `wide`, of two or four bytes a sign, it becomes UTF-8.
    """
    return cast("BinaryIO", io.BufferedReader(_Ended(stream, wide), _BLOCK))


class _Ended(io.RawIOBase):
    def __init__(self, stream: BinaryIO, wide: str | None) -> None:
        self._stream = stream
        self._decoder = None if wide is None else codecs.getincrementaldecoder(wide)()
        self._last = b"\n"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._read(len(buffer))
        if not chunk and self._last != b"\n":
            chunk = b"\n"
        if chunk:
            self._last = chunk[-1:]
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def _read(self, most: int) -> bytes:
        if self._decoder is None:
            return self._stream.read(most)
        while raw := self._stream.read(most // 2):  # two bytes become three at most
            if text := self._decoder.decode(raw):
                return text.encode()
        return self._decoder.decode(b"", final=True).encode()


@contextmanager
def _unpacked(file: File, compression: str | None) -> Iterator[BinaryIO]:
    """Open `file` and unpack it on the way.

    Raises:
        SourceError: it cannot be unpacked.
    """
    with ExitStack() as stack:
        stream: Any = stack.enter_context(file.open())
        if compression is None:
            yield stream
            return
        try:
            if compression == "zip":
                stream = _of_zip(file, stack.enter_context(zipfile.ZipFile(stream)), stack)
            elif compression == "gzip":
                stream = gzip.GzipFile(fileobj=stream)
            else:
                stream = pa.CompressedInputStream(stream, "zstd")
            yield stream
        except _BROKEN as error:
            raise SourceError(
                f"{file.place} cannot be unpacked ({compression}): {error}."
            ) from error


def _of_zip(file: File, archive: zipfile.ZipFile, stack: ExitStack) -> Any:
    inside = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.startswith("__MACOSX/")
    ]
    if len(inside) != 1:
        names = ", ".join(member.filename for member in inside[:5]) or "nothing"
        raise SourceError(f"{file.place} must hold one file, and holds {names}.")
    return stack.enter_context(archive.open(inside[0]))
