"""What the contract's rules ask for, and when they wait."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loopline.contract.schema import Contract
from loopline.monitoring.findings import Finding
from loopline.monitoring.survey import Figure
from loopline.response.rules import Action, Decision, Situation, decide
from loopline.store.ledger import iso

NOW = datetime(2013, 6, 1, tzinfo=UTC)
GOAL = Finding(
    "goal-1", "flights", "production", 5, "goal", "roc_auc", "roc_auc", 0.6, 0.65,
    ("2013-05-01T00:00:00Z", "2013-06-01T00:00:00Z"), 9000, 4000, "roc_auc is 0.6.", {}, "open",
    "2013-06-01T00:00:00Z",
)  # fmt: skip
DRIFT = replace(
    GOAL, id="drift-1", kind="drift", subject="temp", metric="psi", message="temp moved"
)


def contract(*rules: dict[str, Any]) -> Contract:
    return Contract.model_validate(
        {
            "project": "flights",
            "problem": {"task": "binary", "target": "late"},
            "goals": [{"metric": "roc_auc", "at_least": 0.65}],
            "data": {"source": "x.csv"},
            "respond": list(rules),
        }
    )


def situation(**changes: Any) -> Situation:
    usual = Situation("production", 5, {}, (), ())
    return replace(usual, **changes)


def figure(value: float, *, mature: bool = True, subject: str = "error_rate") -> dict[str, Figure]:
    return {"error_rate": Figure(value, subject, 900, mature)}


def taken(ago: timedelta, **changes: Any) -> Action:
    usual = Action(
        "a", "alert", "error_rate > 1%", (), "production", 5, "done", {}, "", iso(NOW - ago)
    )
    return replace(usual, **changes)


def said(decisions: list[Decision]) -> list[tuple[str, str | None]]:
    return [(decision.kind, decision.outcome) for decision in decisions]


ERRORS = {"when": "error_rate > 1%", "do": ["alert"], "cool_down": "1 hour"}


@pytest.mark.parametrize(("value", "expected"), [(0.011, 1), (0.01, 0), (float("nan"), 0)])
def test_a_metric_is_compared_with_its_limit(value: float, expected: int) -> None:
    decisions = decide(contract(ERRORS), situation(figures=figure(value)), NOW)

    assert len(decisions) == expected


def test_a_figure_on_too_few_rows_or_labels_asks_for_nothing() -> None:
    immature = situation(figures=figure(0.5, mature=False))

    assert decide(contract(ERRORS), immature, NOW) == []


def test_the_decision_says_what_was_measured_and_names_the_findings_behind_it() -> None:
    rule = {"when": "psi > 0.3", "do": "alert"}
    here = situation(figures={"psi": Figure(0.41, "temp", 900, True)}, findings=(GOAL, DRIFT))

    [decision] = decide(contract(rule), here, NOW)

    assert decision.why == "psi of temp is 0.41 on 900 rows, and the rule says > 0.3."
    assert decision.findings == (DRIFT,)


@pytest.mark.parametrize(
    ("when", "findings", "expected"),
    [
        ("goal missed", (GOAL,), (GOAL,)),
        ("goal missed", (DRIFT,), None),
        ("drift", (GOAL, DRIFT), (DRIFT,)),
        ("drift", (), None),
    ],
)
def test_goals_and_drift_hold_while_such_a_finding_is_open(
    when: str, findings: tuple[Finding, ...], expected: tuple[Finding, ...] | None
) -> None:
    decisions = decide(contract({"when": when, "do": "alert"}), situation(findings=findings), NOW)

    assert [decision.findings for decision in decisions] == ([] if expected is None else [expected])


def test_a_rule_waits_for_its_cool_down_and_says_so_once() -> None:
    rules = contract(ERRORS)
    after = [taken(timedelta(minutes=59))]
    here = situation(figures=figure(0.5), history=after)

    [waiting] = decide(rules, here, NOW)
    noted = [*after, taken(timedelta(minutes=1), outcome="cooling down")]

    assert waiting.outcome == "cooling down"
    assert "2013-06-01 00:01 UTC" in waiting.why
    assert decide(rules, replace(here, history=noted), NOW) == []
    assert said(decide(rules, replace(here, history=noted), NOW + timedelta(minutes=2))) == [
        ("alert", None)
    ]


def test_a_cool_down_is_of_one_environment() -> None:
    elsewhere = [taken(timedelta(minutes=5), environment="staging")]

    decisions = decide(contract(ERRORS), situation(figures=figure(0.5), history=elsewhere), NOW)

    assert said(decisions) == [("alert", None)]


def test_what_failed_is_tried_again_soon_but_not_at_every_pass() -> None:
    rule = contract({"when": "drift", "do": "alert", "cool_down": "30 days"})
    failed = taken(timedelta(minutes=9), rule="drift", outcome="failed")
    here = situation(findings=(DRIFT,), history=[failed])

    assert said(decide(rule, here, NOW)) == [("alert", "cooling down")]
    assert said(decide(rule, here, NOW + timedelta(minutes=2))) == [("alert", None)]


ROLLBACK = {"when": "error_rate > 1%", "do": "rollback", "cool_down": "1 hour"}


def test_a_version_is_rolled_back_at_most_once() -> None:
    earlier = taken(timedelta(days=90), kind="rollback", version=5)
    here = situation(figures=figure(0.5), history=[earlier])

    [decision] = decide(contract(ROLLBACK), here, NOW)
    noted = [earlier, taken(timedelta(0), kind="rollback", outcome="refused")]

    assert decision.outcome == "refused"
    assert "brought back since" in decision.why
    assert decide(contract(ROLLBACK), replace(here, history=noted), NOW) == []


def test_the_version_before_is_not_rolled_back_at_once_for_the_same_trouble() -> None:
    just_now = taken(timedelta(minutes=5), kind="rollback", version=6)
    here = situation(figures=figure(0.5), history=[just_now])

    assert said(decide(contract(ROLLBACK), here, NOW)) == [("rollback", "cooling down")]
    assert said(decide(contract(ROLLBACK), here, NOW + timedelta(hours=1))) == [("rollback", None)]


def test_two_rules_that_ask_for_a_rollback_get_one() -> None:
    both = contract(ROLLBACK, {"when": "drift", "do": ["alert", "rollback"]})

    decisions = decide(both, situation(figures=figure(0.5), findings=(DRIFT,)), NOW)

    assert said(decisions) == [("rollback", None), ("alert", None)]


def test_a_retraining_by_one_rule_cools_down_the_others() -> None:
    rule = {"when": "drift", "do": "retrain", "cool_down": "7 days"}
    earlier = taken(timedelta(days=2), kind="retrain", rule="goal missed")
    here = situation(findings=(DRIFT,), history=[earlier])

    assert said(decide(contract(rule), here, NOW)) == [("retrain", "cooling down")]


def test_what_somebody_knows_of_alerts_nobody_and_is_acted_on_all_the_same() -> None:
    rule = {"when": "goal missed", "do": ["alert", "retrain"]}
    known = replace(GOAL, acknowledged="ada: the strike")

    assert said(decide(contract(rule), situation(findings=(known,)), NOW)) == [("retrain", None)]
    both = (known, replace(GOAL, id="goal-2", kind="fairness"))
    assert said(decide(contract(rule), situation(findings=both), NOW)) == [
        ("alert", None),
        ("retrain", None),
    ]


def test_a_figure_of_a_column_concerns_the_cause_that_the_column_belongs_to() -> None:
    rule = {"when": "error_rate > 1%", "do": "alert"}
    cause = replace(DRIFT, columns=("temp", "humid"))

    [decision] = decide(
        contract(rule), situation(figures=figure(0.5, subject="humid"), findings=(cause,)), NOW
    )

    assert decision.findings == (cause,)
