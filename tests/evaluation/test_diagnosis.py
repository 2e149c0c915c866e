"""Calibration, distribution, confusion, slices and fairness on rows one can count."""

import numpy as np
import pytest

from loopline.evaluation.diagnosis import calibration, confusion, distribution, groups, slices
from loopline.evaluation.fairness import fairness
from loopline.evaluation.metrics import Answer, Scorecard
from loopline.model.signature import Feature, Input, Signature

SIGNATURE = Signature(
    project="exam",
    task="binary",
    inputs=(Input("sex", "category"), Input("old", "boolean"), Input("key", "category", False)),
    features=(Feature("sex", "category"),),
    classes=("no", "yes"),
)


def card(contract, truth, scores):
    return Scorecard(contract().problem, ("no", "yes"), truth, Answer("own", scores, 0.5))


def test_calibration_sets_what_was_predicted_beside_what_came_true():
    scores, truth = np.array([0.01, 0.09, 0.55, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])

    binary = calibration("binary", truth, scores)
    regression = calibration("regression", np.arange(20.0) + 1, np.arange(20.0))

    assert [row["rows"] for row in binary] == [2, 1, 1]
    assert binary[0] == {"predicted": pytest.approx(0.05), "observed": 0.5, "rows": 2}
    assert [row["observed"] - row["predicted"] for row in regression] == [1.0] * 10


def test_every_row_is_in_one_twentieth_of_the_scores():
    scores, truth = np.array([0.0, 0.04, 0.5, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])

    found = distribution("binary", truth, scores)

    assert found[0] == {"low": 0.0, "high": 0.05, "negative": 1, "positive": 1}
    assert sum(row["negative"] + row["positive"] for row in found) == 4


def test_confusion_counts_answers_by_actual_class():
    truth = np.array([0.0, 0.0, 1.0])

    found = confusion(("no", "yes"), truth, Answer("own", np.array([0.2, 0.8, 0.9]), 0.5))

    assert [row["rows"] for row in found] == [1, 1, 0, 1]


def test_groups_are_values_or_quarters_and_leave_out_what_is_missing():
    text = np.array(["b", None, "a", "b"], dtype=object)
    many = np.append(np.arange(100.0), np.nan)

    by_value, by_quarter = groups(text), groups(many)

    assert {name: mask.tolist() for name, mask in by_value.items()} == {
        "b": [True, False, False, True],
        "a": [False, False, True, False],
    }
    assert [int(mask.sum()) for mask in by_quarter.values()] == [25, 25, 25, 25]
    assert groups(np.array([1.0, 0.0, 1.0, np.nan])).keys() == {"1", "0"}


def test_the_worst_slice_comes_first_and_small_ones_do_not_count(contract):
    truth = np.ones(200)
    sex = np.array(["f"] * 90 + ["m"] * 90 + ["x"] * 20, dtype=object)
    scores = np.where(sex == "f", 0.9, np.where(np.arange(200) % 2, 0.9, 0.1))
    columns = {"sex": sex, "old": np.zeros(200), "key": sex}

    found = slices(columns, SIGNATURE, card(contract, truth, scores), "accuracy")

    assert found[0] == {"column": "sex", "value": "m", "rows": 90, "figure": 0.5}
    assert [(row["column"], row["value"]) for row in found] == [
        ("sex", "m"), ("old", "0"), ("sex", "f")
    ]  # fmt: skip
    assert slices(columns, SIGNATURE, card(contract, truth, scores), "log_loss")[0]["value"] == "m"


def test_fairness_compares_the_groups_that_are_large_enough(contract):
    truth = np.ones(300)
    sex = np.array(["f"] * 100 + ["m"] * 150 + ["x"] * 50, dtype=object)
    scores = np.where(np.arange(300) % 100 < 80, 0.9, 0.1)
    rules = [
        {"by": "sex", "metric": "recall", "ratio_at_least": 0.5, "minimum_rows": 100},
        {"by": "sex", "metric": "recall", "ratio_at_least": 0.5, "minimum_rows": 120},
    ]

    first, second = fairness(
        contract(fairness=rules, data={"source": "x", "columns": {"sex": {}}}),
        {"sex": sex},
        card(contract, truth, scores),
    )

    figures = {group["group"]: (group["figure"], group["judged"]) for group in first["groups"]}
    assert figures["f"] == (0.8, True)
    assert figures["m"] == (pytest.approx(130 / 150), True)
    assert figures["x"][1] is False
    assert first["ratio"] == pytest.approx(0.8 / (130 / 150))
    assert first["difference"] == pytest.approx(130 / 150 - 0.8)
    assert second["ratio"] is None
    assert second["difference"] is None
