"""Each condition of the contract, met and not met."""

from dataclasses import replace

import pytest

from loopline.evaluation.gates import gates
from loopline.evaluation.report import Comparison, Estimate, Report

COSTS = {"false_positive": 40, "false_negative": 220}
REPORT = Report(
    run="run-1",
    project="exam",
    task="binary",
    rows=1200,
    threshold=0.3,
    metrics={
        "roc_auc": Estimate(0.71, 0.68, 0.74),
        "cost_per_prediction": Estimate(30.0, 28.0, 32.0),
        "selection_rate": Estimate(0.2, 0.1, 0.3),
    },
    baseline="majority",
    baseline_metrics={"cost_per_prediction": Estimate(40.0, 38.0, 42.0)},
    champion=None,
    champion_metrics={},
    comparisons=(
        Comparison("cost_per_prediction", "baseline", 30, 40, Estimate(-10, -12, -8), True),
    ),
    gates=(),
    currency="AUD",
    latency={"p50": 0.001, "p95": 0.002, "p99": 0.03},
    primary="cost_per_prediction",
    classes=("0", "1"),
)


def judge(contract, report=REPORT, **rest):
    return {gate.name: gate for gate in gates(contract("binary", COSTS, **rest), report)}


@pytest.mark.parametrize(
    ("goal", "passes", "told"),
    [
        ({"metric": "roc_auc", "at_least": 0.71}, True, "0.71 (95 % interval 0.68 to 0.74)"),
        ({"metric": "roc_auc", "at_least": 0.72}, False, "the goal is at least 0.72"),
        ({"metric": "selection_rate", "at_most": "20%"}, True, "at most 20%"),
        ({"metric": "selection_rate", "at_most": "19%"}, False, "at most 19%"),
        ({"metric": "cost_per_prediction", "below_baseline_by": "25%"}, True, "30.00 AUD"),
        ({"metric": "cost_per_prediction", "below_baseline_by": "26%"}, False, "has 40.00 AUD"),
        ({"metric": "cost_per_prediction", "below_baseline_by": 10}, True, "by 10"),
        ({"metric": "cost_per_prediction", "below_baseline_by": 10.5}, False, "by 10.5"),
        ({"metric": "roc_auc", "above_baseline_by": 0.1}, False, "has no roc_auc to compare"),
        ({"metric": "recall", "at_least": 0.1}, False, "undefined on these 1,200 rows"),
        ({"metric": "latency_p99", "at_most": "30 ms"}, True, "30 ms"),
        ({"metric": "latency_p99", "at_most": "29 ms"}, False, "latency_p99 of the runtime"),
        ({"metric": "latency_p50", "at_most": "1 ms"}, True, "1 ms"),
        ({"metric": "error_rate", "at_most": "1%"}, True, "watched in production"),
    ],
)
def test_a_goal_is_met_or_says_what_was_found_and_needed(contract, goal, passes, told):
    [gate] = [gate for gate in judge(contract, goals=[goal]).values() if gate.kind == "goal"]

    assert gate.passed is passes
    assert told in gate.reason


def test_a_share_of_a_negative_baseline_is_of_its_absolute_value(contract):
    goal = {"metric": "cost_per_prediction", "below_baseline_by": "10%"}
    earning = replace(
        REPORT,
        metrics={"cost_per_prediction": Estimate(-108.0, -110, -100)},
        baseline_metrics={"cost_per_prediction": Estimate(-100.0, -110, -90)},
    )

    [gate] = [
        gate for gate in judge(contract, earning, goals=[goal]).values() if gate.kind == "goal"
    ]
    enough = replace(earning, metrics={"cost_per_prediction": Estimate(-110.0, -112, -100)})
    [met] = [gate for gate in judge(contract, enough, goals=[goal]).values() if gate.kind == "goal"]

    assert not gate.passed
    assert met.passed


def test_without_a_champion_the_baseline_is_the_rival(contract):
    gate = judge(contract)["cost_per_prediction better than the baseline (majority)"]

    assert gate.passed
    assert gate.kind == "baseline"
    assert "difference of -10.00 AUD (95 % interval -12.00 AUD to -8.00 AUD)" in gate.reason
    assert gate.reason.endswith("The whole interval is on the good side.")


def test_what_a_few_rows_prove_is_said_to_be_little(contract):
    few = replace(REPORT, rows=3)

    gate = judge(contract, few)["cost_per_prediction better than the baseline (majority)"]

    assert gate.reason.endswith("on the good side. But 3 rows prove little: bring more.")


@pytest.mark.parametrize(
    ("difference", "told"),
    [
        (Estimate(-1, -3, 1), "Chance alone could explain it"),
        (Estimate(2, 1, 3), "It is worse: lower is better"),
        (Estimate(0, 0, 0), "They answer alike"),
    ],
)
def test_a_challenger_that_is_not_surely_better_than_the_champion_is_refused(
    contract, difference, told
):
    champion = Comparison("cost_per_prediction", "exam:3", 30, 29, difference, False)
    challenged = replace(REPORT, champion="exam:3", comparisons=(*REPORT.comparisons, champion))

    gate = judge(contract, challenged)["cost_per_prediction better than the champion exam:3"]

    assert not gate.passed
    assert told in gate.reason


def measured(*figures, ratio, difference):
    groups = [
        {"group": name, "rows": rows, "figure": figure, "judged": rows >= 100}
        for name, rows, figure in figures
    ]
    return {
        "by": "sex", "metric": "recall", "groups": groups, "ratio": ratio, "difference": difference
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bound", "passes"),
    [
        ({"ratio_at_least": 0.75}, True),
        ({"ratio_at_least": 0.76}, False),
        ({"difference_at_most": 0.2}, True),
        ({"difference_at_most": 0.19}, False),
    ],
)
def test_fairness_is_judged_by_ratio_or_difference(contract, bound, passes):
    rule = {"by": "sex", "metric": "recall", **bound}
    found = measured(("f", 200, 0.6), ("m", 300, 0.8), ("x", 5, 0.1), ratio=0.75, difference=0.2)
    report = replace(REPORT, fairness=(found,))

    [gate] = [g for g in judge(contract, report, fairness=[rule]).values() if g.kind == "fairness"]

    assert gate.passed is passes
    assert "f 0.6, m 0.8, x 0.1 (5 rows, not judged)" in gate.reason


def test_fairness_that_cannot_be_judged_says_so(contract):
    rule = {"by": "sex", "metric": "recall", "ratio_at_least": 0.9, "minimum_rows": 1000}
    report = replace(REPORT, fairness=(measured(("f", 20, 0.6), ratio=None, difference=None),))

    [gate] = [g for g in judge(contract, report, fairness=[rule]).values() if g.kind == "fairness"]

    assert gate.value is None
    assert "could not be judged: fewer than two groups have 1,000 rows" in gate.reason


def test_behaviour_and_parity_are_conditions_too(contract):
    test = {"name": "more is more", "file": "tests/model/a.py", "passed": False, "message": "No."}
    parity = {
        "rows": 90, "hostile_rows": 10, "largest_difference": 0.1, "flipped": 2, "agreed": False
    }  # fmt: skip
    report = replace(REPORT, behaviour=(test,), parity=parity)

    found = judge(contract, report)

    assert found["behaviour: more is more"].reason == "tests/model/a.py: No."
    assert not found["behaviour: more is more"].passed
    assert not found["the plan agrees with the original"].passed
    assert "flips 2 labels" in found["the plan agrees with the original"].reason


def test_a_report_passes_only_when_every_gate_holds(contract):
    good = replace(REPORT, gates=gates(contract("binary", COSTS), REPORT))
    bad = {"metric": "roc_auc", "at_least": 0.99}
    worse = replace(REPORT, gates=gates(contract("binary", COSTS, [bad]), REPORT))

    assert good.passed
    assert good.reasons == ()
    assert not worse.passed
    assert len(worse.reasons) == 1
