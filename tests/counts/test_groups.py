"""Counting by groups gives the integers of counting each group alone."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from loopline.counts.groups import count_groups, total, total_stored
from loopline.counts.kernel import ColumnCounts, count_column
from loopline.errors import CountsError


@given(
    values=npst.arrays(np.float64, st.integers(0, 40), elements=st.floats(width=32)),
    seed=st.integers(0, 9),
)
def test_numbers_by_group_are_counted_as_if_alone(values: np.ndarray, seed: int) -> None:
    groups = np.random.default_rng(seed).integers(0, 5, len(values))
    like = count_column(np.array([1e6, 1e6 + 1, 1e6 + 2]))

    found = count_groups(values, groups, 6, like)

    assert found == [count_column(values[groups == group], like) for group in range(6)]


@given(values=st.lists(st.sampled_from(["a", "b", "", "é", "new", None]), max_size=40))
def test_categories_by_group_are_counted_as_if_alone(values: list[str | None]) -> None:
    texts = np.array(values, dtype=object)
    groups = np.arange(len(texts)) % 3
    like = count_column(np.array(["a", "b", "é"], dtype=object))

    found = count_groups(texts, groups, 3, like)

    assert found == [count_column(texts[groups == group], like) for group in range(3)]


def test_hours_of_real_flights_add_up_to_their_month(flights: pl.DataFrame) -> None:
    month = flights.filter(pl.col("month") == 4)
    hours, groups = np.unique(month["time_hour"].to_numpy(), return_inverse=True)
    delays = month["arr_delay"].cast(pl.Float64).to_numpy()
    destinations = np.array(month["dest"].to_list(), object)

    for values in (delays, destinations):
        whole = count_column(values)
        parts = count_groups(values, groups, len(hours), whole)
        assert total(parts) == whole
        assert total_stored([part.to_bytes() for part in parts]) == whole


@pytest.mark.parametrize("most", [3, 300, 70_000, 2**40])
def test_stored_counts_of_any_size_add_as_those_in_memory(most: int) -> None:
    cells = np.array([-(0x3FF << 8) - 1, 0, 0x3FF << 8])
    one = ColumnCounts("number", 1, cells, np.array([1, most, 7]), 2, 3, 0.5)
    other = ColumnCounts("number", 1, cells[1:], np.array([1, 1]), 0, 1, 0.5)

    for parts in ([one, other], [other, one, one], [one]):
        assert total_stored([part.to_bytes() for part in parts]) == total(parts)


def test_counts_on_different_grids_are_not_summed() -> None:
    one, other = count_column(np.array([1.0])), count_column(np.array([1e9]))

    with pytest.raises(CountsError, match="different grids"):
        total([one, other])
    with pytest.raises(CountsError, match="different grids"):
        total_stored([one.to_bytes(), other.to_bytes()])


def test_a_column_of_another_kind_is_refused() -> None:
    like = count_column(np.array(["a"], dtype=object))

    with pytest.raises(CountsError, match="category here, and this is a number"):
        count_groups(np.array([1.0]), np.array([0]), 1, like)
