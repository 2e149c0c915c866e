"""Steps that choose, fill, scale and project columns: scikit-learn is the oracle."""

import numpy as np
import pytest
from sklearn.compose import (
    ColumnTransformer,
    make_column_selector,
    make_column_transformer,
)
from sklearn.decomposition import PCA, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_selection import (
    RFE,
    SelectFromModel,
    SelectKBest,
    VarianceThreshold,
    f_regression,
)
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from loopline.errors import PlanRefusedError

HOLED = ("plain", "positive", "whole", "holed")
MIXED = (*HOLED, "colour", "size")


def _named(value):
    return str(value) if not isinstance(value, str) else value


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        RobustScaler(),
        RobustScaler(with_centering=False, unit_variance=True),
        MaxAbsScaler(),
        MinMaxScaler(),
        MinMaxScaler((-1, 3), clip=True),
        Normalizer(),
        Normalizer("l1"),
        Normalizer("max"),
        VarianceThreshold(1.0),
        SelectKBest(f_regression, k=2),
        SelectFromModel(Lasso(0.01)),
        RFE(Ridge(), n_features_to_select=1),
        PCA(2),
        PCA(2, whiten=True),
        IncrementalPCA(2, batch_size=50),
        TruncatedSVD(2),
        FastICA(2, whiten="unit-variance", random_state=0),
        FastICA(whiten=False, random_state=0),
        GaussianRandomProjection(2, random_state=0),
        SparseRandomProjection(2, random_state=0),
        FunctionTransformer(),
        FunctionTransformer(validate=True),
        FunctionTransformer(np.arcsinh),
        FunctionTransformer(np.square),
        FunctionTransformer(np.negative),
        FunctionTransformer(np.tanh),
        FunctionTransformer(np.abs),
        FunctionTransformer(np.sign),
        FunctionTransformer(np.floor),
        FunctionTransformer(np.sin),
        FunctionTransformer(np.cbrt),
    ],
    ids=_named,
)
def test_a_step_of_numbers_equals_scikit_learns(step, proving):
    proving(make_pipeline(step, Ridge()), "regression")


@pytest.mark.parametrize("function", [np.log, np.log1p, np.log2, np.log10, np.sqrt, np.reciprocal])
def test_functions_that_know_no_number_for_some_leave_them_missing(function, proving):
    only = ColumnTransformer(
        [("bent", FunctionTransformer(function), [1])], remainder="passthrough"
    )

    proving(make_pipeline(only, HistGradientBoostingRegressor(max_iter=15)), "regression")
    proving(make_pipeline(only, Ridge()), "regression")


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(),
        SimpleImputer(strategy="median", add_indicator=True),
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="constant", fill_value=-7.5, add_indicator=True),
        SimpleImputer(strategy="constant"),
        FeatureUnion([("filled", SimpleImputer()), ("flags", MissingIndicator())]),
        FeatureUnion(
            [("filled", SimpleImputer()), ("flags", MissingIndicator(features="all"))],
            transformer_weights={"flags": 0.3},
        ),
    ],
    ids=_named,
)
def test_an_imputer_fills_and_flags_as_scikit_learns(imputer, proving):
    proving(make_pipeline(imputer, StandardScaler(), LogisticRegression()), "binary", HOLED)


def test_a_number_that_stands_for_missing_is_filled(proving):
    imputer = SimpleImputer(missing_values=3, strategy="median", add_indicator=True)

    proving(make_pipeline(imputer, Ridge()), "regression")


def test_a_table_chooses_by_selector_name_place_slice_and_mask(proving):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    by_kind = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=object)),
    )
    by_place = ColumnTransformer(
        [
            ("a", StandardScaler(), slice(0, 2)),
            ("b", SimpleImputer(), [False, False, False, True, False, False]),
            ("c", OneHotEncoder(handle_unknown="ignore"), [-2, 5]),
            ("d", "drop", ["plain"]),
        ],
        remainder="passthrough",
        transformer_weights={"a": 2.5},
    )

    for table in (by_kind, by_place):
        proving(make_pipeline(table, LogisticRegression()), "binary", MIXED, "frame")


def test_a_frame_between_steps_keeps_the_names_by_which_the_next_chooses(proving):
    inner = ColumnTransformer(
        [
            ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["colour"]),
            ("numbers", SimpleImputer(), ["plain", "holed"]),
        ],
        remainder="drop",
    ).set_output(transform="pandas")
    outer = ColumnTransformer(
        [("some", StandardScaler(), ["numbers__holed", "texts__colour_red"])],
        remainder="passthrough",
    )

    proving(make_pipeline(inner, outer, LogisticRegression()), "binary", MIXED, "frame")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (FunctionTransformer(lambda rows: rows * 2), "applies <lambda>, which has no plan"),
        (FunctionTransformer(np.log1p, kw_args={"where": True}), "has kw_args"),
        (FunctionTransformer(np.nan_to_num), "applies nan_to_num, which has no plan"),
    ],
)
def test_a_function_that_no_plan_has_is_refused(step, reason, proving):
    with pytest.raises(PlanRefusedError, match=reason):
        proving(make_pipeline(step, Ridge()), "regression", ("positive",))


def test_a_class_derived_from_a_known_one_is_refused_since_it_may_do_anything(proving):
    class Doubled(StandardScaler):
        def transform(self, rows, copy=None):
            return 2 * super().transform(rows, copy)

    with pytest.raises(PlanRefusedError, match="Doubled is not among the steps"):
        proving(make_pipeline(Doubled(), Ridge()), "regression")
