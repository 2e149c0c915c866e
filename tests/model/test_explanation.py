"""Reasons: exact where a plan adds up, sampled with their error where it does not."""

import itertools
import math

import msgspec
import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from loopline.data.row_sql import parse
from loopline.errors import BundleRefusedError, RequestError
from loopline.model.compile.estimator import compile_plan
from loopline.model.explanation import Explainer, additive, background
from loopline.model.runtimes.wire import unpack
from loopline.model.signature import Feature, Input, Signature, matrix

COLOURS = ("blue", "green", "red")


def signature(task, **columns):
    """A signature of columns: number, or category of three colours."""
    return Signature(
        "test",
        task,
        tuple(Input(name, kind) for name, kind in columns.items()),
        tuple(
            Feature(name, kind, COLOURS if kind == "category" else ())
            for name, kind in columns.items()
        ),
        {"binary": ("no", "yes"), "multiclass": ("0", "1", "2")}.get(task, ()),
        0.5 if task == "binary" else None,
    )


def made(rows=300, seed=0):
    generator = np.random.default_rng(seed)
    colours = np.array([*COLOURS, None], dtype=object)
    return {
        "age": generator.integers(18, 80, rows).astype(float),
        "debt": generator.lognormal(0, 1, rows),
        "colour": colours[generator.choice(4, rows, p=[0.5, 0.2, 0.2, 0.1])],
    }


def truth(columns):
    score = columns["age"] / 20 - columns["debt"] * (columns["colour"] == "blue")
    return (score > np.median(score)).astype(int)


def explainer(estimator, signed, columns, target, takes="matrix"):
    from loopline.model.original import frame

    seen = (matrix if takes == "matrix" else frame)(signed, columns)
    plan = compile_plan(estimator.fit(seen, target), signed, takes)
    return Explainer(background(plan, signed, columns, 0), signed, plan), plan


def test_a_trees_reasons_are_those_of_the_shap_package():
    inputs = [
        [1, 5, 0],
        [2, 4, 1],
        [3, 8, 0],
        [4, 1, 1],
        [5, 2, 0],
        [6, 9, 1],
        [7, 3, 1],
        [8, 7, 0],
    ]
    columns = dict(zip("abc", np.array(inputs, float).T, strict=True))
    target = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    signed = signature("regression", a="number", b="number", c="number")

    found, _ = explainer(
        DecisionTreeRegressor(max_depth=3, random_state=0), signed, columns, target
    )
    told = found(columns)

    # shap 0.51.0: TreeExplainer(tree, feature_perturbation="tree_path_dependent").
    expected = [
        [-0.80654762, -0.70386905, 1.13541667],
        [-0.48710317, -0.87400794, -1.51388889],
        [-0.80654762, -0.70386905, 1.13541667],
        [-0.48710317, -0.87400794, -1.51388889],
        [0.67559524, -0.59672619, 1.54613095],
        [0.34722222, 5.59722222, -0.81944444],
        [0.71230159, -0.79960317, -1.78769841],
        [0.87202381, -0.58779762, 1.34077381],
    ]
    np.testing.assert_allclose(told.added, expected, atol=1e-8)
    np.testing.assert_allclose(told.bases, 3.875)
    assert (told.method, told.unit, told.names) == ("exact", "prediction", ("a", "b", "c"))


def by_every_set(plan, row, nodes_of, rows):
    """Return Shapley values from their definition, branches weighed by the rows that take them."""
    program = plan.program
    columns = workspace(program, rows)
    here = workspace(program, row)

    def expected(node, known, mask):
        each = program.nodes[node]
        if each["feature"] < 0:
            return each["value"]
        column = int(each["feature"])
        goes = left_of(program, each, columns[column])
        if nodes_of[column] in known:
            left = bool(left_of(program, each, here[column])[0])
            return expected(each["left" if left else "right"], known, mask & (goes == left))
        total = mask.sum()
        share = (mask & goes).sum() / total if total else 0.5
        return share * expected(each["left"], known, mask & goes) + (1 - share) * expected(
            each["right"], known, mask & ~goes
        )

    [step] = [step for step in program.steps if step["code"] == 10]
    roots = program.integers[step["b"] : step["b"] + step["count"]]
    players = sorted(set(nodes_of.values()))

    def worth(known):
        return sum(expected(root, known, np.ones(len(rows), bool)) for root in roots)

    found = []
    for player in players:
        rest = [each for each in players if each != player]
        found.append(
            sum(
                math.factorial(size)
                * math.factorial(len(rest) - size)
                / math.factorial(len(players))
                * (worth({*known, player}) - worth(set(known)))
                for size in range(len(players))
                for known in itertools.combinations(rest, size)
            )
        )
    return found


def workspace(program, rows):
    from loopline.kernels.score import Op, run_step

    work = np.zeros((program.width, len(rows)))
    work[: program.inputs] = rows.T
    for step in program.steps.tolist():
        if not Op.CONSTANT <= step[0] <= Op.KEEP:
            run_step(program, step, work, np.zeros((program.outputs, len(rows))))
    return work


def left_of(program, node, values):
    assert node["kind"] < 2
    return np.where(np.isnan(values), bool(node["kind"] & 1), values <= node["value"])


def test_columns_made_of_one_input_are_known_together():
    columns = made(120)
    signed = signature("binary", age="number", debt="number", colour="category")
    model = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["colour"]),
            (StandardScaler(), ["age", "debt"]),
        ),
        HistGradientBoostingClassifier(max_iter=4, max_leaf_nodes=6, min_samples_leaf=5),
    )

    found, plan = explainer(model, signed, columns, truth(columns), "frame")
    told = found({name: values[:5] for name, values in columns.items()})

    rows = matrix(signed, columns)
    moved = workspace(plan.program, rows)
    # Which input a column of the workspace is made of: the one whose change alone changes it.
    other = rows[::-1].copy()
    nodes_of = {}
    for place in range(3):
        changed = rows.copy()
        changed[:, place] = other[:, place]
        for column in np.flatnonzero(
            (workspace(plan.program, changed) != moved).any(axis=1)
        ).tolist():
            nodes_of[column] = place
    exact = [by_every_set(plan, rows[row : row + 1], nodes_of, rows) for row in range(5)]
    np.testing.assert_allclose(told.added, exact, atol=1e-12)
    assert (told.unit, told.classes[0]) == ("log-odds", "yes")
    score = plan.score(rows[:5])
    np.testing.assert_allclose(told.values, np.log(score / (1 - score)))


def test_a_linear_models_reasons_are_coefficient_times_distance_from_the_mean():
    columns = made()
    signed = signature("binary", age="number", debt="number", colour="category")
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    model = make_pipeline(
        make_column_transformer((StandardScaler(), ["age", "debt"]), (encoder, ["colour"])),
        LogisticRegression(),
    )

    found, _ = explainer(model, signed, columns, truth(columns), "frame")
    told = found({name: values[:4] for name, values in columns.items()})

    age, debt, *colours = model[-1].coef_[0]
    names = model[0].named_transformers_["onehotencoder"].categories_[0]
    hot = np.array([[value == name or (value is None and isinstance(name, float)) for name in names]
                    for value in columns["colour"]], float)  # fmt: skip
    expected = np.column_stack(
        [
            age * (columns["age"] - columns["age"].mean()) / columns["age"].std(),
            debt * (columns["debt"] - columns["debt"].mean()) / columns["debt"].std(),
            (hot - hot.mean(axis=0)) @ colours,
        ]
    )
    np.testing.assert_allclose(told.added, expected[:4], atol=1e-12)
    assert told.unit == "log-odds"


def test_of_several_classes_the_answered_one_is_explained():
    columns = made()
    target = np.digitize(columns["age"], [35, 60])
    signed = signature("multiclass", age="number", debt="number")

    for model, unit in (
        (HistGradientBoostingClassifier(max_iter=5), "score"),
        (RandomForestClassifier(5, random_state=0), "probability"),
    ):
        found, plan = explainer(model, signed, columns, target)
        told = found(columns)

        scores = plan.score(matrix(signed, columns))
        assert told.classes == tuple(str(place) for place in scores.argmax(axis=1))
        assert told.unit == unit
        if unit == "probability":
            np.testing.assert_allclose(told.values, scores.max(axis=1))
        assert (np.abs(told.added[:, 0]) > np.abs(told.added[:, 1])).mean() > 0.9


def test_a_prediction_with_a_logarithm_for_its_link_is_explained_in_logarithms():
    columns = made()
    signed = signature("regression", age="number", debt="number")

    found, plan = explainer(PoissonRegressor(), signed, columns, columns["age"])
    told = found(columns)

    assert (told.method, told.unit, told.classes[0]) == ("exact", "log", None)
    np.testing.assert_allclose(np.exp(told.values), plan.score(matrix(signed, columns)))


def test_a_feature_of_row_sql_stands_for_itself():
    types = {"age": "number", "debt": "number"}
    features = (
        Feature("age", "number"),
        Feature("ratio", "number", sql="debt / age", steps=parse("debt / age", types).steps),
    )
    inputs = tuple(Input(name, "number") for name in types)
    signed = Signature("test", "regression", inputs, features)
    columns = made()

    found, _ = explainer(
        HistGradientBoostingRegressor(max_iter=5), signed, columns, columns["debt"]
    )

    assert found(columns).names == ("age", "ratio")


def test_rows_that_the_model_refuses_say_nothing_of_what_is_usual():
    columns = made()
    signed = signature("regression", age="number", debt="number")
    holed = {**columns, "debt": np.where(np.arange(300) < 100, np.nan, columns["debt"])}
    seen = matrix(signed, columns)
    plan = compile_plan(PoissonRegressor().fit(seen, columns["age"]), signed)

    told = Explainer(background(plan, signed, holed, 0), signed, plan)(columns)

    assert told.added[:, 1].mean() == pytest.approx(0.0, abs=0.1)
    rest = np.log(plan.score(seen[100:]))
    np.testing.assert_allclose(told.bases, rest.mean())


# Models that are asked.


def xor(columns):
    return 1.0 * ((columns["a"] > 0) != (columns["b"] > 0)) + 2.0 * columns["c"]


def numbers(rows=200):
    generator = np.random.default_rng(5)
    return {name: generator.choice([-1.0, 1.0, 1.0], rows) for name in "abc"}


def test_a_model_that_is_asked_is_explained_within_the_error_it_tells():
    signed = signature("regression", a="number", b="number", c="number")
    content = background(None, signed, numbers(), 0)
    drawn = unpack(msgspec.msgpack.decode(content)["values"])
    row = {"a": np.array([-1.0]), "b": np.array([1.0]), "c": np.array([1.0])}

    told = Explainer(content, signed, None, xor)(row, seed=3)

    # Known sets of two players, the other drawn on its own: P(b > 0) and P(a > 0) of the draws.
    a, b = (drawn["a"] > 0).mean(), (drawn["b"] > 0).mean()
    nothing = a * (1 - b) + (1 - a) * b
    with_a, with_b, both = b, 1 - a, 1.0
    exact = [
        (with_a - nothing + both - with_b) / 2,
        (with_b - nothing + both - with_a) / 2,
        2.0 - 2.0 * drawn["c"].mean(),
    ]
    assert (told.method, told.unit) == ("sampled", "prediction")
    assert told.errors is not None
    assert (np.abs(told.added[0] - exact) <= 4 * told.errors[0] + 1e-12).all()
    assert (told.errors[0] > 0).all()
    assert told.errors[0].max() < 0.4
    assert told.bases[0] + told.added[0].sum() == pytest.approx(xor(row)[0])
    assert (
        told.added.tobytes() == Explainer(content, signed, None, xor)(row, seed=3).added.tobytes()
    )


def test_of_several_classes_an_asked_model_is_explained_by_the_answered_one():
    signed = signature("multiclass", a="number", b="number")
    content = background(None, signed, numbers(), 0)

    def score(columns):
        sure = 0.5 + 0.4 * (columns["a"] > 0)
        return np.column_stack([1 - sure, sure / 4, sure * 3 / 4])

    told = Explainer(content, signed, None, score)({"a": np.ones(2), "b": np.ones(2)})

    assert told.classes == ("2", "2")
    np.testing.assert_allclose(told.values, 0.675)
    assert (told.added[:, 0] > 0.05).all()
    assert told.added[:, 1].tolist() == [0.0, 0.0]


def test_a_plan_that_multiplies_columns_is_asked():
    columns = made()
    signed = signature("binary", age="number", debt="number")
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression())

    found, plan = explainer(model, signed, columns, truth(columns))
    told = found({name: values[:2] for name, values in columns.items()})

    assert additive(plan.program) is None
    assert (told.method, told.unit) == ("sampled", "probability")
    np.testing.assert_allclose(told.values, plan.score(matrix(signed, columns)[:2]))


def test_nobodys_words_are_kept_and_nobodys_row():
    columns = {**made(), "note": np.array(["my name is Ada"] * 300, dtype=object)}
    columns["debt"] = columns["age"] * 2
    inputs = (Input("age", "number"), Input("debt", "number"), Input("note", "text"),
              Input("colour", "category", required=False))  # fmt: skip
    signed = Signature("test", "regression", inputs, ())

    drawn = unpack(msgspec.msgpack.decode(background(None, signed, columns, 0))["values"])

    assert drawn["note"].tolist() == [None]
    assert "colour" not in drawn
    together = drawn["debt"] == 2 * drawn["age"]
    assert len(together) == 100
    assert together.mean() < 0.2


def test_a_row_that_the_model_refuses_is_refused():
    signed = signature("regression", a="number")
    plan = compile_plan(
        make_pipeline(PolynomialFeatures(2), PoissonRegressor()).fit(np.ones((3, 1)), np.ones(3)),
        signed,
    )
    content = background(None, signed, {"a": np.ones(3)}, 0)

    with pytest.raises(RequestError, match="cannot be scored"):
        Explainer(content, signed, plan)({"a": np.array([np.nan])})


def test_what_is_told_begins_with_what_matters_most():
    columns = made()
    signed = signature("binary", age="number", debt="number", colour="category")
    found, _ = explainer(
        HistGradientBoostingClassifier(max_iter=9), signed, columns, truth(columns)
    )
    told = found(columns)

    row = told.reasons(7, 2)

    order = np.argsort(-np.abs(told.added[7]))
    assert [each["column"] for each in row["reasons"]] == [told.names[at] for at in order[:2]]
    assert row["others"] == pytest.approx(told.added[7][order[2]])
    assert row["base"] + sum(each["adds"] for each in row["reasons"]) + row[
        "others"
    ] == pytest.approx(row["value"])
    assert (row["method"], row["unit"], row["class"]) == ("exact", "log-odds", "yes")


def test_what_is_of_another_plan_or_another_format_is_refused():
    columns = made()
    signed = signature("binary", age="number", debt="number")
    _, plan = explainer(HistGradientBoostingClassifier(max_iter=3), signed, columns, truth(columns))
    _, other = explainer(
        HistGradientBoostingClassifier(max_iter=2), signed, columns, truth(columns)
    )
    content = background(plan, signed, columns, 0)

    with pytest.raises(BundleRefusedError, match="does not fit the plan"):
        Explainer(content, signed, other)
    with pytest.raises(BundleRefusedError, match="adds up, and this one does not"):
        Explainer(content, signed, None)
    newer = msgspec.msgpack.encode({**msgspec.msgpack.decode(content), "format": 2})
    with pytest.raises(BundleRefusedError, match="has format 2, and this Loopline reads 1"):
        Explainer(newer, signed, plan)
