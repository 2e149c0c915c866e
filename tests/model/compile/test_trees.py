"""Models of trees: scikit-learn is the oracle."""

import pytest
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier, ExtraTreeRegressor

from loopline.errors import PlanRefusedError

HOLED = ("plain", "positive", "whole", "holed")


def _named(value):
    return str(value)


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingRegressor(max_iter=15, monotonic_cst=[1, 0, -1, 0]),
        HistGradientBoostingRegressor(max_iter=15, loss="absolute_error"),
        HistGradientBoostingRegressor(max_iter=15, loss="poisson"),
        HistGradientBoostingRegressor(max_iter=15, categorical_features=[2]),
        RandomForestRegressor(8, random_state=0),
        RandomForestRegressor(8, criterion="absolute_error", random_state=0),
        ExtraTreeRegressor(random_state=0),
    ],
    ids=_named,
)
def test_trees_of_a_regression_equal_scikit_learns_also_with_gaps(model, proving):
    assert proving(model, "regression", HOLED).largest_difference < 1e-15


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=10, interaction_cst="no_interactions"),
        HistGradientBoostingClassifier(max_iter=10, early_stopping=True, random_state=0),
        RandomForestClassifier(8, class_weight="balanced", random_state=0),
        RandomForestClassifier(8, monotonic_cst=None, max_samples=0.5, random_state=0),
        ExtraTreesClassifier(8, bootstrap=True, random_state=0),
        DecisionTreeClassifier(ccp_alpha=0.001, random_state=0),
    ],
    ids=_named,
)
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_trees_of_classes_equal_scikit_learns_also_with_gaps(task, model, proving):
    assert proving(model, task, HOLED).largest_difference < 1e-15


@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=8),
        GradientBoostingClassifier(n_estimators=8, init="zero", subsample=0.7, random_state=0),
        AdaBoostClassifier(n_estimators=8, random_state=0),
        AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=5, random_state=0),
    ],
    ids=_named,
)
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_boosted_trees_that_take_no_gaps_refuse_them(task, model, proving):
    found = proving(model, task)

    assert any("missing: ValueError" in said for said in found.refused)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_gradient_boosting_of_each_loss_equals_scikit_learns(loss, proving):
    proving(GradientBoostingRegressor(loss=loss, n_estimators=8), "regression")


def test_the_exponential_loss_is_twice_as_steep(proving):
    proving(GradientBoostingClassifier(loss="exponential", n_estimators=8), "binary")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (GradientBoostingRegressor(init=LinearRegression()), "starts from LinearRegression"),
        (AdaBoostClassifier(LogisticRegression()), "AdaBoostClassifier of LogisticRegressions"),
    ],
)
def test_trees_with_something_else_in_them_are_refused(model, reason, proving):
    task = "binary" if isinstance(model, AdaBoostClassifier) else "regression"
    with pytest.raises(PlanRefusedError, match=reason):
        proving.plan(model, task, ("plain", "whole"))


def test_gradient_boosting_may_start_from_a_constant(proving):
    proving(GradientBoostingRegressor(init=DummyRegressor(), n_estimators=5), "regression")
