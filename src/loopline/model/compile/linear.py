"""Models that weigh columns: linear and logistic ones, naive Bayes, networks and constants."""

from typing import Any

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.functions import Function, Pair
from loopline.kernels.score import Op
from loopline.model.compile.draft import Draft, Known, Values, Wants, numeric, outputs_of


def link(draft: Draft, model: Any, wants: Wants) -> None:
    """Turn decisions into probabilities, if those are wanted: a sigmoid, or a softmax."""
    if wants == "probability":
        draft.step(Op.SIGMOID if outputs_of(model) == 1 else Op.SOFTMAX)


def _weigh(draft: Draft, model: Any, values: Values) -> None:
    weights = np.atleast_2d(np.asarray(model.coef_, np.float64))
    if weights.shape != (outputs_of(model), len(values)):
        raise PlanRefusedError(
            f"{type(model).__name__} has weights of shape {weights.shape}, and "
            f"({outputs_of(model)}, {len(values)}) is expected"
        )
    draft.refuse_gaps(numeric(model, values))
    draft.linear(values, weights, np.ravel(model.intercept_))


def _regression(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    _weigh(draft, model, values)
    if type(getattr(getattr(model, "_base_loss", None), "link", None)).__name__ == "LogLink":
        draft.step(Op.EXP)


def _centred(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    draft.refuse_gaps(numeric(model, values))
    centred = zip(values, model._x_mean, strict=True)
    _weigh(draft, model, [draft.column(Op.SCALE, value, [mean, 1.0]) for value, mean in centred])


def _logistic(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    _weigh(draft, model, values)
    link(draft, model, wants)


def _decision(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if wants != "decision":
        raise PlanRefusedError(
            f"{type(model).__name__} has no probabilities: calibrate it with CalibratedClassifierCV"
        )
    _weigh(draft, model, values)


def _sgd(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if wants == "decision" or model.loss not in ("log_loss", "modified_huber"):
        _decision(draft, model, values, wants)
        return
    _weigh(draft, model, values)
    count = outputs_of(model)
    if model.loss == "log_loss":
        one_against_rest(draft, count)
        return
    kept = draft.keep(count)
    clipped = [draft.column(Op.CLIP, value, [-1.0, 1.0]) for value in kept]
    raised = [draft.column(Op.SCALE, value, [-1.0, 2.0]) for value in clipped]
    draft.put(raised)
    if count > 1:
        draft.step(Op.NORMALISE, [1.0 / count])


def one_against_rest(draft: Draft, count: int) -> None:
    """Turn each output's decision into a probability, and let those of several add up to 1."""
    draft.step(Op.SIGMOID)
    if count > 1:
        draft.step(Op.NORMALISE, [np.nan])


def _bayes(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    draft.refuse_gaps(numeric(model, values))
    weights, constants = model.feature_log_prob_, model.class_log_prior_
    name = type(model).__name__
    if name == "ComplementNB":
        constants = np.zeros(len(weights))
    elif name == "BernoulliNB":
        if model.binarize is not None:
            above = [np.nextafter(model.binarize, np.inf)]
            steps = np.array([0.0, 1.0]).reshape(2, 1, 1)
            values = [draft.pieces(value, above, steps)[0] for value in values]
        against = np.log(1 - np.exp(weights))
        weights, constants = weights - against, constants + against.sum(axis=1)
    _likeliest(draft, draft.dot(values, weights, constants), wants)


def _gaussian_bayes(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    draft.refuse_gaps(numeric(model, values))
    made: Values = []
    for prior, means, variances in zip(model.class_prior_, model.theta_, model.var_, strict=True):
        terms = []
        for value, mean, variance in zip(values, means, variances, strict=True):
            away = draft.column(Op.SCALE, value, [mean, 1.0])
            squared = draft.pair(Pair.MULTIPLY, away, away)
            terms.append(draft.column(Op.SCALE, squared, [0.0, variance]))
        constant = np.log(prior) - 0.5 * np.sum(np.log(2.0 * np.pi * variances))
        made += draft.dot(terms, np.full((1, len(terms)), -0.5), constant)
    _likeliest(draft, made, wants)


def _likeliest(draft: Draft, made: Values, wants: Wants) -> None:
    """Turn the joint log-likelihood of each class into probabilities."""
    if wants == "decision":
        raise PlanRefusedError("naive Bayes has no decision function")
    if len(made) == 2:
        draft.put([draft.pair(Pair.SUBTRACT, made[1], made[0])])
        draft.step(Op.SIGMOID)
    else:
        draft.put(made)
        draft.step(Op.SOFTMAX)


def _network(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    draft.refuse_gaps(numeric(model, values))
    for weights, constants in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        values = draft.dot(values, weights.T, constants)
        if model.activation == "relu":
            values = [draft.column(Op.CLIP, value, [0.0, np.inf]) for value in values]
        elif model.activation != "identity":
            function = Function.TANH if model.activation == "tanh" else Function.LOGISTIC
            values = [draft.apply(function, value) for value in values]
    weights = model.coefs_[-1].T
    if len(weights) != outputs_of(model):
        raise PlanRefusedError(f"{type(model).__name__} has {len(weights)} targets")
    draft.linear(values, weights, model.intercepts_[-1])
    if model.out_activation_ == "logistic":
        draft.step(Op.SIGMOID)
    elif model.out_activation_ == "softmax":
        draft.step(Op.SOFTMAX)
    elif model.out_activation_ == "exp":
        draft.step(Op.EXP)


def _constant(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if not hasattr(model, "classes_"):
        draft.constant(np.ravel(model.constant_))
        return
    if model.strategy == "stratified":
        raise PlanRefusedError("DummyClassifier(strategy='stratified') answers by chance")
    [shares] = model.predict_proba(np.zeros((1, max(len(values), 1))))
    draft.constant(shares[1:] if len(shares) == 2 else shares)


_SLOPES = {
    **dict.fromkeys(
        [
            "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet",
            "ElasticNetCV", "Lars", "LarsCV", "LassoLars", "LassoLarsCV", "LassoLarsIC",
            "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "BayesianRidge",
            "ARDRegression", "SGDRegressor", "PassiveAggressiveRegressor", "HuberRegressor",
            "TheilSenRegressor", "QuantileRegressor", "LinearSVR",
        ],
        Known(_regression),
    ),
    "PoissonRegressor": Known(_regression, "Log link."),
    "GammaRegressor": Known(_regression, "Log link."),
    "TweedieRegressor": Known(_regression, "Log or identity link."),
}  # fmt: skip
_ONLY_CALIBRATED = "Within `CalibratedClassifierCV` or a stack: it has no probabilities of its own."
MODELS = {
    **_SLOPES,
    "PLSRegression": Known(_centred),
    "LogisticRegression": Known(_logistic, "Every penalty and solver; several classes too."),
    "LogisticRegressionCV": Known(_logistic, "As `LogisticRegression`."),
    "LinearDiscriminantAnalysis": Known(_logistic, "As a classifier."),
    "SGDClassifier": Known(
        _sgd, "Losses `log_loss` and `modified_huber`; the others where only calibrated."
    ),
    **dict.fromkeys(
        ["LinearSVC", "RidgeClassifier", "RidgeClassifierCV", "Perceptron",
         "PassiveAggressiveClassifier"],
        Known(_decision, _ONLY_CALIBRATED),
    ),
    "GaussianNB": Known(_gaussian_bayes),
    "MultinomialNB": Known(_bayes),
    "ComplementNB": Known(_bayes),
    "BernoulliNB": Known(_bayes),
    "MLPClassifier": Known(_network, "Every activation; for small networks."),
    "MLPRegressor": Known(_network, "Every activation; for small networks."),
    "DummyClassifier": Known(_constant, "Every strategy but `stratified`."),
    "DummyRegressor": Known(_constant),
}  # fmt: skip
"""What weighs columns, by its class."""
