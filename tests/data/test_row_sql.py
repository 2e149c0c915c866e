import itertools
import json
import math
import re
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopline.data.columns import canonical_text
from loopline.data.row_functions import PARTS
from loopline.data.row_sql import evaluate, names, parse
from loopline.errors import RowSqlError

NUMBERS = [-3.0, -2.5, -1.0, 0.0, 0.5, 1.0, 2.0, 7.25, None]
TEXTS = ["", "a", "ab", "aXb%", " pad ", "ÄÖ", "b_c", None]
TRUTHS = [True, False, None]
TYPES = {
    "a": "number", "b": "number", "n": "integer", "f": "boolean", "s": "category", "r": "text",
    "t": "time", "u": "time", "odd name": "number", "code-of_zone": "category",
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    """Every pair of numbers with texts and truths in turn, in SQLite and as columns."""
    pairs = list(itertools.product(NUMBERS, NUMBERS)) * 2
    rows = [
        (a, b, TEXTS[i % 8], TEXTS[(i // 3) % 8], TRUTHS[i % 3]) for i, (a, b) in enumerate(pairs)
    ]
    database = sqlite3.connect(":memory:")
    database.execute("pragma case_sensitive_like = on")
    database.execute("create table x (a real, b real, s text, r text, f integer)")
    database.executemany("insert into x values (?, ?, ?, ?, ?)", rows)
    columns = {
        name: np.array([row[place] for row in rows], dtype=np.float64 if place != 2 else object)
        for place, name in ((0, "a"), (1, "b"), (4, "f"))
    }
    for place, name in ((2, "s"), (3, "r")):
        columns[name] = np.array([row[place] for row in rows], dtype=object)
    yield database, columns, len(rows)
    database.close()


def _plain(values):
    found = values.tolist()
    return [None if isinstance(value, float) and math.isnan(value) else value for value in found]


def number(depth):
    leaf = st.sampled_from(["a", "b", "2.0", "-1.5", "0.0", "null"])
    if not depth:
        return leaf
    inner, truth_inner = number(depth - 1), truth(depth - 1)
    return st.one_of(
        leaf,
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(["abs", "round", "floor", "ceil", "sign"]), inner).map(
            lambda t: f"{t[0]}(a + {t[1]})"
        ),
        st.tuples(inner, inner).map(lambda t: f"coalesce({t[0]}, {t[1]}, b)"),
        st.tuples(inner, inner).map(lambda t: f"nullif(a + {t[0]}, {t[1]})"),
        st.tuples(truth_inner, inner, inner).map(
            lambda t: f"case when {t[0]} then {t[1]} else a + {t[2]} end"
        ),
        # SQLite would divide whole numbers by whole numbers.
        text(depth - 1).map(lambda t: f"(length({t}) * 1.0)"),
    )


def text(depth):
    leaf = st.sampled_from(["s", "r", "'ab'", "''"])
    if not depth:
        return leaf
    inner = text(depth - 1)
    return st.one_of(
        leaf,
        st.tuples(inner, inner).map(lambda t: f"({t[0]} || {t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"coalesce({t[0]}, {t[1]})"),
        inner.map(lambda t: f"trim({t})"),
        inner.map(lambda t: f"ltrim({t})"),
        inner.map(lambda t: f"rtrim({t}, 'b ')"),
        inner.map(lambda t: f"replace({t}, 'a', 'bb')"),
        inner.map(lambda t: f"substr({t}, 2, 2)"),
        inner.map(lambda t: f"nullif({t}, 'ab')"),
    )


def truth(depth):
    leaf = st.sampled_from(["f", "a > b", "s = r", "a is null", "s is not null", "true"])
    if not depth:
        return leaf
    inner, numbers, texts = truth(depth - 1), number(depth - 1), text(depth - 1)
    compare = st.sampled_from(["<", "<=", ">", ">=", "=", "<>"])
    return st.one_of(
        leaf,
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        inner.map(lambda t: f"(not {t})"),
        st.tuples(numbers, compare, numbers).map(lambda t: f"(a + {t[0]} {t[1]} b - {t[2]})"),
        st.tuples(texts, compare, texts).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(numbers, numbers).map(lambda t: f"(a between b - {t[0]} and b + {t[1]})"),
        numbers.map(lambda t: f"(a + {t} in (1.0, -1.5, b))"),
        texts.map(lambda t: f"({t} not in ('ab', ''))"),
        st.tuples(texts, st.sampled_from(["a%", "%b", "%a%b%", "_b%", "ab", "%", "a_b"])).map(
            lambda t: f"({t[0]} like '{t[1]}')"
        ),
        inner.map(lambda t: f"({t} is true)"),
        inner.map(lambda t: f"({t} is not false)"),
    )


@settings(max_examples=250)
@given(sql=st.one_of(number(3), text(2), truth(3)))
def test_every_expression_means_what_sqlite_says(table, sql):
    database, columns, rows = table

    found = evaluate(parse(sql, TYPES).steps, columns, rows)

    assert _plain(found) == [row[0] for row in database.execute(f"select {sql} from x")]


@settings(max_examples=100)
@given(sql=st.one_of(number(3), text(2), truth(3)))
def test_one_row_gives_the_bits_that_many_give(table, sql):
    _, columns, rows = table
    steps = json.loads(json.dumps(parse(sql, TYPES).steps))

    many = evaluate(steps, columns, rows)

    for row in range(0, rows, 7):
        [one] = evaluate(steps, {name: c[row : row + 1] for name, c in columns.items()}, 1)
        assert _plain(np.array([one], object)) == _plain(np.array([many[row]], object))


@pytest.mark.parametrize("sql", ["ln(a)", "exp(a)", "sqrt(a)", "power(a, b)", "log10(a)"])
def test_transcendental_functions_agree_with_sqlite_and_with_themselves_on_one_row(table, sql):
    database, columns, rows = table

    steps = parse(sql, TYPES).steps
    many = evaluate(steps, columns, rows)

    expected = [row[0] for row in database.execute(f"select {sql} from x")]
    for row, wanted in enumerate(expected):
        [one] = evaluate(steps, {name: c[row : row + 1] for name, c in columns.items()}, 1)
        assert many[row].tobytes() == one.tobytes()
        is_number = wanted is not None and math.isfinite(wanted)
        assert math.isclose(one, wanted, rel_tol=1e-14) if is_number else math.isnan(one)


MOMENTS = st.datetimes(datetime(1583, 1, 1), datetime(2900, 1, 1))


@settings(max_examples=100)
@given(moments=st.lists(st.none() | MOMENTS, min_size=2, max_size=9))
def test_parts_of_a_time_agree_with_polars(moments):
    series = pl.Series("t", moments, dtype=pl.Datetime("us"))
    expected = {
        "year": series.dt.year(), "quarter": series.dt.quarter(), "month": series.dt.month(),
        "week": series.dt.week(), "day": series.dt.day(), "hour": series.dt.hour(),
        "minute": series.dt.minute(), "second": series.dt.second(),
        "isodow": series.dt.weekday(), "dow": series.dt.weekday() % 7,
        "doy": series.dt.ordinal_day(),
    }  # fmt: skip
    for part, wanted in expected.items():
        steps = parse(f"extract({part} from t)", TYPES).steps
        found = evaluate(steps, {"t": series.to_numpy()}, len(moments))
        assert _plain(found) == wanted.to_list(), part


@settings(max_examples=60)
@given(start=MOMENTS, end=MOMENTS)
def test_date_diff_counts_the_boundaries_between_two_times(start, end):
    def days(moment):
        return (moment - datetime(1583, 1, 3)).days  # a Monday

    expected = {
        "day": days(end) - days(start),
        "week": days(end) // 7 - days(start) // 7,
        "hour": (end.replace(minute=0, second=0, microsecond=0)
                 - start.replace(minute=0, second=0, microsecond=0)) // timedelta(hours=1),
        "month": (end.year - start.year) * 12 + end.month - start.month,
        "year": end.year - start.year,
    }  # fmt: skip
    columns = {"t": np.array([start], "datetime64[us]"), "u": np.array([end], "datetime64[us]")}

    for unit, wanted in expected.items():
        steps = parse(f"date_diff('{unit}', t, u)", TYPES).steps
        assert evaluate(steps, columns, 1).tolist() == [wanted], unit


def run(sql, types=TYPES, **columns):
    rows = len(next(iter(columns.values()), [0]))
    made = {}
    for name, values in columns.items():
        kinds = {"time": "datetime64[us]", "category": object, "text": object}
        made[name] = np.array(values, dtype=kinds.get(types[name], np.float64))
    expression = parse(sql, types)
    return _plain(evaluate(expression.steps, made, rows))


def test_what_is_no_finite_number_is_missing():
    assert run("a / b", a=[1, 0, 5], b=[0, 0, 2]) == [None, None, 2.5]
    assert run("exp(a)", a=[1000, 0]) == [None, 1]
    assert run("a * a", a=[1e200, 3]) == [None, 9]
    assert run("a % b", a=[-7, 7], b=[3, 0]) == [-1, None]
    assert run("power(a, b)", a=[1, np.nan, -8, 0], b=[np.nan, 0, 0.5, -1]) == [None] * 4
    assert run("cast(s as double)", s=["12", "1,5", "inf", " 7 "]) == [12, None, None, 7]


def test_least_and_greatest_and_concat_pass_over_missing_values():
    assert run("least(a, b, 2)", a=[1, None], b=[3, None]) == [1, 2]
    assert run("greatest(a, b)", a=[1, None], b=[3, None]) == [3, None]
    assert run("concat(s, '-', r)", s=["x", None], r=["y", "z"]) == ["x-y", "-z"]
    assert run("s || r", s=["x", None], r=["y", "z"]) == ["xy", None]


def test_rounding_is_half_away_from_zero_with_any_digits():
    assert run("round(a)", a=[2.5, -2.5, 0.49999999999999994, 1e300]) == [3, -3, 0, 1e300]
    assert run("round(a, 1)", a=[0.25, -0.35]) == [0.3, -0.4]
    assert run("round(a, -2)", a=[1250, -49]) == [1300, 0]


def test_a_number_names_a_category_and_a_text_a_time():
    assert run('"code-of_zone" in (5, 6.0)', **{"code-of_zone": ["5", "7", None]}) == [1, 0, None]
    assert run("t >= '2013-02-01'", t=["2013-01-31T23:59", "2013-02-01"]) == [0, 1]
    assert run("f = 1 or f = false", f=[1, 0, np.nan]) == [1, 1, None]
    assert run("cast(n as text) || cast(f as text)", n=[5, 6], f=[1, 0]) == ["5true", "6false"]


def test_constants_fill_every_row_and_none():
    assert run("2 * 3", a=[1, 2, 3]) == [6, 6, 6]
    assert run("a + 1", a=[]) == []
    assert run("'x'", a=[]) == []


def test_a_hostile_text_costs_a_pattern_no_more_than_its_length():
    pattern = "%a" * 12 + "%b"

    assert run(f"s like '{pattern}'", s=["a" * 20_000]) == [0]
    assert run("s like '100!%%' escape '!'", s=["100% sure", "1000"]) == [1, 0]
    assert run("s ilike 'ÄB_'", s=["äbc", "äb"]) == [1, 0]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("sum(a) > 1", r"position 1: sum\(\) is an aggregate, and row SQL sees one row"),
        ("a + count(*)", r"position 5: count\(\) is an aggregate"),
        ("a - avg(a) over ()", "position 5: a window looks at other rows"),
        ("t < now()", r"position 5: now\(\) would give another answer every time"),
        ("current_timestamp > t", "would give another answer every time"),
        ("random() < 0.5", r"position 1: random\(\) would give another answer"),
        ("a > (select max(b) from x)", "a subquery reads other rows"),
        ("a in (select b from x)", "is not part of row SQL"),
        ("exists(select 1)", "a subquery reads other rows"),
        ("dep_dely > 1", r"position 1: there is no column 'dep_dely'. Columns there: a, b"),
        ("od_name > 1", r"there is no column 'od_name'. Did you mean \"odd name\"\?"),
        ("code-of_zone = 1", r"there is no column 'code'. Did you mean \"code-of_zone\"\?"),
        ("sqroot(a)", r"position 1: sqroot\(\) is not part of row SQL"),
        ("s > 5", "position 5: `5` is a number beside a text"),
        ("a = '5'", "`'5'` is a text beside a number: write the number without quotes"),
        ("a + s", "position 5: `s` is a text, not a number"),
        ("not a", "`a` is a number, not true or false"),
        ("a = null", "nothing equals null: write `is null`"),
        ("a in (1, null)", "null in a list is never found"),
        ("u - t", r"write date_diff\('hour', a, b\)"),
        ("t + interval '1 day'", "`t` is a time, not a number"),
        ("t > 'yesterday'", "write a time as '2013-04-01 06:30'"),
        ("date_diff('fortnight', t, u)", "first argument is one of second, minute"),
        ("extract(era from t)", "'era' is not among year, quarter"),
        ("cast(a as integer)", r"write round\(x\), floor\(x\) or ceil\(x\)"),
        ("cast(a as date)", "row SQL casts to double and text"),
        ("cast(s as decimal(10, 2))", "leave out the length"),
        ("trunc(a, 2)", r"trunc\(\) with decimals is not part of row SQL"),
        ("a // 2", r"write floor\(a / b\)"),
        ("log(a)", r"write ln\(x\) or log10\(x\)"),
        ("s like r", "a pattern is a text in quotes"),
        ("substr(s, a)", "substr's start is a whole number from 1"),
        ("case when a > 1 then 'x' else 2 end", "`2` is a number beside|`'x'` is a text beside"),
        ("a >", "cannot be read near '>', position 3"),
        ("a b", "more than one expression"),
        ("a; drop table x", "cannot be read|more than one expression|not part of row SQL"),
        ("", "Row SQL is empty"),
        ("?", "there are no parameters"),
        ("1e999", "'1e999' is not a number"),
        ("(" * 5000 + "a" + ")" * 5000, "Row SQL of 10001 characters"),
        ("(" * 4000 + "a" + ")" * 4000, "nested too deeply"),
        ("a" + " + a" * 2400, "nested too deeply"),
    ],
)
def test_what_is_not_row_sql_is_refused_with_its_place_and_a_way_out(sql, message):
    with pytest.raises(RowSqlError, match=message):
        parse(sql, TYPES)


def test_an_expression_says_its_type_its_columns_and_steps_that_are_json():
    expression = parse("case when a > 1 then s else 'none' end", TYPES)

    assert expression.type == "category"
    assert expression.columns == ("s", "a")
    assert json.loads(json.dumps(expression.steps)) == expression.steps
    assert parse("a > 1 and f", TYPES).type == "boolean"
    assert parse("coalesce(t, u)", TYPES).type == "time"
    assert names('extract(hour from t) > 5 and "odd name" is null') == ("t", "odd name")


def test_an_evaluator_never_needs_a_parser(monkeypatch):
    import sys

    steps = parse("a > 1", TYPES).steps
    monkeypatch.setitem(sys.modules, "sqlglot", None)

    assert evaluate(steps, {"a": np.array([2.0])}, 1).tolist() == [1.0]


def test_flights_are_late_as_polars_says(flights):
    sample = flights.head(20_000)
    types = {"arr_delay": "integer", "carrier": "category"}
    columns = {
        "arr_delay": sample["arr_delay"].cast(pl.Float64).to_numpy(),
        "carrier": sample["carrier"].to_numpy(),
    }
    steps = parse("arr_delay > 15 and carrier in ('UA', 'B6')", types).steps

    found = evaluate(steps, columns, len(sample))

    wanted = sample.select((pl.col("arr_delay") > 15) & pl.col("carrier").is_in(["UA", "B6"]))
    assert _plain(found) == wanted.to_series().cast(pl.Float64).to_list()


REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "row-sql.md"
EXAMPLES = re.findall(
    r"^\| `(.+)` \| ([^|`]+) \|$", REFERENCE.read_text(encoding="utf-8"), flags=re.MULTILINE
)


@pytest.mark.parametrize(("sql", "answer"), EXAMPLES)
def test_the_examples_of_the_reference_are_true(sql, answer):
    types = {
        "distance": "number", "delay": "number", "carrier": "category", "zone": "category",
        "is_late": "boolean", "departure": "time", "arrival": "time",
    }  # fmt: skip
    row = [1400.0, np.nan, "UA", "5", 1.0, "2013-01-01T23:30", "2013-01-02T02:10"]
    columns = {name: [value] for name, value in zip(types, row, strict=True)}
    sql = sql.replace("\\|", "|")

    [found] = run(sql, types, **columns)

    if parse(sql, types).type == "boolean":
        found = {1: "true", 0: "false", None: None}[found]
    assert answer == ("missing" if found is None else canonical_text(found))


def test_the_reference_names_every_part_unit_and_function():
    page = REFERENCE.read_text(encoding="utf-8")

    for word in {*PARTS.values(), "date_diff", "starts_with", "nullif", "ilike", "log10"}:
        assert f"`{word}" in page, word
    assert len(EXAMPLES) > 20
