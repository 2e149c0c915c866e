"""A caller's raw values as the rows a model sees and the log keeps.

What a value means is decided in `data/columns.py`, for files and requests alike; here it is only
asked as seldom as possible. One row, the usual request, goes straight into the matrix's buffer:
an array for each of forty columns would cost several times the model. Many rows become columns.
"""

import struct
from collections.abc import Callable, Sequence
from operator import getitem, itemgetter
from types import NoneType
from typing import Any

import msgspec
import numpy as np

from loopline.data.columns import (
    BEYOND_INTEGERS,
    NAT,
    SPACE,
    Columns,
    from_value,
    from_values,
    missing_numbers,
)
from loopline.data.row_steps import evaluate
from loopline.errors import DataError, RequestError
from loopline.model.signature import Feature, Input, Signature, matrix

_NAN = float("nan")
_NUMBERS = frozenset({float, int, NoneType})
_INTEGERS = frozenset({int, NoneType})
_TEXTS = frozenset({str, NoneType})
_REMEMBERED = 1000  # texts of a category whose meaning is remembered
_LONGEST_REMEMBERED = 80
_NO_COLUMNS: Columns = {}


class Rows(msgspec.Struct, frozen=True, gc=False):
    """The rows of one request, read."""

    count: int
    matrix: np.ndarray | None
    """What a plan scores, until the next row is read; None for a model that takes columns."""
    columns: Columns
    """Every input; none for one row of a plan."""
    logged: Sequence[Sequence[Any]] | msgspec.Raw
    """The log's columns: inputs with `logged`, None for missing, times as microseconds; or the same
    as msgpack, where they were read at once."""


class Reader:
    """Reads what callers send to one model version; belongs to one event loop."""

    def __init__(self, signature: Signature, *, takes_columns: bool) -> None:
        self._signature = signature
        self._takes_columns = takes_columns
        self._unheard = missing_numbers(signature.missing)
        self._meanings = {column.name: _Meanings(column, signature) for column in signature.inputs}
        self._coded = [
            feature.name
            for feature in signature.features
            if feature.kind == "category" and feature.steps is None
        ]
        self.row = np.empty((1, len(signature.features)))
        """What `one` fills for a plan: always the same memory."""
        self._one_row = None if takes_columns else _OneRow(signature, self._meanings, self.row)

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
        codes: dict[str, Sequence[float]] = {}
        logged: list[Sequence[Any]] = []
        for column, values in zip(self._signature.inputs, columns, strict=True):
            given = [None] * count if values is None else values
            kinds = set(map(type, given))
            if kinds <= _TEXTS and column.type in {"category", "text"}:
                texts, codes[column.name] = self._texts(column, given)
                read[column.name] = _objects(texts)
            else:
                read[column.name] = self._column(column, given, kinds)
                texts = None
            if column.logged:
                logged.append(plain(read[column.name]) if texts is None else texts)
        seen = None
        if not self._takes_columns:
            known = {name: codes[name] for name in self._coded if name in codes}
            seen = matrix(self._signature, read, known)
        return Rows(count, seen, read, logged)

    def _texts(
        self, column: Input, values: list[Any]
    ) -> tuple[Sequence[str | None], Sequence[float]]:
        """Return what texts mean, and the codes of a category."""
        if column.type == "category":
            pairs = list(map(self._meanings[column.name].__getitem__, values))
            texts, codes = zip(*pairs, strict=True) if pairs else ((), ())
            return texts, codes
        missing = self._signature.missing
        stripped = [None if value is None else value.strip(SPACE) for value in values]
        return [None if value in missing else value for value in stripped], ()

    def _column(self, column: Input, values: list[Any], kinds: set[type]) -> np.ndarray:
        plain = {"number": _NUMBERS, "integer": _INTEGERS}.get(column.type, frozenset())
        if kinds <= plain and self._unheard.isdisjoint(values):
            try:
                numbers = np.array(values, dtype=np.float64)  # None becomes NaN
            except OverflowError:
                pass  # an integer beyond float64, which the careful way names
            else:
                total = np.add.reduce(np.abs(numbers))  # a third of what `nansum` takes
                if total != total:  # noqa: PLR0124 - NaN alone
                    total = np.nansum(np.abs(numbers))
                if total < BEYOND_INTEGERS:
                    return numbers
        return _read(column, values, self._signature.missing)


class _Meanings(dict[Any, tuple[Any, float]]):
    """A raw value of one column to what the log keeps and what the matrix holds.

    Remembers texts only: as keys 1, 1.0 and True are one, as categories they are not.
    """

    def __init__(self, column: Input, signature: Signature) -> None:
        found = [f for f in signature.features if f.name == column.name and f.kind == "category"]
        self._codes = codes_of(found[0] if found else None)
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
        column = self._column
        try:
            value = from_value(column.name, raw, column.type, self._missing)
        except DataError as error:
            raise RequestError(str(error)) from None
        if value is None:
            return None, _NAN
        return value, value if column.type == "boolean" else self._codes.get(value, 0.0)


class _OneRow:
    """Reads one row into a buffer: numbers first, then the other inputs, then row SQL's answers."""

    def __init__(
        self, signature: Signature, meanings: dict[str, _Meanings], row: np.ndarray
    ) -> None:
        inputs = signature.inputs
        of_type = {
            kind: [place for place, column in enumerate(inputs) if column.type == kind]
            for kind in ("number", "integer")
        }
        numbers = of_type["number"] + of_type["integer"]
        others = [place for place in range(len(inputs)) if place not in set(numbers)]
        computed = [feature for feature in signature.features if feature.steps is not None]
        self._missing = signature.missing
        self._unheard = missing_numbers(signature.missing)
        self._numbers = [inputs[place] for place in numbers]
        self._pick_floats = _picker(of_type["number"])
        self._pick_integers = _picker(of_type["integer"])
        self._pick_others = _picker(others)
        self._meanings = [meanings[inputs[place].name] for place in others]
        self._computed = [
            (feature.steps, codes_of(feature) if feature.kind == "category" else None)
            for feature in computed
        ]
        read = [inputs[place] for place in numbers + others]
        used = {name for feature in computed for name in columns_of(feature.steps)}
        self._sources = [(at, column) for at, column in enumerate(read) if column.name in used]
        names = [column.name for column in read] + [feature.name for feature in computed]
        slot = {name: at for at, name in enumerate(names)}
        self._pick_features = _picker([slot[feature.name] for feature in signature.features])
        self._pick_logged = _picker([slot[column.name] for column in inputs if column.logged])
        self._row, self._memory = row, row.data
        self._pack = struct.Struct(f"{len(signature.features)}d").pack_into

    def read(self, values: Sequence[Any]) -> Rows:
        """Return the row; its matrix is valid until the next one is read."""
        numbers = self._plain_numbers(values)
        if numbers is None:  # something is not written as a number, or is too large
            numbers = self._careful(values)
        known = without_nan(numbers)
        others = self._pick_others(values)
        try:
            pairs = list(map(getitem, self._meanings, others))
        except TypeError:  # a list or an object is no key, and no value either
            pairs = [known.of(value) for known, value in zip(self._meanings, others, strict=True)]
        meant, codes = zip(*pairs, strict=True) if pairs else ((), ())
        found = [*known, *meant]
        slots = [*numbers, *codes]
        if self._computed:
            columns = {column.name: _array(column, found[at]) for at, column in self._sources}
            slots += [_computed(steps, columns, codes) for steps, codes in self._computed]
        self._pack(self._memory, 0, *self._pick_features(slots))
        return Rows(1, self._row, _NO_COLUMNS, list(zip(self._pick_logged(found))))

    def _plain_numbers(self, values: Sequence[Any]) -> list[float] | None:
        """Return the numbers if they are JSON's own, None where one needs a closer look."""
        floats, integers = self._pick_floats(values), self._pick_integers(values)
        kinds, whole = set(map(type, floats)), set(map(type, integers))
        if not (kinds <= _NUMBERS and whole <= _INTEGERS):
            return None
        numbers: Sequence[Any] = (*floats, *integers)
        has_gaps = NoneType in kinds or NoneType in whole
        given = [number for number in numbers if number is not None] if has_gaps else numbers
        try:
            present = list(map(float, given))
        except OverflowError:
            return None
        # Infinity, NaN and what an integer column does not hold all make the sum too large.
        if not sum(map(abs, present)) < BEYOND_INTEGERS or not self._unheard.isdisjoint(present):
            return None
        if not has_gaps:
            return present
        return [_NAN if number is None else float(number) for number in numbers]

    def _careful(self, values: Sequence[Any]) -> list[float]:
        return [
            float(_read(column, [number], self._missing)[0])
            for column, number in zip(
                self._numbers,
                (*self._pick_floats(values), *self._pick_integers(values)),
                strict=True,
            )
        ]


def _computed(steps: Any, columns: Columns, codes: dict[str, float] | None) -> float:
    [answer] = evaluate(steps, columns, 1).tolist()
    if codes is None:
        return float(answer)
    return _NAN if answer is None else codes.get(answer, 0.0)


def columns_of(steps: Any) -> list[str]:
    """Return the inputs that row SQL asks for."""
    return [name for operation, _, *names in steps if operation == "column" for name in names]


def _picker(places: list[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what picks `places`, always as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def codes_of(feature: Feature | None) -> dict[str, float]:
    """Return the code of each text that a feature knows."""
    return {} if feature is None else {t: at + 1.0 for at, t in enumerate(feature.categories)}


def _read(column: Input, values: list[Any], missing: tuple[str, ...]) -> np.ndarray:
    try:
        return from_values(column.name, values, column.type, missing)
    except DataError as error:
        raise RequestError(str(error)) from None


def _objects(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _array(column: Input, value: Any) -> np.ndarray:
    if column.type == "time":
        return np.array([NAT if value is None else value]).view("datetime64[us]")
    if column.type in {"category", "text"}:
        return np.array([value], dtype=object)
    return np.array([value], dtype=np.float64)  # None becomes NaN


def plain(column: np.ndarray) -> list[Any]:
    """Return `column` as the log keeps it: None for missing, times as microseconds."""
    if column.dtype.kind == "M":
        return [None if moment == NAT else moment for moment in column.view(np.int64).tolist()]
    values = column.tolist()
    return without_nan(values) if column.dtype.kind == "f" else values


def without_nan(values: list[Any]) -> list[Any]:
    """Return `values` with None for NaN, which neither JSON nor the log knows."""
    return [None if value != value else value for value in values]  # noqa: PLR0124 - NaN alone
