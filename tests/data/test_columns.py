from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopline.data.columns import (
    canonical_text,
    from_frame,
    from_value,
    from_values,
    parse_number,
    parse_time,
)
from loopline.data.conforming import convert
from loopline.errors import DataError

KINDS = ["number", "integer", "boolean", "category", "text", "time"]
WRITTEN = st.one_of(
    st.text(alphabet="0123456789+-.eE ,_?", max_size=8),
    st.from_regex(r"\s?[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}([T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}"
                  r"(\.[0-9]{1,8})?)?(Z| UTC|[+-][01][0-9]:?[03]0)?)?", fullmatch=True),
    st.sampled_from(["true", " Yes", "F", "no", "1.0", "0", "nan", "inf", "1_000", "٣", "5.00",
                     "Infinity", "1e5", "1e999", "0x10", "-0.0", "2013-02-29", "2012-02-29",
                     "2013-06-30 23:59:60", "2013-01-01T24:00", "0000-01-01",
                     "2013-01-01 00:00 +02"]),
    st.text(max_size=6),
)  # fmt: skip


@settings(max_examples=150)
@given(texts=st.lists(st.none() | WRITTEN, min_size=1, max_size=20), kind=st.sampled_from(KINDS))
def test_a_request_and_a_file_mean_the_same(texts, kind):
    missing = ["?", ""]

    conformed = convert(
        pl.DataFrame({"x": pl.Series(texts, dtype=pl.String)}), {"x": kind}, missing
    )
    column = from_frame(conformed.frame, {"x": kind})["x"]

    lost = conformed.failures.get("x")
    unreadable = set() if lost is None else set(lost["row"].to_list())
    for row, text in enumerate(texts):
        if row in unreadable:
            with pytest.raises(DataError, match=r"x\[0\] is "):
                from_values("x", [text], kind, missing)
        else:
            one = from_values("x", [text], kind, missing)
            assert one.dtype == column.dtype
            np.testing.assert_array_equal(one, column[row : row + 1])
            alone = from_value("x", text, kind, missing)
            is_missing = column[row] is None or column[row] != column[row]
            assert (alone is None) == is_missing
            if not is_missing:
                assert alone == (one.view(np.int64)[0] if kind == "time" else column[row])


def test_one_value_alone_means_what_it_means_in_a_column():
    assert from_value("x", " a ", "text") == "a"
    assert from_value("x", "5.0", "category") == "5"
    assert from_value("x", " yes", "boolean") == 1.0
    assert from_value("x", "2013-04-01 08:30+02:00 ", "time") == 1_364_797_800_000_000
    assert from_value("x", date(2013, 4, 1), "time") == 1_364_774_400_000_000
    for absent in (None, float("nan"), " ? ", "-999", -999):
        assert from_value("x", absent, "number", ["?", "-999"]) is None
    with pytest.raises(DataError, match=r"x\[3\] is '1,5', but x is a number"):
        from_value("x", "1,5", "number", place=3)


def test_values_of_a_request_become_what_their_column_is():
    assert from_values("x", [1, 2.5, "39", None], "number").tolist()[:3] == [1, 2.5, 39]
    assert from_values("x", [5, 5.0, True, " a ", None], "category").tolist() == [
        "5", "5", "true", "a", None,
    ]  # fmt: skip
    moments = ["2013-04-01T06:30:00Z", "2013-04-01 08:30:00+02:00", datetime(2013, 4, 1, 6, 30)]
    moments += [datetime(2013, 4, 1, 8, 30, tzinfo=timezone(timedelta(hours=2)))]
    assert set(from_values("x", moments, "time").tolist()) == {datetime(2013, 4, 1, 6, 30)}
    assert from_values("x", [date(2013, 4, 1), None], "time").tolist() == [
        datetime(2013, 4, 1), None,
    ]  # fmt: skip
    assert from_values("x", [True, "no", 1, 0.0], "boolean").tolist() == [1, 0, 1, 0]


def test_a_number_that_means_missing_is_missing_as_a_number_too():
    column = from_values("x", ["-999", -999, -999.0, 5], "number", ("-999", "?"))

    assert np.isnan(column).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("kind", "value", "is_not"),
    [
        ("number", "1,234", "a number"),
        ("number", float("inf"), "a number"),
        ("number", 10**400, "a number"),
        ("number", [1], "a number"),
        ("integer", 5.5, "a whole number"),
        ("boolean", 2, "true or false"),
        ("category", {"a": 1}, "a category"),
        ("time", "04/03/2013", "a time such as 2013"),
        ("time", 1365000000, "a time such as"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_place(kind, value, is_not):
    with pytest.raises(DataError, match=rf"delay\[1\] is .*, but delay is {is_not}"):
        from_values("delay", [None, value], kind)


def test_canonical_text_is_one_text_for_one_value():
    same = [5, 5.0, "5", " 5 ", "5.0", "5.00", np.float64(5), np.int64(5)]

    assert {canonical_text(value) for value in same} == {"5"}
    assert canonical_text("1.10") == "1.10"
    assert canonical_text(0.1) == "0.1"
    assert canonical_text(1e20) == "1e+20"
    assert canonical_text(float("nan")) is canonical_text(None) is None
    assert canonical_text(datetime(2013, 4, 1, tzinfo=UTC)) == "2013-04-01T00:00:00Z"


def test_numbers_and_times_are_read_exactly():
    assert parse_number("0.1") == 0.1
    assert parse_number("-1.5e-3") == -0.0015
    assert parse_time("1970-01-01") == 0
    assert parse_time("1969-12-31T23:59:59.999999") == -1
    assert parse_time("2013-02-29") is None


def test_a_frame_becomes_columns_in_the_order_asked_with_nothing_missing_lost():
    moment = datetime(2013, 4, 1, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "c": ["x", None] * 30,
            "n": [1, None] * 30,
            "b": [True, None] * 30,
            "t": [moment, None] * 30,
        }
    )

    columns = from_frame(frame, {"t": "time", "c": "category", "n": "integer", "b": "boolean"})

    assert list(columns) == ["t", "c", "n", "b"]
    assert columns["c"][:2].tolist() == ["x", None]
    assert columns["t"].dtype == np.dtype("datetime64[us]")
    assert np.isnat(columns["t"][1])
    for name in ("n", "b"):
        assert columns[name].dtype == np.float64
        assert np.isnan(columns[name][1])
