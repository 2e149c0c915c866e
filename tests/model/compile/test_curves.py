"""Steps that bend numbers: scikit-learn is the oracle, on knots and edges and a step beside."""

import numpy as np
import pytest
from scipy.special import ndtri
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
)

from loopline.kernels.functions import FUNCTIONS, Function

HOLED = ("plain", "positive", "whole", "holed")
TREES = HistGradientBoostingRegressor(max_iter=15, random_state=0)


def _bins(encode, strategy):
    return KBinsDiscretizer(5, encode=encode, strategy=strategy, random_state=0)


STEPS = {
    "binarizer": Binarizer(threshold=1.0),
    **{
        f"bins {encode} {strategy}": _bins(encode, strategy)
        for encode in ("onehot", "onehot-dense", "ordinal")
        for strategy in ("uniform", "quantile", "kmeans")
    },
    "yeo-johnson": PowerTransformer(),
    "yeo-johnson, plain": PowerTransformer(standardize=False),
    "quantiles": QuantileTransformer(n_quantiles=20),
    "normal quantiles": QuantileTransformer(n_quantiles=20, output_distribution="normal"),
    **{
        f"splines {way}": SplineTransformer(4, degree=3, extrapolation=way)
        for way in ("constant", "linear", "continue", "periodic")
    },
    "splines, quantiles, no bias": SplineTransformer(5, knots="quantile", include_bias=False),
    "splines of degree 1": SplineTransformer(6, degree=1),
    "splines of degree 2, sparse": SplineTransformer(6, degree=2, sparse_output=True),
    "polynomials": PolynomialFeatures(3),
    "polynomials, no bias": PolynomialFeatures((2, 3), include_bias=False),
    "interactions": PolynomialFeatures(3, interaction_only=True),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_bent_number_equals_scikit_learns(name, proving):
    proving(make_pipeline(STEPS[name], Ridge()), "regression")


def test_splines_refuse_what_lies_beyond_their_knots_as_scikit_learn_does(proving):
    step = SplineTransformer(4, extrapolation="error")

    found = proving(make_pipeline(step, Ridge()), "regression", ("whole",))

    assert any("beyond the limits of the knots" in said for said in found.refused)


@pytest.mark.parametrize("standardize", [True, False])
def test_box_cox_refuses_what_is_not_positive_as_scikit_learn_does(standardize, proving):
    step = PowerTransformer("box-cox", standardize=standardize)

    found = proving(make_pipeline(step, Ridge()), "regression", ("positive",))

    assert any("strictly positive" in said for said in found.refused)


@pytest.mark.parametrize(
    "step",
    [
        PowerTransformer(),
        QuantileTransformer(n_quantiles=20),
        QuantileTransformer(n_quantiles=20, output_distribution="normal"),
        SplineTransformer(4, handle_missing="zeros"),
    ],
    ids=lambda step: type(step).__name__,
)
def test_gaps_pass_through_where_they_do_in_scikit_learn(step, proving):
    proving(make_pipeline(step, TREES), "regression", HOLED)


@pytest.mark.parametrize(
    "step",
    [
        FunctionTransformer(np.arcsinh),
        FunctionTransformer(np.tanh),
        FunctionTransformer(np.exp),
        PowerTransformer(),
        QuantileTransformer(n_quantiles=20, output_distribution="normal"),
    ],
    ids=lambda step: str(getattr(step, "func", step)),
)
@pytest.mark.parametrize("model", [TREES, ExtraTreesRegressor(10, random_state=0)])
def test_trees_turn_at_the_very_number_also_behind_a_function(step, model, proving):
    found = proving(make_pipeline(step, model), "regression")

    assert found.largest_difference == 0.0


@pytest.mark.parametrize("method", ["yeo-johnson", "box-cox"])
def test_bins_begin_at_the_very_number_also_behind_a_function(method, proving):
    bins = KBinsDiscretizer(6, encode="ordinal", quantile_method="linear")
    model = make_pipeline(PowerTransformer(method), bins, Ridge())

    found = proving(model, "regression", ("positive",))

    assert found.largest_difference < 1e-15


def test_trees_behind_a_function_do_without_it(proving):
    model = make_pipeline(FunctionTransformer(np.log1p), TREES)

    plan, _ = proving.plan(model, "regression", ("positive",))

    codes = {int(code) for code in plan.program.steps["code"]}
    assert 18 not in codes  # FUNCTION


def test_the_normal_quantile_equals_scipys():
    shares = np.concatenate([np.linspace(1e-9, 1, 5000)[:-1], [1e-300, 1 - 1e-16, 0.0, 1.0, -1.0]])

    with np.errstate(all="ignore"):
        found = FUNCTIONS[Function.NORMAL](shares)

    np.testing.assert_allclose(found, ndtri(shares), rtol=1e-15)
