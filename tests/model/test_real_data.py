"""Plans of the models that Loopline builds, on real data: proven, hostile rows included."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from loopline.data.columns import from_frame
from loopline.model.compile.estimator import compile_plan
from loopline.model.original import Original, frame
from loopline.model.parity import TOLERANCE, prove
from loopline.model.signature import Feature, Input, Signature, matrix


def _linear(categories, model):
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    table = ColumnTransformer(
        [
            ("number", numbers, np.flatnonzero(~categories).tolist()),
            (
                "category",
                OneHotEncoder(handle_unknown="ignore"),
                np.flatnonzero(categories).tolist(),
            ),
        ]
    )
    return make_pipeline(table, model)


CLASSIFIERS = {
    "linear": lambda categories: _linear(categories, LogisticRegression(max_iter=200)),
    "boosted trees": lambda categories: HistGradientBoostingClassifier(
        max_iter=30, categorical_features=categories, random_state=0
    ),
    "forest": lambda _: RandomForestClassifier(15, random_state=0),
}


def _prove(build, columns, types, truth, task="binary", takes="matrix"):
    features = []
    for name, kind in types.items():
        known = Counter(v for v in columns[name].tolist() if v is not None)
        levels = tuple(sorted(text for text, _ in known.most_common(60)))
        features.append(
            Feature(name, "category", levels) if kind == "category" else Feature(name, "number")
        )
    signature = Signature(
        "real",
        task,
        tuple(Input(name, kind) for name, kind in types.items()),
        tuple(features),
        tuple(str(k) for k in range(int(truth.max()) + 1)) if task != "regression" else (),
        0.3 if task == "binary" else None,
    )
    seen = (matrix if takes == "matrix" else frame)(signature, columns)
    train, test = np.arange(len(truth)) % 3 > 0, np.arange(len(truth)) % 3 == 0
    categories = np.array([feature.kind == "category" for feature in features])
    model = build(categories).fit(seen[train], truth[train])
    original = Original(model, takes, signature)
    plan = compile_plan(model, signature, takes)
    held_out = {name: values[test] for name, values in columns.items()}
    found = prove(plan, original, signature, held_out)
    rows = matrix(signature, held_out)
    np.testing.assert_allclose(plan.score(rows), plan.score_with_twin(rows), rtol=1e-14)
    return found


def _assert_exact(found, rows):
    assert found.agreed
    assert found.flipped == 0
    assert found.largest_difference <= TOLERANCE
    assert found.rows == rows
    assert found.hostile_rows > 500


@pytest.fixture(scope="module")
def credit(german_credit_csv):
    table = pl.read_csv(german_credit_csv)
    truth = table["credit_risk"].to_numpy().astype(np.int64)
    types = {
        name: "number" if kind.is_numeric() else "category"
        for name, kind in table.drop("credit_risk").schema.items()
    }
    return from_frame(table, types), types, truth - truth.min()


@pytest.fixture(scope="module")
def delays(flights):
    table = flights.filter(pl.col("arr_delay").is_not_null()).gather_every(80)
    types = {
        "carrier": "category",
        "origin": "category",
        "dest": "category",
        "tailnum": "category",
        "distance": "number",
        "sched_dep_time": "number",
        "dep_delay": "number",
    }
    columns = from_frame(table, types)
    columns["dep_delay"][::7] = np.nan
    columns["carrier"][::11] = None
    return columns, types, (table["arr_delay"].to_numpy() > 15).astype(np.int64)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_plans_of_german_credit_are_exact(name, credit):
    columns, types, truth = credit

    _assert_exact(_prove(CLASSIFIERS[name], columns, types, truth), rows=334)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_plans_of_flights_are_exact_with_gaps_and_rare_tail_numbers(name, delays):
    columns, types, truth = delays

    _assert_exact(_prove(CLASSIFIERS[name], columns, types, truth), rows=-(-len(truth) // 3))


def test_the_teams_own_pipeline_over_a_frame_of_texts_is_exact(credit):
    columns, types, truth = credit
    texts = [name for name, kind in types.items() if kind == "category"]
    numbers = [name for name in types if name not in texts]

    def build(_):
        half = len(texts) // 2
        ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        table = ColumnTransformer(
            [
                ("some", OneHotEncoder(handle_unknown="ignore", min_frequency=0.1), texts[:half]),
                ("others", ordinal, texts[half:]),
                ("numbers", "passthrough", numbers),
            ],
            sparse_threshold=0,
        )
        return make_pipeline(table, HistGradientBoostingClassifier(max_iter=20, random_state=0))

    _assert_exact(_prove(build, columns, types, truth, takes="frame"), rows=334)


@pytest.mark.parametrize(
    "build",
    [
        lambda categories: _linear(categories, Ridge()),
        lambda _: HistGradientBoostingRegressor(max_iter=30, loss="quantile", quantile=0.7),
    ],
    ids=["linear", "boosted trees"],
)
def test_plans_of_diabetes_are_exact(build):
    inputs, truth = load_diabetes(return_X_y=True)
    types = {f"x{place}": "number" for place in range(inputs.shape[1])}
    columns = {f"x{place}": values for place, values in enumerate(inputs.T)}

    _assert_exact(_prove(build, columns, types, truth, "regression"), rows=148)


@pytest.mark.parametrize(
    "build",
    [
        lambda categories: _linear(categories, LogisticRegression(max_iter=500)),
        lambda _: HistGradientBoostingClassifier(max_iter=5, random_state=0),
        lambda _: ExtraTreesClassifier(10, random_state=0),
    ],
    ids=["linear", "boosted trees", "extra trees"],
)
def test_plans_of_ten_digits_are_exact(build):
    inputs, truth = load_digits(return_X_y=True)
    types = {f"x{place}": "number" for place in range(inputs.shape[1])}
    columns = {f"x{place}": values for place, values in enumerate(inputs.T)}

    _assert_exact(_prove(build, columns, types, truth, "multiclass"), rows=599)
