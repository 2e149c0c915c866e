"""Rows go when they are older than the contract keeps them, and nothing else does."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from loopline.monitoring import labels
from loopline.monitoring.places import Places
from loopline.monitoring.retention import Expired, expire

NOW = datetime(2013, 6, 1, tzinfo=UTC)
MOMENT = pl.Datetime("us", "UTC")


def days_ago(*days: float) -> pl.Series:
    return pl.Series([NOW - timedelta(days=one) for one in days], dtype=MOMENT)


def test_rows_go_by_their_event_and_by_their_arrival_where_that_is_no_event(
    tables: Any, database: Any
) -> None:
    tables.write(
        "predictions/credit",
        pl.DataFrame(
            {
                "prediction_id": ["old", "late", "young", "odd", "edge"],
                "key": pl.Series([None] * 5, dtype=pl.String),
                "event_time": days_ago(31, 40, 1, 9000, 30),
                "arrival": days_ago(31, 1, 1, 2, 30),
                "plausible": [True, True, True, False, True],
            }
        ),
        transaction=("credit/dev/1-1-a.log", 90),
    )
    tables.write(
        labels.table("credit"),
        pl.DataFrame(
            {
                "prediction_id": pl.Series([None] * 2, dtype=pl.String),
                "key": ["a", "b"],
                "observed_at": days_ago(31, 29),
            }
        ),
    )

    gone = expire(tables, database, "credit", timedelta(days=30), NOW)
    again = expire(tables, database, "credit", timedelta(days=30), NOW)

    assert gone == Expired("2013-05-02T00:00:00Z", 2, 1)
    assert (again.predictions, again.labels) == (0, 0)
    left = tables.read("predictions/credit")["prediction_id"].sort().to_list()
    assert left == ["edge", "odd", "young"]
    assert tables.read(labels.table("credit"))["key"].to_list() == ["b"]
    # What was folded is not folded again, though its rows are gone.
    assert tables.transaction("credit/dev/1-1-a.log", "predictions/credit") == 90


def test_without_tables_there_is_nothing_to_delete(tables: Any, database: Any) -> None:
    assert expire(tables, database, "credit", timedelta(days=30), NOW).predictions == 0


def test_an_outcome_stays_as_long_as_a_prediction_that_it_is_of(tables: Any, database: Any) -> None:
    """One that was observed before its event goes with it: else a correction would count twice."""
    rows = pl.DataFrame(
        {
            "prediction_id": ["it's", "old", "young"],
            "key": [None, "k1", "k2"],
            "event_time": days_ago(20, 40, 20),
            "arrival": days_ago(40, 40, 40),
            "plausible": [True] * 3,
        }
    )
    tables.write("predictions/credit", rows)
    told = pl.DataFrame(
        {
            "prediction_id": ["it's", "old", None, None, None],
            "key": [None, None, "k1", "k2", "k3"],
            "observed_at": days_ago(*[35] * 5),
            "arrival": days_ago(*[35] * 5),
        }
    )
    tables.write(labels.table("credit"), told)
    places = Places("credit", tables, database)
    with database.begin() as connection:
        places.note(connection, "prediction", rows)
        places.note(connection, "outcome", told)

    gone = expire(tables, database, "credit", timedelta(days=30), NOW)

    assert (gone.predictions, gone.labels) == (1, 3)
    left = tables.read(labels.table("credit"))
    assert set(left.select("prediction_id", "key").rows()) == {("it's", None), (None, "k2")}
    asked = pl.Series(["k1", "k2", "k3"])
    assert places.keyed("outcome", asked)["key"].to_list() == ["k2"]
    assert places.keyed("prediction", asked)["key"].to_list() == ["k2"]
    # Twenty days on, both of them go.
    assert expire(tables, database, "credit", timedelta(days=10), NOW).labels == 2


def test_whole_hours_go(tables: Any, database: Any) -> None:
    events = days_ago(30).append(days_ago(30.01))
    tables.write(
        "predictions/credit",
        pl.DataFrame(
            {
                "prediction_id": ["a", "b"],
                "key": ["k", "k"],
                "event_time": events,
                "arrival": events,
                "plausible": [True] * 2,
            }
        ),
    )

    gone = expire(tables, database, "credit", timedelta(days=30), NOW + timedelta(minutes=40))

    assert (gone.before, gone.predictions) == ("2013-05-02T00:00:00Z", 1)
