"""Models made of models: scikit-learn is the oracle."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PowerTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor

from loopline.errors import PlanRefusedError

MIXED = ("plain", "positive", "whole", "holed", "colour", "size")


def _named(value):
    return " ".join(str(value).split())[:70]


def _scaled(model):
    return make_pipeline(StandardScaler(), model)


def _forest():
    return RandomForestClassifier(6, max_depth=4, random_state=0)


def _boosted():
    return HistGradientBoostingClassifier(max_iter=6, random_state=0)


MEMBERS = [
    ("linear", _scaled(LogisticRegression())),
    ("forest", _forest()),
    ("bayes", GaussianNB()),
]
REGRESSIONS = [
    ("linear", _scaled(Ridge())),
    ("forest", RandomForestRegressor(6, max_depth=4, random_state=0)),
    ("boosted", HistGradientBoostingRegressor(max_iter=6)),
]
CLASSIFIERS = [
    VotingClassifier(MEMBERS, voting="soft"),
    VotingClassifier(MEMBERS, voting="soft", weights=[2, 0.5, 1]),
    StackingClassifier(MEMBERS, cv=3),
    StackingClassifier(MEMBERS, _boosted(), passthrough=True, cv=3),
    StackingClassifier(
        [("ridge", RidgeClassifier()), ("svm", LinearSVC()), ("boosted", _boosted())], cv=3
    ),
    StackingClassifier(MEMBERS, stack_method="predict_proba", cv=3),
    BaggingClassifier(n_estimators=5, random_state=0),
    BaggingClassifier(_scaled(LogisticRegression()), 4, max_features=2, random_state=0),
    OneVsRestClassifier(_scaled(LogisticRegression())),
    OneVsRestClassifier(_forest()),
    CalibratedClassifierCV(_forest(), cv=3),
    CalibratedClassifierCV(_forest(), cv=3, method="isotonic"),
    CalibratedClassifierCV(_boosted(), cv=3, method="isotonic", ensemble=False),
    CalibratedClassifierCV(_scaled(LinearSVC()), cv=3),
    CalibratedClassifierCV(_scaled(LinearSVC()), cv=3, method="isotonic"),
    CalibratedClassifierCV(_scaled(SGDClassifier(random_state=0)), cv=3, ensemble=False),
    CalibratedClassifierCV(_boosted(), cv=3, method="temperature"),
    CalibratedClassifierCV(VotingClassifier(MEMBERS, voting="soft"), cv=3),
    GridSearchCV(_scaled(LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=3),
    RandomizedSearchCV(_forest(), {"max_depth": [2, 3]}, n_iter=1, cv=3, random_state=0),
    VotingClassifier(
        [("stack", StackingClassifier(MEMBERS[1:], cv=3)), ("extra", ExtraTreesClassifier(4))],
        voting="soft",
    ),
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=_named)
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_classifiers_made_of_classifiers_equal_scikit_learns(task, model, proving):
    proving(model, task)


@pytest.mark.parametrize(
    "model",
    [
        FixedThresholdClassifier(_scaled(LogisticRegression()), threshold=0.2),
        TunedThresholdClassifierCV(_scaled(LogisticRegression()), cv=3),
    ],
    ids=_named,
)
def test_a_threshold_of_its_own_leaves_the_probabilities(model, proving):
    proving(model, "binary")


@pytest.mark.parametrize(
    "model",
    [
        VotingRegressor(REGRESSIONS),
        VotingRegressor(REGRESSIONS, weights=[1, 2, 0.25]),
        StackingRegressor(REGRESSIONS, cv=3),
        StackingRegressor(REGRESSIONS, DecisionTreeRegressor(max_depth=4), cv=3),
        StackingRegressor(REGRESSIONS, Ridge(), passthrough=True, cv=3),
        BaggingRegressor(n_estimators=5, max_features=0.7, random_state=0),
        TransformedTargetRegressor(_scaled(Ridge()), func=np.log1p, inverse_func=np.expm1),
        TransformedTargetRegressor(_scaled(Ridge()), func=np.sqrt, inverse_func=np.square),
        TransformedTargetRegressor(_scaled(Ridge()), transformer=StandardScaler()),
        TransformedTargetRegressor(_scaled(Ridge())),
    ],
    ids=_named,
)
def test_regressions_made_of_regressions_equal_scikit_learns(model, proving):
    proving(model, "regression")


def test_an_isotonic_regression_of_one_column_is_exact_on_its_knots(proving):
    found = proving(IsotonicRegression(out_of_bounds="clip"), "regression", ("positive",))

    assert found.largest_difference == 0.0


def test_a_stack_over_a_table_of_texts_equals_scikit_learns(proving):
    table = ColumnTransformer(
        [
            ("texts", OneHotEncoder(handle_unknown="ignore", min_frequency=0.05), ["colour"]),
            ("numbers", SimpleImputer(add_indicator=True), ["plain", "positive", "holed"]),
        ]
    )
    model = make_pipeline(table, StackingClassifier(MEMBERS[:2], cv=3))

    proving(model, "binary", MIXED, "frame")


@pytest.mark.parametrize(
    ("model", "task", "reason"),
    [
        (AdaBoostRegressor(), "regression", "weighted median"),
        (
            TransformedTargetRegressor(Ridge(), transformer=PowerTransformer()),
            "regression",
            "TransformedTargetRegressor turns PowerTransformer back",
        ),
        (
            StackingClassifier([("linear", LogisticRegression())], stack_method="predict", cv=3),
            "binary",
            "is given the labels of LogisticRegression",
        ),
        (
            CalibratedClassifierCV(_forest(), cv=3, method="temperature"),
            "binary",
            "'temperature'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_has_no_exact_plan_is_refused_with_the_reason(model, task, reason, proving):
    with pytest.raises(PlanRefusedError, match=reason):
        proving.plan(model, task, ("plain", "positive", "whole"))
