"""Models that weigh columns: scikit-learn is the oracle."""

import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNetCV,
    GammaRegressor,
    HuberRegressor,
    LassoLars,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    OrthogonalMatchingPursuit,
    PoissonRegressor,
    QuantileRegressor,
    RANSACRegressor,
    RidgeClassifier,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

from loopline.errors import PlanRefusedError


def _named(value):
    return str(value)


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(positive=True),
        RidgeCV(),
        ElasticNetCV(),
        LassoLars(0.01),
        OrthogonalMatchingPursuit(),
        BayesianRidge(),
        ARDRegression(),
        HuberRegressor(),
        QuantileRegressor(alpha=0.01),
        SGDRegressor(random_state=0),
        LinearSVR(random_state=0),
        RANSACRegressor(random_state=0),
        PLSRegression(2),
        PoissonRegressor(),
        GammaRegressor(),
        TweedieRegressor(power=1.5),
        TweedieRegressor(power=0, link="identity"),
        MLPRegressor(hidden_layer_sizes=(7, 4), random_state=0, max_iter=60),
        MLPRegressor(hidden_layer_sizes=(7,), activation="tanh", random_state=0, max_iter=60),
        DummyRegressor(strategy="quantile", quantile=0.7),
    ],
    ids=_named,
)
def test_a_regression_equals_scikit_learns(model, proving):
    proving(make_pipeline(StandardScaler(), model), "regression")


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        LogisticRegression(solver="newton-cg", fit_intercept=False),
        LogisticRegression(solver="saga", l1_ratio=0.5, max_iter=300),
        LogisticRegressionCV(
            Cs=3, cv=3, l1_ratios=(0.0,), use_legacy_attributes=False, scoring="neg_log_loss"
        ),
        SGDClassifier(loss="log_loss", random_state=0),
        SGDClassifier(loss="modified_huber", random_state=0),
        LinearDiscriminantAnalysis(),
        GaussianNB(),
        BernoulliNB(binarize=0.3),
        MLPClassifier((6,), random_state=0, max_iter=60),
        MLPClassifier((6, 5), activation="logistic", random_state=0, max_iter=60),
        MLPClassifier((3,), activation="identity", random_state=0, max_iter=60),
        DummyClassifier(strategy="prior"),
        DummyClassifier(strategy="most_frequent"),
        DummyClassifier(strategy="uniform"),
    ],
    ids=_named,
)
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_classifier_equals_scikit_learns(task, model, proving):
    proving(make_pipeline(StandardScaler(), model), task)


@pytest.mark.parametrize("model", [MultinomialNB(), ComplementNB()], ids=_named)
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_naive_bayes_of_counts_equals_scikit_learns(task, model, proving):
    proving(make_pipeline(MinMaxScaler((0, 5)), model), task)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (SGDClassifier(), "SGDClassifier has no probabilities"),
        (DummyClassifier(strategy="stratified"), "answers by chance"),
    ],
)
def test_a_model_without_probabilities_of_its_own_is_refused(model, reason, proving):
    with pytest.raises(PlanRefusedError, match=reason):
        proving.plan(model, "binary", ("plain", "whole"))


@pytest.mark.parametrize("model", [LinearSVC(), RidgeClassifier()], ids=_named)
def test_decisions_alone_are_no_answer(model, proving):
    with pytest.raises(PlanRefusedError, match=r"has no probabilities: calibrate it"):
        proving.plan(model, "binary", ("plain", "whole"))
