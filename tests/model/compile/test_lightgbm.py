"""LightGBM is the oracle of its own plans."""

import warnings

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from loopline.errors import PlanRefusedError
from loopline.model.compile.estimator import compile_plan

lightgbm = pytest.importorskip("lightgbm")
HOLED = ("plain", "positive", "whole", "holed")
MIXED = (*HOLED, "colour", "size")
SMALL = {
    "n_estimators": 12,
    "num_leaves": 9,
    "min_child_samples": 5,
    "random_state": 0,
    "verbose": -1,
    "n_jobs": 1,
}


def _classifier(**settings):
    return lightgbm.LGBMClassifier(**(SMALL | settings))


def _regressor(**settings):
    return lightgbm.LGBMRegressor(**(SMALL | settings))


def _named(value):
    return str(value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_missing": False},
        {"zero_as_missing": True},
        {"boosting_type": "dart"},
        {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
        {"data_sample_strategy": "goss"},
        {"class_weight": "balanced", "max_depth": 3},
        {"extra_trees": True},
    ],
    ids=_named,
)
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_classifier_equals_lightgbm(task, settings, proving):
    found = proving(_classifier(**settings), task, HOLED)

    assert found.largest_difference < 1e-15


@pytest.mark.parametrize(
    "settings",
    [{"objective": "binary", "sigmoid": 1.7}, {"objective": "cross_entropy"}],
    ids=_named,
)
def test_a_probability_of_another_slope_equals_lightgbm(settings, proving):
    proving(_classifier(**settings), "binary", HOLED)


def test_one_class_against_the_rest_equals_lightgbm(proving):
    proving(_classifier(objective="multiclassova"), "multiclass", HOLED)


@pytest.mark.parametrize(
    "settings",
    [
        *[
            {"objective": name}
            for name in (
                "regression",
                "regression_l1",
                "huber",
                "fair",
                "quantile",
                "mape",
                "poisson",
                "gamma",
                "tweedie",
            )
        ],
        {"reg_sqrt": True},
        {"monotone_constraints": [1, 0, -1, 0]},
        {"num_leaves": 2, "min_child_samples": 300},
    ],
    ids=_named,
)
def test_a_regression_of_each_objective_equals_lightgbm(settings, proving):
    proving(_regressor(**settings), "regression", HOLED)


@pytest.mark.parametrize("categories", [6, 900])
def test_categories_equal_lightgbm_also_beyond_the_256_of_one_set(categories, proving):
    generator = np.random.default_rng(2)
    own = type(proving)()
    codes = np.linspace(0, categories - 1, 6).round()
    own.columns["whole"] = codes[generator.integers(0, 6, 400)]
    own.columns["whole"][::17] = np.nan
    own.columns["holed"] = np.nan_to_num(own.columns["whole"]) % 7
    model = _regressor(
        categorical_feature=[2], min_data_per_group=1, cat_smooth=0, max_cat_threshold=500
    )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan, original = own.plan(model, "regression", HOLED)
        found = own(model, "regression", HOLED)

    rows = np.zeros((2600, 4))
    rows[:, 2] = np.arange(-50, 1250, 0.5)
    assert len(plan.program.bits) > 8 * (categories // 256)
    np.testing.assert_array_equal(plan.score(rows), original.answer(rows))
    assert found.largest_difference < 1e-15


def test_trees_end_where_early_stopping_found_them_best(proving):
    model = _classifier(n_estimators=60, learning_rate=0.5)
    own = np.column_stack([proving.columns[name] for name in HOLED])
    truth = (own[:, 0] + np.log(own[:, 1]) > 0).astype(int)
    noise = np.random.default_rng(1).random(400) < 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(
            own[::2],
            truth[::2] ^ noise[::2],
            eval_set=[(own[1::2], truth[1::2] ^ noise[1::2])],
            callbacks=[lightgbm.early_stopping(3, verbose=False)],
        )
    plan = compile_plan(model, proving.signature("binary", HOLED))

    assert model.best_iteration_ < 60
    np.testing.assert_allclose(plan.score(own), model.predict_proba(own)[:, 1], rtol=1e-14)


def test_a_pipeline_over_texts_equals_lightgbm(proving):
    table = ColumnTransformer(
        [
            ("hot", OneHotEncoder(handle_unknown="ignore"), ["size"]),
            (
                "codes",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                ["colour"],
            ),
        ],
        remainder="passthrough",
    )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that a pipeline's arrays do not have
        proving(make_pipeline(table, _classifier()), "binary", MIXED, "frame")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"linear_tree": True}, "linear_tree has no exact plan"),
        ({"objective": "cross_entropy_lambda"}, "'cross_entropy_lambda' has no exact plan"),
        ({"objective": lambda truth, raw: (raw - truth, np.ones(len(raw)))}, "no exact plan"),
    ],
    ids=["linear", "lambda", "own"],
)
def test_what_lightgbm_has_beside_is_refused(settings, reason, proving):
    with pytest.raises(PlanRefusedError, match=reason):
        proving.plan(_classifier(**settings), "binary", HOLED)
