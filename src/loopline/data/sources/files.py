"""Files: CSV, Parquet and JSON lines, plain or compressed; a folder is the union of its files.

CSV is read as text, so that what a value means is decided in one place (`columns.py`).
"""

import difflib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from loopline.data.conforming import missing_tokens
from loopline.data.delimited import decoded, delimiter_of, read_text
from loopline.data.packed import unpacked
from loopline.data.sources.base import check_names, files_of
from loopline.errors import SourceError
from loopline.settings import Settings

__all__ = ["Files", "examine", "sniff"]

_SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".psv": "csv", ".txt": "csv", ".parquet": "parquet",
    ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_PARQUET = b"PAR1"
"""How a Parquet file begins."""
_OTHERS = {
    b"ARROW1": "a Feather or Arrow file", b"ORC": "an ORC file", b"Obj\x01": "an Avro file",
    b"\x89HDF": "an HDF5 file", b"SQLite format 3\x00": "an SQLite database", b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old office document", b"\x80\x04\x95": "a pickle, which is not opened",
    b"\x80\x05\x95": "a pickle, which is not opened", b"<!DOCTYPE": "a web page",
    b"<html": "a web page", b"<?xml": "XML", b"\x89PNG": "an image", b"\xff\xd8\xff": "an image",
    b"GIF8": "an image", b"\x7fELF": "a program",
}  # fmt: skip
"""How files begin that are brought by mistake, and what they are."""


@dataclass(frozen=True)
class FileFormat:
    """What a file turned out to be."""

    format: str
    """csv, parquet or jsonl."""
    delimiter: str | None = None
    encoding: str | None = None
    compression: str | None = None
    """gzip, zstd or zip."""
    missing: tuple[str, ...] = ()
    """Texts found that mean missing; always `""` for text formats."""


class Files:
    """Reads a file, a folder or a glob."""

    def read(self, where: Mapping[str, Any], root: Path, _settings: Settings) -> pl.DataFrame:
        """Return the rows of all files, in the order of their names.

        Raises:
            SourceError: a file is not there or cannot be read, columns differ, or no rows.
        """
        frame, _ = _read_all(root / where["path"], where)
        return frame


def sniff(path: Path) -> FileFormat:
    """Return what `path` (a file, folder or glob) is; reads it all to find what means missing.

    Raises:
        SourceError: it is not there or cannot be read.
    """
    return examine(path)[1]


def examine(path: Path) -> tuple[pl.DataFrame, FileFormat]:
    """Return the raw rows of `path` (a file, folder or glob) and what it turned out to be.

    Raises:
        SourceError: it is not there or cannot be read.
    """
    frame, found = _read_all(path, {})
    if found.format == "parquet":
        return frame, replace(found, missing=tuple(t for t in missing_tokens(frame) if t))
    return frame, replace(found, missing=missing_tokens(frame))


def _read_all(path: Path, where: Mapping[str, Any]) -> tuple[pl.DataFrame, FileFormat]:
    try:
        files = files_of(path)
    except OSError as error:
        raise SourceError(absent(path)) from error
    frames, formats = zip(*(_read(file, where) for file in files), strict=True)
    for file, frame in zip(files, frames, strict=True):
        check_names(frame.columns, str(file))
    first = frames[0]
    for file, frame in zip(files[1:], frames[1:], strict=True):
        if set(frame.columns) != set(first.columns):
            raise SourceError(_differing(files[0], first.columns, file, frame.columns))
    try:
        frame = pl.concat([f.select(first.columns) for f in frames], how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise SourceError(
            f"The files of {path} have other types for one column: {error}"
        ) from error
    if frame.is_empty():
        names = ", ".join(f"{name:.40}" for name in first.columns[:8])
        raise SourceError(f"{path} has columns ({names}), but no rows.")
    return frame, formats[0]


def _read(file: Path, where: Mapping[str, Any]) -> tuple[pl.DataFrame, FileFormat]:
    try:
        if (where.get("format") or "parquet") == "parquet" and _begins(file, _PARQUET):
            # From the file itself, which takes half as long as from its bytes.
            return _parquet(file, file), FileFormat("parquet")
        packed = file.read_bytes()
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}.") from error
    name, content, compression = unpacked(file, packed)
    if not content.strip():
        raise SourceError(f"{file} is empty.")
    kind = where.get("format") or format_of(name, content)
    if kind == "parquet":
        return _parquet(file, io.BytesIO(content)), FileFormat(kind, compression=compression)
    if kind == "jsonl":
        return _json_lines(file, content), FileFormat(kind, None, "utf-8", compression)
    content, encoding = decoded(file, content, where.get("encoding"))
    delimiter = delimiter_of(file, content, where.get("delimiter"))
    frame = read_text(file, content, delimiter)
    return frame, FileFormat(kind, delimiter, encoding, compression)


def format_of(name: str, content: bytes) -> str:
    """Return the format of a file with this name that begins with `content`.

    Raises:
        SourceError: it is of a kind that is not read.
    """
    if content.startswith(_PARQUET):
        return "parquet"
    for magic, kind in _OTHERS.items():
        if content.startswith(magic):
            raise SourceError(
                f"{name} is {kind}. Write its table as CSV, Parquet or JSON lines, which are read."
            )
    known = _SUFFIXES.get(Path(name).suffix.lower())
    if known is not None:
        return known
    return "jsonl" if content.lstrip()[:1] == b"{" else "csv"


def _begins(file: Path, magic: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(magic)) == magic


def _parquet(file: Path, content: Path | io.BytesIO) -> pl.DataFrame:
    try:
        # A query of all columns takes two thirds of what polars' reader of whole files does.
        query = pl.scan_parquet(content, glob=False, hive_partitioning=False)
        return query.collect()
    # Of some damage polars' reader panics, which is no error that it means to raise.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise SourceError(f"{file} is not a Parquet file that can be read: {error}") from error


def _json_lines(file: Path, content: bytes) -> pl.DataFrame:
    if content.lstrip()[:1] == b"[":
        raise SourceError(f"{file} holds one JSON array. Write one object per line (JSON lines).")
    try:
        return pl.read_ndjson(io.BytesIO(content), infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(_bad_json(file, content, error)) from error


def _bad_json(file: Path, content: bytes, error: Exception) -> str:
    import msgspec

    for number, line in enumerate(content.splitlines(), start=1):
        try:
            if line.strip():
                msgspec.json.decode(line, type=dict)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            return f"{file}:{number}: not a JSON object: {fault}."
    return f"{file} cannot be read as JSON lines: {error}"


def absent(path: Path) -> str:
    """Return that a file is not there, and which one may be meant."""
    folder = path.parent
    if not folder.is_dir():
        return f"There is no {path}, and no folder {folder} either."
    names = sorted(file.name for file in folder.iterdir())
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"There is no {path}." + (f" Did you mean {folder / near[0]}?" if near else "")


def _differing(first: Path, columns: list[str], other: Path, others: list[str]) -> str:
    more = [name for name in others if name not in columns]
    fewer = [name for name in columns if name not in others]
    said = [f"lacks {', '.join(fewer)}"] * bool(fewer) + [f"adds {', '.join(more)}"] * bool(more)
    return f"{other} does not have the columns of {first}: it {' and '.join(said)}."
