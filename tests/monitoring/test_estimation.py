"""Figures before any outcome is known: where they should lie, and how often they do."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from loopline.contract.schema import Contract
from loopline.counts.kernel import Profile, count_arrays
from loopline.evaluation import expectation
from loopline.evaluation.metrics import Answer, Scorecard
from loopline.model.signature import Feature, Input, Signature
from loopline.monitoring import estimation, hours
from loopline.monitoring.estimation import Estimation
from loopline.monitoring.hours import GROUPS, OUTPUT
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import Typed
from loopline.monitoring.windows import Window

WINDOW = Window(1000, 1010)
BINARY = Signature("credit", "binary", (), (), ("0", "1"), 0.3)
CLASSES = Signature("credit", "multiclass", (), (), ("a", "b", "c"))
NUMBERS = Signature(
    "credit", "regression", (Input("age", "number"),), (Feature("age", "number"),)
)  # fmt: skip
COSTS: dict[str, Any] = {
    "binary": {"false_positive": 40, "false_negative": 220, "true_positive": 25},
    "multiclass": {"matrix": {"a": {"b": 3, "c": 1}, "b": {"a": 2}}},
    "regression": {"under": 2, "over": 1},
}
Made = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


def contract(task: str) -> Contract:
    return Contract.model_validate(
        {
            "project": "credit",
            "problem": {"task": task, "target": "y", "costs": COSTS[task]},
            "goals": [{"metric": "error_rate", "at_most": 0.01}],
            "data": {"source": "x.csv"},
        }
    )


def binary(rows: int, generator: np.random.Generator) -> Made:
    """Scores that say too little."""
    chance = generator.beta(1, 4, rows)
    return {}, (generator.random(rows) < chance).astype(float), chance**1.5


def classed(rows: int, generator: np.random.Generator) -> Made:
    chances = generator.dirichlet([1, 1, 2], rows)
    truth = (chances.cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1)
    skewed = chances**1.5
    return {}, truth.astype(float), skewed / skewed.sum(axis=1, keepdims=True)


def numbers(rows: int, generator: np.random.Generator) -> Made:
    age = generator.normal(size=rows)
    said = age * 3
    return {"age": age}, said - generator.normal(size=rows) * (1 + np.abs(age)), said


CASES = {"binary": (BINARY, binary), "multiclass": (CLASSES, classed)}
CASES["regression"] = (NUMBERS, numbers)


def estimated(task: str, seed: int, *, share: float = 1.0) -> tuple[Estimation, dict[str, float]]:
    """Learn from 2,000 rows, estimate for other 1,500, and return what came true of them."""
    signature, make = CASES[task]
    generator = np.random.default_rng(seed)
    columns, truth, scores = make(2000, generator)
    learned = expectation.fit(signature, columns, truth, scores)
    reference = Reference(3, signature, Profile({}), None, {}, learned)
    assert learned is not None
    columns, truth, scores = make(1500, generator)
    if task == "binary":
        counted: Any = {(OUTPUT, "probability"): count_arrays({"s": scores}).columns["s"]}
    else:
        fell = expectation.group(learned, signature, columns, scores)
        counted = {(GROUPS, ""): Counter(map(str, fell.tolist()))}
    found = estimation.measure(contract(task), reference, counted, WINDOW, share)
    assert found is not None
    known = np.arange(1500) < 1500 * share
    answer = Answer("own", scores[known], signature.threshold)
    card = Scorecard(contract(task).problem, signature.classes, truth[known], answer)
    return found, card.whole()


NAMES = {
    "binary": {"roc_auc", "log_loss", "brier", "recall", "precision", "cost_per_prediction"},
    "multiclass": {"accuracy", "balanced_accuracy", "macro_f1", "cost_per_prediction"},
    "regression": {"mae", "rmse", "cost_per_prediction"},
}


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_what_comes_true_lies_in_the_interval_as_often_as_it_says(task: str, share: float) -> None:
    inside: Counter[str] = Counter()
    for seed in range(20):
        found, real = estimated(task, seed, share=share)
        assert (found.rows, found.taught_by, found.window) == (1500, 2000, WINDOW)
        for name in NAMES[task]:
            figure = found.metrics[name]
            assert figure.low <= figure.value <= figure.high
            inside[name] += figure.low <= real[name] <= figure.high

    # Of 20 at 95 %, fewer than 15 happen once in three million times.
    assert {name for name in NAMES[task] if inside[name] < 15} == set()


@pytest.mark.parametrize("task", CASES)
def test_the_interval_says_how_little_is_known(task: str) -> None:
    found, real = estimated(task, 1)

    for name in NAMES[task]:
        figure = found.metrics[name]
        assert figure.high - figure.low < 0.35 * abs(real[name]) + 0.05, name


def test_the_same_counts_give_the_same_estimate() -> None:
    assert estimated("binary", 1)[0] == estimated("binary", 1)[0]
    assert estimated("multiclass", 1)[0] == estimated("multiclass", 1)[0]


def test_a_probability_s_own_threshold_parts_the_cell_it_lies_in() -> None:
    said = np.repeat([0.1, 0.3, 0.9], 1000)
    cells = count_arrays({"s": said}).columns["s"]

    scores, rows = estimation._scores(cells, 0.3)

    low, high = 0.2998046875, 0.30078125  # the cell, 2^-10 wide, that holds 0.3
    assert sorted(rows.tolist()) == sorted(
        [
            1000,
            1000,
            round(1000 * (0.3 - low) / (high - low)),
            round(1000 * (high - 0.3) / (high - low)),
        ]
    )
    assert rows[scores < 0.3].sum() == 1000 + round(1000 * (0.3 - low) / (high - low))


def test_a_version_that_learned_nothing_and_a_window_without_rows_have_no_estimate() -> None:
    untaught = Reference(3, BINARY, Profile({}), None)
    learned = expectation.fit(BINARY, *binary(2000, np.random.default_rng(1)))
    taught = Reference(3, BINARY, Profile({}), None, {}, learned)
    cells = count_arrays({"s": np.array([0.2, 0.4])}).columns["s"]

    binary_contract = contract("binary")
    counted: Any = {(OUTPUT, "probability"): cells}
    assert estimation.measure(binary_contract, untaught, counted, WINDOW) is None
    assert estimation.measure(binary_contract, taught, {}, WINDOW) is None
    assert estimation.measure(binary_contract, taught, counted, WINDOW) is not None


def test_predictions_are_counted_by_the_group_of_their_errors() -> None:
    generator = np.random.default_rng(5)
    columns, truth, scores = numbers(2000, generator)
    learned = expectation.fit(NUMBERS, columns, truth, scores)
    assert learned is not None
    columns, _, scores = numbers(30, generator)
    profile = count_arrays({**columns, "prediction": scores})
    at = np.repeat([1000, 1001, 1002], 10)
    plausible = np.arange(30) != 4
    typed = Typed(None, (), columns, scores, at, at, plausible)  # type: ignore[arg-type]

    found = hours.of_predictions(
        typed, Reference(3, NUMBERS, profile, None, {}, learned), ("dev", 3)
    )

    fell = expectation.group(learned, NUMBERS, columns, scores)
    for hour in (1000, 1001, 1002):
        mine = fell[(at == hour) & plausible].tolist()
        assert found[hours.Cell("dev", 3, hour, "", GROUPS)] == Counter(map(str, mine))
