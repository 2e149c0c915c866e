"""Whatever a caller sends, the model sees what training would have seen."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopline.data.columns import from_values
from loopline.errors import DataError, RequestError
from loopline.model.signature import matrix
from loopline.serving.rows import Reader

_TEXTS = st.sampled_from(["AA", " UA ", "9E", "?", "", "5", "5.0", "nowhere", "39", " 3e2 ", "nan"])
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.sampled_from([0, 1, 5, 10**400, 2**63, 2.0**63, -999, -999.0]),
    st.floats(allow_nan=True, allow_infinity=True),
    _TEXTS,
    st.text(max_size=5),
    st.sampled_from(["2013-04-01T06:30:00Z", "2013-04-01 06:30", "true", "no", [1], {"a": 1}]),
)


def _oracle(trained: Any, values: list[Any]) -> tuple[Any, list[Any], str]:
    """The slow way: every column by itself, as files are read; or the fault that is found."""
    signature = trained.signature
    try:
        columns = {
            column.name: from_values(column.name, [value], column.type, signature.missing)
            for column, value in zip(signature.inputs, values, strict=True)
        }
    except DataError as error:
        return None, [], str(error)
    logged = [columns[column.name] for column in signature.inputs if column.logged]
    return matrix(signature, columns), logged, ""


def _logged(column: np.ndarray) -> list[Any]:
    if column.dtype.kind == "M":
        return [None if np.isnat(v) else int(v.astype(np.int64)) for v in column]
    return [None if isinstance(v, float) and math.isnan(v) else v for v in column.tolist()]


def test_one_row_is_read_as_files_are(late):
    reader = Reader(late.signature, takes_columns=False)

    @settings(max_examples=400)
    @given(changes=st.dictionaries(st.integers(0, 8), _SCALARS, max_size=3))
    def holds(changes: dict[int, Any]) -> None:
        values = list(late.records[0].values())
        for place, value in changes.items():
            values[place] = value
        expected, logged, fault = _oracle(late, values)
        if fault:
            with pytest.raises(RequestError) as caught:
                reader.one(values)
            # With two faults either may be named first.
            assert len(changes) > 1 or str(caught.value) == fault
            return
        rows = reader.one(values)
        np.testing.assert_array_equal(rows.matrix, expected)
        assert [list(column) for column in rows.logged] == [_logged(column) for column in logged]

    holds()


def test_many_rows_are_read_as_one_is(late):
    reader = Reader(late.signature, takes_columns=False)

    @settings(max_examples=150)
    @given(place=st.integers(0, 8), row=st.integers(0, 3), value=_SCALARS)
    def holds(place: int, row: int, value: Any) -> None:
        rows = [list(record.values()) for record in late.records[:4]]
        rows[row][place] = value
        columns = [list(column) for column in zip(*rows, strict=True)]
        try:
            singles = [reader.one(row).matrix.copy() for row in rows]  # type: ignore[union-attr]
        except RequestError:
            with pytest.raises(RequestError):
                reader.many(columns, 4)
            return
        np.testing.assert_array_equal(reader.many(columns, 4).matrix, np.concatenate(singles))

    holds()


def test_every_held_out_row_makes_the_matrix_that_training_makes(late):
    reader = Reader(late.signature, takes_columns=False)

    one_by_one = [reader.one(list(r.values())).matrix.copy() for r in late.records]  # type: ignore[union-attr]

    np.testing.assert_array_equal(np.concatenate(one_by_one), matrix(late.signature, late.columns))


def test_what_is_remembered_of_texts_is_bounded_and_changes_nothing(late):
    reader = Reader(late.signature, takes_columns=False)
    values = list(late.records[0].values())
    carrier = list(late.records[0]).index("carrier")

    for number in range(3000):
        values[carrier] = f"carrier {number}"
        assert reader.one(values).matrix[0, 2] == 0  # type: ignore[index]
    values[carrier] = "AA"
    codes = late.signature.features[2].categories
    assert reader.one(values).matrix[0, 2] == codes.index("AA") + 1  # type: ignore[index]
    assert max(len(known) for known in reader._meanings.values()) < 1200


def test_true_one_and_one_point_zero_stay_different_categories(late):
    reader = Reader(late.signature, takes_columns=False)
    values = list(late.records[0].values())
    month = list(late.records[0]).index("month")
    logged = [c.name for c in late.signature.inputs if c.logged].index("month")

    seen = []
    for value in (1, True, 1.0, "1", "true", True, 1):
        values[month] = value
        seen.append(reader.one(values).logged[logged][0])
    assert seen == ["1", "true", "1", "1", "true", "true", "1"]
