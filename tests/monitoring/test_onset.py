"""Since when: the hour at which real flights were changed, and no hour where they were not."""

import numpy as np
import polars as pl
import pytest

from loopline.counts.groups import count_groups
from loopline.counts.kernel import ColumnCounts, count_column
from loopline.monitoring import onset
from loopline.monitoring.onset import Onset


@pytest.fixture(scope="module")
def autumn(flights: pl.DataFrame) -> pl.DataFrame:
    """Flights of September and October with their hour, from 0."""
    return (
        flights.filter(pl.col("month").is_in([9, 10]))
        .with_columns(
            at=((pl.col("month") - 9) * 30 + pl.col("day") - 1) * 24
            + pl.col("sched_dep_time") // 100
        )
        .sort("at")
    )


def counted(values: np.ndarray, at: np.ndarray, like: ColumnCounts) -> dict[int, ColumnCounts]:
    hours, groups = np.unique(at, return_inverse=True)
    found = count_groups(values, groups, len(hours), like)
    return dict(zip(hours.tolist(), found, strict=True))


def numbers(frame: pl.DataFrame, name: str) -> np.ndarray:
    return frame[name].cast(pl.Float64).to_numpy()


def found(values: np.ndarray, frame: pl.DataFrame, limit: float = 0.1) -> Onset | None:
    at = frame["at"].to_numpy()
    like = count_column(values[at < 600])
    return onset.find(*onset.table(like, counted(values, at, like)), limit=limit)


def test_a_change_of_unit_is_found_at_its_hour(autumn: pl.DataFrame) -> None:
    miles = numbers(autumn, "distance")
    after = autumn["at"].to_numpy() >= 1001

    changed = found(np.where(after, miles * 1.609344, miles), autumn)

    assert changed == Onset(1001)


def test_what_passes_has_an_end(autumn: pl.DataFrame) -> None:
    miles, at = numbers(autumn, "distance"), autumn["at"].to_numpy()
    gone = (at >= 1001) & (at < 1049) & (autumn["origin"] == "LGA").to_numpy()

    changed = found(np.where(gone, np.nan, miles), autumn)

    # The last flight from LaGuardia without a distance leaves at 21 on the second day.
    assert changed is not None
    assert changed.hour in (1001, 1002)
    assert changed.until is not None
    assert 1046 <= changed.until <= 1053


def test_a_renamed_category_is_found_at_its_hour(autumn: pl.DataFrame) -> None:
    after = autumn["at"].to_numpy() >= 777
    carriers = np.array(autumn["carrier"].to_list(), object)

    changed = found(np.where(after & (carriers == "UA"), "UAL", carriers), autumn)

    assert changed is not None
    assert abs(changed.hour - 777) <= 1


@pytest.mark.parametrize("name", ["distance", "sched_dep_time"])
def test_weeks_like_others_have_no_onset(autumn: pl.DataFrame, name: str) -> None:
    assert found(numbers(autumn, name), autumn) is None


def test_what_was_so_from_the_first_hour_is_older(autumn: pl.DataFrame) -> None:
    miles, at = numbers(autumn, "distance"), autumn["at"].to_numpy()
    like = count_column(miles * 1.609344)

    changed = onset.find(*onset.table(like, counted(miles, at, like)), limit=0.1)

    assert changed == Onset(int(at[0]), None, is_older=True)


def test_nothing_has_no_onset() -> None:
    like = count_column(np.arange(100.0))

    assert onset.find(*onset.table(like, {}), limit=0.1) is None
    one = count_column(np.arange(100.0) + 500, like)
    assert onset.find(*onset.table(like, {7: one}), limit=0.1) == Onset(7, None, is_older=True)


def test_the_gain_of_a_parting_is_the_likelihood_s_worked_out_by_hand() -> None:
    rows = np.array([[8, 2], [8, 2], [2, 8]])

    gains = onset._gains(rows[None])[0]

    def fit(a: float, b: float) -> float:
        return float(a * np.log(a / (a + b)) + b * np.log(b / (a + b)))

    assert gains == pytest.approx(
        [fit(8, 2) + fit(10, 10) - fit(18, 12), fit(16, 4) + fit(2, 8) - fit(18, 12)]
    )
    assert onset.changes(np.tile([[50, 50]], (40, 1))) == [0]
