"""Rows go when they are older than the contract keeps them, and nothing else does."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from loopline.monitoring import labels
from loopline.monitoring.retention import Expired, expire

NOW = datetime(2013, 6, 1, tzinfo=UTC)
MOMENT = pl.Datetime("us", "UTC")


def days_ago(*days: float) -> pl.Series:
    return pl.Series([NOW - timedelta(days=one) for one in days], dtype=MOMENT)


def test_rows_go_by_their_event_and_by_their_arrival_where_that_is_no_event(tables: Any) -> None:
    tables.write(
        "predictions/credit",
        pl.DataFrame(
            {
                "prediction_id": ["old", "late", "young", "odd", "edge"],
                "event_time": days_ago(31, 40, 1, 9000, 30),
                "arrival": days_ago(31, 1, 1, 2, 30),
                "plausible": [True, True, True, False, True],
            }
        ),
        transaction=("credit/dev/1-1-a.log", 90),
    )
    tables.write(
        labels.table("credit"), pl.DataFrame({"key": ["a", "b"], "observed_at": days_ago(31, 29)})
    )

    gone = expire(tables, "credit", timedelta(days=30), NOW)
    again = expire(tables, "credit", timedelta(days=30), NOW)

    assert gone == Expired("2013-05-02T00:00:00Z", 2, 1)
    assert (again.predictions, again.labels) == (0, 0)
    left = tables.read("predictions/credit")["prediction_id"].sort().to_list()
    assert left == ["edge", "odd", "young"]
    assert tables.read(labels.table("credit"))["key"].to_list() == ["b"]
    # What was folded is not folded again, though its rows are gone.
    assert tables.transaction("credit/dev/1-1-a.log", "predictions/credit") == 90


def test_without_tables_there_is_nothing_to_delete(tables: Any) -> None:
    assert expire(tables, "credit", timedelta(days=30), NOW).predictions == 0
