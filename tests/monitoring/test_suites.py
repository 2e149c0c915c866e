"""Suites asked of the log: of what callers sent in each environment, and of what turned out."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from loopline.contract.schema import Contract
from loopline.model.signature import Input, Signature
from loopline.monitoring import fold, labels
from loopline.monitoring.stages import crossed, said
from loopline.monitoring.suites import asked_of_log
from loopline.store.tables import Tables

NOW = datetime(2013, 5, 8, 12, tzinfo=UTC)
SIGNATURE = Signature(
    "credit",
    "binary",
    (Input("age", "integer"), Input("key", "category"), Input("name", "text", logged=False)),
    (),
    ("no", "yes"),
)
SQL = """
-- adults
select * from data where age < 18;
-- no name
select * from data where name = '';
-- a class
select * from data where risk not in ('no', 'yes');
"""


def contract(*suites: str) -> Contract:
    return Contract.model_validate(
        {
            "project": "credit",
            "problem": {"task": "binary", "target": "risk"},
            "goals": [{"metric": "roc_auc", "at_least": 0.5}],
            "data": {"source": "x.csv", "key": "id", "checks": [{"suite": one} for one in suites]},
            "monitor": {"window": "1 day"},
        }
    )


def logged(tables: Tables, ages: list[float], at: datetime, environment: str) -> None:
    rows = len(ages)
    frame = pl.DataFrame(
        {
            "age": ages,
            "input_key": ["k"] * rows,
            "key": [None] * rows,
            "environment": [environment] * rows,
            "plausible": [True] * rows,
            "event_time": [at] * rows,
        },
        schema_overrides={"key": pl.String},
    )
    tables.write(fold.table("credit"), frame)


def test_a_suite_is_asked_of_requests_and_outcomes_as_far_as_they_have_its_columns(
    tables: Tables, tmp_path: Path
) -> None:
    (tmp_path / "checks.sql").write_text(SQL)
    logged(tables, [30.0] * 90 + [17.0] * 10, NOW - timedelta(hours=30), "production")
    logged(tables, [30.0] * 40 + [17.0] * 60, NOW - timedelta(hours=3), "production")
    logged(tables, [30.0], NOW - timedelta(hours=3), "staging")
    logged(tables, [1.0] * 9, NOW - timedelta(days=9), "staging")
    row: dict[str, Any] = {"prediction_id": "p", "key": None, "observed_at": NOW, "arrival": NOW}
    told = [{**row, "label": label, "segment": "s"} for label in ("yes", "perhaps")]
    tables.write(labels.table("credit"), pl.DataFrame(told, schema=labels.empty().schema))

    found = asked_of_log(contract("checks.sql"), tables, tmp_path, SIGNATURE, NOW)

    table = crossed(found)
    assert table.places == ("serving production", "serving staging", "feedback")
    cells = {
        check.name: [said(check.found.get(place)) for place in table.places]
        for check in table.checks
    }
    assert cells == {
        "checks.sql: adults": ["FAILS 60.00% worse", "ok", "not asked: no column age there"],
        "checks.sql: no name": ["not asked: no column name there"] * 3,
        "checks.sql: a class": [
            "not asked: no column risk there", "not asked: no column risk there", "FAILS 50.00%",
        ],
    }  # fmt: skip
    assert [check.name for check in table.failing] == ["checks.sql: adults", "checks.sql: a class"]


def test_without_suites_or_a_log_nothing_is_asked(tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "checks.sql").write_text(SQL)

    assert asked_of_log(contract("checks.sql"), tables, tmp_path, SIGNATURE, NOW) == []
    logged(tables, [1.0], NOW, "production")
    assert asked_of_log(contract(), tables, tmp_path, SIGNATURE, NOW) == []
