"""The threshold that costs least, against trying every one."""

import numpy as np
import pytest

from loopline.evaluation.costs import choose_threshold, threshold_metric
from loopline.evaluation.metrics import Answer, Scorecard

COSTS = {"false_positive": 40, "false_negative": 220, "true_positive": 25}


def worth(contract, truth, scores, threshold, metric):
    answer = Answer("own", scores, threshold)
    return Scorecard(contract.problem, ("0", "1"), truth, answer).whole()[metric]


@pytest.fixture
def validation():
    random = np.random.default_rng(3)
    truth = (random.random(400) < 0.3).astype(float)
    return truth, np.round(np.clip(0.3 * truth + random.random(400) * 0.7, 0, 1), 3)


@pytest.mark.parametrize(
    ("costs", "goals", "metric"),
    [
        (COSTS, None, "cost_per_prediction"),
        (None, [{"metric": "accuracy", "at_least": 0.5}], "accuracy"),
        (None, [{"metric": "f1", "at_least": 0.5}], "f1"),
        (None, [{"metric": "recall", "at_least": 0.5}], "balanced_accuracy"),
    ],
)
def test_no_other_threshold_is_better(contract, validation, costs, goals, metric):
    truth, scores = validation
    it = contract("binary", costs, goals)

    threshold = choose_threshold(it, truth, scores)

    tried = [worth(it, truth, scores, each, metric) for each in [*np.unique(scores), 1.5]]
    best = min(tried) if metric == "cost_per_prediction" else max(tried)
    assert threshold_metric(it) == metric
    assert worth(it, truth, scores, threshold, metric) == pytest.approx(best, abs=1e-12)


def test_it_lies_midway_between_two_scores_so_that_the_last_bit_flips_nothing(contract):
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    scores = np.array([0.1, 0.2, 0.6, 0.9])

    threshold = choose_threshold(contract("binary", COSTS), truth, scores)

    assert threshold == pytest.approx(0.4)


def test_scores_that_differ_by_rounding_alone_are_never_parted(contract):
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    scores = np.array([0.1, 0.5, np.nextafter(0.5, 1), 0.9])

    threshold = choose_threshold(contract("binary", {"false_positive": 1}), truth, scores)

    assert abs(threshold - 0.5) > 0.1


def test_where_an_answer_always_costs_more_it_is_never_given(contract):
    truth = np.array([0.0, 1.0, 0.0, 1.0])
    scores = np.array([0.2, 0.4, 0.6, 1.0])
    never_positive = {"false_positive": 9, "true_positive": 9, "false_negative": 1}
    always_positive = {"false_positive": -1, "false_negative": 9}

    assert (scores < choose_threshold(contract("binary", never_positive), truth, scores)).all()
    assert (scores >= choose_threshold(contract("binary", always_positive), truth, scores)).all()


def test_of_equally_good_thresholds_the_one_nearest_to_break_even_is_taken(contract):
    # 0.2 and 0.75 both make one error; which costs break even is what tells them apart.
    truth = np.array([0.0, 1.0, 0.0, np.nan, 1.0])
    scores = np.array([0.1, 0.3, 0.6, 0.65, 0.9])
    even = contract("binary", {"false_positive": 1, "false_negative": 1})

    assert choose_threshold(even, truth, scores) == pytest.approx(0.75)
