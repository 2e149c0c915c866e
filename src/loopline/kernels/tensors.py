"""Reads the usual request of the Open Inference Protocol straight into columns, compiled.

There is no numpy twin: what `tensors.c` does not read, or no compiler built, the typed decoder and
`serving/rows.py` read, and they are its oracle in the tests.
"""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from loopline.kernels.library import library

TYPES = ("number", "integer", "boolean", "category", "text", "time")
"""Of columns, numbered as in `tensors.c`."""
MOST_VALUES = 1 << 16
"""Of one request: more are read the other way, and their buffers would be large."""
_MOST_LOGGED = 9 * MOST_VALUES + (4 << 20)
_MOST_SPARE = 1 << 20
_NAMES, _MISSING = -1, -2
PARTS = (
    None, "epoch", "hour", "minute", "second", "dow", "isodow", "week", "day", "doy", "month",
    "quarter", "year",
)  # fmt: skip
"""Of a time, numbered as in `tensors.c`; the first is the column as it stands."""

_ENTRY = np.dtype(
    [("value", np.float64), *[(n, np.int32) for n in ("owner", "start", "length", "unused")]]
)
_COLUMN = np.dtype([(n, np.int32) for n in ("type", "required", "logged", "unused")])
VALUE = np.dtype([("number", np.float64), ("start", np.int32), ("length", np.int32)])
"""A value: its number (a category's code, a time's bits), and where its text is, which
`TensorReader.text` reads. The length is -1 where it is missing."""


class Column(NamedTuple):
    """What is known of one column."""

    name: str
    type: str
    required: bool
    logged: bool
    codes: Mapping[str, float]
    """Of a category's texts."""


class _Tensors(ctypes.Structure):
    _fields_ = (
        *[
            (name, ctypes.c_void_p)
            for name in ("texts", "entries", "slots", "columns", "features", "unheard")
        ],
        *[
            (name, ctypes.c_int64)
            for name in ("entry_count", "slot_count", "inputs", "feature_count", "unheard_count")
        ],
        *[(name, ctypes.c_void_p) for name in ("values", "matrix", "logged", "spare")],
        *[(name, ctypes.c_int64) for name in ("most_values", "most_logged", "most_spare")],
        *[
            (name, ctypes.c_int64)
            for name in ("logged_size", "spare_size", "id_start", "id_length")
        ],
    )


class TensorReader:
    """Reads bodies for one signature; for one thread."""

    def __init__(
        self,
        columns: Sequence[Column],
        features: Sequence[tuple[int, str | None]],
        missing: Sequence[str],
        unheard: Sequence[float],
    ) -> None:
        """Prepare for `columns`. Each of `features` is the place of one and a part of `PARTS`; the
        place is -1 for what the caller works out.

        `missing` are texts that mean missing, `unheard` numbers that do.

        Raises:
            LookupError: the kernels were not compiled.
        """
        found = library()
        if found is None:
            raise LookupError("the kernels were not compiled")
        entries = [(_NAMES, column.name, 0.0) for column in columns]
        for place, column in enumerate(columns):
            entries += [(place, text, code) for text, code in column.codes.items()]
        entries += [(_MISSING, text, 0.0) for text in missing]
        texts = [text.encode("utf-8", "surrogatepass") for _, text, _ in entries]
        table = np.zeros(len(entries), _ENTRY)
        table["value"] = [value for *_, value in entries]
        table["owner"] = [owner for owner, *_ in entries]
        table["length"] = lengths = [len(text) for text in texts]
        table["start"] = np.cumsum([0, *lengths[:-1]])
        slots = np.zeros(1 << (2 * len(entries)).bit_length(), np.int32)
        about = np.array([(TYPES.index(c.type), c.required, c.logged, 0) for c in columns], _COLUMN)
        self._width = len(features)
        self.values = np.empty(MOST_VALUES, VALUE)
        """What was read, column by column."""
        self._matrix = np.empty(MOST_VALUES)
        self._logged = np.empty(_MOST_LOGGED, np.uint8)
        self._spare = np.empty(_MOST_SPARE, np.uint8)
        self._kept: tuple[Any, ...] = (
            np.frombuffer(b"".join(texts) or b"-", np.uint8),
            table,
            slots,
            about,
            np.array([(place, PARTS.index(part)) for place, part in features], np.int32),
            np.array([*unheard, 0.0]),
        )
        most = min(MOST_VALUES // max(1, part) for part in (len(columns), len(features)))
        self._tensors = _Tensors(
            *[array.ctypes.data for array in self._kept],
            *[len(entries), len(slots), len(columns), len(features), len(unheard)],
            *[
                array.ctypes.data
                for array in (self.values, self._matrix, self._logged, self._spare)
            ],
            *[most * len(columns), _MOST_LOGGED, _MOST_SPARE, 0, 0, 0, 0],
        )
        found.loopline_tensors_index.argtypes = [ctypes.c_void_p]
        found.loopline_tensors_index.restype = None
        found.loopline_tensors_index(ctypes.addressof(self._tensors))
        self._call = found.loopline_tensors
        self._call.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64]
        self._call.restype = ctypes.c_int64
        self._address = ctypes.addressof(self._tensors)
        self._memory = self._logged.data
        self.row = self.matrix(1)

    def read(self, body: bytes) -> int:
        """Read a body; return how many rows it has, or 0 where it is to be read another way.

        What was read before is gone then.
        """
        rows: int = self._call(self._address, body, len(body))
        return rows

    def matrix(self, rows: int) -> np.ndarray:
        """Return the features of the rows that were read, in memory that is always the same."""
        return self._matrix[: rows * self._width].reshape(rows, self._width)

    def logged(self) -> bytes:
        """Return the logged columns of the rows that were read, as msgpack."""
        return self._memory[: self._tensors.logged_size].tobytes()

    def client_id(self, body: bytes) -> str | None:
        """Return the id that the body gives."""
        length = self._tensors.id_length
        return None if length < 0 else self.text(body, self._tensors.id_start, length)

    def text(self, body: bytes, start: int, length: int) -> str:
        """Return a text that was read: of the body, or where it had escapes, beside it."""
        if start >= 0:
            return str(body[start : start + length], "utf-8")
        return str(self._spare[-start - 1 :][:length].tobytes(), "utf-8")
