"""The shortened replay: a month estimated and come true, and a planted fault named by a finding."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from bench.flights_2013 import FAULT

from bench import flights_2013
from loopline.demo.flights import flights

WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def every() -> pl.DataFrame:
    """Every sixth flight."""
    return flights().gather_every(6)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, every: pl.DataFrame) -> Path:
    root = tmp_path_factory.mktemp("flights") / "made"
    flights_2013.make(root, every, "same_weekday", light=True)
    return root


def test_a_month_s_estimates_stand_beside_what_came_true(made: Path, every: pl.DataFrame) -> None:
    [april], held = flights_2013.year(
        flights_2013._copy(made, "year"), every, range(4, 5), timedelta(days=15)
    )

    assert april.flights == flights_2013.month(every, 4).height
    assert april.labels == flights_2013.month(every, 4)["arr_delay"].is_not_null().sum()
    for name in ("roc_auc", "cost_per_prediction"):
        value, low, high = april.estimated[name]
        assert low < value < high
    assert 0.55 < april.realised["roc_auc"] < 0.75
    assert set(april.held) == {"roc_auc", "cost_per_prediction"}
    # Outcomes come thirty days late: when April ended none had taught anything.
    assert april.widened == {}
    assert held is not None
    assert held.windows > 0


def test_a_category_renamed_upstream_is_named_with_its_hour_and_its_airport(
    made: Path, every: pl.DataFrame
) -> None:
    fault = flights_2013.plant(flights_2013._copy(made, "fault"), every, "UA becomes UAL", 2 * WEEK)

    assert fault.found is not None
    assert "carrier of flight-delays:1 in production has drifted" in fault.found
    assert "new are UAL" in fault.found
    assert fault.since == f"{FAULT:%Y-%m-%dT%H:%M:%SZ}"
    assert 0 < fault.affected < fault.rows < 5000
