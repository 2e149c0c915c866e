"""XGBoost is the oracle of its own plans: equal to the last float32 bit."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from loopline.errors import PlanRefusedError
from loopline.kernels.library import library
from loopline.model.compile.estimator import compile_plan

xgboost = pytest.importorskip("xgboost")
pytestmark = pytest.mark.skipif(library() is None, reason="float32 as in C; run make setup")
HOLED = ("plain", "positive", "whole", "holed")
SMALL = {"n_estimators": 12, "max_depth": 4, "random_state": 0, "n_jobs": 1}


def _classifier(**settings):
    return xgboost.XGBClassifier(**(SMALL | settings))


def _regressor(**settings):
    return xgboost.XGBRegressor(**(SMALL | settings))


def _named(value):
    return str(value)


@pytest.fixture
def narrow(proving):
    """The proof, where the numpy twin may differ in the last float32 digit."""

    def prove(model, task, names=HOLED):
        proving.closeness = 2e-6
        try:
            found = proving(model, task, names)
        finally:
            proving.closeness = 2e-14
        assert found.largest_difference == 0.0
        return found

    return prove


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"base_score": 0.2, "learning_rate": 0.05, "n_estimators": 60},
        {"tree_method": "exact"},
        {"grow_policy": "lossguide", "max_leaves": 7, "gamma": 0.5},
        {"subsample": 0.6, "colsample_bytree": 0.7, "num_parallel_tree": 3},
    ],
    ids=_named,
)
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_classifier_equals_xgboost_to_the_bit(task, settings, narrow):
    narrow(_classifier(**settings), task)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"objective": "reg:squaredlogerror"},
        {"objective": "reg:pseudohubererror"},
        {"objective": "reg:absoluteerror"},
        {"objective": "reg:quantileerror", "quantile_alpha": 0.8},
        {"objective": "count:poisson"},
        {"objective": "reg:gamma"},
        {"objective": "reg:tweedie"},
        {"monotone_constraints": (1, 0, -1, 0)},
        {"base_score": 3.0},
    ],
    ids=_named,
)
def test_a_regression_of_each_objective_equals_xgboost_to_the_bit(settings, narrow):
    narrow(_regressor(**settings), "regression")


def test_a_random_forest_of_xgboost_equals_it(narrow):
    narrow(xgboost.XGBRFClassifier(n_estimators=6, random_state=0, n_jobs=1), "binary")


def test_a_number_that_stands_for_missing_is_missing(narrow):
    narrow(_classifier(missing=3.0), "binary", HOLED[:3])


def test_a_scaled_number_is_rounded_as_xgboost_does(narrow):
    narrow(make_pipeline(StandardScaler(), _classifier()), "binary", HOLED[:3])


@pytest.mark.parametrize("categories", [6, 900])
@pytest.mark.parametrize("onehot", [1, 100])
def test_categories_equal_xgboost_also_beyond_the_256_of_one_set(onehot, categories, proving):
    generator = np.random.default_rng(2)
    codes = np.linspace(0, categories - 1, 6).round()
    rows = np.column_stack([generator.normal(size=400), codes[generator.integers(0, 6, 400)]])
    truth = np.isin(rows[:, 1], codes[[1, 4]]) * 2.0 + rows[:, 0] + generator.normal(size=400)
    rows[::9, 1] = np.nan
    model = _regressor(
        feature_types=["q", "c"], enable_categorical=True, max_cat_to_onehot=onehot
    ).fit(rows, truth)

    plan = compile_plan(model, proving.signature("regression", ("plain", "whole")))

    seen = np.zeros((2601, 2))
    seen[:-1, 1] = np.linspace(0, 1300, 2600)
    seen[-1, 1] = np.nan
    assert len(plan.program.bits) >= 8
    np.testing.assert_array_equal(plan.score(seen), model.predict(seen))
    np.testing.assert_array_equal(plan.score(rows), model.predict(rows))


def test_trees_end_where_early_stopping_found_them_best(proving):
    rows = np.column_stack([proving.columns[name] for name in HOLED])
    noise = np.random.default_rng(1).random(400) < 0.3
    truth = (rows[:, 0] + np.log(rows[:, 1]) > 0).astype(int) ^ noise
    model = _classifier(n_estimators=60, learning_rate=0.5, early_stopping_rounds=3)
    model.fit(rows[::2], truth[::2], eval_set=[(rows[1::2], truth[1::2])], verbose=False)

    plan = compile_plan(model, proving.signature("binary", HOLED))

    assert model.best_iteration < 50
    np.testing.assert_array_equal(plan.score(rows), model.predict_proba(rows)[:, 1])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"booster": "gblinear"}, "booster 'gblinear' has no exact plan"),
        ({"booster": "dart"}, "booster 'dart' has no exact plan"),
        ({"objective": "binary:hinge"}, "objective 'binary:hinge' has no exact plan"),
    ],
    ids=_named,
)
@pytest.mark.filterwarnings("ignore")
def test_what_xgboost_has_beside_is_refused(settings, reason, proving):
    with pytest.raises(PlanRefusedError, match=reason):
        proving.plan(_classifier(**settings), "binary", HOLED[:3])
