"""Seasonal references are sums of the hours that they name, of whichever version answered then."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from loopline.contract.schema import Monitor
from loopline.counts.kernel import ColumnCounts, count_arrays, count_column
from loopline.model.signature import Input, Signature
from loopline.monitoring import hours
from loopline.monitoring.hours import INPUT, OUTPUT, ROWS, Cell
from loopline.monitoring.reference import Reference
from loopline.monitoring.seasons import seasonal, windows
from loopline.monitoring.windows import Window
from loopline.store.database import Database

NOW = Window(380_000, 380_024)
WEEK = 168
NAMES = np.array(["UA", "DL", "UA"], object)
PROFILE = count_arrays(
    {"amount": np.arange(1.0, 101), "carrier": NAMES, "probability": np.linspace(0, 1, 50)}
)
SIGNATURE = Signature(
    "credit", "binary", (Input("amount", "number"), Input("carrier", "category")), (), ("0", "1")
)
REFERENCE = Reference(3, SIGNATURE, PROFILE, None)


def test_weekdays_meet_weekdays() -> None:
    day = windows("same_weekday", NOW)
    assert [NOW.first - each.first for each in day] == [WEEK, 2 * WEEK, 3 * WEEK, 4 * WEEK]
    assert {each.last - each.first for each in day} == {24}

    # A window of thirty days is compared with such that do not reach into it.
    month = windows("same_weekday", Window(380_000, 380_720))
    assert [380_000 - each.first for each in month] == [5 * WEEK * k for k in (1, 2, 3, 4)]


def test_a_year_ago_is_a_month_around_the_same_weekdays() -> None:
    [year] = windows("same_month_last_year", NOW)

    assert year.last - year.first == 4 * WEEK
    middle = (year.first + year.last) / 2
    assert (NOW.first + NOW.last) / 2 - middle == 52 * WEEK
    assert windows("training", NOW) == []


def keep(
    database: Database, hour: int, amounts: np.ndarray, *, version: int = 3, like: Any = None
) -> None:
    profile = like or PROFILE.columns
    place = ("dev", version, hour)
    cells: dict[Cell, Any] = {
        Cell(*place, "amount", INPUT): count_column(amounts, profile["amount"]),
        Cell(*place, "carrier", INPUT): count_column(NAMES, profile["carrier"]),
        Cell(*place, "probability", OUTPUT): count_column(np.full(7, 0.5), profile["probability"]),
        Cell(*place, "", ROWS): Counter(whole=len(amounts)),
    }
    with database.begin() as connection:
        hours.add(connection, "credit", cells)


def found(database: Database, minimum: int = 1) -> tuple[dict[str, ColumnCounts], frozenset[str]]:
    monitor = Monitor(reference="same_weekday", minimum_rows=minimum)
    reference, columns = seasonal(database, "credit", "dev", REFERENCE, monitor, NOW)
    return dict(reference.profile.columns), columns


def test_the_reference_is_the_sum_of_the_weeks_before(database: Database) -> None:
    for number, hour in enumerate((NOW.first - WEEK, NOW.first - 4 * WEEK, NOW.first - 5 * WEEK)):
        keep(database, hour, np.full(10, float(number + 1)))
    keep(database, NOW.first, np.full(10, 9.0))  # the window itself
    keep(database, NOW.first - WEEK - 1, np.full(10, 9.0))  # another day

    columns, seasonal_ones = found(database)

    assert columns["amount"] == count_column(np.repeat([1.0, 2.0], 10), PROFILE.columns["amount"])
    assert columns["carrier"].named == {"DL": 2, "UA": 4}
    assert seasonal_ones == {"amount", "carrier", "probability"}


def test_other_versions_inputs_count_and_their_answers_do_not(database: Database) -> None:
    other = count_arrays(
        {
            "amount": np.arange(1.0, 101),
            "carrier": np.array(["UA", "B6", "DL"], object),
            "probability": np.linspace(0, 1, 50),
        }
    ).columns
    keep(database, NOW.first - WEEK, np.full(10, 4.0), version=2, like=other)

    columns, seasonal_ones = found(database)

    assert seasonal_ones == {"amount", "carrier"}
    assert columns["carrier"] == count_column(NAMES, PROFILE.columns["carrier"])
    assert columns["probability"] == PROFILE.columns["probability"]


def test_too_little_of_a_season_leaves_the_version_s_own_rows(database: Database) -> None:
    keep(database, NOW.first - WEEK, np.full(10, 4.0))

    columns, seasonal_ones = found(database, minimum=11)

    assert (columns, seasonal_ones) == (dict(PROFILE.columns), frozenset())


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_counts_on_another_grid_are_left_out(database: Database, offset: float) -> None:
    like = {**PROFILE.columns, "amount": count_column(np.arange(1.0, 101) + offset)}
    keep(database, NOW.first - WEEK, np.full(10, 4.0) + offset, version=2, like=like)

    assert ("amount" in found(database)[1]) is (offset == 0.0)
