"""A caller's raw values as the rows a model sees and the log keeps.

What a value means is decided in `data/columns.py`, for files and requests alike; here it is only
asked as seldom as possible. One row, the usual request, goes straight into the matrix's buffer:
an array for each of forty columns would cost several times the model. Many rows become columns.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import NoneType
from typing import Any

import numpy as np

from loopline.data.columns import NAT, Columns, from_values
from loopline.data.row_sql import evaluate
from loopline.errors import DataError, RequestError
from loopline.model.signature import Feature, Input, Signature, matrix

_NAN = float("nan")
_NUMBERS = frozenset({float, int, NoneType})
_INTEGERS = frozenset({int, NoneType})
_TEXTS = frozenset({str, NoneType})
_REMEMBERED = 1000  # texts of a category whose meaning is remembered
_LONGEST_REMEMBERED = 80


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one request, read."""

    count: int
    matrix: np.ndarray | None
    """What a plan scores, until the next row is read; None for a model that takes columns."""
    columns: Columns
    """Every input; for one row of a plan only those that its row SQL reads."""
    logged: list[list[Any]]
    """The log's columns: inputs with `logged`, None for missing, times as microseconds."""


class Reader:
    """Reads what callers send to one model version; belongs to one event loop."""

    def __init__(self, signature: Signature, *, takes_columns: bool) -> None:
        self._signature = signature
        self._takes_columns = takes_columns
        self._meanings = {column.name: _Meanings(column, signature) for column in signature.inputs}
        self._one_row = None if takes_columns else _OneRow(signature, self._meanings)

    def one(self, values: Sequence[Any]) -> Rows:
        """Read one row: a value for each input, None where it is missing or absent.

        Raises:
            RequestError: a value cannot be what its column is.
        """
        if self._one_row is None:
            return self.many([[value] for value in values], 1)
        return self._one_row.read(values)

    def many(self, columns: Sequence[list[Any] | None], count: int) -> Rows:
        """Read `count` rows: a list of values for each input, None where it is absent.

        Raises:
            RequestError: a value cannot be what its column is.
        """
        read: Columns = {}
        logged = []
        for column, values in zip(self._signature.inputs, columns, strict=True):
            read[column.name] = self._column(column, [None] * count if values is None else values)
            if column.logged:
                logged.append(_plain(read[column.name]))
        seen = None if self._takes_columns else matrix(self._signature, read)
        return Rows(count, seen, read, logged)

    def _column(self, column: Input, values: list[Any]) -> np.ndarray:
        kinds = set(map(type, values))
        plain = {"number": _NUMBERS, "integer": _INTEGERS}.get(column.type, frozenset())
        if kinds <= plain:
            try:
                return np.array(values, dtype=np.float64)  # None becomes NaN
            except OverflowError:
                pass  # an integer beyond float64, which the careful way names
        if column.type == "category" and kinds <= _TEXTS:
            meanings = self._meanings[column.name]
            texts = np.empty(len(values), dtype=object)
            texts[:] = [meanings[value][0] for value in values]
            return texts
        return _read(column, values, self._signature.missing)


class _Meanings(dict[Any, tuple[Any, float]]):
    """A raw value of one column to what the log keeps and what the matrix holds.

    Remembers texts only: as keys 1, 1.0 and True are one, as categories they are not.
    """

    def __init__(self, column: Input, signature: Signature) -> None:
        found = [f for f in signature.features if f.name == column.name and f.kind == "category"]
        self._codes = _codes(found[0]) if found else {}
        super().__init__({text: (text, code) for text, code in self._codes.items()})
        self[None] = (None, _NAN)
        self._column = column
        self._missing = signature.missing

    def __missing__(self, raw: Any) -> tuple[Any, float]:
        meaning = self.of(raw)
        if (
            self._column.type == "category"
            and isinstance(raw, str)
            and len(raw) <= _LONGEST_REMEMBERED
            and len(self) < _REMEMBERED + len(self._codes)
        ):
            self[raw] = meaning
        return meaning

    def of(self, raw: Any) -> tuple[Any, float]:
        """Return what `raw` means, worked out anew."""
        [value] = _plain(_read(self._column, [raw], self._missing))
        if value is None:
            return None, _NAN
        return value, value if self._column.type == "boolean" else self._codes.get(value, 0.0)


class _OneRow:
    """Reads one row into a buffer: all numbers, then the other inputs, then row SQL's answers."""

    def __init__(self, signature: Signature, meanings: dict[str, _Meanings]) -> None:
        inputs = signature.inputs
        floats = [place for place, column in enumerate(inputs) if column.type == "number"]
        integers = [place for place, column in enumerate(inputs) if column.type == "integer"]
        numbers = floats + integers
        others = [place for place in range(len(inputs)) if place not in set(numbers)]
        self._missing = signature.missing
        self._numbers = [inputs[place] for place in numbers]
        self._floats = len(floats)
        self._pick_numbers = _picker(numbers)
        self._pick_others = _picker(others)
        self._meanings = [meanings[inputs[place].name] for place in others]
        self._computed = [
            (feature.steps, _codes(feature) if feature.kind == "category" else None)
            for feature in signature.features
            if feature.steps is not None
        ]
        read = [inputs[place] for place in numbers + others]
        used = {
            name
            for steps, _ in self._computed
            for operation, _, *names in steps
            if operation == "column"
            for name in names
        }
        self._sources = [(at, column) for at, column in enumerate(read) if column.name in used]
        names = [column.name for column in read]
        names += [feature.name for feature in signature.features if feature.steps is not None]
        slot = {name: at for at, name in enumerate(names)}
        self._order = np.array([slot[feature.name] for feature in signature.features], np.intp)
        self._pick_logged = _picker([slot[column.name] for column in inputs if column.logged])
        self._buffer = np.empty(len(names))
        self._pack = struct.Struct(f"{len(names)}d").pack_into
        self._matrix = np.empty((1, len(signature.features)))

    def read(self, values: Sequence[Any]) -> Rows:
        numbers = self._pick_numbers(values)
        kinds = set(map(type, numbers[: self._floats]))
        whole = set(map(type, numbers[self._floats :]))
        if not (kinds <= _NUMBERS and whole <= _INTEGERS):
            numbers = self._careful(numbers)
        elif NoneType in kinds or NoneType in whole:
            numbers = tuple([_NAN if number is None else number for number in numbers])
        others = self._pick_others(values)
        try:
            pairs = [known[value] for known, value in zip(self._meanings, others, strict=True)]
        except TypeError:  # a list or an object is no key, and no value either
            pairs = [known.of(value) for known, value in zip(self._meanings, others, strict=True)]
        slots = [*numbers, *[number for _, number in pairs]]
        columns = {
            column.name: _array(
                column, slots[at] if at < len(numbers) else pairs[at - len(numbers)][0]
            )
            for at, column in self._sources
        }
        for steps, codes in self._computed:
            [answer] = evaluate(steps, columns, 1).tolist()
            slots.append(
                answer if codes is None else _NAN if answer is None else codes.get(answer, 0.0)
            )
        try:
            self._pack(self._buffer, 0, *slots)
        except OverflowError:
            self._careful(numbers)
            raise
        self._buffer.take(self._order, out=self._matrix[0], mode="clip")
        known_numbers = without_nan(self._buffer[: len(numbers)].tolist())
        logged = self._pick_logged([*known_numbers, *[value for value, _ in pairs]])
        return Rows(1, self._matrix, columns, [[value] for value in logged])

    def _careful(self, numbers: Sequence[Any]) -> tuple[float, ...]:
        return tuple(
            float(_read(column, [number], self._missing)[0])
            for column, number in zip(self._numbers, numbers, strict=True)
        )


def _picker(places: list[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what picks `places`, always as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def _codes(feature: Feature) -> dict[str, float]:
    return {text: place + 1.0 for place, text in enumerate(feature.categories)}


def _read(column: Input, values: list[Any], missing: tuple[str, ...]) -> np.ndarray:
    try:
        return from_values(column.name, values, column.type, missing)
    except DataError as error:
        raise RequestError(str(error)) from None


def _array(column: Input, value: Any) -> np.ndarray:
    if column.type == "time":
        return np.array([NAT if value is None else value]).view("datetime64[us]")
    if column.type in {"category", "text"}:
        return np.array([value], dtype=object)
    return np.array([value], dtype=np.float64)  # None becomes NaN


def _plain(column: np.ndarray) -> list[Any]:
    if column.dtype.kind == "M":
        return [None if moment == NAT else moment for moment in column.view(np.int64).tolist()]
    values = column.tolist()
    return without_nan(values) if column.dtype.kind == "f" else values


def without_nan(values: list[Any]) -> list[Any]:
    return [None if value != value else value for value in values]  # noqa: PLR0124 - NaN alone
