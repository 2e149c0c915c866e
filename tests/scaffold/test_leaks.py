"""Columns that tell the target almost alone, beside those that only help."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from loopline.scaffold import leaks
from loopline.scaffold.leaks import alone

ROWS = 4000
GENERATOR = np.random.default_rng(8)
TRUTH = (GENERATOR.random(ROWS) < 0.3).astype(float)
NOISE = GENERATOR.standard_normal(ROWS)


def found(values: Any, kind: str, truth: Any = TRUTH, task: Any = "binary") -> str | None:
    frame = pl.DataFrame({"column": values}, strict=False)
    return alone(frame, {"column": kind}, np.asarray(truth, float), task, ["column"]).get("column")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (TRUTH, "number"),
        (1 - TRUTH, "integer"),
        (TRUTH * 100 + NOISE, "number"),
        (-np.abs(TRUTH * 50 + NOISE), "number"),
        (TRUTH == 1, "boolean"),
        (["charged off" if t else "paid" for t in TRUTH.tolist()], "category"),
        ([None if t else 1.0 for t in TRUTH.tolist()], "number"),  # missing only where it failed
        (["x" if t else None for t in TRUTH.tolist()], "category"),
        (np.where(TRUTH == 1, np.inf, NOISE), "number"),
    ],
)
def test_a_consequence_of_the_target_is_found(values: Any, kind: str) -> None:
    said = found(values, kind)

    assert said is not None
    assert float(said.removeprefix("AUC ")) >= 0.99


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (NOISE, "number"),
        (TRUTH + NOISE, "number"),
        (np.full(ROWS, 3.0), "number"),
        (np.full(ROWS, np.nan), "number"),
        (["same"] * ROWS, "category"),
        ([None] * ROWS, "category"),
        (
            [f"id-{n}" for n in range(ROWS)],
            "category",
        ),  # every row its own: remembers, tells nothing
        (np.arange(ROWS, dtype=float), "integer"),
    ],
)
def test_a_cause_or_a_key_is_not(values: Any, kind: str) -> None:
    assert found(values, kind) is None


def test_a_class_or_a_value_told_by_one_column_is_found_too() -> None:
    places = GENERATOR.integers(0, 3, ROWS)
    values = GENERATOR.normal(100, 20, ROWS)

    assert found(["abc"[p] for p in places], "category", places, "multiclass") == (
        "100.0% of the errors of guessing gone"
    )
    assert found(NOISE, "number", places, "multiclass") is None
    for copy in (values * 2 + 3, np.exp(-values / 50)):
        assert found(copy, "number", values, "regression") == "R² 1.000"
    assert found(values + 20 * NOISE, "number", values, "regression") is None


def test_rows_whose_truth_is_unknown_say_nothing() -> None:
    truth = np.where(np.arange(ROWS) % 2 == 0, TRUTH, np.nan)
    column = np.where(np.arange(ROWS) % 2 == 0, TRUTH, 1 - TRUTH)

    assert found(column, "number", truth) is not None


@pytest.mark.parametrize(
    "truth",
    [
        np.full(ROWS, np.nan),
        np.where(np.arange(ROWS) < 30, TRUTH, np.nan),  # too few to split in halves
        np.where(np.arange(ROWS) < 3, 1.0, 0.0),  # too few positives to rank
        np.zeros(ROWS),
    ],
)
def test_where_too_little_is_known_nothing_is_claimed(truth: np.ndarray) -> None:
    assert found(truth, "number", truth) is None
    assert found(np.nan_to_num(truth), "number", np.zeros(ROWS), "regression") is None


def test_its_auc_is_scikit_learn_s_with_ties() -> None:
    scores = np.round(TRUTH + NOISE, 1)

    assert leaks._auc(scores, TRUTH) == pytest.approx(roc_auc_score(TRUTH, scores))


def test_the_same_file_is_judged_the_same_each_time() -> None:
    big = np.tile(TRUTH, 20)
    column = big * 5 + GENERATOR.standard_normal(len(big))

    assert found(column, "number", big) == found(column, "number", big)


@pytest.mark.parametrize("rows", [60, 442, 4000])
@pytest.mark.parametrize("skew", [0.1, 1.0, 3.0])
def test_a_copy_of_a_number_is_found_among_few_rows_and_beside_huge_values(
    rows: int, skew: float
) -> None:
    prices = np.random.default_rng(2).lognormal(3, skew, rows)
    noise = np.random.default_rng(3).standard_normal(rows)

    assert found(prices * 1.19, "number", prices, "regression") == "R² 1.000"
    assert (
        found(np.where(np.arange(rows) % 2 == 0, prices, np.nan), "number", prices, "regression")
        is None
    )
    assert found(np.log(prices) + skew * noise, "number", prices, "regression") is None
