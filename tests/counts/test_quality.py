"""Figures from counts of scores, beside scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics

from loopline.counts import quality
from loopline.counts.quality import count_scores, of_class_scores, of_scores
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
        "average_precision": metrics.average_precision_score(truth, probability),
    }

    found = of_scores(count_scores(probability, truth))

    for metric, value in exact.items():
        figure = found[metric]
        assert abs(figure.value - value) <= figure.bound + 1e-12, metric
        # Where many rows share a score, pairs of one cell may be ties or not.
        assert figure.bound < 0.005 or name in {"few", "ends"}, metric
        if metric == "average_precision" and name == "ends":
            continue  # the interval is that of a sample; here a score says all or nothing
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
        "average_precision": metrics.average_precision_score(truth, scores),
    }
    for metric, value in exact.items():
        assert abs(found[metric].value - value) <= found[metric].bound + 1e-12, metric


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(CountsError, match="outside of 0 to 1"):
        count_scores(np.array([0.5, wrong]), np.array([0, 1]))


def test_figures_of_several_classes_scores_are_scikit_learn_s_within_their_bound() -> None:
    generator = np.random.default_rng(9)
    scores = generator.dirichlet([0.5] * 4, 5000)
    truth = np.array([generator.choice(4, p=row) for row in scores])
    counted = [count_scores(scores[:, place], truth == place) for place in range(4)]

    found = of_class_scores(counted)

    exact = {
        "log_loss": metrics.log_loss(truth, scores),
        "brier": np.square(scores - np.eye(4)[truth]).sum(axis=1).mean(),
        "roc_auc": metrics.roc_auc_score(truth, scores, multi_class="ovr"),
    }
    assert found.keys() == exact.keys()
    for metric, value in exact.items():
        assert abs(found[metric].value - value) <= found[metric].bound < 0.002, metric
        assert found[metric].low < value < found[metric].high, metric
    assert of_class_scores([]) == {}
    assert "roc_auc" not in of_class_scores([counted[0], count_scores(scores[:9, 1], np.zeros(9))])
