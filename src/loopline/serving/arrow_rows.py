"""Rows in Arrow as the rows that a model sees: what `rows.py` does for requests, for millions.

What a value means is decided in `data/columns.py` and `data/conforming.py`, which are proven to
agree; here it is only asked as seldom as possible. Texts are coded by Arrow, and each that occurs
is looked at once: a category of a million rows costs a dictionary and one `take`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from loopline.data.columns import (
    BEYOND_INTEGERS,
    Columns,
    from_frame,
    from_values,
    missing_numbers,
)
from loopline.data.conforming import convert
from loopline.data.row_steps import evaluate
from loopline.data.streams import AS_JSON
from loopline.errors import DataError
from loopline.model.signature import Feature, Input, Signature, codes

_FEW = 256
"""Texts looked at one by one, and remembered; more are read together."""
_REMEMBERED = 4096
_MISSING: dict[str, Any] = {"category": None, "text": None, "time": np.datetime64("NaT", "us")}
_DTYPES: dict[str, Any] = {"category": object, "text": object, "time": "datetime64[us]"}


@dataclass(frozen=True, slots=True)
class Column:
    """One input of a batch, read."""

    values: np.ndarray
    """A value for each row; with `places` each that occurs once, and missing last."""
    places: np.ndarray | None = None
    """Each row's place among `values`."""
    refused: np.ndarray | None = None
    """Which rows have what cannot be such a value; None where none has."""

    def whole(self) -> np.ndarray:
        """Return a value for each row."""
        return self.values if self.places is None else self.values[self.places]


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one batch, read."""

    columns: dict[str, Column]
    matrix: np.ndarray | None
    """What a plan scores; None for a model that takes columns."""
    refused: np.ndarray | None
    """Which rows have a value that cannot be what its column is."""


class ArrowReader:
    """Reads batches for one model version; for one thread."""

    def __init__(self, signature: Signature, *, takes_columns: bool, reads_all: bool) -> None:
        """With `reads_all` even what the model does not see is kept, as the log wants it."""
        self._signature = signature
        self._takes_columns = takes_columns
        self._features = [(feature, _sources(feature)) for feature in signature.features]
        used = {name for _, names in self._features for name in names}
        self._inputs = [
            (column, _Meanings(column, signature.missing))
            for column in signature.inputs
            if takes_columns or reads_all or column.name in used or not _is_any_text(column)
        ]

    def read(self, batch: pa.RecordBatch) -> Batch:
        """Read a batch; a column that it lacks is missing in every row."""
        rows = batch.num_rows
        read: dict[str, Column] = {}
        refused = None
        for column, meanings in self._inputs:
            place = batch.schema.get_field_index(column.name)
            if place < 0:
                read[column.name] = meanings.nothing(rows)
                continue
            found = meanings.read(batch.column(place), batch.schema.field(place).metadata)
            read[column.name] = found
            if found.refused is not None:
                refused = found.refused if refused is None else refused | found.refused
        matrix = None if self._takes_columns else self._matrix(read, rows)
        return Batch(read, matrix, refused)

    def reasons(self, batch: pa.RecordBatch, read: Batch, row: int) -> list[str]:
        """Return what is wrong with the values of a row that was refused."""
        found = []
        for column, _ in self._inputs:
            mask = read.columns[column.name].refused
            if mask is not None and mask[row]:
                place = batch.schema.get_field_index(column.name)
                value = batch.column(place)[row].as_py()
                if batch.schema.field(place).metadata == AS_JSON:
                    value = msgspec.json.decode(value)
                found.append(_reason(column, value, self._signature.missing))
        return found

    def _matrix(self, read: dict[str, Column], rows: int) -> np.ndarray:
        seen = np.empty((rows, len(self._features)))
        for place, (feature, names) in enumerate(self._features):
            seen[:, place] = _feature(feature, names, read, rows)
        return seen


def whole(read: dict[str, Column], names: Sequence[str], chosen: np.ndarray | None) -> Columns:
    """Return the columns `names` in full, of the rows `chosen` or of all."""
    full = {name: read[name].whole() for name in names}
    return full if chosen is None else {name: values[chosen] for name, values in full.items()}


def _feature(
    feature: Feature, names: Sequence[str], read: dict[str, Column], rows: int
) -> np.ndarray:
    """Return a feature's column of the matrix."""
    if len(names) == 1:
        column = read[names[0]]
        values, places = column.values, column.places
        if feature.steps is not None:
            # Of a coded column each value that occurs is worked out once.
            values = evaluate(feature.steps, {names[0]: values}, len(values))
        if feature.kind == "category":
            values = codes(feature, values)
        return values if places is None else values[places]
    values = evaluate(feature.steps, {name: read[name].whole() for name in names}, rows)
    return codes(feature, values) if feature.kind == "category" else values


def _sources(feature: Feature) -> tuple[str, ...]:
    """Return the inputs that a feature is made of."""
    if feature.steps is None:
        return (feature.name,)
    used = (names for operation, _, *names in feature.steps if operation == "column")
    return tuple(dict.fromkeys(name for names in used for name in names))


def _is_any_text(column: Input) -> bool:
    """Whether every text is a value of the column, so that one nobody needs is not looked at."""
    return column.type in {"category", "text"}


class _Meanings:
    """What the values of one input mean; remembers texts."""

    def __init__(self, column: Input, missing: tuple[str, ...]) -> None:
        self._column = column
        self._missing = missing
        self._unheard = np.array(sorted(missing_numbers(missing)))
        self._filler = _MISSING.get(column.type, np.nan)
        self._dtype = _DTYPES.get(column.type, np.float64)
        self._known: dict[Any, tuple[Any, bool]] = {}

    def nothing(self, rows: int) -> Column:
        """Return a column that is missing everywhere."""
        return Column(self._array([self._filler]), np.zeros(rows, np.intp))

    def read(self, array: pa.Array, metadata: dict[bytes, bytes] | None) -> Column:
        """Read one column of a batch."""
        kind = array.type
        is_numeric = self._column.type in {"number", "integer"}
        if is_numeric and (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_decimal(kind)
        ):
            return self._numbers(array)
        if pa.types.is_dictionary(kind):
            if not _is_text(kind.value_type) or is_numeric:
                array = array.dictionary_decode()
        elif pa.types.is_string_view(kind):
            array = array.cast(pa.string())
        is_json = metadata == AS_JSON
        if pa.types.is_nested(array.type) or not (
            is_json or self._is_coded(array.type, is_numeric=is_numeric)
        ):
            values, bad = self._together(array)
            return Column(values, None, bad if bad.any() else None)
        coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        return self._coded(coded, is_json=is_json)

    def _is_coded(self, kind: pa.DataType, *, is_numeric: bool) -> bool:
        # Numbers and moments hardly repeat: to look for those that do costs more than it spares.
        if pa.types.is_dictionary(kind):
            return True
        return not (is_numeric or pa.types.is_temporal(kind) or pa.types.is_null(kind))

    def _numbers(self, array: pa.Array) -> Column:
        floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if len(self._unheard):
            floats = np.where(np.isin(floats, self._unheard), np.nan, floats)
        bad = np.isinf(floats)
        if self._column.type == "integer":
            bad |= (floats != np.floor(floats)) & ~np.isnan(floats)
            bad |= np.abs(floats) >= BEYOND_INTEGERS
        return Column(floats, None, bad if bad.any() else None)

    def _coded(self, coded: pa.DictionaryArray, *, is_json: bool) -> Column:
        distinct = coded.dictionary
        if is_json or (len(distinct) <= _FEW and _is_text(distinct.type)):
            values, bad = self._one_by_one(distinct.to_pylist(), is_json=is_json)
        else:
            values, bad = self._together(distinct)
        values = np.concatenate([values, self._array([self._filler])])
        places = pc.fill_null(coded.indices, len(distinct)).to_numpy(zero_copy_only=False)
        refused = np.append(bad, False)[places] if bad.any() else None
        return Column(values, places, refused)

    def _one_by_one(self, raw: list[Any], *, is_json: bool) -> tuple[np.ndarray, np.ndarray]:
        known = self._known
        if len(known) > _REMEMBERED:
            known.clear()
        found = []
        for value in raw:
            meaning = known.get(value)
            if meaning is None:
                meaning = known[value] = self._of(msgspec.json.decode(value) if is_json else value)
            found.append(meaning)
        bad = np.array([is_bad for _, is_bad in found], dtype=bool)
        return self._array([value for value, _ in found]), bad

    def _of(self, value: Any) -> tuple[Any, bool]:
        column = self._column
        try:
            [meaning] = from_values(column.name, [value], column.type, self._missing)
        except DataError:
            return self._filler, True
        return meaning, False

    def _together(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        name, kind = self._column.name, self._column.type
        frame = pl.DataFrame({name: pl.from_arrow(array)})
        read = convert(frame, {name: kind}, self._missing)
        bad = np.zeros(len(array), dtype=bool)
        if name in read.failures:
            bad[read.failures[name].get_column("row").to_numpy()] = True
        return from_frame(read.frame, {name: kind})[name], bad

    def _array(self, values: list[Any]) -> np.ndarray:
        array = np.empty(len(values), self._dtype)
        array[:] = values
        return array


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _reason(column: Input, value: Any, missing: tuple[str, ...]) -> str:
    try:
        from_values(column.name, [value], column.type, missing)
    except DataError as error:
        return str(error).replace("[0]", "", 1)
    return f"{column.name} is {value!r:.60}, which is no {column.type}."
