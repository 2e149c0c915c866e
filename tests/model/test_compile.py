"""Plans equal their originals: scikit-learn is the oracle."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes it importable
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.kernel_approximation import PolynomialCountSketch
from sklearn.linear_model import ElasticNet, LogisticRegression, PoissonRegressor, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from loopline.errors import PlanRefusedError
from loopline.model.compile.estimator import compile_plan
from loopline.model.original import Original
from loopline.model.plan import Plan
from loopline.model.signature import Feature, Input, Signature

DATA = {
    "binary": load_breast_cancer(return_X_y=True),
    "multiclass": load_iris(return_X_y=True),
    "regression": load_diabetes(return_X_y=True),
}


def _signature(task, names, categories=()):
    known = dict(categories)
    return Signature(
        project="test",
        task=task,
        inputs=tuple(Input(n, "category" if n in known else "number") for n in names),
        features=tuple(
            Feature(n, "category" if n in known else "number", known.get(n, ())) for n in names
        ),
        classes={"binary": ("0", "1"), "multiclass": ("0", "1", "2")}.get(task, ()),
    )


def _assert_equal(estimator, inputs, signature, takes="matrix", codes=None):
    plan = compile_plan(estimator, signature, takes)
    expected = Original(estimator, takes, signature).answer(inputs)
    matrix = np.ascontiguousarray(inputs if codes is None else codes, dtype=np.float64)
    read_back = Plan.from_files(plan.to_files())
    for found in (plan.score(matrix), plan.score_with_twin(matrix), read_back.score(matrix)):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("binary", LogisticRegression(max_iter=5000)),
        ("multiclass", LogisticRegression(max_iter=5000)),
        ("regression", Ridge()),
        ("regression", ElasticNet(alpha=0.01)),
        ("regression", PoissonRegressor()),
        ("binary", HistGradientBoostingClassifier(max_iter=20)),
        ("multiclass", HistGradientBoostingClassifier(max_iter=10)),
        ("regression", HistGradientBoostingRegressor(max_iter=20)),
        ("regression", HistGradientBoostingRegressor(max_iter=10, loss="gamma")),
        ("regression", HistGradientBoostingRegressor(max_iter=10, loss="quantile", quantile=0.8)),
        ("binary", RandomForestClassifier(20, random_state=1)),
        ("multiclass", RandomForestClassifier(20, random_state=1)),
        ("regression", RandomForestRegressor(20, random_state=1)),
        ("binary", ExtraTreesClassifier(20, random_state=1)),
        ("multiclass", DecisionTreeClassifier(max_depth=4)),
        ("regression", DecisionTreeRegressor(max_depth=6)),
        ("binary", GradientBoostingClassifier(n_estimators=20)),
        ("multiclass", GradientBoostingClassifier(n_estimators=10)),
        ("regression", GradientBoostingRegressor(n_estimators=20)),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_plan_answers_like_its_model(task, model):
    inputs, truth = DATA[task]
    names = [f"x{i}" for i in range(inputs.shape[1])]

    model.fit(inputs[::2], truth[::2])

    _assert_equal(model, inputs, _signature(task, names))


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(clip=True), RobustScaler()])
def test_imputed_and_scaled_numbers_equal_the_pipeline(scaler):
    inputs, truth = DATA["binary"]
    holed = inputs.copy()
    holed[np.random.default_rng(3).random(holed.shape) < 0.1] = np.nan
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True), scaler, LogisticRegression()
    )

    model.fit(holed[::2], truth[::2])

    _assert_equal(model, holed, _signature("binary", [f"x{i}" for i in range(inputs.shape[1])]))


def test_trees_that_learned_without_gaps_send_missing_where_scikit_learn_does():
    inputs, truth = DATA["binary"]
    model = HistGradientBoostingClassifier(max_iter=10).fit(inputs, truth)
    forest = RandomForestClassifier(10, random_state=2)
    holed = inputs.copy()
    holed[::3, 4] = np.nan
    signature = _signature("binary", [f"x{i}" for i in range(inputs.shape[1])])

    _assert_equal(model, holed, signature)
    _assert_equal(forest.fit(holed, truth), holed, signature)


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30, drop="first"),
        OneHotEncoder(handle_unknown="ignore", max_categories=3),
        OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-3
        ),
        OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-2, encoded_missing_value=-1
        ),
        make_pipeline(
            SimpleImputer(strategy="constant", fill_value="none"),
            OneHotEncoder(handle_unknown="ignore"),
        ),
    ],
    ids=lambda encoder: type(encoder).__name__,
)
def test_texts_of_a_frame_become_codes_that_every_encoder_reads_alike(encoder):
    generator = np.random.default_rng(4)
    levels = np.array(["a", "b", "c", "d", "e", np.nan], dtype=object)
    texts = levels[generator.choice(6, 600, p=[0.4, 0.3, 0.2, 0.04, 0.03, 0.03])]
    numbers = generator.normal(size=600)
    truth = ((texts == "a") ^ (numbers > 0.3)).astype(int)
    frame = pd.DataFrame(
        {"n": numbers, "t": pd.Series(texts, dtype=object), "u": pd.Series(texts[::-1])}
    )
    known = ("a", "b", "c", "d", "e")
    signature = _signature("binary", ["n", "t", "u"], {"t": known, "u": known})
    table = ColumnTransformer(
        [("texts", encoder, ["t", "u"]), ("numbers", StandardScaler(), ["n"])]
    )
    model = Pipeline([("prepare", table), ("model", LogisticRegression())])

    model.fit(frame, truth)
    hostile = pd.concat(
        [frame, pd.DataFrame({"n": [0.0, 1.0], "t": ["zz", "a"], "u": ["a", ""]})],
        ignore_index=True,
    )
    code = {text: place + 1.0 for place, text in enumerate(known)}
    codes = np.column_stack(
        [
            hostile["n"],
            *[[np.nan if v != v else code.get(v, 0.0) for v in hostile[name]] for name in "tu"],  # noqa: PLR0124
        ]
    )

    _assert_equal(model, hostile, signature, "frame", codes)


def test_categories_of_histogram_boosting_keep_their_sets_and_unseen_codes_are_missing():
    generator = np.random.default_rng(5)
    category = generator.integers(0, 60, 4000).astype(float)
    category[::50] = np.nan
    number = generator.normal(size=4000)
    truth = (np.isin(category % 7, (1, 3)) ^ (number > 1)).astype(int)
    inputs = np.column_stack([number, category])
    model = HistGradientBoostingClassifier(categorical_features=[False, True], max_iter=40)

    model.fit(inputs[category < 50], truth[category < 50])

    signature = _signature("binary", ["n", "c"], {"c": tuple(str(i) for i in range(60))})
    _assert_equal(model, inputs, signature)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (KNeighborsClassifier(), "KNeighborsClassifier has no exact plan: it answers from its tr"),
        (make_pipeline(StandardScaler(), SVC()), "SVC has no exact plan: it answers from its trai"),
        (make_pipeline(IterativeImputer(), Ridge()), "IterativeImputer has no exact plan: its ans"),
        (make_pipeline(PolynomialCountSketch(), Ridge()), "PolynomialCountSketch is not among"),
        (IsolationForest(), "IsolationForest is not among the models that have an exact plan"),
    ],
    ids=lambda value: None,
)
def test_what_has_no_exact_plan_is_refused_with_the_reason(model, reason):
    inputs, truth = load_iris(return_X_y=True)
    model.fit(inputs.round()[truth < 2], truth[truth < 2])

    with pytest.raises(PlanRefusedError, match=reason):
        compile_plan(model, _signature("binary", list("abcd")))
