"""What the report shows of a past: promises with their limits, estimates beside what came true."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loopline.contract.load import load
from loopline.evaluation.report import Estimate
from loopline.monitoring.estimation import Estimation
from loopline.monitoring.findings import Finding, Findings
from loopline.monitoring.history import History, Point
from loopline.monitoring.performance import Performance
from loopline.monitoring.service import Service
from loopline.monitoring.windows import Window
from loopline.publishing import watching
from loopline.publishing.watching import Past, _stays, gather

CONTRACT = """
project: credit
problem: {task: binary, target: y, costs: {currency: EUR, false_positive: 1}}
goals:
  - {metric: roc_auc, at_least: 0.65}
  - {metric: cost_per_prediction, below_baseline_by: 10%}
data: {source: x.csv}
"""
NOW = datetime(2026, 3, 3, tzinfo=UTC)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    (tmp_path / "loopline.yaml").write_text(CONTRACT)
    return Past(load(tmp_path / "loopline.yaml"), NOW, (), (), (), ())


def point(number: int, auc: float | None, *, labels: int = 600, version: int = 1) -> Point:
    window = Window(number * 24, number * 24 + 24)
    figures = {"roc_auc": auc, "cost_per_prediction": 2.0}
    found = None
    if auc is not None:
        found = Performance(
            window, 1000, labels, figures, "majority", {"roc_auc": 0.5, "cost_per_prediction": 3.0},
            (), (),
        )  # fmt: skip
    estimated = Estimation(window, 1000, "isotonic", 500, {"roc_auc": Estimate(0.7, 0.66, 0.74)})
    service = Service(window, 1000, 0, 0, {}, {})
    return Point(version, window, 1000, (), service, found, labels >= 500, estimated)


def history(*points: Point) -> History:
    window = points[-1].window
    return History(
        "production", 24, points, 1, window, 1000, (), Service(window, 0, 0, 0, {}, {}), (), None,
        0, (),
    )  # fmt: skip


def chart(past: Past, one: History, title: str) -> Any:
    found = [each for part in watching.sections(past, one) for each in part.charts]
    return next(each for each in found if each.title.startswith(title))


def drawn(part: object) -> list[dict]:
    if isinstance(part, list):
        return [row for each in part for row in drawn(each)]
    if not isinstance(part, dict):
        return []
    own = part.get("values")
    rows = own if isinstance(own, list) and own and isinstance(own[0], dict) else []
    return rows + [row for name, each in part.items() if name != "values" for row in drawn(each)]


def test_a_goal_has_its_figures_its_baseline_its_limit_and_what_was_expected(past):
    made = chart(past, history(point(0, 0.71), point(1, 0.6)), "roc_auc")

    rows = drawn(made.spec)
    by_series = {
        name: [row["value"] for row in rows if row.get("series") == name and "value" in row]
        for name in ("baseline", "limit")
    }
    assert by_series["baseline"][:2] == [0.5, 0.5]
    assert by_series["limit"][:2] == [0.65, 0.65]
    assert [(row["low"], row["high"]) for row in rows if "low" in row] == [(0.66, 0.74)] * 2
    assert made.rows[0][1:] == ("credit:1", "0.71", "0.66 to 0.74", "0.5", "600")
    assert made.title == "roc_auc: at least 0.65"


def test_a_limit_against_the_baseline_moves_with_it(past):
    made = chart(past, history(point(0, 0.7), point(1, 0.7)), "cost_per_prediction")

    limits = {row["value"] for row in drawn(made.spec) if row.get("series") == "limit"}
    assert sorted(limits) == [pytest.approx(2.7)]
    assert "EUR per prediction" in str(made.spec)


def test_before_any_outcome_the_estimates_stand_alone_and_hollow(past):
    made = chart(past, history(point(0, None), point(1, None)), "roc_auc")

    own = [row for row in drawn(made.spec) if row.get("series") == "credit:1" and "value" in row]
    assert {row["value"] for row in own} == {0.7}
    assert not any(row["firm"] for row in own)
    assert made.rows[0][2:] == ("", "0.66 to 0.74", "", "0")


def test_of_a_single_stretch_the_limit_is_a_line_all_the_same(past):
    made = chart(past, history(point(0, 0.71)), "roc_auc")

    limits = [row for row in drawn(made.spec) if row.get("series") == "limit"]
    assert {row["at"] for row in limits} == {0, 24 * 3_600_000}


def test_money_is_what_the_baseline_would_have_cost_more(past):
    made = chart(past, history(point(0, 0.7), point(1, 0.7, labels=100)), "Saved")

    # Each outcome known saved 3 - 2 EUR.
    assert [row[4] for row in made.rows] == ["600", "100"]
    assert "cost 700 EUR less than the baseline" in made.note


def test_a_finding_that_came_back_has_two_stays(finding: Callable[..., Finding]):
    one = finding()
    told = [("2026-01-01T00:00:00Z", one), ("2026-01-02T00:00:00Z", one),
            ("2026-01-03T00:00:00Z", replace(one, status="resolved")),
            ("2026-01-05T00:00:00Z", one)]  # fmt: skip

    stays = [(stay.opened[:10], stay.closed and stay.closed[:10]) for stay in _stays(told)]

    assert stays == [("2026-01-01", "2026-01-03"), ("2026-01-05", None)]


def test_what_somebody_acknowledged_is_said_with_the_finding(lived, day):
    findings = Findings(lived.space.ledger)
    [name, *_] = findings.open()
    findings.acknowledge(name, why="the importer is being mended", now=day(16))

    said = [finding.acknowledged for finding in gather(lived.space, day(17)).open]

    assert any(text and "the importer is being mended" in text for text in said)


@pytest.fixture
def finding() -> Callable[..., Finding]:
    def make(**changes: Any) -> Finding:
        usual: dict[str, Any] = {
            "id": "a", "project": "credit", "environment": "production", "version": 3,
            "kind": "drift", "subject": "temp", "metric": "psi", "value": 0.5, "limit": 0.2,
            "window": ("a", "b"), "rows": 900, "labels": None, "message": "m", "evidence": {},
            "status": "open", "found_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        return Finding(**{**usual, **changes})

    return make
