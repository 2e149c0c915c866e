"""What one answer costs, as the contract says it: costs are positive, gains negative."""

import numpy as np

from loopline.contract.schema import Problem


def has_costs(problem: Problem) -> bool:
    """Return whether the contract says what errors cost; a currency alone does not."""
    return problem.costs is not None and bool(problem.costs.model_fields_set - {"currency"})


def cost_matrix(problem: Problem, classes: tuple[str, ...]) -> np.ndarray:
    """Return the cost by actual class (row) and answered class (column), in order of `classes`.

    What the contract does not name costs nothing.
    """
    size = max(len(classes), 2)
    matrix = np.zeros((size, size))
    costs = problem.costs
    if costs is None or problem.task == "regression":
        return matrix
    if problem.task == "binary":
        matrix[:2, :2] = [
            [costs.true_negative, costs.false_positive],
            [costs.false_negative, costs.true_positive],
        ]
        return matrix
    for actual, answers in (costs.matrix or {}).items():
        for answered, cost in answers.items():
            if actual in classes and answered in classes:
                matrix[classes.index(actual), classes.index(answered)] = cost
    return matrix


def per_unit(problem: Problem) -> tuple[float, float]:
    """Return a regression's cost per unit predicted too low, and too high."""
    costs = problem.costs
    return (0.0, 0.0) if costs is None else (costs.under or 0.0, costs.over or 0.0)


def best_quantile(problem: Problem) -> float | None:
    """Return the quantile of the target that costs least as a prediction; None without costs.

    With under and over alike it is the median (the newsvendor's solution).
    """
    under, over = per_unit(problem)
    return under / (under + over) if under > 0 and over > 0 else None
