"""The proof finds what it is for: faults of one float step, and refusals on one side alone."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from loopline.errors import ParityError
from loopline.model.compile.estimator import compile_plan
from loopline.model.original import Original
from loopline.model.parity import TOLERANCE, prove
from loopline.model.signature import Feature, Input, Signature, matrix

CANCER = load_breast_cancer(return_X_y=True)
PLACES = ("Ayr", "Bray", "Cork", "Derry")


def _signature(task, count, categories=()):
    names = [f"x{place}" for place in range(count)]
    return Signature(
        "test",
        task,
        tuple(Input(name, "category" if name in categories else "number") for name in names),
        tuple(
            Feature(name, "category", PLACES) if name in categories else Feature(name, "number")
            for name in names
        ),
        () if task == "regression" else ("0", "1"),
        None if task == "regression" else 0.5,
    )


def _columns(inputs):
    return {f"x{place}": inputs[:, place] for place in range(inputs.shape[1])}


def _case(model, data=CANCER, task="binary"):
    inputs, truth = data
    signature = _signature(task, inputs.shape[1])
    original = Original(model.fit(inputs[::2], truth[::2]), "matrix", signature)
    plan = compile_plan(original.estimator, signature)
    return plan, original, signature, _columns(inputs[1::2])


@pytest.fixture(scope="module")
def forest():
    return _case(RandomForestClassifier(8, random_state=0))


@pytest.fixture(scope="module")
def boosted():
    inputs, truth = CANCER
    generator = np.random.default_rng(2)
    gaps = np.where(generator.random(inputs.shape) < 0.05, np.nan, inputs)
    places = np.array([*PLACES, None], dtype=object)[generator.integers(0, 5, len(inputs))]
    columns = _columns(gaps) | {"x0": places}
    signature = _signature("binary", inputs.shape[1], {"x0"})
    seen = matrix(signature, columns)
    model = HistGradientBoostingClassifier(
        max_iter=12, categorical_features=[True, *[False] * 29], random_state=0
    )
    truth = np.where(places == "Cork", 1 - truth, truth)
    original = Original(model.fit(seen, truth), "matrix", signature)
    return compile_plan(model, signature), original, signature, columns


def _damaged(plan, **arrays):
    return replace(plan, program=plan.program._replace(**arrays))


def _with_nodes(plan, change):
    nodes = plan.program.nodes.copy()
    change(nodes, nodes["feature"] >= 0)
    return _damaged(plan, nodes=nodes)


@pytest.mark.parametrize("name", ["forest", "boosted"])
def test_an_exact_plan_is_proven_without_any_difference(name, request):
    plan, original, signature, columns = request.getfixturevalue(name)

    found = prove(plan, original, signature, columns)

    assert found.agreed
    assert (found.largest_difference, found.flipped) == (0.0, 0)
    assert found.rows == len(columns["x1"])
    assert found.hostile_rows > 1500


def _one_step_off(nodes, inner):
    nodes["value"][inner] = np.nextafter(nodes["value"][inner], np.inf)


def _one_float32_step_off(nodes, inner):
    narrow = nodes["value"][inner].astype(np.float32)
    nodes["value"][inner] = np.nextafter(narrow, np.float32(np.inf))


def _leaf_off(nodes, inner):
    nodes["value"][np.flatnonzero(~inner)[:40]] += 1e-9


def _missing_elsewhere(nodes, inner):
    nodes["kind"][inner] ^= 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("boosted", _one_step_off),
        ("boosted", _leaf_off),
        ("boosted", _missing_elsewhere),
        ("forest", _one_float32_step_off),  # all that a forest can tell apart
        ("forest", _leaf_off),
        ("forest", _missing_elsewhere),
    ],
)
def test_a_fault_in_the_trees_is_found(name, change, request):
    plan, original, signature, columns = request.getfixturevalue(name)

    found = prove(_with_nodes(plan, change), original, signature, columns)

    assert not found.agreed
    assert found.largest_difference > TOLERANCE


def test_a_category_on_the_wrong_side_is_found(boosted):
    plan, original, signature, columns = boosted
    bits = plan.program.bits.copy()
    bits[::8] ^= 0b100

    found = prove(_damaged(plan, bits=bits), original, signature, columns)

    assert not found.agreed


def test_a_plan_that_answers_where_the_original_refuses_is_found():
    plan, original, signature, columns = _case(GradientBoostingClassifier(n_estimators=5))
    refusing = prove(plan, original, signature, columns)

    unguarded = _damaged(plan, steps=plan.program.steps[:-1])
    answering = prove(unguarded, original, signature, columns)

    assert refusing.agreed
    assert any("missing: ValueError" in said for said in refusing.refused)
    assert not answering.agreed
    assert answering.flipped > 0


def test_a_plan_that_refuses_what_the_original_answers_is_found(forest):
    plan, original, signature, columns = forest

    class Patient(RandomForestClassifier):
        def predict_proba(self, inputs):
            return super().predict_proba(np.nan_to_num(inputs))

    patient = Patient(8, random_state=0).fit(CANCER[0][::2], CANCER[1][::2])

    found = prove(plan, replace(original, estimator=patient), signature, columns)

    assert not found.agreed


def test_small_predictions_are_compared_in_proportion():
    inputs, truth = load_diabetes(return_X_y=True)
    model = make_pipeline(StandardScaler(), Ridge())
    plan, original, signature, columns = _case(model, (inputs, truth * 1e-15), "regression")
    numbers = plan.program.numbers.copy()
    numbers[20] *= 1 + 1e-6

    assert prove(plan, original, signature, columns).agreed
    assert not prove(_damaged(plan, numbers=numbers), original, signature, columns).agreed


def test_a_label_that_flips_at_the_threshold_counts_however_small_the_difference():
    plan, original, signature, columns = _case(LogisticRegression(max_iter=3000))
    scores = original.scores(columns)
    chosen = float(scores[(scores > 0.2) & (scores < 0.8)][0])
    # Above the plan's score by more than it and the original may part, which differs by machine.
    at_a_score = replace(signature, threshold=chosen + 2e-14)

    class Nudged:
        def predict_proba(self, inputs):
            return original.estimator.predict_proba(inputs) + 4e-14

    found = prove(plan, replace(original, estimator=Nudged()), at_a_score, columns)

    assert found.largest_difference < TOLERANCE
    assert found.flipped > 0
    assert not found.agreed


def test_there_must_be_rows_to_prove_it_on(forest):
    plan, original, signature, columns = forest

    with pytest.raises(ParityError, match="no held-out rows"):
        prove(plan, original, signature, {name: each[:0] for name, each in columns.items()})
