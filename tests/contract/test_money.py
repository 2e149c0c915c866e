"""What an answer costs: worked out by hand."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from loopline.contract.money import best_quantile, cost_matrix, has_costs, per_unit
from loopline.contract.schema import Problem


def problem(task: str = "binary", **costs: Any) -> Problem:
    given = {"costs": {"currency": "EUR", **costs}} if costs else {}
    return Problem.model_validate({"task": task, "target": "y", **given})


def test_a_currency_alone_says_nothing_of_costs() -> None:
    assert not has_costs(problem())
    currency = Problem.model_validate({"task": "binary", "target": "y", "costs": {"currency": "X"}})
    assert not has_costs(currency)
    assert has_costs(problem(false_positive=0))  # said, even if nothing


def test_binary_costs_stand_by_actual_and_answered_class() -> None:
    made = problem(false_positive=40, false_negative=220, true_positive=-25)

    matrix = cost_matrix(made, ("no", "yes"))

    assert matrix.tolist() == [[0, 40], [220, -25]]
    # 3 right noes, 2 false alarms, 1 miss, 4 hits
    assert (matrix * [[3, 2], [1, 4]]).sum() == 2 * 40 + 220 - 4 * 25


def test_many_classes_take_a_matrix_in_the_order_of_the_classes() -> None:
    made = problem("multiclass", matrix={"cat": {"dog": 3}, "dog": {"cat": 5, "cow": 1}})

    assert cost_matrix(made, ("cow", "cat", "dog")).tolist() == [[0, 0, 0], [0, 0, 3], [1, 5, 0]]
    # A class that never occurred in the data has no place.
    assert cost_matrix(made, ("cat", "dog")).tolist() == [[0, 3], [5, 0]]


def test_without_costs_every_answer_is_free() -> None:
    assert cost_matrix(problem(), ("0", "1")).tolist() == [[0, 0], [0, 0]]
    assert cost_matrix(problem("regression", under=3), ()).tolist() == [[0, 0], [0, 0]]
    assert per_unit(problem("regression")) == (0.0, 0.0)
    assert best_quantile(problem("regression")) is None


@pytest.mark.parametrize(("under", "over"), [(3.0, 1.0), (1.0, 1.0), (0.2, 5.0)])
def test_the_best_quantile_is_the_constant_that_costs_least(under: float, over: float) -> None:
    made = problem("regression", under=under, over=over)
    values = np.random.default_rng(1).lognormal(1, 1, 4001)

    def cost(constant: float) -> float:
        error = constant - values
        return float(np.where(error < 0, -error * under, error * over).mean())

    quantile = best_quantile(made)
    assert quantile is not None
    found = minimize_scalar(cost, bounds=(values.min(), values.max()), method="bounded")
    assert cost(float(np.quantile(values, quantile))) == pytest.approx(found.fun, rel=1e-5)


def test_one_free_side_has_no_best_quantile() -> None:
    assert per_unit(problem("regression", under=3)) == (3.0, 0.0)
    assert best_quantile(problem("regression", under=3)) is None
    assert best_quantile(problem("regression", over=3)) is None
