"""Rows in every layout, and predictions as JSON knows them."""

import json

from loopline.serving.tabular import as_predicted, without_nan


def test_labels_that_read_as_numbers_are_numbers_as_the_original_gives_them():
    assert as_predicted(("0", "1")) == {"0": 0, "1": 1}
    assert as_predicted(("false", "true")) == {"false": False, "true": True}
    assert as_predicted(("1", "1.5")) == {"1": "1", "1.5": "1.5"}
    assert as_predicted(("01", "02")) == {"01": "01", "02": "02"}
    assert as_predicted(("1", "many")) == {"1": "1", "many": "many"}
    assert json.dumps(as_predicted(())) == "{}"


def test_nan_becomes_null_only_where_it_is_a_value():
    body = b'{"a": NaN, "b": "NaN", "c": ["x\\"NaN", NaN], "NaN": 1}'

    assert without_nan(body) == b'{"a": null, "b": "NaN", "c": ["x\\"NaN", null], "NaN": 1}'
    assert without_nan(b'{"a": "NaN') == b'{"a": "NaN'
