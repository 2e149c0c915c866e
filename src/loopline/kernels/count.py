"""Values into cells: the compiled kernel, and its numpy twin with the same integers.

A cell is the leading bits of a float64 (sign, exponent and the first bits of the mantissa) in the
order of the numbers: a log-linear grid that needs no reference and no agreement beforehand. Both
read Arrow's buffers as they lie: nothing is copied, and no null is filled.
"""

import ctypes
import zlib
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from loopline.kernels.library import library

Cells = tuple[np.ndarray, np.ndarray, tuple[int, int, int]]
"""Cells in rising order, how many numbers lie in each, and how many are missing, -inf, +inf."""

CLASSES = ("letters", "digits", "spaces", "punctuation", "symbols", "others")
"""What a character can be, by Unicode's general category: no language is assumed."""
_KNOWN = 1 << 17  # planes 0 and 1; what lies beyond are letters of East Asia
_CLASS = {"L": 0, "M": 0, "N": 1, "Z": 2, "P": 3, "S": 4, "C": 5}


class Form(IntEnum):
    """How numbers lie in a buffer; times become seconds since 1970."""

    F64 = 0
    F32 = 1
    I8 = 2
    I16 = 3
    I32 = 4
    I64 = 5
    U8 = 6
    U16 = 7
    U32 = 8
    U64 = 9
    DAYS = 10
    MILLISECONDS = 11
    MICROSECONDS = 12
    NANOSECONDS = 13


_DTYPES = ("f8", "f4", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "i4", "i8", "i8", "i8")
"""By form. A number beyond 2^53 is rounded to float64: by 1.2e-16 of itself, far less than a cell
is wide."""


class Numbers(NamedTuple):
    """Numbers as Arrow keeps them."""

    values: Any
    """A buffer."""
    form: Form
    start: int
    """The first row's place in both buffers."""
    rows: int
    valid: Any = None
    """A buffer of one bit a row; None where no row is null."""


class Texts(NamedTuple):
    """Texts as Arrow keeps them, in UTF-8; none of them is null."""

    offsets: Any
    text: Any
    start: int
    rows: int
    is_wide: bool = False
    """Offsets of 64 bits rather than 32."""


class Table(Protocol):
    """Cells to which numbers are added."""

    def add(self, numbers: Numbers, offset: float) -> None:
        """Count numbers less `offset`."""

    def sum(self, cells: np.ndarray, counts: np.ndarray) -> None:
        """Add what `read` gave of another table."""

    def sum_stored(self, cells: bytes, counts: bytes, width: int) -> None:
        """Add cells of 32 bits and their counts of `width` bytes, little ends first."""

    def read(self) -> Cells:
        """Return what has been counted.

        Raises:
            MemoryError: the table of cells did not fit into memory.
        """


def table(shift: int) -> Table:
    """Return an empty table of cells that leave off the last `shift` bits, of 40 to 51."""
    found = library()
    return _TwinTable(shift) if found is None else _CompiledTable(shift)


def count(values: np.ndarray, *, offset: float, shift: int) -> Cells:
    """Count `values` less `offset`, leaving off the last `shift` bits, of 40 to 51.

    Raises:
        MemoryError: the table of cells does not fit into memory.
    """
    found = table(shift)
    values = np.ascontiguousarray(values, np.float64)
    found.add(Numbers(values, Form.F64, 0, len(values)), offset)
    return found.read()


def tally(numbers: Numbers, counts: np.ndarray) -> int:
    """Add to `counts` how often each place of a dictionary occurs; return how many rows are null.

    The width of the indices is that of the form; they are never below zero.
    """
    if numbers.rows == 0:
        return 0
    width = np.dtype(_DTYPES[numbers.form]).itemsize
    found = library()
    if found is None:
        there = _there(numbers)
        places = _raw(numbers)[there]
        counts += np.bincount(places.astype(np.int64), minlength=len(counts))
        return numbers.rows - int(there.sum())
    nulls: int = _functions().tally(
        _address(numbers.values, numbers.start * width), width, numbers.rows,
        _address(numbers.valid), numbers.start, counts.ctypes.data,
    )  # fmt: skip
    return nulls


def tail(texts: Texts, weights: np.ndarray, counts: np.ndarray) -> None:
    """Add the `weights` of texts to hashed cells: the CRC-32 of the text, modulo their number."""
    if texts.rows == 0:
        return
    if library() is None:
        for text, weight in zip(_encoded(texts), weights.tolist(), strict=True):
            counts[zlib.crc32(text) % len(counts)] += weight
        return
    _functions().tail(
        *_places(texts), weights.ctypes.data, counts.ctypes.data, len(counts)
    )  # fmt: skip


def measure(texts: Texts, weights: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return each text's length in characters; add to `totals` the characters of each class.

    A text of weight 0 is passed over. `totals` has a place for each of `CLASSES`.
    """
    lengths = np.zeros(texts.rows, np.int64)
    if texts.rows == 0:
        return lengths
    classes = _classes()
    if library() is None:
        for place, (text, weight) in enumerate(zip(_encoded(texts), weights, strict=True)):
            if not weight:
                continue
            signs = np.frombuffer(text.decode().encode("utf-32-le"), "<u4")
            kinds = np.where(signs < _KNOWN, classes[np.minimum(signs, _KNOWN - 1)], 0)
            totals += np.bincount(kinds, minlength=len(totals)) * weight
            lengths[place] = len(signs)
        return lengths
    _functions().text(
        *_places(texts), weights.ctypes.data, classes.ctypes.data, _KNOWN,
        lengths.ctypes.data, totals.ctypes.data,
    )  # fmt: skip
    return lengths


def twin(values: np.ndarray, *, offset: float, shift: int) -> Cells:
    """Count as `count` does, in numpy alone."""
    missing = np.isnan(values)
    infinite = np.isinf(values)
    finite = values[~missing & ~infinite]
    cells, counts = np.unique(cells_of(finite, offset, shift), return_counts=True)
    low = int((values == -np.inf).sum())
    return cells, counts, (int(missing.sum()), low, int(infinite.sum()) - low)


def as_numbers(numbers: Numbers) -> np.ndarray:
    """Return numbers as float64, NaN for null: what the compiled kernel sees."""
    raw = _raw(numbers)
    if numbers.form is Form.NANOSECONDS:
        found = (raw // 1000) / 1e6
    else:
        found = raw.astype(np.float64)
        if numbers.form is Form.DAYS:
            found *= 86400.0
        elif numbers.form in (Form.MILLISECONDS, Form.MICROSECONDS):
            found /= 1e3 if numbers.form is Form.MILLISECONDS else 1e6
    return found if numbers.valid is None else np.where(_there(numbers), found, np.nan)


def there(valid: Any, start: int, rows: int) -> np.ndarray:
    """Return which rows an Arrow validity bitmap calls valid; without one all are."""
    if valid is None:
        return np.ones(rows, bool)
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    found: np.ndarray = bits[start : start + rows].astype(bool)
    return found


def cells_of(finite: np.ndarray, offset: float, shift: int) -> np.ndarray:
    """Return the cell of each finite number less `offset`."""
    with np.errstate(over="ignore"):
        bits = (finite - offset + 0.0).view(np.int64)
    size = (bits & np.iinfo(np.int64).max) >> shift
    cells: np.ndarray = np.where(bits < 0, -size - 1, size)
    return cells


def lower_edges(cells: np.ndarray, shift: int) -> np.ndarray:
    """Return the smallest number of each cell (for one below zero: its limit towards -inf)."""
    sizes = np.where(cells < 0, -cells, cells) << shift
    sizes = np.minimum(sizes, np.float64(np.finfo(np.float64).max).view(np.int64))
    magnitudes = sizes.astype(np.int64).view(np.float64)
    edges: np.ndarray = np.where(cells < 0, -magnitudes, magnitudes)
    return edges


class _CompiledTable:
    def __init__(self, shift: int) -> None:
        self._functions = _functions()
        self._table = self._functions.new(shift)
        if not self._table:
            raise MemoryError("no room for a table of cells")
        self._nulls = 0

    def __del__(self) -> None:
        if getattr(self, "_table", None):
            self._functions.free(self._table)

    def add(self, numbers: Numbers, offset: float) -> None:
        if numbers.rows == 0:
            return
        width = np.dtype(_DTYPES[numbers.form]).itemsize
        self._nulls += self._functions.add(
            self._table, _address(numbers.values, numbers.start * width), numbers.form,
            numbers.rows, _address(numbers.valid), numbers.start, offset,
        )  # fmt: skip

    def sum(self, cells: np.ndarray, counts: np.ndarray) -> None:
        cells = np.ascontiguousarray(cells, np.int64)
        counts = np.ascontiguousarray(counts, np.int64)
        self._functions.sum(self._table, cells.ctypes.data, counts.ctypes.data, len(cells))

    def sum_stored(self, cells: bytes, counts: bytes, width: int) -> None:
        self._functions.sum_stored(self._table, cells, counts, width, len(cells) // 4)

    def read(self) -> Cells:
        special = np.zeros(3, np.int64)
        size = self._functions.used(self._table, special.ctypes.data)
        if size < 0:
            raise MemoryError("no room for a larger table of cells")
        cells, counts = np.empty(size, np.int64), np.empty(size, np.int64)
        self._functions.read(self._table, cells.ctypes.data, counts.ctypes.data)
        missing, low, high = special.tolist()
        return cells, counts, (missing + self._nulls, low, high)


class _TwinTable:
    def __init__(self, shift: int) -> None:
        self._shift = shift
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._special = np.zeros(3, np.int64)

    def add(self, numbers: Numbers, offset: float) -> None:
        if numbers.rows == 0:
            return
        cells, counts, special = twin(as_numbers(numbers), offset=offset, shift=self._shift)
        self._special += special
        self.sum(cells, counts)

    def sum(self, cells: np.ndarray, counts: np.ndarray) -> None:
        self._parts.append((cells, counts))
        if len(self._parts) > 1:
            both = np.concatenate([part[0] for part in self._parts])
            cells, places = np.unique(both, return_inverse=True)
            counts = np.zeros(len(cells), np.int64)
            np.add.at(counts, places, np.concatenate([part[1] for part in self._parts]))
            self._parts = [(cells, counts)]

    def sum_stored(self, cells: bytes, counts: bytes, width: int) -> None:
        numbers = np.frombuffer(counts, f"<u{width}").astype(np.int64)
        self.sum(np.frombuffer(cells, "<i4").astype(np.int64), numbers)

    def read(self) -> Cells:
        empty = np.empty(0, np.int64)
        cells, counts = self._parts[0] if self._parts else (empty, empty)
        missing, low, high = self._special.tolist()
        return cells, counts, (missing, low, high)


def _raw(numbers: Numbers) -> np.ndarray:
    dtype = np.dtype(_DTYPES[numbers.form])
    start = numbers.start * dtype.itemsize
    return np.frombuffer(numbers.values, dtype, numbers.rows, start)


def _there(numbers: Numbers) -> np.ndarray:
    return there(numbers.valid, numbers.start, numbers.rows)


def _encoded(texts: Texts) -> list[bytes]:
    dtype = np.dtype(np.int64 if texts.is_wide else np.int32)
    ends = np.frombuffer(texts.offsets, dtype, texts.rows + 1, texts.start * dtype.itemsize)
    content = b"" if texts.text is None else bytes(texts.text)
    return [content[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


@cache
def _classes() -> np.ndarray:
    import unicodedata

    kinds = [_CLASS[unicodedata.category(chr(sign))[0]] for sign in range(_KNOWN)]
    for sign in "\t\n\x0b\x0c\r":  # controls to Unicode, spaces to people
        kinds[ord(sign)] = _CLASS["Z"]
    return np.array(kinds, np.uint8)


def _places(texts: Texts) -> tuple[Any, ...]:
    start = _address(texts.offsets, texts.start * (8 if texts.is_wide else 4))
    return start, texts.is_wide, _address(texts.text), texts.rows


def _address(buffer: Any, start: int = 0) -> int | None:
    if buffer is None:
        return None
    address: int = buffer.ctypes.data if isinstance(buffer, np.ndarray) else buffer.address
    return address + start


class _Functions(NamedTuple):
    new: Callable[..., int]
    free: Callable[..., None]
    add: Callable[..., int]
    sum: Callable[..., None]
    sum_stored: Callable[..., None]
    used: Callable[..., int]
    read: Callable[..., None]
    tally: Callable[..., int]
    tail: Callable[..., None]
    text: Callable[..., None]


@cache
def _functions() -> _Functions:
    found = library()
    assert found is not None  # noqa: S101 - whoever asks has looked
    pointer, number, kind = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    content = ctypes.c_char_p  # of Python's bytes, as they lie
    texts = [pointer, kind, pointer, number, pointer]
    declared = {
        "cells_new": (pointer, [kind]),
        "cells_free": (None, [pointer]),
        "cells_add": (
            number, [pointer, pointer, kind, number, pointer, number, ctypes.c_double]
        ),
        "cells_sum": (None, [pointer, pointer, pointer, number]),
        "cells_sum_stored": (None, [pointer, content, content, kind, number]),
        "cells_used": (number, [pointer, pointer]),
        "cells_read": (None, [pointer, pointer, pointer]),
        "tally": (number, [pointer, kind, number, pointer, number, pointer]),
        "tail": (None, [*texts, pointer, number]),
        "text": (None, [*texts, pointer, number, pointer, pointer]),
    }  # fmt: skip
    functions = []
    for name, (returned, taken) in declared.items():
        function = getattr(found, f"loopline_{name}")
        function.restype, function.argtypes = returned, taken
        functions.append(function)
    return _Functions(*functions)
