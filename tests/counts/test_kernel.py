"""Counts add: what is counted in parts is what is counted at once."""

from collections import Counter
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from loopline.counts.kernel import (
    NAMED,
    ColumnCounts,
    Profile,
    count_arrays,
    count_column,
    count_values,
    offset_for,
    seconds,
)
from loopline.errors import CountsError

numbers = npst.arrays(np.float64, st.integers(0, 50), elements=st.floats())
words = st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=50)


def texts(values: list[str | None]) -> np.ndarray:
    found = np.empty(len(values), object)
    found[:] = values
    return found


@given(whole=numbers, cut=st.integers(0, 50), reference=numbers)
def test_the_counts_of_two_parts_of_numbers_add_to_those_of_the_whole(
    whole: np.ndarray, cut: int, reference: np.ndarray
) -> None:
    like = count_column(reference)

    first, second = count_column(whole[:cut], like), count_column(whole[cut:], like)

    assert first + second == second + first == count_column(whole, like)
    assert (first + second).rows == len(whole)


@given(whole=words, cut=st.integers(0, 50), reference=words)
def test_the_counts_of_two_parts_of_a_category_add_to_those_of_the_whole(
    whole: list[str | None], cut: int, reference: list[str | None]
) -> None:
    like = count_column(texts(reference))

    first, second = (count_column(texts(part), like) for part in (whole[:cut], whole[cut:]))

    assert first + second == second + first == count_column(texts(whole), like)
    assert (first + second).missing == whole.count(None)


@given(parts=st.lists(numbers, min_size=3, max_size=3))
def test_adding_does_not_depend_on_its_order(parts: list[np.ndarray]) -> None:
    like = count_column(parts[0])
    a, b, c = (count_column(part, like) for part in parts)

    assert (a + b) + c == a + (b + c)


@given(values=numbers, others=words)
def test_what_is_written_is_read_again(values: np.ndarray, others: list[str | None]) -> None:
    profile = count_arrays({"number": values, "word": texts(others)})

    again = Profile.from_bytes(profile.to_bytes())

    assert again == profile
    assert again.to_bytes() == profile.to_bytes()


@pytest.mark.parametrize("most", [0, 255, 256, 65_536, 2**32, 2**40])
def test_counts_of_every_size_are_written_whole(most: int) -> None:
    counted = ColumnCounts("number", 7, np.array([-4, 9]), np.array([1, most]), 2, 3, 0.5)

    again = ColumnCounts.from_bytes(counted.to_bytes())

    assert again.counts.tolist() == [1, most]
    assert (again.missing, again.low, again.high, again.offset) == (7, 2, 3, 0.5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1.0]), np.array([1e9])),
        (np.array([1.0]), texts(["1"])),
        (texts(["a"]), texts(["a", "b"])),
    ],
)
def test_counts_on_different_grids_refuse_to_add(one: np.ndarray, other: np.ndarray) -> None:
    with pytest.raises(CountsError, match="Count both against the same reference"):
        count_column(one) + count_column(other)


def test_profiles_of_different_columns_refuse_to_add() -> None:
    one, other = (count_arrays({"a": np.ones(1), name: np.ones(1)}) for name in ("b", "c"))

    with pytest.raises(CountsError, match=r"different columns do not add: b, c\."):
        one + other


def test_a_column_of_another_kind_than_the_reference_is_refused() -> None:
    like = count_column(np.ones(1))

    with pytest.raises(CountsError, match="The reference has a number here"):
        count_column(texts(["a"]), like)


def test_numbers_far_from_zero_that_differ_little_keep_their_differences() -> None:
    years = 1_700_000_000 + np.arange(1000.0)

    counted = count_column(years)

    assert counted.offset == 1_700_000_499
    assert len(counted.cells) > 500
    assert len(count_column(years, count_column(np.zeros(1))).cells) == 1  # without an offset


def test_an_offset_is_the_median_only_where_the_spread_is_far_smaller() -> None:
    assert offset_for(np.array([5.0, 5.0, 5.0])) == 5.0
    assert offset_for(np.array([0.0, 0.0, 9.0])) == 0.0
    assert offset_for(np.array([1.0, 2.0, 3.0])) == 0.0
    assert offset_for(np.repeat([15.0, 16.0, 17.0], 20)) == 0.0  # eight times the spread of 2
    assert offset_for(np.repeat([16.0, 17.0, 18.0], 20)) == 17.0
    assert offset_for(np.array([np.nan, np.inf])) == 0.0
    assert offset_for(np.array([-1e308, 1e308, 1e308])) == 0.0  # their spread is infinite


def test_the_thousand_most_frequent_values_are_kept_by_name_and_the_tail_in_few_cells() -> None:
    tally = Counter({f"v{number:05}": 1 for number in range(5000)})
    tally.update({"often": 10, "z-tie": 1})

    counted = count_values(tally)

    assert len(counted.named) == NAMED
    assert counted.named["often"] == 10
    assert "v00998" in counted.named  # of equally frequent ones the first in order
    assert "v00999" not in counted.named
    assert 0 < len(counted.cells) <= 256
    assert counted.rows == 5011


def test_the_values_kept_by_name_are_the_reference_s_whatever_comes() -> None:
    like = count_column(texts(["a", "b", None]))

    counted = count_column(texts(["b", "new", "b", None, None]), like)

    assert counted.named == {"b": 2}
    assert (counted.missing, int(counted.counts.sum())) == (2, 1)


def test_counts_that_lack_some_of_the_reference_s_values_cannot_stand_for_it() -> None:
    like = count_column(texts(["a", "b"]))
    hour = count_column(texts(["a"]), like)

    with pytest.raises(CountsError, match="Count against the reference itself"):
        count_column(texts(["b"]), hour)


def test_times_are_counted_as_seconds_and_their_gaps_as_missing() -> None:
    times = np.array(["2013-04-01T00:00:00.25", "NaT", "1969-12-31T23:59:59"], "datetime64[us]")

    assert seconds(times[[0, 2]]).tolist() == [
        datetime.fromisoformat("2013-04-01T00:00:00.25+00:00").timestamp(),
        -1.0,
    ]
    assert count_column(times).missing == 1


def test_counts_with_the_same_sum_and_another_place_are_not_equal() -> None:
    one, other = (ColumnCounts("number", 0, np.array([3]), np.array([n])) for n in (1, 2))

    assert one != other
    assert one + one == other
    assert one != "counts"
