"""Arrow's record batches to integer counts, without copying a value.

A grid says how a column is counted. It is fixed by the first rows of the reference, and from then
on the counts of any batches, in any order, on any number of threads, add up to the same integers.
What cannot be known so early is which values of a category are its most frequent: while there are
at most `DISTINCT` different ones, every value is counted by name; with one more, all but those
that were frequent in the first rows go to the hashed cells. Either way the sum decides, not the
order in which its parts were counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from loopline.counts.kernel import (
    NAMED,
    SHIFT,
    TAIL,
    ColumnCounts,
    count_values,
    digest_of,
    offset_for,
    tail_cell,
)
from loopline.errors import CountsError
from loopline.kernels import count as kernel
from loopline.kernels.count import CLASSES, Form, Numbers, Texts

if TYPE_CHECKING:
    import pyarrow as pa

Type = Literal["number", "integer", "boolean", "time", "category", "text"]
DISTINCT = 1 << 16
"""Different values of a category that are counted by name until its frequent ones are known."""
NEW = 20
"""New values of a category that are told by name."""
_FEW_VALUES, _NEAR_UNIQUE, _SENTENCE = 50, 0.5, 60
_FOR_OFFSET = 1 << 13  # rows that say where a column's numbers lie
_TRUTHS = ("false", "true")
_FORMS = {
    "double": Form.F64, "float": Form.F32, "int8": Form.I8, "int16": Form.I16, "int32": Form.I32,
    "int64": Form.I64, "uint8": Form.U8, "uint16": Form.U16, "uint32": Form.U32,
    "uint64": Form.U64, "date32[day]": Form.DAYS, "date64[ms]": Form.MILLISECONDS,
    "time32[s]": Form.I32, "time64[us]": Form.MICROSECONDS, "time64[ns]": Form.NANOSECONDS,
}  # fmt: skip
_UNITS = {
    "s": Form.I64, "ms": Form.MILLISECONDS, "us": Form.MICROSECONDS, "ns": Form.NANOSECONDS,
}  # fmt: skip
_LARGE = 4096  # values of one dictionary, from which on Arrow finds them sooner than Python does


@dataclass(frozen=True)
class Grid:
    """How a column is counted."""

    type: Type
    offset: float = 0.0
    kept: tuple[str, ...] = ()
    """Of a category: the values by name; while it is open, those it falls back on."""
    is_open: bool = False
    """Whether every value is counted by name while they are few."""

    @classmethod
    def of(cls, type_: Type, counted: ColumnCounts) -> "Grid":
        """Return the grid on which a reference stands.

        A category's is open: its new values are known by name while they are few.

        Raises:
            CountsError: the reference holds only some of the values that it keeps by name.
        """
        if type_ == "boolean":
            return cls(type_, kept=_TRUTHS)
        kept = tuple(counted.named) if counted.kind == "category" else ()
        if counted.kind == "category" and digest_of(kept) != counted.names:
            count_values({}, counted)
        return cls(type_, counted.offset, kept, is_open=type_ == "category")


@dataclass(frozen=True)
class Draft:
    """What has been counted of a column; drafts of one grid add, and end as `ColumnCounts`."""

    grid: Grid
    rows: int = 0
    missing: int = 0
    cells: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    low: int = 0
    high: int = 0
    named: Mapping[str, int] = field(default_factory=dict)
    is_folded: bool = False
    """Of an open category: whether there were too many values to name them all."""
    is_whole: bool = True
    """Of numbers that were read from texts: whether all were written as whole ones."""


def type_of(kind: "pa.DataType") -> Type | None:
    """Return how a column of this Arrow type is counted; `category` may turn out to be text.

    None: not at all, for it holds lists, objects or bytes.
    """
    import pyarrow.types as pt

    if pt.is_dictionary(kind):
        kind = kind.value_type
    tests: list[tuple[Type, Any]] = [
        ("boolean", pt.is_boolean),
        ("integer", pt.is_integer),
        ("number", lambda k: pt.is_floating(k) or pt.is_decimal(k) or pt.is_null(k)),
        ("number", lambda k: pt.is_time(k) or pt.is_duration(k)),
        ("time", lambda k: pt.is_date(k) or pt.is_timestamp(k)),
        ("category", lambda k: pt.is_string(k) or pt.is_large_string(k) or is_view(k)),
    ]
    return next((name for name, holds in tests if holds(kind)), None)


def is_view(kind: "pa.DataType") -> bool:
    """Whether texts lie as views."""
    return str(kind) == "string_view"


def first_grid(array: "pa.Array") -> Grid:
    """Fix a grid by a column's first rows.

    Raises:
        CountsError: the column cannot be counted.
    """
    kind = type_of(array.type)
    if kind is None:
        raise CountsError(f"A column of type {array.type} has no counts.")
    if kind == "boolean":
        return Grid(kind, kept=_TRUTHS)
    if kind != "category":
        numbers = _numbers(array)
        few = None if numbers is None else numbers._replace(rows=min(numbers.rows, _FOR_OFFSET))
        values = np.empty(0) if few is None else kernel.as_numbers(few)
        return Grid(kind, offset_for(values))
    texts, weights, _ = _coded(array)
    total = max(int(weights.sum()), 1)
    found = [pair for pair in zip(texts.to_pylist(), weights.tolist(), strict=True) if pair[1]]
    length = sum(len(name) * number for name, number in found) / total
    repeats_seldom = len(found) > max(_FEW_VALUES, _NEAR_UNIQUE * total)
    if repeats_seldom or (len(found) > _FEW_VALUES and length > _SENTENCE):
        return Grid("text")
    frequent = sorted(found, key=lambda pair: (-pair[1], pair[0]))
    return Grid("category", kept=tuple(name for name, _ in frequent[:NAMED]), is_open=True)


def values(array: "pa.Array", *, is_category: bool) -> np.ndarray:
    """Return an array as numbers (booleans are 0 and 1), or as objects of text."""
    import pyarrow as pa
    import pyarrow.types as pt

    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    if is_category:
        return np.array(array.cast(pa.large_string()).to_pylist(), dtype=object)
    if pt.is_boolean(array.type):
        array = array.cast(pa.float64())
    numbers = _numbers(array)
    return np.full(len(array), np.nan) if numbers is None else kernel.as_numbers(numbers)


class Counter:
    """Counts one column on its grid, array by array."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.unreadable = 0
        """Of the missing ones: texts that write no value of the grid's type."""
        self.is_whole = True
        """Whether all numbers read from texts were written as whole ones."""
        self._missing = self._rows = 0
        self._table = None if grid.type in {"category", "boolean"} else kernel.table(SHIFT)
        self._totals = np.zeros(len(CLASSES), np.int64)
        self._values = _Values(grid)
        self._dictionary: Any = None
        self._weights = np.empty(0, np.int64)

    def add(self, array: "pa.Array") -> None:
        """Count the rows of an array.

        Raises:
            CountsError: it is of another kind than the grid.
        """
        import pyarrow.types as pt

        self._rows += len(array)
        if array.null_count == len(array) or pt.is_null(array.type):
            self._missing += len(array)
            return
        kind = type_of(array.type)
        if not _fits(kind, self.grid.type):
            raise CountsError(
                f"the reference has {_SAID[self.grid.type]} here, and this has {_said(array.type)}"
            )
        if kind == "boolean":
            self._boolean(array)
        elif kind == "category":
            self._texts(array)
        else:
            numbers = _numbers(array)
            if numbers is not None and self._table is not None:
                self._table.add(numbers, self.grid.offset)

    def _boolean(self, array: "pa.Array") -> None:
        self._missing += array.null_count
        found = {"false": array.false_count, "true": array.true_count}
        for name, number in found.items():
            self._values.counts[self._values.places[name]] += number

    def _texts(self, array: "pa.Array") -> None:
        import pyarrow as pa

        if not isinstance(array, pa.DictionaryArray):
            texts, weights, missing = _coded(array, distinct=self.grid.type != "text")
            self._missing += missing
            self._take(texts, weights)
            return
        dictionary = array.dictionary
        # Batches of one row group share their dictionary: what its values are is asked once.
        if self._dictionary is None or not dictionary.equals(self._dictionary):
            self._flush()
            self._dictionary = dictionary
            self._weights = np.zeros(len(dictionary), np.int64)
        self._missing += kernel.tally(_indices(array), self._weights)

    def _flush(self) -> None:
        if self._dictionary is None:
            return
        texts, weights, missing = _plain(self._dictionary, self._weights)
        self._missing += missing
        self._take(texts, weights)
        self._dictionary = None

    def _take(self, texts: "pa.Array", weights: np.ndarray) -> None:
        if self.grid.type == "category":
            self._values.add(texts, weights)
            return
        lengths = kernel.measure(_buffers(texts), weights, self._totals)
        used = weights > 0
        found, places = np.unique(lengths[used], return_inverse=True)
        numbers = np.zeros(len(found), np.int64)
        np.add.at(numbers, places, weights[used])
        cells = kernel.cells_of(found.astype(np.float64), self.grid.offset, SHIFT)
        if self._table is not None:
            self._table.sum(cells, numbers)

    def draft(self) -> Draft:
        """Return what has been counted.

        Raises:
            MemoryError: the table of cells did not fit into memory.
        """
        self._flush()
        if self._table is not None:
            cells, counts, (missing, low, high) = self._table.read()
            totals = zip(CLASSES, self._totals.tolist(), strict=True)
            named = {name: number for name, number in totals if number}
            if self.unreadable:
                named["unreadable"] = self.unreadable
            return Draft(
                self.grid,
                self._rows,
                self._missing + missing,
                cells,
                counts,
                low,
                high,
                named,
                is_whole=self.is_whole,
            )
        named, folded = self._values.named(), self._values.is_folded
        cells = np.flatnonzero(self._values.tail)
        return Draft(
            self.grid, self._rows, self._missing, cells, self._values.tail[cells],
            named=named, is_folded=folded,
        )  # fmt: skip


class _Values:
    """How often each value of a category occurs: by name, the others in hashed cells."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self.is_folded = not grid.is_open
        kept = () if grid.is_open else grid.kept
        self.places = {name: place for place, name in enumerate(kept)}
        self.counts = np.zeros(len(kept), np.int64)
        self.tail = np.zeros(TAIL, np.int64)
        self._known: Any = None

    def add(self, texts: "pa.Array", weights: np.ndarray) -> None:
        places = self._find(texts)
        if not self.is_folded:
            new = np.flatnonzero((places < 0) & (weights > 0))
            if len(self.places) + len(new) > DISTINCT:
                self._fold()
                places = self._find(texts)
            elif len(new):
                for place in new.tolist():
                    self.places[texts[place].as_py()] = len(self.places)
                places[new] = np.arange(len(self.counts), len(self.places))
                self.counts = np.append(self.counts, np.zeros(len(new), np.int64))
                self._known = None
        there = places >= 0
        self.counts[places[there]] += weights[there]
        if self.is_folded and not there.all():
            kernel.tail(_buffers(texts), np.where(there, 0, weights), self.tail)

    def named(self) -> dict[str, int]:
        pairs = zip(self.places, self.counts.tolist(), strict=True)
        return {name: number for name, number in pairs if number}

    def _find(self, texts: "pa.Array") -> np.ndarray:
        """Return each text's place among those known by name, -1 for none."""
        if len(texts) < _LARGE:
            get = self.places.get
            return np.array([get(name, -1) for name in texts.to_pylist()], np.int64)
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._known is None:
            self._known = pa.array(list(self.places), texts.type)
        found = pc.fill_null(pc.index_in(texts, value_set=self._known), -1)
        return np.frombuffer(found.buffers()[1], np.int32, len(found)).astype(np.int64)

    def _fold(self) -> None:
        before = self.named()
        self.is_folded, self._known = True, None
        self.places = {name: place for place, name in enumerate(self._grid.kept)}
        self.counts = np.array([before.get(name, 0) for name in self._grid.kept], np.int64)
        for cell, number in _tail_of(before, self.places).items():
            self.tail[cell] += number


def add(parts: Sequence[Draft]) -> Draft:
    """Return the sum of one or more drafts of one column.

    Raises:
        CountsError: they stand on different grids.
    """
    first = parts[0]
    grid = first.grid
    if any(part.grid != grid for part in parts):
        raise CountsError("Counts on different grids do not add: count all against one reference.")
    table = kernel.table(SHIFT)
    for part in parts:
        table.sum(part.cells, part.counts)
    cells, counts, _ = table.read()
    named: dict[str, int] = {}
    for part in parts:
        for name, number in part.named.items():
            named[name] = named.get(name, 0) + number
    folded = any(part.is_folded for part in parts)
    total = replace(
        first,
        rows=sum(part.rows for part in parts),
        missing=sum(part.missing for part in parts),
        cells=cells,
        counts=counts,
        low=sum(part.low for part in parts),
        high=sum(part.high for part in parts),
        named=named,
        is_folded=folded,
        is_whole=all(part.is_whole for part in parts),
    )
    is_open = grid.type == "category" and grid.is_open
    return _folded(total) if is_open and (folded or len(named) > DISTINCT) else total


def settle(draft: Draft, like: ColumnCounts | None = None) -> ColumnCounts:
    """Return the counts of a column: from now on its grid is fixed, or that of `like`."""
    grid = draft.grid
    if grid.type == "category" and grid.is_open and not draft.is_folded:
        if like is None:
            return replace(count_values(draft.named), missing=draft.missing)
        draft = _folded(draft)
    if grid.type in {"category", "boolean"}:
        named = {name: draft.named[name] for name in sorted(grid.kept) if name in draft.named}
        return ColumnCounts(
            "category", draft.missing, draft.cells, draft.counts,
            named=named, names=digest_of(grid.kept),
        )  # fmt: skip
    kind: Literal["text", "number"] = "text" if grid.type == "text" else "number"
    return ColumnCounts(
        kind, draft.missing, draft.cells, draft.counts, draft.low, draft.high, grid.offset,
        dict(sorted(draft.named.items())),
    )  # fmt: skip


def settle_slice(draft: Draft, whole: ColumnCounts) -> ColumnCounts:
    """Return the counts of some rows on the grid of all, which settled as `whole`."""
    if whole.kind != "category" or digest_of(draft.grid.kept) == whole.names:
        return settle(draft, whole)
    return replace(count_values(draft.named, whole), missing=draft.missing)


def new(draft: Draft) -> dict[str, int]:
    """Return the values of a category that its reference does not keep by name, frequent first.

    Those alone that are still known by name: none, where there were very many.
    """
    kept = set(draft.grid.kept)
    found = [(name, number) for name, number in draft.named.items() if name not in kept]
    if draft.grid.type != "category":
        return {}
    return dict(sorted(found, key=lambda pair: (-pair[1], pair[0]))[:NEW])


def _folded(draft: Draft) -> Draft:
    """Return a draft of an open category with all but the values it falls back on hashed."""
    kept = set(draft.grid.kept)
    tail = _tail_of(draft.named, kept)
    for cell, number in zip(draft.cells.tolist(), draft.counts.tolist(), strict=True):
        tail[cell] = tail.get(cell, 0) + number
    cells = np.array(sorted(tail), np.int64)
    return replace(
        draft,
        cells=cells,
        counts=np.array([tail[cell] for cell in cells.tolist()], np.int64),
        named={name: number for name, number in draft.named.items() if name in kept},
        is_folded=True,
    )


def _tail_of(named: Mapping[str, int], kept: Any) -> dict[int, int]:
    found: dict[int, int] = {}
    for name, number in named.items():
        if name not in kept:
            cell = tail_cell(name)
            found[cell] = found.get(cell, 0) + number
    return found


_SAID: Mapping[Type, str] = {
    "number": "numbers", "integer": "whole numbers", "boolean": "booleans", "time": "times",
    "category": "a category", "text": "texts",
}  # fmt: skip


def _said(kind: "pa.DataType") -> str:
    found = type_of(kind)
    return "texts" if found == "category" else _SAID[found] if found else str(kind)


def _fits(found: Type | None, wanted: Type) -> bool:
    alike: list[set[Type]] = [{"number", "integer"}, {"category", "text"}]
    return found == wanted or {found, wanted} in alike


def _numbers(array: "pa.Array") -> Numbers | None:
    """Return an array's buffers as the kernel reads them; None where no row has a value."""
    import pyarrow.types as pt

    kind = array.type
    if pt.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pt.is_null(kind) or len(array) == 0:
        return None
    form = _FORMS.get(str(kind))
    if form is None and (pt.is_timestamp(kind) or pt.is_duration(kind)):
        form = _UNITS[kind.unit]
    elif str(kind) == "time32[ms]":
        array, form = array.cast("int32").cast("int64"), Form.MILLISECONDS
    elif form is None:  # a half or a decimal
        array, form = array.cast("float64"), Form.F64
    valid, values = array.buffers()
    return Numbers(values, form, array.offset, len(array), valid if array.null_count else None)


def _indices(array: "pa.Array") -> Numbers:
    indices = array.indices
    valid, values = indices.buffers()
    form = _FORMS[str(indices.type)]
    there = valid if indices.null_count else None
    return Numbers(values, form, indices.offset, len(indices), there)


def _coded(array: "pa.Array", *, distinct: bool = True) -> tuple["pa.Array", np.ndarray, int]:
    """Return texts, how often each occurs, and how many rows are missing."""
    import pyarrow as pa

    if is_view(array.type):
        array = array.cast(pa.large_string())
    if distinct and not isinstance(array, pa.DictionaryArray):
        array = array.dictionary_encode()
    if not isinstance(array, pa.DictionaryArray):
        return _plain(array, np.ones(len(array), np.int64))
    weights = np.zeros(len(array.dictionary), np.int64)
    nulls = kernel.tally(_indices(array), weights)
    texts, weights, missing = _plain(array.dictionary, weights)
    return texts, weights, missing + nulls


def _plain(texts: "pa.Array", weights: np.ndarray) -> tuple["pa.Array", np.ndarray, int]:
    """Return texts that lie as offsets and bytes; those that are null weigh nothing."""
    import pyarrow as pa

    if is_view(texts.type):
        texts = texts.cast(pa.large_string())
    if not texts.null_count:
        return texts, weights, 0
    there = kernel.there(texts.buffers()[0], texts.offset, len(texts))
    return texts, np.where(there, weights, 0), int(weights[~there].sum())


def _buffers(texts: "pa.Array") -> Texts:
    import pyarrow.types as pt

    _, offsets, text = texts.buffers()
    return Texts(offsets, text, texts.offset, len(texts), pt.is_large_string(texts.type))
