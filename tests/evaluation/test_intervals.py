"""Bootstrap intervals: do they cover, are they paired, does sampling change their width?"""

import numpy as np
import pytest

from loopline.evaluation import intervals
from loopline.evaluation.intervals import Resampled
from loopline.evaluation.metrics import Answer, Scorecard

RANDOM = np.random.default_rng(5)


def cards(contract, truth, *scores, task="binary"):
    problem = contract(task).problem
    return [Scorecard(problem, ("0", "1"), truth, Answer("x", each, 0.5)) for each in scores]


def test_the_interval_of_an_accuracy_is_the_binomials(contract):
    truth = (RANDOM.random(3000) < 0.5).astype(float)
    scores = np.where(RANDOM.random(3000) < 0.8, truth, 1 - truth)

    found = Resampled(cards(contract, truth, scores), 3000, seed=1).estimate(0, "accuracy")

    error = np.sqrt(found.value * (1 - found.value) / 3000)
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=error / 3)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=error / 3)


def test_the_interval_of_an_auc_agrees_with_delong(contract):
    truth = (RANDOM.random(1500) < 0.4).astype(float)
    scores = truth + RANDOM.normal(size=1500) * 1.5
    scores = 1 / (1 + np.exp(-scores))

    found = Resampled(cards(contract, truth, scores), 1500, seed=1).estimate(0, "roc_auc")

    above = (scores[truth == 1][:, None] > scores[truth == 0]).astype(float)
    error = np.sqrt(
        above.mean(axis=1).var(ddof=1) / (truth == 1).sum()
        + above.mean(axis=0).var(ddof=1) / (truth == 0).sum()
    )
    assert found.value == pytest.approx(above.mean())
    assert (found.high - found.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.12)


def test_pairing_makes_a_difference_of_like_answers_sharp(contract):
    truth = (RANDOM.random(2000) < 0.5).astype(float)
    first = np.clip(truth * 0.3 + RANDOM.random(2000) * 0.7, 0, 1)
    second = np.clip(first + RANDOM.normal(size=2000) * 0.01, 0, 1)

    found = Resampled(cards(contract, truth, first, second), 2000, seed=1)

    difference, alone = found.difference(0, 1, "log_loss"), found.estimate(0, "log_loss")
    assert difference.high - difference.low < (alone.high - alone.low) / 5
    assert found.difference(0, 0, "log_loss").low == found.difference(0, 0, "log_loss").high == 0


def test_the_same_seed_gives_the_same_interval(contract):
    truth = (RANDOM.random(300) < 0.5).astype(float)
    scores = RANDOM.random(300)

    first, second, other = (
        Resampled(cards(contract, truth, scores), 300, seed).estimates(0) for seed in (1, 1, 2)
    )

    assert first == second != other


def test_above_the_limit_a_sample_gives_intervals_of_the_right_width(contract, monkeypatch):
    truth = (RANDOM.random(8000) < 0.5).astype(float)
    scores = np.clip(truth * 0.3 + RANDOM.random(8000) * 0.7, 0, 1)
    whole = Resampled(cards(contract, truth, scores), 8000, seed=1).estimates(0)

    monkeypatch.setattr(intervals, "ROWS", 2000)
    sampled = Resampled(cards(contract, truth, scores), 8000, seed=1).estimates(0)

    for name in ("roc_auc", "log_loss", "average_precision", "f1"):
        assert sampled[name].value == whole[name].value
        width = (sampled[name].high - sampled[name].low) / (whole[name].high - whole[name].low)
        assert width == pytest.approx(1, abs=0.2)


def test_an_interval_stays_within_what_the_metric_can_be(contract):
    truth = np.array([0.0] * 20 + [1.0] * 20)
    scores = np.where(RANDOM.random(40) < 0.95, truth, 1 - truth)

    found = Resampled(cards(contract, truth, scores), 40, seed=1).estimate(0, "accuracy")

    assert 0 < found.low <= found.value <= found.high <= 1
