"""Everything about one version where it serves, and nothing about any other."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from loopline.contract.schema import Contract
from loopline.counts.kernel import count_arrays, count_column
from loopline.model.signature import Input, Signature
from loopline.monitoring import fold, hours, labels, performance
from loopline.monitoring.hours import ERRORS, INPUT, LATENCY, OUTPUT, ROWS, Cell
from loopline.monitoring.reference import Reference
from loopline.monitoring.settled import Settling
from loopline.monitoring.survey import Survey
from loopline.monitoring.windows import HOUR, Window, moment
from loopline.registry.release import Served
from loopline.store.database import Database
from loopline.store.tables import Tables

NOW = datetime(2013, 5, 8, 12, 30, tzinfo=UTC)
LAST = int(NOW.timestamp()) // 3600
"""The hour that holds `now`."""
AMOUNTS = np.random.default_rng(1).lognormal(3, 1, 2000)
SCORES = np.random.default_rng(2).random(2000)
REFERENCE = Reference(
    3,
    Signature("credit", "binary", (Input("amount", "number"),), (), ("0", "1"), 0.5),
    count_arrays({"amount": AMOUNTS, "probability": SCORES}),
    None,
)
SERVED = Served(3, "bundles/credit/3", "d" * 64)
CONTRACT = Contract.model_validate(
    {
        "project": "credit",
        "problem": {"task": "binary", "target": "risk"},
        "goals": [
            {"metric": "roc_auc", "at_least": 0.65},
            {"metric": "latency_p99", "at_most": "25 ms"},
            {"metric": "error_rate", "at_most": 0.05},
        ],
        "data": {"source": "x.csv"},
        "monitor": {
            "window": "2 days", "drift": {"psi": 0.2}, "minimum_rows": 100, "minimum_labels": 50,
        },
    }
)  # fmt: skip


def traffic(
    database: Database, *, rows: int, hour: int = LAST, shift: float = 1.0, version: int = 3,
    environment: str = "dev", seconds: float = 0.001, failed: int = 0,
) -> None:  # fmt: skip
    place = (environment, version, hour)
    profile = REFERENCE.profile.columns
    cells: dict[Cell, Any] = {
        Cell(*place, "amount", INPUT): count_column(AMOUNTS[:rows] * shift, profile["amount"]),
        Cell(*place, "probability", OUTPUT): count_column(SCORES[:rows], profile["probability"]),
        Cell(*place, "", ROWS): Counter(whole=rows, apart=7),
        Cell(*place, "", LATENCY): count_column(np.full(rows, seconds), hours._PLAIN),
        Cell(*place, "", ERRORS): Counter({"503 RuntimeUnavailableError": failed}),
    }
    with database.begin() as connection:
        hours.add(connection, "credit", cells)


QUIET = {("log", "log_lost"): "resolved", ("release", "release_refused"): "resolved"}
"""Of servers that noted nothing of themselves."""


def told(judged: Any) -> dict[tuple[str, str], str]:
    return {name: one.status for name, one in judged.items()}


@pytest.fixture
def look(database: Database, tables: Tables) -> Any:
    survey = Survey(CONTRACT, tables, database)

    def once(now: datetime = NOW) -> Any:
        seen, judged = survey.look("dev", SERVED, REFERENCE, now)
        return seen, {(one.kind, one.subject): one for one in judged}

    return once


def test_without_traffic_there_is_nothing_to_judge(look: Any) -> None:
    seen, judged = look()

    assert (seen.rows, seen.apart, seen.drift, seen.performance) == (0, 0, (), None)
    assert told(judged) == QUIET
    assert {figure.value for figure in seen.figures.values()} == {0.0}
    assert seen.window == ("2013-05-06T13:00:00Z", "2013-05-08T13:00:00Z")


def test_traffic_like_the_reference_holds_every_promise(look: Any, database: Database) -> None:
    traffic(database, rows=2000)

    seen, judged = look()

    assert (seen.rows, seen.apart, seen.service.requests) == (2000, 7, 2000)
    assert told(judged) == QUIET | {
        ("drift", "amount"): "resolved",
        ("drift", "probability"): "resolved",
        ("service", "latency_p99"): "resolved",
        ("service", "error_rate"): "resolved",
    }
    assert seen.figures["psi"].value == 0.0
    assert seen.figures["latency_p99"].is_mature


def test_what_is_not_as_promised_is_found(look: Any, database: Database) -> None:
    traffic(database, rows=1000, shift=3.0, seconds=0.05, failed=100)

    seen, judged = look()

    opened = {name for name, one in judged.items() if one.status == "open"}
    assert opened == {("drift", "amount"), ("service", "latency_p99"), ("service", "error_rate")}
    assert seen.figures["error_rate"].value == pytest.approx(100 / 1100)
    assert seen.figures["psi"].subject == "amount"
    assert seen.drift[0].column == "amount"  # the worst first


def test_other_versions_places_and_times_are_not_held_against_it(
    look: Any, database: Database
) -> None:
    traffic(database, rows=2000)
    bad = {"rows": 1000, "shift": 9.0, "seconds": 1.0, "failed": 1000}
    traffic(database, **bad, version=2)
    traffic(database, **bad, environment="production")
    traffic(database, **bad, hour=LAST - 48)
    traffic(database, **bad, hour=LAST + 1)

    seen, judged = look()

    assert (seen.rows, seen.service.requests) == (2000, 2000)
    assert {one.status for one in judged.values()} == {"resolved"}


def test_too_few_rows_are_told_and_decide_nothing(look: Any, database: Database) -> None:
    traffic(database, rows=99, shift=9.0, seconds=1.0)

    seen, judged = look()

    assert (seen.rows, seen.drift, told(judged)) == (99, (), QUIET)
    assert not seen.figures["latency_p99"].is_mature
    assert not seen.figures["error_rate"].is_mature


@pytest.fixture
def predictions(tables: Tables) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "prediction_id": [f"p{number}" for number in range(200)],
            "key": pl.Series([None] * 200, dtype=pl.String),
            "event_time": [moment((LAST - 1) * HOUR)] * 200,
            "score": SCORES[:200],
            "environment": ["dev"] * 100 + ["production"] * 50 + ["dev"] * 50,
            "version": [3] * 150 + [2] * 50,
            "plausible": [True] * 90 + [False] * 10 + [True] * 100,
            "amount": AMOUNTS[:200],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    tables.write(fold.table("credit"), frame)
    return frame


@pytest.mark.parametrize("name", ["carrier", "count", "value"])
def test_new_values_are_named_whatever_their_column_is_called(
    database: Database, tables: Tables, name: str
) -> None:
    codes = pl.Series(["UA", "KL", "BA", "BA"], dtype=pl.String)
    frame = pl.DataFrame(
        {
            "event_time": [moment((LAST - 1) * HOUR)] * 4, "environment": "dev", "version": 3,
            "plausible": True, name: codes,
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )  # fmt: skip
    tables.write(fold.table("credit"), frame)
    known = Reference(
        3, REFERENCE.signature, count_arrays({name: np.array(["UA"] * 9, dtype=object)}), None
    )

    found = Survey(CONTRACT, tables, database)._new_values(
        "dev", known, Window(LAST - 2, LAST), name
    )

    assert found == ["BA", "KL"]


@pytest.fixture
def outcomes(tables: Tables, database: Database) -> Any:
    references = {version: replace(REFERENCE, version=version) for version in (2, 3)}
    settle = Settling(CONTRACT, references.__getitem__, tables, database)

    sent: list[int] = []

    def come(rows: int) -> None:
        """Say how the first predictions turned out, and count it."""
        told = [
            (f"p{row}", None, str(int(SCORES[row] > 0.5)), NOW, NOW, len(sent), row, "s")
            for row in range(rows)
        ]
        sent.append(rows)
        schema = labels.empty().schema
        tables.write(labels.table("credit"), pl.DataFrame(told, schema=schema, orient="row"))
        settle()

    return come


def test_goals_rest_on_the_plausible_predictions_of_this_version_here(
    look: Any, predictions: pl.DataFrame, outcomes: Any, database: Database
) -> None:
    traffic(database, rows=90, hour=LAST - 1)
    outcomes(200)

    seen, judged = look()

    assert (seen.performance.rows, seen.performance.labels) == (90, 90)
    assert seen.performance.metrics["roc_auc"] == 1.0
    assert judged["goal", "roc_auc"].status == "resolved"
    assert seen.figures["roc_auc"].rows == 90


def test_what_cannot_have_changed_is_not_measured_again(
    look: Any,
    predictions: pl.DataFrame,
    outcomes: Any,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[int] = []
    measure = performance.measure

    def counting(*arguments: Any) -> Any:
        measured.append(1)
        return measure(*arguments)

    monkeypatch.setattr(performance, "measure", counting)
    outcomes(60)
    first = look()[0].performance
    assert first is look()[0].performance
    assert len(measured) == 1

    outcomes(80)  # more came
    assert look()[0].performance.labels == 80
    look(NOW + timedelta(hours=1))  # the hour is another
    assert len(measured) == 3


@pytest.mark.parametrize(("shift", "status"), [(2.0, "resolved"), (9.0, "open")])
def test_days_unlike_each_other_excuse_a_drift_but_not_a_flagrant_one(
    look: Any, database: Database, shift: float, status: str
) -> None:
    for day in range(2, 30):
        factor = (1 / shift, shift)[day % 2]
        traffic(database, rows=200, hour=LAST - 24 * day, shift=factor)
    traffic(database, rows=200, shift=shift)

    seen, judged = look()

    assert seen.drift[0].figures["psi"] > 0.4
    assert judged["drift", "amount"].status == status
