"""Figures from counts of scores and decisions, beside scikit-learn, scipy and fairlearn."""

import math

import numpy as np
import pytest
from fairlearn import metrics as fair
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics

from loopline.counts import quality
from loopline.counts.quality import (
    Confusion,
    count_decisions,
    count_errors,
    count_scores,
    decided,
    fairness,
    of_classes,
    of_decisions,
    of_errors,
    of_scores,
)
from loopline.errors import CountsError

ROWS = 20_000


def drawn(seed: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logit = generator.normal(-1, sharpness, ROWS)
    probability = 1 / (1 + np.exp(-logit))
    return probability, (generator.random(ROWS) < probability).astype(int)


SCORES = {
    "spread": drawn(1, 1.0),
    "sharp": drawn(2, 9.0),
    "few": (np.round(drawn(3, 1.0)[0], 1), drawn(3, 1.0)[1]),
    "ends": (np.repeat([0.0, 1.0, 0.5, 1 - 1e-12], 500), np.tile([0, 1, 0, 1, 1], 400)),
}


@pytest.mark.parametrize("name", SCORES)
def test_figures_of_scores_are_scikit_learn_s_within_their_bound(name: str) -> None:
    probability, truth = SCORES[name]
    exact = {
        "roc_auc": metrics.roc_auc_score(truth, probability),
        "log_loss": metrics.log_loss(truth, probability),
        "brier": metrics.brier_score_loss(truth, probability),
    }

    found = of_scores(count_scores(probability, truth))

    for metric, value in exact.items():
        figure = found[metric]
        assert abs(figure.value - value) <= figure.bound + 1e-12, metric
        # Where many rows share a score, pairs of one cell may be ties or not.
        assert figure.bound < 0.005 or name in {"few", "ends"}, metric
        assert figure.low <= value <= figure.high


@pytest.mark.parametrize("name", SCORES)
def test_the_calibration_error_is_that_of_the_rows_within_its_bound(name: str) -> None:
    probability, truth = SCORES[name]
    places = np.minimum((probability * 10).astype(int), 9)
    gaps = [abs((probability - truth)[places == place].sum()) for place in range(10)]

    found = quality.calibration_error(count_scores(probability, truth))

    assert abs(found.value - sum(gaps) / len(truth)) <= found.bound + 1e-12
    assert found.low <= found.value <= found.high


@given(
    scores=npst.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1)),
    cut=st.integers(0, 40),
)
def test_counts_of_scores_add(scores: np.ndarray, cut: int) -> None:
    truth = np.arange(len(scores)) % 2
    whole = count_scores(scores, truth)
    first, second = (count_scores(scores[part], truth[part]) for part in (
        slice(cut), slice(cut, None)
    ))  # fmt: skip

    assert first + second == second + first == whole
    assert whole.rows == len(scores)


@given(
    scores=npst.arrays(np.float64, st.integers(2, 60), elements=st.floats(0, 1)),
    seed=st.integers(0, 99),
)
def test_whatever_the_scores_the_bounds_hold(scores: np.ndarray, seed: int) -> None:
    truth = np.random.default_rng(seed).integers(0, 2, len(scores))
    truth[:2] = 0, 1

    found = of_scores(count_scores(scores, truth))

    clipped = np.clip(scores, np.finfo(float).eps, 1 - np.finfo(float).eps)
    exact = {
        "roc_auc": metrics.roc_auc_score(truth, scores),
        "brier": np.square(scores - truth).mean(),
        "log_loss": -np.where(truth == 1, np.log(clipped), np.log1p(-clipped)).mean(),
    }
    for metric, value in exact.items():
        assert abs(found[metric].value - value) <= found[metric].bound + 1e-12, metric


def test_decisions_from_scores_are_wrong_by_no_more_than_the_threshold_s_cell() -> None:
    probability, truth = SCORES["spread"]
    exact = metrics.confusion_matrix(truth, probability >= 0.3)

    found, unsure = decided(count_scores(probability, truth), 0.3)

    assert np.abs(np.array(found.counts) - exact).sum() <= 2 * unsure
    assert unsure < 60
    on_edge, none = decided(count_scores(probability, truth), 0.5)
    assert none == 0
    assert (
        np.array(on_edge.counts).tolist()
        == metrics.confusion_matrix(truth, probability >= 0.5).tolist()
    )


def test_figures_of_decisions_are_scikit_learn_s() -> None:
    probability, truth = SCORES["spread"]
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
        "cost_per_prediction": costs[truth, said].mean(),
    }
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(exact)
    assert all(figure.low < figure.value < figure.high for figure in found.values())
    spread = costs[truth, said].std() / math.sqrt(ROWS)
    assert found["cost_per_prediction"].high == pytest.approx(
        exact["cost_per_prediction"] + 1.96 * spread, rel=1e-4
    )


def test_a_share_has_wilson_s_interval() -> None:
    found = quality.share(8, 10)

    # Brown, Cai and DasGupta, 2001: 8 of 10 is 0.490 to 0.943.
    assert (round(found.low, 3), round(found.high, 3)) == (0.490, 0.943)
    assert (quality.share(0, 5).low, quality.share(5, 5).high) == (0.0, 1.0)


def test_figures_that_nothing_defines_are_left_out() -> None:
    found = of_decisions(Confusion(((3, 0), (0, 0))))

    assert set(found) == {"accuracy", "false_positive_rate", "selection_rate"}
    assert of_classes(Confusion(((0, 0), (0, 0)))) == {}
    assert of_scores(count_scores(np.empty(0), np.empty(0))) == {}
    assert of_errors(count_errors(np.array([np.inf]), np.zeros(1))) == {}


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


def test_figures_of_a_regression_are_scikit_learn_s_within_their_bound() -> None:
    generator = np.random.default_rng(5)
    truth = generator.lognormal(0, 1, ROWS)
    predicted = truth * generator.lognormal(0, 0.3, ROWS)
    error = predicted - truth

    found = of_errors(count_errors(predicted, truth), under=3, over=1, quantile=0.8)

    exact = {
        "mae": metrics.mean_absolute_error(truth, predicted),
        "rmse": metrics.root_mean_squared_error(truth, predicted),
        "bias": error.mean(),
        "quantile_loss": metrics.mean_pinball_loss(truth, predicted, alpha=0.8),
        "cost_per_prediction": np.where(error < 0, -error * 3, error).mean(),
    }
    for name, value in exact.items():
        assert abs(found[name].value - value) <= found[name].bound, name
        assert found[name].bound < 0.004 * abs(exact["rmse"]) * 3, name
        assert found[name].low <= value <= found[name].high


def test_fairness_is_fairlearn_s() -> None:
    generator = np.random.default_rng(6)
    probability, truth = SCORES["spread"]
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


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(CountsError, match="outside of 0 to 1"):
        count_scores(np.array([0.5, wrong]), np.array([0, 1]))
