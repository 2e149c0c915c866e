"""Profiles of tables as rows of a Parquet file: dataset, column and slice to counts.

Any tool can read them; what Loopline reads again are the same integers on the same grid.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from loopline.counts.arrow import Type
from loopline.counts.kernel import ColumnCounts, Profile
from loopline.errors import SourceError

_MARK, _VERSION = b"loopline.profile", b"1"
_WHOLE = ""
_SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("column", pa.string(), nullable=False),
        pa.field("slice", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("missing", pa.int64(), nullable=False),
        pa.field("low", pa.int64(), nullable=False),
        pa.field("high", pa.int64(), nullable=False),
        pa.field("offset", pa.float64(), nullable=False),
        pa.field("cells", pa.list_(pa.int32()), nullable=False),
        pa.field("counts", pa.list_(pa.int64()), nullable=False),
        pa.field("named", pa.map_(pa.string(), pa.int64()), nullable=False),
        pa.field("names", pa.string(), nullable=False),
    ],
    {_MARK: _VERSION},
)


@dataclass(frozen=True)
class Profiled:
    """One table's counts."""

    name: str
    """Where it came from."""
    rows: int
    types: Mapping[str, Type]
    profile: Profile
    new: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By column of a category: values that the reference does not keep by name, the most frequent
    first. What is saved lacks them."""


def write(tables: Sequence[Profiled], stream: BinaryIO) -> None:
    """Write profiles as one Parquet file, a row for each column."""
    import pyarrow.parquet as pq

    rows = [row for table in tables for row in _rows(table)]
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), stream, compression="zstd")


def is_saved(path: Path) -> bool:
    """Whether a file is a saved profile, rather than a table."""
    import pyarrow.parquet as pq

    with contextlib.suppress(OSError, pa.ArrowException):
        if path.is_file():
            with path.open("rb") as stream:
                if stream.read(4) != b"PAR1":
                    return False
                return _MARK in (pq.ParquetFile(stream).schema_arrow.metadata or {})
    return False


def read(path: Path) -> list[Profiled]:
    """Read what `write` wrote.

    Raises:
        SourceError: a newer version wrote it, or it is not whole.
    """
    import pyarrow.parquet as pq

    with path.open("rb") as stream:
        table = pq.ParquetFile(stream).read()
    version = (table.schema.metadata or {}).get(_MARK, b"")
    if version != _VERSION:
        raise SourceError(
            f"{path} is a profile of version {version.decode()}; this Loopline reads version "
            f"{_VERSION.decode()}. Make it anew from its data, or upgrade."
        )
    found: dict[str, dict[str, tuple[Type, ColumnCounts]]] = {}
    for row in table.to_pylist(maps_as_pydicts="strict"):
        if row["slice"] == _WHOLE:
            columns = found.setdefault(row["dataset"], {})
            columns[row["column"]] = (row["type"], _counts(row))
    if not found:
        raise SourceError(f"{path} is a profile of nothing: it has no rows.")
    return [_profiled(name, columns) for name, columns in found.items()]


def _rows(table: Profiled) -> Iterator[dict[str, Any]]:
    for name, counted in table.profile.columns.items():
        yield {
            "dataset": table.name,
            "column": name,
            "slice": _WHOLE,
            "type": table.types[name],
            "kind": counted.kind,
            "rows": counted.rows,
            "missing": counted.missing,
            "low": counted.low,
            "high": counted.high,
            "offset": counted.offset,
            "cells": counted.cells.tolist(),
            "counts": counted.counts.tolist(),
            "named": list(counted.named.items()),
            "names": counted.names,
        }


def _counts(row: Mapping[str, Any]) -> ColumnCounts:
    return ColumnCounts(
        row["kind"], row["missing"], np.array(row["cells"], np.int64),
        np.array(row["counts"], np.int64), row["low"], row["high"], row["offset"],
        row["named"], row["names"],
    )  # fmt: skip


def _profiled(name: str, columns: Mapping[str, tuple[Type, ColumnCounts]]) -> Profiled:
    counts = {column: counted for column, (_, counted) in columns.items()}
    rows = max(counted.rows for counted in counts.values())
    types = {column: kind for column, (kind, _) in columns.items()}
    return Profiled(name, rows, types, Profile(counts))
