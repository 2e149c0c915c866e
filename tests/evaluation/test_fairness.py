"""Gaps between groups, beside scikit-learn's figures of each group."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from loopline.evaluation.fairness import fairness
from loopline.evaluation.metrics import Answer, Scorecard


def judged(contract: Any, rules: list[dict[str, Any]], columns: dict[str, Any], **card: Any) -> Any:
    problem = contract(
        costs=card.get("costs"),
        fairness=rules,
        data={"source": "x", "columns": {name: {} for name in columns}},
    )
    scorecard = Scorecard(
        problem.problem, ("0", "1"), card["truth"], Answer("model", card["scores"], 0.5)
    )
    return fairness(problem, columns, scorecard)


def rule(metric: str, **more: Any) -> dict[str, Any]:
    return {"by": "group", "metric": metric, "ratio_at_least": 0.5, "minimum_rows": 50, **more}


def test_each_group_s_figure_is_scikit_learn_s(contract: Any) -> None:
    generator = np.random.default_rng(2)
    group = generator.choice(["a", "b", "c"], 3000, p=[0.6, 0.3, 0.1]).astype(object)
    truth = (generator.random(3000) < 0.4).astype(float)
    scores = np.clip(truth * 0.3 + generator.random(3000) * 0.7, 0, 1)

    recall, precision = judged(
        contract, [rule("recall"), rule("precision")], {"group": group}, truth=truth, scores=scores
    )

    for found, score in ((recall, recall_score), (precision, precision_score)):
        figures = {one["group"]: one["figure"] for one in found["groups"]}
        exact = {name: score(truth[group == name], scores[group == name] >= 0.5) for name in "abc"}
        assert figures == pytest.approx(exact)
        assert found["ratio"] == pytest.approx(min(exact.values()) / max(exact.values()))
        assert found["difference"] == pytest.approx(max(exact.values()) - min(exact.values()))


def test_a_group_where_the_metric_is_undefined_is_listed_and_not_judged(contract: Any) -> None:
    group = np.array(["all"] * 100 + ["none"] * 100, object)
    truth = np.array([1.0] * 100 + [0.0] * 100)  # the second has no positive, so no recall

    [found] = judged(
        contract, [rule("recall")], {"group": group}, truth=truth, scores=np.full(200, 0.9)
    )

    assert found["groups"] == [
        {"group": "all", "rows": 100, "figure": 1.0, "judged": True},
        {"group": "none", "rows": 100, "figure": None, "judged": False},
    ]
    assert (found["ratio"], found["difference"]) == (None, None)


def test_equal_groups_have_a_ratio_of_one_even_at_nothing(contract: Any) -> None:
    group = np.array(["a", "b"] * 100, object)

    [found] = judged(
        contract, [rule("recall")], {"group": group}, truth=np.ones(200), scores=np.zeros(200)
    )

    assert [one["figure"] for one in found["groups"]] == [0.0, 0.0]
    assert (found["ratio"], found["difference"]) == (1.0, 0.0)


def test_a_group_at_nothing_beside_one_at_something_has_a_ratio_of_nothing(contract: Any) -> None:
    group = np.array(["a", "b"] * 100, object)
    scores = np.array([0.9, 0.1] * 100)

    [found] = judged(
        contract, [rule("recall")], {"group": group}, truth=np.ones(200), scores=scores
    )

    assert (found["ratio"], found["difference"]) == (0.0, 1.0)


def test_gains_have_a_difference_and_no_ratio(contract: Any) -> None:
    group = np.array(["a", "b"] * 100, object)
    scores = np.array([0.9, 0.1] * 100)
    costs = {"currency": "EUR", "false_negative": 4, "true_positive": -6}

    [found] = judged(
        contract, [rule("cost_per_prediction")], {"group": group},
        truth=np.ones(200), scores=scores, costs=costs,
    )  # fmt: skip

    assert [one["figure"] for one in found["groups"]] == [-6.0, 4.0]
    assert (found["ratio"], found["difference"]) == (None, 10.0)


def test_rows_whose_group_is_missing_belong_to_none(contract: Any) -> None:
    group = np.array(["a"] * 60 + ["b"] * 60 + [None] * 60, object)

    [found] = judged(
        contract, [rule("recall")], {"group": group}, truth=np.ones(180), scores=np.ones(180)
    )

    assert [(one["group"], one["rows"]) for one in found["groups"]] == [("a", 60), ("b", 60)]
