"""Profiles as rows of a Parquet file: dataset, environment, hour, column and slice to counts.

A dataset is a table, or a model version whose predictions were counted by the hour. Any tool can
read the rows; what Loopline reads again are the same integers on the same grid.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from loopline.counts import pairs
from loopline.counts.arrow import Type
from loopline.counts.groups import total
from loopline.counts.kernel import ColumnCounts, Profile
from loopline.counts.pairs import Pair, PairCounts
from loopline.errors import SourceError

_MARK, _BY, _VERSION = b"loopline.profile", b"loopline.by", b"2"
_READ = (b"1", b"2")
_WHOLE, PAIR = "", "pair"
_TABLE = ("", "input", "output")
"""Slices that are all rows of a table, or of a version's predictions."""
_FIELDS = {
    "dataset": pa.string(), "environment": pa.string(), "hour": pa.timestamp("us", "UTC"),
    "column": pa.string(), "other": pa.string(), "slice": pa.string(), "type": pa.string(),
    "kind": pa.string(), "rows": pa.int64(), "missing": pa.int64(), "low": pa.int64(),
    "high": pa.int64(), "offset": pa.float64(), "other_offset": pa.float64(),
    "cells": pa.list_(pa.int32()), "other_cells": pa.list_(pa.int32()),
    "counts": pa.list_(pa.int64()), "named": pa.map_(pa.string(), pa.int64()),
    "names": pa.string(), "kept": pa.list_(pa.string()), "other_kept": pa.list_(pa.string()),
}  # fmt: skip
"""Columns of the file. `other` is the second column of a pair, whose `kept` are the values that it
tells apart; `hour` is null where counts are not of one."""
_USUAL: dict[str, Any] = {
    "environment": "", "hour": None, "other": "", "type": "", "rows": 0, "missing": 0, "low": 0,
    "high": 0, "offset": 0.0, "other_offset": 0.0, "cells": [], "other_cells": [], "counts": [],
    "named": [], "names": "", "kept": [], "other_kept": [],
}  # fmt: skip


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
    lacks: tuple[str, ...] = ()
    """Columns of the table that it is held beside, which it has not."""
    adds: tuple[str, ...] = ()
    """Its own that the other has not: they are not counted."""
    pairs: Mapping[Pair, PairCounts] = field(default_factory=dict)
    """Two columns together, where that was asked for."""
    by: str = ""
    """The column that `slices` are made by."""
    slices: Mapping[str, Profile] = field(default_factory=dict)
    """The counts of some of the rows, on the grid of all."""

    def slice(self, name: str) -> "Profiled":
        """Return one slice as a table of its own."""
        profile = self.slices[name]
        rows = next(iter(profile.columns.values())).rows
        return Profiled(f"{self.name}, {name}", rows, self.types, profile)


def write(tables: Sequence[Profiled], stream: BinaryIO) -> None:
    """Write profiles as one Parquet file, a row for each column, slice and pair."""
    by = tables[0].by if tables else ""
    write_rows((row for table in tables for row in rows_of(table)), stream, by)


def write_rows(rows: Iterable[Mapping[str, Any]], stream: BinaryIO, by: str = "") -> int:
    """Write rows with these fields, those that are left out being as usual; return how many."""
    import pyarrow.parquet as pq

    schema = pa.schema(_FIELDS, {_MARK: _VERSION, _BY: by.encode()})
    written = 0
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for held in _held(rows, _GROUP):
            full = [{**_USUAL, **row} for row in held]
            writer.write_table(pa.Table.from_pylist(full, schema))
            written += len(full)
    return written


_GROUP = 5000
"""Rows that are held before they are written."""


def _held(rows: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[Mapping[str, Any]]]:
    """Yield lists of at most `size` rows."""
    from itertools import islice

    left = iter(rows)
    while held := list(islice(left, size)):
        yield held


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
    known = table.schema.metadata or {}
    version = known.get(_MARK, b"")
    if version not in _READ:
        raise SourceError(
            f"{path} is a profile of version {version.decode()}; this Loopline reads versions "
            f"{' and '.join(each.decode() for each in _READ)}. Make it anew from its data, or "
            "upgrade."
        )
    found: dict[str, _Gathered] = {}
    for stored in table.to_pylist(maps_as_pydicts="strict"):
        row = {**_USUAL, **stored}
        where = f" {row['environment']}" if row["environment"] else ""
        found.setdefault(f"{row['dataset']}{where}", _Gathered()).add(row)
    tables = [
        each.table(name, known.get(_BY, b"").decode())
        for name, each in found.items()
        if each.columns
    ]
    if not tables:
        raise SourceError(f"{path} is a profile of nothing: it has no rows.")
    return tables


def row_of(column: str, counted: ColumnCounts) -> dict[str, Any]:
    """Return one column's counts as the fields of a row."""
    return {
        "column": column,
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


def row_of_pair(pair: Pair, counted: PairCounts) -> dict[str, Any]:
    """Return a pair's counts as the fields of a row."""
    places = [place.tolist() for place in counted.places]
    offsets = [0.0 if isinstance(grid, tuple) else grid for grid in counted.grids]
    kept = [list(grid) if isinstance(grid, tuple) else None for grid in counted.grids]
    return {
        "column": pair[0],
        "other": pair[1],
        "kind": PAIR,
        "rows": counted.rows,
        "offset": offsets[0],
        "other_offset": offsets[1],
        "cells": places[0],
        "other_cells": places[1],
        "counts": counted.counts.tolist(),
        "kept": kept[0],
        "other_kept": kept[1],
    }


def rows_of(table: Profiled) -> Iterator[dict[str, Any]]:
    """Yield a table's counts as the fields of rows."""
    for name, profile in {_WHOLE: table.profile, **table.slices}.items():
        for column, counted in profile.columns.items():
            yield {
                "dataset": table.name,
                "slice": name,
                "type": table.types[column],
                **row_of(column, counted),
            }
    for pair, together in table.pairs.items():
        yield {"dataset": table.name, "slice": _WHOLE, **row_of_pair(pair, together)}


class _Gathered:
    """The rows of one dataset; those of several hours are added."""

    def __init__(self) -> None:
        self.types: dict[str, Type] = {}
        self.columns: dict[str, list[ColumnCounts]] = {}
        self.pairs: dict[Pair, list[PairCounts]] = {}
        self.slices: dict[str, dict[str, ColumnCounts]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        if row["kind"] == PAIR:
            pair = (row["column"], row["other"])
            self.pairs.setdefault(pair, []).append(_together(row))
        elif row["kind"] in {"number", "category", "text"} and row["type"]:
            if row["slice"] in _TABLE:
                self.types[row["column"]] = row["type"]
                self.columns.setdefault(row["column"], []).append(_counts(row))
            else:
                self.slices.setdefault(row["slice"], {})[row["column"]] = _counts(row)

    def table(self, name: str, by: str) -> Profiled:
        counts = {column: total(parts) for column, parts in self.columns.items()}
        return Profiled(
            name,
            max(counted.rows for counted in counts.values()),
            self.types,
            Profile(counts),
            pairs={pair: pairs.total(parts) for pair, parts in self.pairs.items()},
            by=by if self.slices else "",
            slices={name: Profile(found) for name, found in self.slices.items()},
        )


def _counts(row: Mapping[str, Any]) -> ColumnCounts:
    return ColumnCounts(
        row["kind"], row["missing"], np.array(row["cells"], np.int64),
        np.array(row["counts"], np.int64), row["low"], row["high"], row["offset"],
        dict(row["named"]), row["names"],
    )  # fmt: skip


def _together(row: Mapping[str, Any]) -> PairCounts:
    grids = [
        row[offset] if row[kept] is None else tuple(row[kept])
        for offset, kept in (("offset", "kept"), ("other_offset", "other_kept"))
    ]
    first, second, counts = (
        np.array(row[name], np.int64) for name in ("cells", "other_cells", "counts")
    )
    return pairs.of_places(first, second, counts, (grids[0], grids[1]))
