import math
import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from loopline.data import conforming
from loopline.data.columns import WHOLE
from loopline.data.conforming import conform, convert, infer_types, missing_tokens, needed
from loopline.errors import DataError
from loopline.kernels import texts


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", "?", " 3 "], "integer"),
        (["1", "2.5", "1e3"], "number"),
        (["1.0", "2.0"], "integer"),
        (["02139", "94110"], "category"),
        (["0", "1"], "integer"),
        (["yes", "No", "yes"], "boolean"),
        (["t", "F"], "boolean"),
        (["y", "n"], "category"),
        (["no", "no"], "category"),
        (["2013-01-01", "2013/1/5 7:05"], "time"),
        (["2013-01-01T05:00:00Z", "?"], "time"),
        (["03/04/2013", "31/12/2013"], "category"),
        (["a", "b", "a"], "category"),
        ([f"customer {n}" for n in range(200)], "text"),
        ([f"a long remark about case {n % 60} " + "x" * 50 for n in range(300)], "text"),
        (["?", "?"], "text"),
        ([str(n) for n in range(300)] + ["oops"], "integer"),
        ([str(n) for n in range(30)] + ["oops"] * 20, "category"),
        ([1.5, 2.0], "number"),
        (["1.5", "inf", "-Infinity", "INF"], "number"),
        (["1", "2", "n.a."], "category"),
        (["inf", "inf"], "category"),
        (pl.Series([1, 2**63 - 1025], dtype=pl.UInt64), "integer"),
        (pl.Series([1, 2**63], dtype=pl.UInt64), "number"),
        ([True, False], "boolean"),
        ([[1], [2]], "text"),
    ],
)
def test_types_are_found_out_from_values(values, kind):
    assert infer_types(pl.DataFrame({"x": values}), ["?", ""]) == {"x": kind}


@pytest.mark.parametrize("name", ["rows", "text", "len", "count", "literal"])
def test_a_column_may_be_called_as_the_work_calls_its_own(name):
    assert infer_types(pl.DataFrame({name: ["1", "2"]})) == {name: "integer"}


def test_infinite_numbers_are_missing_and_counted():
    found = convert(pl.DataFrame({"x": ["1.5", "inf", "-Infinity"]}), {"x": "number"}, [""])

    assert found.frame["x"].to_list() == [1.5, None, None]
    assert found.failures["x"].rows() == [(1, "inf"), (2, "-Infinity")]


def test_spreadsheets_words_for_missing_are_found_beside_numbers_alone():
    frame = pl.DataFrame({"a": ["1", "#DIV/0!", "n.a."], "b": ["x", "na", "Unknown"]})

    assert missing_tokens(frame) == ("", "n.a.", "#DIV/0!")


def test_columns_that_differ_in_case_alone_are_refused(contract):
    whole = contract({"columns": {"Id": {}, "x": {}, "ID": {}}})

    with pytest.raises(DataError, match=r"'Id' and 'ID', which differ in case alone.*Rename one"):
        needed(whole, ["Id", "x", "ID", "y"])


def test_flights_are_what_they_look_like(flights):
    written = flights.head(30_000).with_columns(pl.all().cast(pl.String).fill_null("NA"))

    assert missing_tokens(written) == ("", "NA")
    types = infer_types(written, ["NA"])

    assert types["arr_delay"] == types["year"] == types["flight"] == "integer"
    assert types["carrier"] == types["tailnum"] == types["dest"] == "category"
    assert types["time_hour"] == "time"
    conformed = convert(written, types, ["NA"])
    assert conformed.failures == {}
    assert conformed.frame["arr_delay"].equals(flights.head(30_000)["arr_delay"])


def test_a_value_that_cannot_be_read_is_missing_and_kept_with_its_row():
    frame = pl.DataFrame({"n": ["1", "x", "?", "2.5"], "b": ["yes", "2", "no", "T"]})

    conformed = convert(frame, {"n": "integer", "b": "boolean"}, ["?"])

    assert conformed.frame.rows() == [(1, True), (None, None), (None, False), (None, True)]
    assert conformed.failures["n"].rows() == [(1, "x"), (3, "2.5")]
    assert conformed.failures["b"].rows() == [(1, "2")]


SIGNS = st.text(st.sampled_from("05.-? \t\u3000é"), max_size=15)
REALS = st.floats(width=32) | st.none()


@settings(max_examples=60)
@given(st.lists(st.tuples(SIGNS | st.none(), SIGNS | st.none(), REALS), min_size=1, max_size=6))
def test_what_is_left_untouched_is_what_touching_would_give(rows):
    frame = pl.DataFrame(
        rows, {"code": pl.String, "remark": pl.String, "x": pl.Float64}, orient="row"
    )
    types = {"code": "category", "remark": "text", "x": "number"}

    found = convert(frame, types, ["?", ""])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "_function", lambda: None)
        patch.setattr(conforming, "_finite", lambda *_: set())
        touched = convert(frame, types, ["?", ""])

    assert_frame_equal(found.frame, touched.frame)
    assert found.failures.keys() == touched.failures.keys()
    codes = [None if code is None else code.strip() for code in frame["code"]]
    whole = [None if code in {None, "?", ""} else re.sub(WHOLE, r"\1", code) for code in codes]
    assert found.frame["code"].to_list() == whole
    finite = [x if x is not None and math.isfinite(x) else None for x in frame["x"]]
    assert found.frame["x"].to_list() == finite


def test_native_types_are_read_like_text():
    frame = pl.DataFrame(
        {
            "whole": [5.0, 6.5],
            "big": [2**53 + 1, -1],
            "flag": [True, None],
            "kind": pl.Series(["a", "?"], dtype=pl.Categorical),
            "list": [[1], None],
            "nothing": [None, None],
        }
    )
    kinds = ["category", "integer", "category", "category", "category", "number"]

    conformed = convert(frame, dict(zip(frame.columns, kinds, strict=True)), ["?"])

    assert conformed.frame.row(0) == ("5", 2**53 + 1, "true", "a", None, None)
    assert conformed.frame.row(1) == ("6.5", -1, None, None, None, None)
    assert list(conformed.failures) == ["list"]
    assert convert(frame, {"big": "number"}, ["-1"]).frame["big"].to_list() == [2.0**53, None]


def test_only_columns_the_contract_speaks_of_are_kept_in_its_order(contract):
    frame = pl.DataFrame({name: ["1", "0"] for name in "zyxkwvu"} | {"t": ["2013-01-01"] * 2})
    data = {
        "columns": {"x": {"type": "category"}, "y": {}},
        "key": "k",
        "time": "t",
        "features": {"double": "w * 2"},
        "checks": [{"rule": "v > 0"}],
    }

    conformed = conform(frame, contract(data, baseline={"rule": "double > u"}))

    assert conformed.types == {
        "x": "category", "y": "integer", "k": "integer", "t": "time",
        "w": "integer", "v": "integer", "u": "integer",
    }  # fmt: skip


def test_columns_that_are_not_there_are_all_named_with_the_nearest(contract):
    with pytest.raises(DataError) as failure:
        needed(contract({"columns": {"agee": {}}, "key": "id"}, target="y > 3"), ["age", "y"])

    first, second = str(failure.value).splitlines()
    assert "'agee', which the data does not have. Did you mean 'age'?" in first
    assert "'id', which the data does not have. It has age, y." in second


def test_the_column_of_time_is_read_as_one_and_may_not_be_said_to_be_another(contract):
    frame = pl.DataFrame({"day": ["2013-01-01", "1"], "y": ["0", "1"]})

    conformed = conform(frame, contract({"time": "day"}))

    assert conformed.types["day"] == "time"
    assert conformed.failures["day"].rows() == [(1, "1")]
    with pytest.raises(DataError, match=r"data.time is 'day', but .* type integer. Give it"):
        conform(frame, contract({"time": "day", "columns": {"day": {"type": "integer"}}}))
