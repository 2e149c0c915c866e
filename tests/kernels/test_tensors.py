"""The compiled reader: values worked out by hand, and what it leaves to others."""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from loopline.data.columns import SPACE
from loopline.kernels.library import library
from loopline.kernels.tensors import PARTS, Column, TensorReader

pytestmark = pytest.mark.skipif(library() is None, reason="the kernels were not compiled")

NAN = float("nan")
COLUMNS = (
    Column("age", "number", required=True, logged=True, codes={}),
    Column("children", "integer", required=False, logged=True, codes={}),
    Column("town", "category", required=True, logged=True, codes={"Köln": 1.0, "5": 2.0}),
    Column("name", "text", required=False, logged=False, codes={}),
    Column("since", "time", required=False, logged=True, codes={}),
    Column("is_new", "boolean", required=False, logged=True, codes={}),
)


def reader() -> TensorReader:
    features = [(2, None), (0, None), (5, None), (-1, None), *[(4, part) for part in PARTS[1:]]]
    return TensorReader(COLUMNS, features, ["?", ""], [-999.0])


def body(**data: str) -> bytes:
    """Return a request of one row; every value is JSON as it stands."""
    given = {"age": "1.5", "town": '"5"'} | data
    tensors = [
        f'{{"name": "{name}", "shape": [1], "datatype": "FP64", "data": [{value}]}}'
        for name, value in given.items()
    ]
    return f'{{"inputs": [{", ".join(tensors)}]}}'.encode()


def read(whole: bytes) -> tuple[list[float], list[list[Any]]]:
    made = reader()
    rows = made.read(whole)
    assert rows > 0, whole
    made.matrix(rows)[:, 3] = 0.0  # which row SQL would fill
    features = made.matrix(rows).ravel().tolist()
    return features, msgspec.msgpack.decode(made.logged())


def test_a_row_becomes_features_and_what_the_log_keeps() -> None:
    features, logged = read(
        body(
            town='"Köln"',
            age="-2.25e2",
            children="3",
            name='"Ada"',
            since='"1970-01-02T00:00:01.5Z"',
            is_new="true",
        )
    )

    assert features[:4] == [1.0, -225.0, 1.0, 0.0]
    assert logged == [[-225.0], [3.0], ["Köln"], [86_401_500_000], [1.0]]


def test_what_is_missing_is_missing_however_it_is_said() -> None:
    features, logged = read(body(town='"?"', age="null", children='""'))

    assert math.isnan(features[0])
    assert math.isnan(features[1])
    assert logged == [[None], [None], [None], [None], [None]]


@pytest.mark.parametrize(
    ("town", "code", "text"),
    [
        ('"5.0"', 2.0, "5"),
        ('"5.000"', 2.0, "5"),
        ('"+5.0"', 0.0, "+5"),
        ('"50.0"', 0.0, "50"),
        ('"5.50"', 0.0, "5.50"),
        ('"x.0"', 0.0, "x.0"),
        ('"-.0"', 0.0, "-.0"),
        ('".0"', 0.0, ".0"),
        ('"0"', 0.0, "0"),
        ('"500"', 0.0, "500"),
        ("5", 2.0, "5"),
        ("true", 0.0, "true"),
    ],
)
def test_a_whole_number_with_zeros_after_its_point_is_the_category_without(
    town: str, code: float, text: str
) -> None:
    features, logged = read(body(town=town))

    assert (features[0], logged[2]) == (code, [text])


def test_an_integer_may_be_written_with_a_point() -> None:
    assert read(body(children="3.0"))[1][1] == [3.0]


def test_several_rows_are_read_column_by_column() -> None:
    whole = (
        b' {"id":"mine","inputs":[{"name":"town","datatype":"BYTES","shape":[3,1],'
        b'"data":["5", 5, "unseen"]},\n'
        b'{"name":"age","datatype":"FP64","shape":[3],"data":[1,2,null]}]} '
    )
    made = reader()

    assert made.read(whole) == 3
    np.testing.assert_array_equal(made.matrix(3)[:, :2], [[2.0, 1.0], [2.0, 2.0], [0.0, NAN]])
    assert msgspec.msgpack.decode(made.logged())[2] == ["5", "5", "unseen"]
    assert made.client_id(whole) == "mine"


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2000-02-29", 951_782_400_000_000),
        ("1969-12-31 23:59:59", -1_000_000),
        ("2013-04-01T06:30:00+02:00", 1_364_790_600_000_000),
        ("2013-04-01T06:30:00.1234567", 1_364_797_800_123_456),
    ],
)
def test_times_are_microseconds_in_utc(text: str, microseconds: int) -> None:
    assert read(body(since=f'"{text}"'))[1][3] == [microseconds]


@pytest.mark.parametrize(
    "text", ["0.1", "123456789.123456789", "5e-324", "1.7e-300", "0.16521529854232803", "1e2"]
)
def test_numbers_are_the_nearest_float64(text: str) -> None:
    assert read(body(age=text))[0][1] == float(text)


@pytest.mark.parametrize("sign", ["\u2013", "€", "Â", "¡", "の", "\u2060", "\u200b"])
def test_what_only_resembles_white_space_is_a_text(sign: str) -> None:
    assert read(body(town=f'"{sign}x{sign}"'))[1][2] == [f"{sign}x{sign}"]


@pytest.mark.parametrize("length", [0, 1, 31, 32, 255, 256, 65_535, 65_536])
def test_texts_of_every_length_are_logged(length: int) -> None:
    town = "a" * length
    expected = town or None  # the empty text means missing

    assert read(body(town=f'"{town}"'))[1][2] == [expected]


@pytest.mark.parametrize("rows", [15, 16, 4_000])
def test_columns_of_many_rows_are_logged(rows: int) -> None:
    one = f'"shape":[{rows}],"datatype":"FP64","data":[{",".join(["7"] * rows)}]'
    whole = f'{{"inputs":[{{"name":"age",{one}}},{{"name":"town",{one}}}]}}'.encode()
    made = reader()

    assert made.read(whole) == rows
    assert msgspec.msgpack.decode(made.logged())[:3:2] == [[7.0] * rows, ["7"] * rows]


@pytest.mark.parametrize(
    "whole",
    [
        b"",
        b"{}",
        b'{"inputs":[]}',
        body()[:-1],
        body() + b"x",
        body() + b"\0",
        body(zip="1"),
        body(age="-999"),
        body(age="01"),
        body(age="1."),
        body(age="-0"),
        body(age="1e400"),
        body(age="9007199254740993"),
        body(age="tru"),
        body(age="nul"),
        body(age='"39"'),
        body(children="1.5"),
        body(children="true"),
        body(town="5.5"),
        body(town='" x"'),
        *[body(town=f'"x{sign}"') for sign in SPACE],
        *[body(town=f'"{sign}x"') for sign in SPACE],
        body(town='"\\ud800"'),
        body(town='"\\udc00\\ud800"'),
        body(town='"\\u00g1"'),
        body(town='"\\x41"'),
        body(town='"\\'),
        body(town='"a\tb"'),
        body(town='"Köln"').replace("ö".encode(), b"\xed\xa0\x80"),
        body(town='"Köln"').replace("ö".encode(), b"\xc3"),
        body(since='"2013-02-29"'),
        body(since='"2013-04-01T24:00"'),
        body(since='"2013-04-01T06:30:0x"'),
        body(is_new="1"),
        body(name="[1]"),
        body().replace(b'"shape": [1]', b'"shape": [2]'),
        body().replace(b'"shape": [1]', b'"shape": [0]'),
        body().replace(b'"shape": [1]', b'"shape": [1.0]'),
        body().replace(b'"FP64"', b'"FP65"'),
        body().replace(b"age", b"town"),
        body().replace(b'"name": "age", ', b""),
        body().replace(b'{"inputs"', b'{"parameters": {}, "inputs"'),
        b'{"inputs":[{"name":"town","shape":[1],"datatype":"FP64","data":[1]}]}',
        b'{"inputs":[{"name":"age","shape":[70000],"datatype":"FP64","data":['
        + b",".join([b"1"] * 70_000)
        + b"]}]}",
    ],
    ids=lambda whole: whole[:60].decode("latin-1"),
)
def test_what_is_not_plain_is_left_to_others(whole: bytes) -> None:
    assert reader().read(whole) == 0


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"K\u00f6ln", "Köln"),
        (r"a\"b\\c\/d\n\r\t\b\fe", 'a"b\\c/d\n\r\t\b\fe'),
        (r"\u20AC\uD83D\uDE00", "€😀"),
        (r"x\u0041 Ä", "xA Ä"),
    ],
)
def test_escapes_are_read(written: str, text: str) -> None:
    features, logged = read(body(town=f'"{written}"'))

    assert logged[2] == [text]
    assert features[0] == (1.0 if text == "Köln" else 0.0)


def test_names_and_ids_may_have_escapes_and_there_may_be_many() -> None:
    made = reader()
    rows = ",".join([r'"K\u00f6ln"', r'"x\ty"'] * 300)
    ages = ",".join(["1"] * 600)
    whole = (
        rf'{{"id":"\u00e9","inputs":[{{"name":"\u0061ge","shape":[600],"datatype":"FP64","data":[{ages}]}},'
        rf'{{"name":"town","shape":[600],"datatype":"BYTES","data":[{rows}]}}]}}'
    ).encode()

    assert made.read(whole) == 600
    assert made.client_id(whole) == "é"
    assert msgspec.msgpack.decode(made.logged())[2] == ["Köln", "x\ty"] * 300


@pytest.mark.parametrize(
    "when", ["2024-02-29T23:59:58", "2021-01-03", "1969-12-31T23:00:00", "1600-12-31", "2020-12-31"]
)
def test_parts_of_a_time_are_those_of_the_calendar(when: str) -> None:
    moment = datetime.fromisoformat(when).replace(tzinfo=UTC)
    year = moment.timetuple()

    parts = dict(zip(PARTS[1:], read(body(since=f'"{when}"'))[0][4:], strict=True))

    assert parts == {
        "epoch": (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds(),
        "hour": moment.hour,
        "minute": moment.minute,
        "second": moment.second,
        "dow": moment.isoweekday() % 7,
        "isodow": moment.isoweekday(),
        "week": moment.isocalendar().week,
        "day": moment.day,
        "doy": year.tm_yday,
        "month": moment.month,
        "quarter": (moment.month + 2) // 3,
        "year": moment.year,
    }


def test_parts_of_a_missing_time_are_missing() -> None:
    assert all(math.isnan(part) for part in read(body(since='"?"'))[0][4:])
