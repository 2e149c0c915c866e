"""Data quality from the source to the outcomes: what requests fail, and how it was before."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from loopline.contract.schema import Contract
from loopline.data import quality as stages
from loopline.data.quality import Tally
from loopline.model.signature import Input, Signature
from loopline.monitoring import hours, labels, quality
from loopline.monitoring.findings import Subject
from loopline.monitoring.hours import CHECKS, Cell
from loopline.monitoring.quality import Checks
from loopline.monitoring.segments import Predictions, typed
from loopline.monitoring.windows import HOUR, Window

START = 380_000
PLACE = ("production", 3)
CONTRACT = Contract.model_validate(
    {
        "project": "credit",
        "problem": {"task": "binary", "target": "risk"},
        "goals": [{"metric": "error_rate", "at_most": 0.01}],
        "data": {
            "source": "x.csv",
            "key": "id",
            "columns": {
                "age": {"type": "number", "minimum": 18, "missing_at_most": 0.5},
                "purpose": {"type": "category", "categories": ["car", "house"]},
                "id": {"type": "text"},
            },
            "checks": [
                {"rule": "age < 100 or purpose = 'car'"},
                {"rule": "risk = 1 or age > 20", "on_fail": "warn"},
            ],
        },
        "monitor": {"window": "2 hours", "minimum_rows": 4},
    }
)
SIGNATURE = Signature(
    "credit",
    "binary",
    (
        Input("age", "number"),
        Input("purpose", "category"),
        Input("id", "text", required=False),
    ),
    (),
    ("no", "yes"),
    0.5,
)


def logged(ages: list[Any], purposes: list[Any], at: list[int]) -> Any:
    rows = len(ages)
    found = Predictions(3, shadow=False)
    found.inputs = [ages, purposes, ["same"] * rows]
    found.outputs = [["yes"] * rows, [0.9] * rows]
    found.ids = [f"id{row}" for row in range(rows)]
    found.arrivals = [(START + hour) * HOUR for hour in at]
    found.client_ids, found.callers, found.latencies = [None] * rows, [None] * rows, [1] * rows
    return typed(found, SIGNATURE, "production")


AGES = [30.0, 17.0, None, 120.0, 16.0]
PURPOSES = ["car", "boat", None, "house", "car"]
HOURS = [0, 0, 0, 0, 1]


def test_requests_are_checked_as_the_data_was_and_counted_by_the_hour() -> None:
    cells = Checks(CONTRACT)(logged(AGES, PURPOSES, HOURS), SIGNATURE, PLACE)

    first = {cell.column: counted for cell, counted in cells.items() if cell.hour == START}
    assert first["age"] == {"rows": 4, "minimum 18": 1, "missing at most 0.5": 1}
    assert first["purpose"] == {"rows": 4, "categories car, house": 1}
    # The rule about the target cannot be asked of a request, and one key may come twice.
    assert first[""] == {"rows": 4, "rule age < 100 or purpose = 'car'": 1}
    assert cells[Cell(*PLACE, START + 1, "age", CHECKS)]["minimum 18"] == 1
    assert {cell.slice for cell in cells} == {CHECKS}


def test_without_a_contract_or_checks_nothing_is_counted() -> None:
    found = logged(AGES, PURPOSES, HOURS)
    bare = CONTRACT.model_copy(
        update={"data": CONTRACT.data.model_copy(update={"columns": {}, "checks": []})}
    )

    assert Checks(None)(found, SIGNATURE, PLACE) == {}
    assert Checks(bare)(found, SIGNATURE, PLACE) == {}


SUBJECT = Subject("credit", "production", 3, datetime(2013, 5, 8, tzinfo=UTC))
WINDOW = Window(START, START + 2)


def judged(failed: int, before: float, name: str = "minimum 18", rows: int = 1000) -> Any:
    counted = {(CHECKS, "age"): Counter({"rows": rows, name: failed})}
    found = quality.judge(CONTRACT, SUBJECT, SIGNATURE, counted, {("age", name): before}, WINDOW)
    return {one.subject: one for one in found}


def test_a_check_that_nothing_fails_any_more_is_judged_too() -> None:
    counted = {(CHECKS, "age"): Counter(rows=10)}  # sums leave zeros out

    found = quality.judge(CONTRACT, SUBJECT, SIGNATURE, counted, {}, WINDOW)

    assert [(one.subject, one.status) for one in found] == [
        ("age: minimum 18", "resolved"),
        ("age: missing at most 0.5", "resolved"),
    ]


def test_requests_that_fail_more_than_training_rows_did_are_a_finding() -> None:
    # Of 1,000 rows at 1 %, three standard errors are 0.94 %.
    usual, worse = judged(19, 0.01), judged(20, 0.01)

    assert usual["age: minimum 18"].status == "resolved"
    found = worse["age: minimum 18"]
    assert (found.status, found.kind, found.metric) == ("open", "quality", "failing_rate")
    assert found.limit == pytest.approx(0.01 + 3 * (0.01 * 0.99 / 1000) ** 0.5)
    assert "2.00% of 1,000 requests to credit:3 in production fail" in found.message
    assert "of the training rows 1.00% did" in found.message


def test_what_never_failed_may_fail_twice_by_chance() -> None:
    assert judged(2, 0.0)["age: minimum 18"].status == "resolved"
    assert judged(3, 0.0)["age: minimum 18"].status == "open"


def test_missing_values_have_the_promised_limit_and_few_rows_are_not_judged() -> None:
    name = "missing at most 0.5"

    assert judged(500, 0.0, name)[f"age: {name}"].status == "resolved"
    assert judged(501, 0.9, name)[f"age: {name}"].status == "open"
    assert judged(3, 0.0, rows=3) == {}


def test_what_the_newest_data_fail_is_a_finding_until_newer_data_do_not(ledger: Any) -> None:
    checked(ledger, 0.1, 1)
    first = quality.known(ledger)
    [found] = quality.of_data(SUBJECT, first)
    checked(ledger, 0.0, 2)
    [later] = quality.of_data(SUBJECT, quality.known(ledger, first))

    assert (found.kind, found.subject) == ("quality", "source, age: minimum 18")
    assert (found.status, found.value, found.rows) == ("open", 0.1, 1000)
    assert found.message == (
        "100 of 1,000 rows (10.00%) of snap-1 fail 'age: minimum 18', which is to warn; "
        "checked 2013-05-01T00:00:00Z."
    )
    assert (later.id, later.status) == (found.id, "resolved")
    assert first.training == {("age", "minimum 18"): 0.1}


NOW = datetime.fromtimestamp((START + 4) * HOUR / 1e6 - 60, UTC)


def checked(ledger: Any, share: float, day: int, *, rows: int = 1000) -> None:
    failed = round(share * rows)
    tallies = [
        Tally(stage, "age", "minimum 18", "warn", rows, failed, failed == 0)
        for stage in ("source", "training")
    ]
    stages.record(ledger, tallies, f"snap-{day}", datetime(2013, 5, day, tzinfo=UTC))


def reported(ledger: Any, database: Any, tables: Any) -> dict[tuple[str, Any, str], Any]:
    found = quality.report(CONTRACT, ledger, database, tables, SIGNATURE, NOW)
    return {(one.stage, one.column, one.name): one for one in found}


def test_runs_leave_a_history_and_a_trend(ledger: Any, database: Any, tables: Any) -> None:
    for day, share in ((1, 0.1), (2, 0.1), (3, 0.4)):
        checked(ledger, share, day)

    found = reported(ledger, database, tables)["source", "age", "minimum 18"]

    assert (found.where, found.rows, found.failed, found.passed) == ("snap-3", 1000, 400, False)
    assert [point.failed for point in found.history] == [100, 100, 400]
    assert found.trend == "worse"
    checked(ledger, 0.0, 4)
    now = reported(ledger, database, tables)["training", "age", "minimum 18"]
    assert (now.trend, now.passed) == ("better", True)


def test_what_the_contract_checks_no_more_is_not_told(
    ledger: Any, database: Any, tables: Any
) -> None:
    checked(ledger, 0.1, 1)
    later = [Tally("source", "age", "minimum 21", "warn", 10, 0, True)]
    stages.record(ledger, later, "refused.csv", datetime(2013, 5, 2, tzinfo=UTC))

    found = reported(ledger, database, tables)

    assert [name for name in found if name[0] == "source"] == [("source", "age", "minimum 21")]
    assert found["source", "age", "minimum 21"].trend == "new"
    assert ("training", "age", "minimum 18") in found  # nothing newer was trained


def test_requests_are_told_by_the_window(ledger: Any, database: Any, tables: Any) -> None:
    with database.begin() as connection:
        cells = Checks(CONTRACT)(logged(AGES, PURPOSES, HOURS), SIGNATURE, PLACE)
        later = Checks(CONTRACT)(logged([40.0] * 5, ["car"] * 5, [2, 3, 3, 3, 3]), SIGNATURE, PLACE)
        hours.add(connection, "credit", cells | later)

    found = reported(ledger, database, tables)["serving", "age", "minimum 18"]

    assert (found.where, found.rows, found.failed, found.passed) == ("production", 5, 0, True)
    assert [(point.rows, point.failed) for point in found.history] == [(5, 2), (5, 0)]
    assert found.history[0].at == quality._iso(START)


def test_outcomes_must_be_classes(ledger: Any, database: Any, tables: Any) -> None:
    moment = datetime(2013, 5, 8, tzinfo=UTC)
    rows = pl.DataFrame(
        {
            "prediction_id": ["a", "b", "c", "d"],
            "key": pl.Series([None] * 4, dtype=pl.String),
            "label": ["yes", "no", "perhaps", None],
            "observed_at": [moment] * 4,
            "arrival": [moment, moment + timedelta(days=1), moment + timedelta(days=1), moment],
            "offset": [0] * 4,
            "row": [0, 1, 2, 3],
            "segment": ["s"] * 4,
        }
    )
    tables.write(labels.table("credit"), rows)

    found = reported(ledger, database, tables)["feedback", None, "one of the classes"]

    assert (found.rows, found.failed, found.passed) == (3, 1, False)
    assert [(point.rows, point.failed) for point in found.history] == [(1, 0), (2, 1)]
