"""What the model relies on, found by shuffling, and how long one answer takes."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression

from loopline.evaluation import probing
from loopline.evaluation.probing import importance, latency
from loopline.model.signature import Feature, Input, Signature

NAMES = ("strong", "weak", "unused")
SIGNATURE = Signature(
    "exam",
    "binary",
    (*(Input(name, "number") for name in NAMES), Input("key", "text", required=False)),
    tuple(Feature(name, "number") for name in NAMES),
    ("0", "1"),
    0.5,
)


@pytest.fixture(scope="module")
def rows() -> tuple[dict[str, np.ndarray], np.ndarray]:
    generator = np.random.default_rng(4)
    columns: dict[str, Any] = {name: generator.standard_normal(1500) for name in NAMES}
    chance = 1 / (1 + np.exp(-3 * columns["strong"] - 0.7 * columns["weak"]))
    truth = (generator.random(1500) < chance).astype(float)
    return {**columns, "key": np.arange(1500).astype(object)}, truth


@pytest.fixture(scope="module")
def model(rows: tuple[dict[str, np.ndarray], np.ndarray]) -> LogisticRegression:
    return LogisticRegression().fit(stacked(rows[0]), rows[1])


def stacked(columns: dict[str, np.ndarray]) -> np.ndarray:
    return np.column_stack([columns[name] for name in NAMES])


def test_shuffling_costs_what_scikit_learn_finds_that_it_costs(
    contract: Any, rows: Any, model: LogisticRegression
) -> None:
    columns, truth = rows

    found = importance(
        columns, truth, contract(), SIGNATURE, lambda seen: model.predict_proba(stacked(seen))[:, 1]
    )

    exact = permutation_importance(
        model, stacked(columns), truth, scoring="neg_log_loss", n_repeats=20, random_state=0
    )
    assert [each["name"] for each in found] == ["strong", "weak", "unused"]
    for each, mean, spread in zip(
        found, exact.importances_mean, exact.importances_std, strict=True
    ):
        assert each["loss"] == pytest.approx(mean, abs=6 * spread + 0.002)
    assert all(each["spread"] >= 0 for each in found)


def test_asking_changes_neither_columns_nor_truth_and_twice_says_the_same(
    contract: Any, rows: Any, model: LogisticRegression
) -> None:
    columns, truth = ({name: v.copy() for name, v in rows[0].items()}, rows[1].copy())

    def score(seen: Any) -> np.ndarray:
        answers: np.ndarray = model.predict_proba(stacked(seen))[:, 1]
        return answers

    first = importance(columns, truth, contract(), SIGNATURE, score)
    second = importance(columns, truth, contract(), SIGNATURE, score)

    assert first == second
    assert np.array_equal(truth, rows[1])
    for name in NAMES:
        assert np.array_equal(columns[name], rows[0][name])


def test_rows_stay_together_but_for_the_one_input_that_is_shuffled(
    contract: Any, rows: Any
) -> None:
    together = {tuple(row) for row in stacked(rows[0])}
    moved: list[tuple[str, ...]] = []

    def score(seen: Any) -> np.ndarray:
        kept = [
            name
            for place, name in enumerate(NAMES)
            if {tuple(np.delete(row, place)) for row in stacked(seen)}
            <= {tuple(np.delete(row, place)) for row in together}
        ]
        moved.append(tuple(kept))
        return np.full(len(seen["strong"]), 0.5)

    importance(rows[0], rows[1], contract(), SIGNATURE, score)

    assert moved == [NAMES] + [(name,) for name in NAMES for _ in range(probing.REPEATS)]


def test_where_errors_have_a_price_it_is_told_what_shuffling_costs(contract: Any) -> None:
    half = np.repeat([0.0, 1.0], 1000)
    columns = {"strong": half, "weak": half, "unused": half}
    priced = contract(costs={"false_positive": 2, "false_negative": 10})

    found = importance(columns, half, priced, SIGNATURE, lambda seen: seen["strong"])

    # A quarter becomes a false alarm and a quarter is missed: (2 + 10) / 4.
    costs = {each["name"]: each["cost"] for each in found}
    assert costs == {
        "strong": pytest.approx(3.0, abs=0.3),
        "weak": 0.0,
        "unused": 0.0,
    }


def test_a_regression_is_priced_by_the_unit_at_its_own_prices(contract: Any) -> None:
    half = np.repeat([0.0, 4.0], 1000)
    columns = {"strong": half, "weak": half, "unused": half}
    signature = replace(SIGNATURE, task="regression", classes=(), threshold=None)
    priced = contract("regression", costs={"under": 3, "over": 1})

    found = importance(columns, half, priced, signature, lambda seen: seen["strong"])

    # A quarter is 4 too low and a quarter 4 too high.
    assert found[0]["cost"] == pytest.approx(4.0, abs=0.4)


def test_many_inputs_are_asked_about_with_fewer_rows(contract: Any) -> None:
    names = [f"c{number}" for number in range(400)]
    wide = Signature(
        "exam", "binary", tuple(Input(name, "number") for name in names), (), ("0", "1"), 0.5
    )
    asked: list[int] = []

    def score(seen: Any) -> np.ndarray:
        asked.append(len(seen["c0"]))
        return np.full(asked[-1], 0.5)

    columns = {name: np.zeros(5000) for name in names}
    importance(columns, np.zeros(5000), contract(), wide, score)

    assert set(asked) == {250}
    assert sum(asked) <= 300_000 + 250


def test_latency_is_of_single_rows_and_its_shares_rise() -> None:
    seen: list[int] = []

    def score(columns: Any) -> np.ndarray:
        seen.append(len(columns["strong"]))
        assert set(columns) == set(NAMES)  # what the model does not need is not sent
        return np.zeros(1)

    found = latency({name: np.zeros(30) for name in NAMES}, SIGNATURE, score, seed=1)

    assert set(seen) == {1}
    assert 0 < found["p50"] <= found["p95"] <= found["p99"]


def test_a_slow_model_is_asked_for_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_SECONDS", 0.1)
    calls: list[int] = []

    def score(_: Any) -> np.ndarray:
        calls.append(1)
        time.sleep(0.02)
        return np.zeros(1)

    found = latency({name: np.zeros(30) for name in NAMES}, SIGNATURE, score, seed=1)

    assert 11 <= len(calls) < 100
    assert found["p50"] >= 0.02
