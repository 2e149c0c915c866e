"""Figures from counts of a regression's errors, beside scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from loopline.counts import deviations
from loopline.counts.deviations import coarse, count_errors, mape, of_errors, r2
from loopline.counts.kernel import SHIFT, ColumnCounts, count_column

ROWS = 20_000
PLAIN = ColumnCounts("number")


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


def test_the_share_of_variance_explained_and_of_the_truth_missed_are_scikit_learn_s() -> None:
    generator = np.random.default_rng(6)
    truth = generator.normal(1000, 3, ROWS)
    predicted = truth + generator.normal(0, 1, ROWS)

    explained = r2(count_errors(predicted, truth), count_column(truth))
    missed = mape(count_column((predicted - truth) / truth, PLAIN))

    assert explained is not None
    assert missed is not None
    for figure, value in (
        (explained, metrics.r2_score(truth, predicted)),
        (missed, metrics.mean_absolute_percentage_error(truth, predicted)),
    ):
        assert abs(figure.value - value) <= figure.bound < 0.002
        assert figure.low < value < figure.high


def test_what_nothing_defines_is_left_out() -> None:
    nothing, constant = count_errors(np.empty(0), np.empty(0)), np.full(9, 7.0)

    assert of_errors(count_errors(np.array([np.inf]), np.zeros(1))) == {}
    assert r2(count_errors(constant + 1, constant), count_column(constant, PLAIN)) is None
    assert (r2(nothing, nothing), mape(nothing)) == (None, None)


def test_coarse_cells_give_the_same_figures_within_wider_bounds() -> None:
    generator = np.random.default_rng(7)
    error = generator.normal(1, 3, ROWS)
    cells, counts = np.unique(coarse(error), return_counts=True)

    found = of_errors(
        ColumnCounts("number", cells=cells, counts=counts), shift=SHIFT + deviations.COARSE
    )

    assert len(cells) < 600
    for name, value in (("mae", np.abs(error).mean()), ("rmse", np.sqrt(np.square(error).mean()))):
        assert abs(found[name].value - value) <= found[name].bound, name
        assert found[name].value == pytest.approx(value, rel=0.01)


def test_the_mean_of_what_was_counted_is_that_of_the_rows_to_half_a_cell() -> None:
    values = np.random.default_rng(8).lognormal(3, 1, ROWS)

    assert deviations.mean(count_column(values, PLAIN)) == pytest.approx(values.mean(), rel=0.002)
