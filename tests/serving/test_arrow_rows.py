"""What a batch means is what a request means, value by value."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loopline.data.streams import from_json
from loopline.errors import RequestError
from loopline.model.signature import Feature, Input, Signature
from loopline.serving.arrow_rows import ArrowReader
from loopline.serving.rows import Reader

TEXTS = [
    "1", " 2.5 ", "-0", "1e3", "1e400", "inf", "nan", "", "?", "-999", "0x10", "1_000", "1,5", "07",
    "7.0", "true", "No", "T", "AA", " AA", "aa", "\u00a0AA", "2013-04-01", "2013-4-1 6:30",
    "2013-04-01T06:30:00+02:00", "yesterday", "9007199254740993", "9223372036854775808", ".5", "5.",
    "\u0661", None,
]  # fmt: skip
NUMBERS = [1, 2.5, -0.0, 1e300, -999, -999.0, 2**53 + 1, None, 5.0, 0, 1.0]
OTHERS = [True, False, None, [1], {"a": 1}, "AA", 7, 7.0, 2**70, "true", 1.5]


def _signature(kind: Any) -> Signature:
    is_coded = kind in {"category", "text"}
    feature = Feature("x", "category" if is_coded else "number", ("AA", "7", "true"))
    features = (feature,) if kind != "time" else (Feature("n", "number"),)
    inputs = (Input("x", kind), Input("n", "number", required=False))
    return Signature("p", "regression", inputs, features, missing=("", "?", "-999"))


def _asked(signature: Signature, value: Any) -> float | None:
    """Return what the server makes of one value: a number of the matrix, or None for a refusal."""
    reader = Reader(signature, takes_columns=False)
    try:
        rows = reader.one([json.loads(json.dumps(value)), 1.0])
    except RequestError:
        return None
    assert rows.matrix is not None
    return float(rows.matrix[0, 0])


@pytest.mark.parametrize("kind", ["number", "integer", "boolean", "category", "text", "time"])
@pytest.mark.parametrize("values", [TEXTS, NUMBERS, OTHERS], ids=["texts", "numbers", "others"])
@pytest.mark.parametrize("times", [1, 30])
def test_a_batch_is_read_as_requests_are(kind, values, times):
    signature = _signature(kind)
    repeated = values * times
    array, metadata = from_json(repeated)
    schema = pa.schema([pa.field("x", array.type, metadata=metadata), ("n", pa.float64())])
    batch = pa.RecordBatch.from_arrays([array, pa.array([1.0] * len(repeated))], schema=schema)

    reader = ArrowReader(signature, takes_columns=False, reads_all=True)
    read = reader.read(batch)

    expected = [_asked(signature, value) for value in values]
    refused = np.zeros(len(repeated), bool) if read.refused is None else read.refused
    assert refused[: len(values)].tolist() == [said is None for said in expected]
    assert read.matrix is not None
    for place, said in enumerate(expected * times):
        if said is None:
            assert reader.reasons(batch, read, place)[0].startswith("x is ")
        else:
            seen = read.matrix[place, 0]
            assert seen == said or (np.isnan(seen) and np.isnan(said)), repeated[place]


@pytest.mark.parametrize(
    ("kind", "array", "seen"),
    [
        ("number", pa.array([1, None, 3], pa.int8()), [1.0, np.nan, 3.0]),
        ("number", pa.array([Decimal("1.25"), None]), [1.25, np.nan]),
        ("number", pa.array([0.5, np.nan], pa.float32()), [0.5, np.nan]),
        ("number", pa.array(["1", "2", "1"]).dictionary_encode(), [1.0, 2.0, 1.0]),
        ("number", pa.nulls(2), [np.nan, np.nan]),
        ("boolean", pa.array([True, None]), [1.0, np.nan]),
        ("category", pa.array(["AA", "7.0", "?"], pa.large_string()), [1.0, 2.0, np.nan]),
        ("category", pa.array(["AA", "x"], pa.string_view()), [1.0, 0.0]),
        ("category", pa.array(["AA", None, "AA"]).dictionary_encode(), [1.0, np.nan, 1.0]),
        ("category", pa.array([7, 8, None]), [2.0, 0.0, np.nan]),
        ("category", pa.array([7.0, 8.5]), [2.0, 0.0]),
        ("category", pa.array([True, False]), [3.0, 0.0]),
    ],
)
def test_arrows_own_types_mean_what_they_hold(kind, array, seen):
    batch = pa.RecordBatch.from_arrays([array], ["x"])

    read = ArrowReader(_signature(kind), takes_columns=False, reads_all=False).read(batch)

    assert read.refused is None
    assert read.matrix is not None
    np.testing.assert_array_equal(read.matrix[:, 0], seen)


@pytest.mark.parametrize(
    ("array", "moment"),
    [
        (pa.array([date(2013, 4, 1)]), "2013-04-01"),
        (pa.array([datetime(2013, 4, 1, 6, 30, tzinfo=UTC)]), "2013-04-01T06:30"),
        (pa.array([datetime(2013, 4, 1, 6, 30)], pa.timestamp("ns")), "2013-04-01T06:30"),
    ],
)
def test_moments_are_utc(array, moment):
    batch = pa.RecordBatch.from_arrays([array], ["x"])

    read = ArrowReader(_signature("time"), takes_columns=False, reads_all=True).read(batch)

    assert read.columns["x"].whole().tolist() == [np.datetime64(moment, "us").tolist()]
