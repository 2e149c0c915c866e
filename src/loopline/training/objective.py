"""What training minimises on validation rows: a proper score, or a regression's own costs."""

import numpy as np

from loopline.contract.money import best_quantile, per_unit
from loopline.contract.schema import Problem


def objective(problem: Problem) -> str:
    """Return the name of the loss.

    Probabilities are judged by their logarithmic loss even where errors have a price: the price
    chooses the threshold afterwards, and a search by money alone would follow single rows.
    """
    if problem.task != "regression":
        return "log_loss"
    return "rmse" if best_quantile(problem) is None else "cost_per_prediction"


def loss(problem: Problem, truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the loss named by `objective`."""
    if problem.task == "regression":
        error = scores - truth
        if best_quantile(problem) is None:
            return float(np.sqrt(np.square(error).mean()))
        under, over = per_unit(problem)
        return float(np.where(error < 0, -error * under, error * over).mean())
    tiny = np.finfo(np.float64).eps
    if problem.task == "binary":
        sure = np.where(truth == 1, scores, 1 - scores)
    else:
        sure = scores[np.arange(len(scores)), truth.astype(int)]
    return float(-np.log(np.clip(sure, tiny, 1)).mean())
