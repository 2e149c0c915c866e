"""A row is known again in another snapshot, wherever it stands there."""

import json
import subprocess
import sys

import numpy as np
import polars as pl

from loopline.data.identity import mixed, row_numbers

TYPES = {"id": "text", "age": "number", "city": "category", "since": "time"}
ROWS = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d"],
        "age": [1.5, -0.0, None, 0.0],
        "city": ["Oslo", None, "Rome", "Oslo"],
        "since": pl.Series(["2013-01-01", None, "2014-01-01", "2013-01-01"]).str.to_datetime(),
    }
)
WITHOUT = {name: kind for name, kind in TYPES.items() if name != "id"}


def test_a_rows_number_does_not_depend_on_the_rows_beside_it():
    numbers = row_numbers(ROWS, TYPES, None)

    shuffled = row_numbers(ROWS[[2, 0]], TYPES, None)

    assert shuffled.tolist() == numbers[[2, 0]].tolist()
    assert len(set(numbers.tolist())) == 4


def test_with_a_key_nothing_else_matters_and_without_one_everything_does():
    changed = ROWS.with_columns(age=pl.col("age") + 1)

    assert (row_numbers(ROWS, TYPES, "id") == row_numbers(changed, TYPES, "id")).all()
    known = row_numbers(ROWS, TYPES, None) == row_numbers(changed, TYPES, None)
    assert known.tolist() == [False, False, True, False]  # the third row's age is missing


def test_equal_rows_have_one_number_and_zero_has_no_sign():
    twice = pl.concat([ROWS, ROWS]).with_columns(age=pl.col("age").abs())

    numbers = row_numbers(twice, WITHOUT, None)

    assert (numbers[:4] == numbers[4:]).all()
    assert (
        row_numbers(ROWS, {"age": "number"}, None)[1]
        == row_numbers(ROWS, {"age": "number"}, None)[3]
    )


def test_a_column_of_nothing_counts_for_nothing():
    empty = pl.DataFrame({"x": pl.Series([None, None], dtype=pl.String), "flag": [True, None]})

    assert len(set(row_numbers(empty, ["x"], None).tolist())) == 1
    assert len(set(row_numbers(empty, ["flag"], None).tolist())) == 2


def test_the_order_and_the_chunks_of_columns_make_no_difference():
    turned = pl.concat([ROWS[:1], ROWS[1:]], rechunk=False).select(reversed(ROWS.columns))

    assert (row_numbers(turned, TYPES, None) == row_numbers(ROWS, TYPES, None)).all()


def test_the_mixing_is_splitmix64():
    # The first outputs of the published generator seeded with 1234567.
    golden = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + n * golden) % 2**64 for n in range(3)], np.uint64)

    assert mixed(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_numbers_are_the_same_in_another_process():
    script = (
        "import polars as pl; from loopline.data.identity import row_numbers as f;"
        "print(f(pl.DataFrame({'x': ['a', None], 'n': [1, 2]}), {'x': '', 'n': ''}, None).tolist())"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]

    assert said[0] == said[1]
    assert len(set(json.loads(said[0]))) == 2
