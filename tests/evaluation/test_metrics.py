"""Metrics against scikit-learn's, and against values worked out by hand."""

import numpy as np
import pytest
import sklearn.metrics as theirs

from loopline.contract.metrics import METRICS
from loopline.contract.schema import Contract
from loopline.evaluation.metrics import Answer, Scorecard, names, primary

RANDOM = np.random.default_rng(11)


def contract(task: str, costs: dict | None = None, goals: list | None = None) -> Contract:
    return Contract.model_validate(
        {
            "project": "exam",
            "problem": {"task": task, "target": "y", **({"costs": costs} if costs else {})},
            "goals": goals or [{"metric": "error_rate", "at_most": 0.01}],
            "data": {"source": "x.csv"},
        }
    )


def card(task, truth, scores, *, threshold=None, costs=None, classes=("0", "1")) -> Scorecard:
    problem = contract(task, costs).problem
    return Scorecard(problem, classes, truth, Answer("own", scores, threshold))


@pytest.fixture(scope="module")
def binary():
    truth = (RANDOM.random(2000) < 0.3).astype(float)
    # Rounded, so that many scores are tied.
    scores = np.round(np.clip(0.35 * truth + RANDOM.random(2000) * 0.65, 0, 1), 2)
    return truth, scores


def test_binary_metrics_equal_scikit_learns(binary):
    truth, scores = binary
    said = scores >= 0.4

    found = card("binary", truth, scores, threshold=0.4).whole()

    expected = {
        "roc_auc": theirs.roc_auc_score(truth, scores),
        "average_precision": theirs.average_precision_score(truth, scores),
        "log_loss": theirs.log_loss(truth, scores),
        "brier": theirs.brier_score_loss(truth, scores),
        "accuracy": theirs.accuracy_score(truth, said),
        "balanced_accuracy": theirs.balanced_accuracy_score(truth, said),
        "precision": theirs.precision_score(truth, said),
        "recall": theirs.recall_score(truth, said),
        "f1": theirs.f1_score(truth, said),
        "macro_f1": theirs.f1_score(truth, said, average="macro"),
        "false_positive_rate": said[truth == 0].mean(),
        "false_negative_rate": 1 - said[truth == 1].mean(),
        "selection_rate": said.mean(),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_multiclass_metrics_equal_scikit_learns():
    truth = RANDOM.integers(0, 4, 900).astype(float)
    scores = RANDOM.random((900, 4)) + 1.2 * np.eye(4)[truth.astype(int)]
    scores /= scores.sum(axis=1, keepdims=True)
    said = scores.argmax(axis=1)

    found = card("multiclass", truth, scores, classes=("a", "b", "c", "d")).whole()

    assert found == pytest.approx(
        {
            "roc_auc": theirs.roc_auc_score(truth, scores, multi_class="ovr"),
            "log_loss": theirs.log_loss(truth, scores),
            "brier": np.square(scores - np.eye(4)[truth.astype(int)]).sum(axis=1).mean(),
            "accuracy": theirs.accuracy_score(truth, said),
            "balanced_accuracy": theirs.balanced_accuracy_score(truth, said),
            "macro_f1": theirs.f1_score(truth, said, average="macro"),
        },
        abs=1e-12,
    )


def test_regression_metrics_equal_scikit_learns_also_far_from_zero():
    truth = 1e6 + RANDOM.normal(size=700)
    scores = truth + RANDOM.normal(size=700) / 2

    found = card("regression", truth, scores, classes=()).whole()

    assert found == pytest.approx(
        {
            "mae": theirs.mean_absolute_error(truth, scores),
            "rmse": theirs.root_mean_squared_error(truth, scores),
            "r2": theirs.r2_score(truth, scores),
            "bias": (scores - truth).mean(),
            "quantile_loss": theirs.mean_pinball_loss(truth, scores, alpha=0.5),
            "mape": theirs.mean_absolute_percentage_error(truth, scores),
        },
        rel=1e-9,
    )


def test_weights_count_a_row_as_often_as_they_say(binary):
    truth, scores = binary[0][:300], binary[1][:300]
    times = RANDOM.integers(0, 4, 300)

    found = card("binary", truth, scores, threshold=0.4).under(times[None].astype(float))

    repeated = card(
        "binary", np.repeat(truth, times), np.repeat(scores, times), threshold=0.4
    ).whole()
    assert {name: value[0] for name, value in found.items()} == pytest.approx(repeated)


def test_costs_are_money_per_prediction():
    truth = np.array([0.0, 0.0, 1.0, 1.0, 1.0])
    scores = np.array([0.1, 0.9, 0.9, 0.2, 0.3])
    costs = {"false_positive": 40, "false_negative": 220, "true_positive": 25}

    binary = card("binary", truth, scores, threshold=0.5, costs=costs).whole()
    regression = card(
        "regression", np.zeros(4), np.array([2.0, -3.0, 0, 1]), costs={"under": 10, "over": 1}
    ).whole()
    classes = card(
        "multiclass",
        np.array([0.0, 1.0]),
        np.array([[0.2, 0.8], [0.7, 0.3]]),
        costs={"matrix": {"cat": {"dog": 3}, "dog": {"cat": 7, "dog": -1}}},
        classes=("cat", "dog"),
    ).whole()

    assert binary["cost_per_prediction"] == pytest.approx((40 + 25 + 220 + 220) / 5)
    assert regression["cost_per_prediction"] == pytest.approx((2 + 30 + 0 + 1) / 4)
    assert classes["cost_per_prediction"] == pytest.approx((3 + 7) / 2)


def test_calibration_error_is_the_mean_gap_of_ten_equal_bins():
    scores = np.array([0.05, 0.05, 0.95, 1.0])
    truth = np.array([0.0, 1.0, 1.0, 1.0])

    found = card("binary", truth, scores).whole()

    assert found["calibration_error"] == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)


def test_what_rows_leave_undefined_is_absent_and_not_zero():
    found = card("binary", np.zeros(3), np.array([0.1, 0.2, 0.3])).whole()

    assert {"roc_auc", "precision", "recall", "average_precision"}.isdisjoint(found)
    assert found["accuracy"] == 1.0


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_metric_of_the_contract_is_computed(task):
    costs = {"false_positive": 1} if task == "binary" else {"over": 1, "under": 1}
    costs = {"matrix": {"0": {"1": 1}}} if task == "multiclass" else costs
    truth = np.array([0.0, 1.0, 1.0, 0.0])
    scores = np.array([0.1, 0.6, 0.7, 0.6])
    scores = np.column_stack([1 - scores, scores]) if task == "multiclass" else scores

    found = card(task, truth, scores, costs=costs).whole()

    promised = {name for name, m in METRICS.items() if task in m.tasks and not m.service}
    assert set(found) == promised == set(names(contract(task, costs).problem))


def test_money_decides_between_models_where_there_is_any_and_else_the_first_goal():
    goals = [
        {"metric": "latency_p99", "at_most": "20 ms"},
        {"metric": "selection_rate", "at_most": 0.5},
        {"metric": "f1", "at_least": 0.5},
    ]

    assert primary(contract("binary", {"false_positive": 3}, goals)) == "cost_per_prediction"
    assert primary(contract("binary", None, goals)) == "f1"
    assert primary(contract("regression", None, goals[:1])) == "rmse"
