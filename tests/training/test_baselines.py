"""What a model must beat, worked out by hand."""

import msgspec
import numpy as np
import pytest

from loopline.errors import TrainingError
from loopline.training.baselines import fit, restore


def test_the_majority_answers_with_the_class_shares_of_the_training_rows(german_credit):
    material = german_credit()

    baseline = fit(material)

    share = material.target.values[material.parts.train].mean()
    scores = baseline.scores(material.columns)
    assert baseline.name == "majority"
    assert scores.shape == (1000,)
    assert set(scores) == {share}
    assert ((scores >= baseline.threshold) == (share >= 0.5)).all()


@pytest.mark.parametrize(
    ("costs", "everyone"),
    [({"false_positive": 1, "false_negative": 20}, True), ({"false_positive": 20}, False)],
)
def test_with_prices_the_cheapest_constant_answer_stands_for_the_majority(
    german_credit, costs, everyone
):
    material = german_credit(costs=costs)

    baseline = fit(material)

    scores = baseline.scores(material.columns)
    assert baseline.name == "cheapest answer"
    assert (scores >= baseline.threshold).all() == everyone
    assert (scores >= baseline.threshold).any() == everyone


def test_a_rule_says_yes_no_or_the_usual_where_it_cannot_tell(toy):
    ages = [20.0, 40.0, None, 70.0] * 10
    material = toy(
        {"age": ages, "y": [0.0, 1.0, 1.0, 0.0] * 10},
        {"age": "number", "y": "number"},
        problem={"task": "binary", "target": "y", "baseline": {"rule": "decade >= 4"}},
        data={"features": {"decade": "floor(age / 10)"}},
    )

    baseline = fit(material)

    share = material.target.values[material.parts.train].mean()
    assert baseline.name == "rule: decade >= 4"
    assert baseline.scores(material.columns)[:4].tolist() == [0.0, 1.0, share, 1.0]


@pytest.mark.parametrize("rule", ["y > 0", "after > 1"])
def test_a_rule_over_what_is_known_only_afterwards_is_refused(toy, rule):
    material = toy(
        {"after": [1.0, 2.0] * 20, "y": [0.0, 1.0] * 20},
        {"after": "number", "y": "number"},
        problem={"task": "binary", "target": "y", "baseline": {"rule": rule}},
        data={"columns": {"after": {"leaks": True}, "y": {}}},
    )

    with pytest.raises(TrainingError, match="known only afterwards"):
        fit(material)


@pytest.mark.parametrize(
    ("costs", "name", "quantile"),
    [
        (None, "mean", None),
        ({"under": 2, "over": 2}, "median", 0.5),
        ({"under": 3, "over": 1}, "75% quantile", 0.75),
    ],
)
def test_a_regression_answers_with_what_costs_least(toy, costs, name, quantile):
    values = np.random.default_rng(2).lognormal(size=200)
    problem = {"task": "regression", "target": "y", **({"costs": costs} if costs else {})}
    material = toy({"x": values, "y": values}, {"x": "number", "y": "number"}, problem=problem)

    baseline = fit(material)

    train = values[material.parts.train]
    expected = train.mean() if quantile is None else np.quantile(train, quantile)
    assert baseline.name == name
    assert baseline.scores(material.columns) == pytest.approx(np.full(200, expected))


def test_several_classes_get_a_column_each(toy):
    kinds = ["a", "a", "b", "c"] * 10
    material = toy(
        {"x": [1.0] * 40, "y": kinds},
        {"x": "number", "y": "category"},
        problem={"task": "multiclass", "target": "y"},
    )

    scores = fit(material).scores(material.columns)

    assert scores.shape == (40, 3)
    assert scores[0] == pytest.approx([0.5, 0.25, 0.25], abs=0.05)


def test_the_last_value_is_of_the_same_key_and_strictly_earlier(toy):
    times = np.datetime64("2026-01-01", "us") + np.arange(40) * np.timedelta64(1, "h")
    times[9] = times[8]
    keys = ["a", "b"] * 19 + ["c", None]
    values = np.arange(40.0) ** 1.5
    material = toy(
        {"k": keys, "t": times, "y": values},
        {"k": "category", "t": "time", "y": "number"},
        problem={"task": "regression", "target": "y", "baseline": {"kind": "last_value"}},
        data={"key": "k", "time": "t", "split": {"by": "time"}, "columns": {"y": {}}},
    )

    found = fit(material).scores(material.columns)

    usual = values[material.parts.train].mean()
    assert found[2:38] == pytest.approx(values[:36])
    assert found[[0, 1, 38, 39]] == pytest.approx([usual] * 4)


def test_a_last_value_without_key_or_time_is_refused(toy):
    material = toy(
        {"x": [1.0, 2.0] * 20, "y": [0.0, 1.0] * 20},
        {"x": "number", "y": "number"},
        problem={"task": "binary", "target": "y", "baseline": {"kind": "last_value"}},
    )

    with pytest.raises(TrainingError, match=r"needs data\.key and data\.time"):
        fit(material)


@pytest.mark.parametrize(
    "problem", [{}, {"baseline": {"rule": "age >= 40 and savings is not null"}}]
)
def test_a_kept_baseline_answers_as_it_did_when_it_was_fitted(toy, problem):
    rows = {"age": [20.0, 40.0, None, 70.0] * 10, "savings": [None, 2.0, 3.0, 4.0] * 10}
    material = toy(
        {**rows, "y": [0.0, 1.0, 1.0, 0.0] * 10},
        {"age": "number", "savings": "number", "y": "number"},
        problem={"task": "binary", "target": "y", **problem},
    )
    fitted = fit(material)

    again = restore(msgspec.json.decode(msgspec.json.encode(fitted.kept)))

    assert (again.name, again.threshold) == (fitted.name, fitted.threshold)
    np.testing.assert_array_equal(again.scores(material.columns), fitted.scores(material.columns))
