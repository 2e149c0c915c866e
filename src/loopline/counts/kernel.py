"""Data to integer counts, and counts that add.

A profile is a column's name to its counts. Counts of two hours, two workers or two engines add,
since they stand on the same grid: cells of leading bits for numbers, values by name for
categories. What a grid leaves open (an offset, which values are kept by name) is fixed by the
reference, or by what is counted first; counts that differ in it refuse to add.
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
import numpy as np

from loopline.errors import CountsError
from loopline.kernels import count as kernel

MANTISSA_BITS = 8
"""With sign and exponent 20 bits: a cell is at most 0.4 % wide, relative to its numbers."""
SHIFT = 52 - MANTISSA_BITS
NAMED = 1000
"""Values of a category kept by name: the most frequent."""
TAIL = 256
"""Hashed cells for all other values of a category."""
_FAR = 8.0  # times the spread: from here on cells are too wide, and an offset is subtracted

Kind = Literal["number", "category", "text"]
_NO_CELLS = np.empty(0, np.int64)


@dataclass(frozen=True)
class ColumnCounts:
    """The counts of one column."""

    kind: Kind
    missing: int = 0
    cells: np.ndarray = field(default_factory=lambda: _NO_CELLS)
    """Cells that occur, rising; of a category, the tail's; of texts, those of their lengths."""
    counts: np.ndarray = field(default_factory=lambda: _NO_CELLS)
    """How many values lie in each cell."""
    low: int = 0
    """Minus infinities."""
    high: int = 0
    """Plus infinities."""
    offset: float = 0.0
    """Subtracted from every number before its cell is found."""
    named: Mapping[str, int] = field(default_factory=dict)
    """Of a category: values kept by name, those that occur. Of texts: characters by class. Of
    numbers: `unreadable`, how many of the missing ones are texts that write no number."""
    names: str = ""
    """Digest of the values that are kept by name."""

    @property
    def present(self) -> int:
        """Rows with a value."""
        named = sum(self.named.values()) if self.kind == "category" else 0
        return int(self.counts.sum()) + self.low + self.high + named

    @property
    def rows(self) -> int:
        """All rows, missing ones included."""
        return self.present + self.missing

    def __add__(self, other: "ColumnCounts") -> "ColumnCounts":
        mine = (self.kind, self.offset, self.names)
        if mine != (other.kind, other.offset, other.names):
            raise CountsError(
                f"Counts on different grids do not add: one has kind, offset and names {mine}, "
                f"the other {(other.kind, other.offset, other.names)}. Count both against the "
                "same reference."
            )
        cells, counts = _sum((self.cells, self.counts), (other.cells, other.counts))
        return replace(
            self,
            missing=self.missing + other.missing,
            cells=cells,
            counts=counts,
            low=self.low + other.low,
            high=self.high + other.high,
            named=dict(sorted((Counter(self.named) + Counter(other.named)).items())),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ColumnCounts) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # arrays inside

    def to_bytes(self) -> bytes:
        """Return the counts as bytes; equal counts are equal bytes."""
        return msgspec.msgpack.encode(
            [
                self.kind,
                self.missing,
                [self.low, self.high],
                self.offset,
                self.cells.astype("<i4").tobytes(),
                narrow(self.counts),
                dict(self.named),
                self.names,
            ]
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "ColumnCounts":
        """Read what `to_bytes` wrote."""
        kind, missing, (low, high), offset, cells, counts, named, names = msgspec.msgpack.decode(
            content
        )
        return cls(
            kind,
            missing,
            np.frombuffer(cells, "<i4").astype(np.int64),
            np.frombuffer(counts[1], counts[0]).astype(np.int64),
            low,
            high,
            offset,
            named,
            names,
        )


@dataclass(frozen=True)
class Profile:
    """Counts of several columns of the same rows."""

    columns: Mapping[str, ColumnCounts]

    def __add__(self, other: "Profile") -> "Profile":
        if set(self.columns) != set(other.columns):
            apart = sorted(set(self.columns) ^ set(other.columns))
            raise CountsError(f"Profiles of different columns do not add: {', '.join(apart)}.")
        return Profile({name: here + other.columns[name] for name, here in self.columns.items()})

    def to_bytes(self) -> bytes:
        """Return the profile as bytes."""
        return msgspec.msgpack.encode({n: c.to_bytes() for n, c in self.columns.items()})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Profile":
        """Read what `to_bytes` wrote."""
        found: dict[str, bytes] = msgspec.msgpack.decode(content)
        return cls({name: ColumnCounts.from_bytes(each) for name, each in found.items()})


def count_arrays(columns: Mapping[str, np.ndarray], like: Profile | None = None) -> Profile:
    """Count columns of numpy arrays: float64, objects of text, or datetime64 (as seconds).

    Columns that `like` has are counted on its grid; others fix a grid of their own.
    """
    known = {} if like is None else like.columns
    return Profile(
        {name: count_column(values, known.get(name)) for name, values in columns.items()}
    )


def count_column(values: np.ndarray, like: ColumnCounts | None = None) -> ColumnCounts:
    """Count one column.

    Raises:
        CountsError: the reference has a column of another kind here.
    """
    kind: Kind = "category" if values.dtype.kind == "O" else "number"
    if like is not None and like.kind != kind:
        raise CountsError(f"The reference has a {like.kind} here, and this is a {kind}.")
    if kind == "category":
        return count_values(Counter(values.tolist()), like)
    numbers = seconds(values) if values.dtype.kind == "M" else values
    offset = offset_for(numbers) if like is None else like.offset
    cells, counts, (missing, low, high) = kernel.count(numbers, offset=offset, shift=SHIFT)
    return ColumnCounts(kind, missing, cells, counts, low, high, offset)


def count_values(values: Mapping[Any, int], like: ColumnCounts | None = None) -> ColumnCounts:
    """Count a category whose values have been counted already; None is missing.

    Raises:
        CountsError: `like` lacks some of the values that its grid keeps by name.
    """
    found = {value: number for value, number in values.items() if value is not None}
    if like is None:
        frequent = sorted(found, key=lambda value: (-found[value], value))[:NAMED]
        kept, names = set(frequent), digest_of(frequent)
    else:
        kept, names = set(like.named), like.names
        if digest_of(kept) != names:
            raise CountsError(
                "These counts hold only some of the values that are kept by name, so others cannot "
                "be counted like them. Count against the reference itself."
            )
    tail: Counter[int] = Counter()
    for value, number in found.items():
        if value not in kept:
            tail[tail_cell(str(value))] += number
    cells = np.array(sorted(tail), np.int64)
    return ColumnCounts(
        "category",
        values.get(None, 0),
        cells,
        np.array([tail[cell] for cell in cells.tolist()], np.int64),
        named={value: found[value] for value in sorted(kept & found.keys())},
        names=names,
    )


def digest_of(names: Iterable[str]) -> str:
    """Return what tells one set of named values from another."""
    return hashlib.sha256("\0".join(sorted(names)).encode()).hexdigest()[:16]


def tail_cell(name: str) -> int:
    """Return the hashed cell of a value that is not kept by name."""
    return zlib.crc32(name.encode()) % TAIL


def seconds(times: np.ndarray) -> np.ndarray:
    """Return datetime64 values as seconds since 1970, NaN for missing."""
    micro = times.astype("datetime64[us]")
    found = micro.astype(np.int64) / 1e6
    return np.where(np.isnat(micro), np.nan, found)


def offset_for(numbers: np.ndarray) -> float:
    """Return what to subtract before cells are found: the median, where it is far from zero.

    A column of large numbers that differ little would fall into a handful of cells; less its
    median it falls into as many as any other.
    """
    finite = numbers[np.isfinite(numbers)]
    if len(finite) == 0:
        return 0.0
    low, median, high = np.quantile(finite, [0.05, 0.5, 0.95], method="lower").tolist()
    return float(median) if abs(median) > _FAR * (high - low) else 0.0


def _sum(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> Any:
    if len(other[0]) == 0 or len(one[0]) == 0:
        return one if len(other[0]) == 0 else other
    cells = np.concatenate([one[0], other[0]])
    order = cells.argsort(kind="stable")
    cells, counts = cells[order], np.concatenate([one[1], other[1]])[order]
    starts = np.flatnonzero(np.diff(cells, prepend=cells[0] - 1))
    return cells[starts], np.add.reduceat(counts, starts)


def narrow(counts: np.ndarray) -> tuple[str, bytes]:
    """Return counts as bytes, and the narrowest type that holds them."""
    most = int(counts.max()) if len(counts) else 0
    kind = next(kind for kind in ("<u1", "<u2", "<u4", "<u8") if most <= np.iinfo(kind).max)
    return kind, counts.astype(kind).tobytes()
