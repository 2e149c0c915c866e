"""What a caller sends becomes the matrix that every plan runs on."""

import msgspec
import numpy as np
import pytest

from loopline.data.row_sql import parse
from loopline.model.signature import Feature, Input, Signature, decide, matrix

STEPS = parse("case when a > 1 then 'big' else t end", {"a": "number", "t": "category"}).steps
SIGNATURE = Signature(
    "test",
    "binary",
    (Input("a", "number"), Input("t", "category"), Input("key", "text", required=False)),
    (
        Feature("t", "category", ("x", "y")),
        Feature("a", "number"),
        Feature("size", "category", ("big", "y"), "case when a > 1 then 'big' else t end", STEPS),
    ),
    ("no", "yes"),
    0.25,
)


def test_codes_start_at_one_other_values_are_zero_and_missing_is_missing():
    columns = {
        "t": np.array(["y", "x", "never seen", None], dtype=object),
        "a": np.array([0.0, 2.0, np.nan, -1.5]),
    }

    found = matrix(SIGNATURE, columns)

    gap = np.nan
    expected = [[2, 0, 2], [1, 2, 1], [0, gap, 0], [gap, -1.5, gap]]
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.flags.c_contiguous) == (np.float64, True)


def test_an_input_that_a_feature_needs_cannot_be_left_out():
    with pytest.raises(KeyError, match="a"):
        matrix(SIGNATURE, {"t": np.array(["x"], dtype=object)})


def test_labels_turn_at_the_threshold_itself():
    scores = np.array([0.25, np.nextafter(0.25, 0.0), 0.9])

    assert decide(SIGNATURE, scores).tolist() == ["yes", "no", "yes"]


def test_a_signature_survives_the_bundle():
    read = msgspec.json.decode(msgspec.json.encode(SIGNATURE), type=Signature)

    columns = {"t": np.array(["y", None], dtype=object), "a": np.array([5.0, 0.5])}
    assert msgspec.json.encode(read) == msgspec.json.encode(SIGNATURE)
    np.testing.assert_array_equal(matrix(read, columns), matrix(SIGNATURE, columns))
