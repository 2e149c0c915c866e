"""Figures from counts of decisions, beside scikit-learn and fairlearn."""

import math

import numpy as np
import pytest
from fairlearn import metrics as fair
from sklearn import metrics

from loopline.counts.decisions import (
    Confusion,
    count_decisions,
    fairness,
    of_classes,
    of_decisions,
)
from loopline.counts.figure import share
from loopline.errors import CountsError

ROWS = 20_000
_DRAW = np.random.default_rng(1)
PROBABILITY = 1 / (1 + np.exp(-_DRAW.normal(-1, 1, ROWS)))
TRUTH = (_DRAW.random(ROWS) < PROBABILITY).astype(int)


def test_figures_of_decisions_are_scikit_learn_s() -> None:
    probability, truth = PROBABILITY, TRUTH
    said = (probability > 0.4).astype(int)
    costs = np.array([[0.0, 40.0], [220.0, -25.0]])

    found = of_decisions(count_decisions(truth, said), costs)

    exact = {
        "accuracy": metrics.accuracy_score(truth, said),
        "precision": metrics.precision_score(truth, said),
        "recall": metrics.recall_score(truth, said),
        "f1": metrics.f1_score(truth, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
        "false_positive_rate": fair.false_positive_rate(truth, said),
        "false_negative_rate": fair.false_negative_rate(truth, said),
        "selection_rate": fair.selection_rate(truth, said),
        "macro_f1": metrics.f1_score(truth, said, average="macro"),
        "cost_per_prediction": costs[truth, said].mean(),
    }
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(exact)
    assert all(figure.low < figure.value < figure.high for figure in found.values())
    spread = costs[truth, said].std() / math.sqrt(ROWS)
    assert found["cost_per_prediction"].high == pytest.approx(
        exact["cost_per_prediction"] + 1.96 * spread, rel=1e-4
    )


def test_a_share_has_wilson_s_interval() -> None:
    found = share(8, 10)

    # Brown, Cai and DasGupta, 2001: 8 of 10 is 0.490 to 0.943.
    assert (round(found.low, 3), round(found.high, 3)) == (0.490, 0.943)
    assert (share(0, 5).low, share(5, 5).high) == (0.0, 1.0)


def test_figures_that_nothing_defines_are_left_out() -> None:
    found = of_decisions(Confusion(((3, 0), (0, 0))))

    assert set(found) == {"accuracy", "false_positive_rate", "selection_rate", "macro_f1"}
    assert of_classes(Confusion(((0, 0), (0, 0)))) == {}


def test_figures_of_several_classes_are_scikit_learn_s() -> None:
    generator = np.random.default_rng(4)
    truth = generator.integers(0, 4, 3000)
    said = np.where(generator.random(3000) < 0.6, truth, generator.integers(0, 4, 3000))
    costs = generator.normal(size=(4, 4))

    found = of_classes(count_decisions(truth, said, 4), costs)

    assert {name: figure.value for name, figure in found.items()} == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(truth, said),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
            "macro_f1": metrics.f1_score(truth, said, average="macro"),
            "cost_per_prediction": costs[truth, said].mean(),
        }
    )


def test_fairness_is_fairlearn_s() -> None:
    generator = np.random.default_rng(6)
    probability, truth = PROBABILITY, TRUTH
    said = (probability + generator.normal(0, 0.1, ROWS) > 0.4).astype(int)
    group = generator.choice(["a", "b", "c"], ROWS, p=[0.6, 0.3, 0.1])
    groups = {g: count_decisions(truth[group == g], said[group == g]) for g in "abc"}

    found = fairness(groups)

    names = ("demographic_parity", "equalized_odds", "equal_opportunity")
    for name in names:
        for kind in ("difference", "ratio"):
            exact = getattr(fair, f"{name}_{kind}")(truth, said, sensitive_features=group)
            assert found[f"{name}_{kind}"] == pytest.approx(exact), (name, kind)
    few = fairness(groups | {"tiny": Confusion(((0, 1), (0, 0)))}, minimum_rows=2)
    assert few == found
    assert fairness({"a": groups["a"]}) == {}


def test_confusions_add_and_those_of_other_classes_do_not() -> None:
    one = Confusion(((1, 2), (3, 4)))

    assert one + one == Confusion(((2, 4), (6, 8)))
    with pytest.raises(CountsError, match="2 and of 3 classes"):
        one + count_decisions(np.array([2]), np.array([1]), 3)
