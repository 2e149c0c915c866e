"""Encoders over texts of a frame and over numbers: scikit-learn is the oracle."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from loopline.errors import PlanRefusedError
from loopline.model.compile.estimator import compile_plan

MIXED = ("plain", "positive", "whole", "holed", "colour", "size")
CODED = {"handle_unknown": "use_encoded_value", "unknown_value": -1}


def _table(encoder, others="passthrough"):
    return ColumnTransformer(
        [("texts", encoder, ["colour", "size"]), ("numbers", others, ["plain", "whole"])]
    )


ENCODERS = {
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
    "one-hot that refuses": OneHotEncoder(),
    "one-hot, first dropped": OneHotEncoder(handle_unknown="ignore", drop="first"),
    "one-hot, binary dropped": OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
    "one-hot, at most": OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=3),
    "one-hot, at least": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.1),
    "one-hot, at least, one dropped": OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=20, drop="first"
    ),
    "one-hot that warns": OneHotEncoder(handle_unknown="warn", min_frequency=0.1),
    "ordinal": OrdinalEncoder(encoded_missing_value=-2, **CODED),
    "ordinal that refuses": OrdinalEncoder(encoded_missing_value=-2),
    "ordinal, at least": OrdinalEncoder(min_frequency=0.1, encoded_missing_value=-2, **CODED),
    "ordinal, at most": OrdinalEncoder(max_categories=3, encoded_missing_value=9, **CODED),
    "target": TargetEncoder(random_state=0),
    "target, smooth": TargetEncoder(smooth=12.0, random_state=0),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_of_texts_equals_scikit_learns(name, proving):
    model = make_pipeline(_table(ENCODERS[name]), LogisticRegression())

    proving(model, "binary", MIXED, "frame")


@pytest.mark.parametrize("name", ["one-hot, at least", "ordinal, at least", "target"])
def test_an_encoder_of_numbers_equals_scikit_learns(name, proving):
    table = ColumnTransformer([("codes", ENCODERS[name], ["whole"])], remainder="passthrough")

    proving(make_pipeline(table, Ridge()), "regression", ("plain", "positive", "whole"), "frame")


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_target_encoder_of_each_task_equals_scikit_learns(task, proving):
    model = Ridge() if task == "regression" else LogisticRegression()

    proving(make_pipeline(_table(ENCODERS["target"]), model), task, MIXED, "frame")


def test_native_categories_after_an_ordinal_encoder_keep_their_sets(proving):
    table = _table(ENCODERS["ordinal"]).set_output(transform="pandas")
    model = HistGradientBoostingClassifier(
        max_iter=15, categorical_features=["texts__colour", "numbers__whole"], random_state=0
    )
    table.set_params(texts__unknown_value=np.nan, texts__encoded_missing_value=np.nan)

    proving(make_pipeline(table, model), "binary", MIXED, "frame")


def test_a_category_without_a_code_of_its_own_is_refused(proving):
    encoder = ColumnTransformer([("texts", ENCODERS["one-hot"], ["colour"])])
    model = make_pipeline(encoder, LogisticRegression())
    _, original = proving.plan(model, "binary", ("plain", "colour"), "frame")
    plain, colour = original.signature.features
    few = replace(original.signature, features=(plain, replace(colour, categories=("blue",))))

    with pytest.raises(PlanRefusedError, match="colour has 6 categories, and only the most freq"):
        compile_plan(model, few, "frame")
