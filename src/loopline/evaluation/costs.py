"""The decision threshold: what costs least on rows that trained nothing."""

import numpy as np

from loopline.contract.money import cost_matrix, has_costs
from loopline.contract.schema import Contract
from loopline.evaluation.metrics import BINARY

_SAME = 1e-9
"""Scores closer than this count as one, so that no rounding error decides a label."""
_OF_DECISIONS = ("accuracy", "balanced_accuracy", "f1", "macro_f1")


def threshold_metric(contract: Contract) -> str:
    """Return what the threshold is chosen for.

    Money where the contract knows what errors cost; else the first goal that has a best
    threshold (recall alone would have none); else balanced accuracy.
    """
    if has_costs(contract.problem):
        return "cost_per_prediction"
    goals = (goal.metric for goal in contract.goals if goal.metric in _OF_DECISIONS)
    return next(goals, "balanced_accuracy")


def choose_threshold(contract: Contract, truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the best threshold for these binary answers, by `threshold_metric`.

    It lies midway between two neighbouring scores, so that the last bits of a score flip no
    label. Of equally good ones the nearest to the costs' own break-even probability (0.5 without
    costs) is taken. Rows without truth are left out.
    """
    known = np.isfinite(truth)
    order = np.argsort(scores[known])
    rising, actual = scores[known][order], truth[known][order]
    starts = np.append(0, np.flatnonzero(np.diff(rising) > _SAME) + 1)
    ends = np.append(starts[1:], len(rising)) - 1
    between = (rising[ends[:-1]] + rising[starts[1:]]) / 2
    everyone, nobody = rising[0] / 2, max((rising[-1] + 1) / 2, np.nextafter(rising[-1], np.inf))
    thresholds = np.concatenate([[everyone], between, [nobody]])
    # Below the k-th threshold lie the rows before the k-th start: those are called negative.
    below = np.append(starts, len(rising))
    missed = np.append(0.0, np.cumsum(actual))[below]
    hit, said = actual.sum() - missed, len(actual) - below
    costs = cost_matrix(contract.problem, ("0", "1"))
    right_negative = len(actual) - actual.sum() - (said - hit)
    spent = (
        hit * costs[1, 1]
        + (said - hit) * costs[0, 1]
        + missed * costs[1, 0]
        + right_negative * costs[0, 0]
    )
    sums = {
        "rows": np.full(len(below), float(len(actual))),
        "actual": np.full(len(below), actual.sum()),
        "said": said.astype(np.float64),
        "hit": hit,
        "cost": spent,
    }
    metric = threshold_metric(contract)
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = BINARY[metric](sums)
    loss = worth if metric == "cost_per_prediction" else -np.nan_to_num(worth)
    best = np.flatnonzero(loss <= loss.min() + 1e-12 * abs(loss.min()))
    nearest = np.abs(thresholds[best] - _break_even(contract)).argmin()
    return float(thresholds[best[nearest]])


def _break_even(contract: Contract) -> float:
    """Return the probability at which both answers cost the same, if probabilities are right."""
    (right_negative, wrong_positive), (wrong_negative, right_positive) = cost_matrix(
        contract.problem, ("0", "1")
    )
    for_nothing = wrong_positive - right_negative
    for_want = wrong_negative - right_positive
    if for_nothing <= 0 or for_want <= 0:
        return 0.5
    return float(for_nothing / (for_nothing + for_want))
