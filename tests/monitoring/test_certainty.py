"""How sure a missed promise is, from the figures without each piece of a window."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats

from loopline.contract.schema import Contract
from loopline.monitoring import certainty
from loopline.monitoring.performance import Performance
from loopline.monitoring.windows import Window

CONTRACT = Contract.model_validate(
    {
        "project": "credit",
        "problem": {
            "task": "binary",
            "target": "risk",
            "costs": {"currency": "EUR", "false_positive": 5, "false_negative": 20},
        },
        "goals": [
            {"metric": "accuracy", "at_least": 0.8},
            {"metric": "cost_per_prediction", "below_baseline_by": "10%"},
        ],
        "data": {"source": "x.csv", "columns": {"sex": {}}},
        "fairness": [{"by": "sex", "metric": "recall", "difference_at_most": 0.1}],
    }
)


def figures(labels: int, accuracy: float, **more: Any) -> Performance:
    usual: dict[str, Any] = {
        "window": Window(0, 168),
        "rows": labels,
        "labels": labels,
        "metrics": {"accuracy": accuracy},
        "baseline": None,
        "baseline_metrics": {},
        "fairness": (),
        "calibration": (),
    }
    return Performance(**{**usual, **more})


@pytest.mark.parametrize(
    ("hours", "length", "count"),
    [(168, 24, 7), (720, 72, 10), (24, 3, 8), (100, 24, 5), (10, 1, 10), (1, 1, 1)],
)
def test_a_window_is_parted_into_days_or_into_ten(hours: int, length: int, count: int) -> None:
    found = certainty.pieces(Window(1000, 1000 + hours))

    assert len(found) == count
    assert {one.last - one.first for one in found[1:]} <= {length}
    assert (found[0].first, found[-1].last) == (1000, 1000 + hours)
    assert all(one.last == other.first for one, other in pairwise(found))


def test_of_a_mean_over_equal_pieces_the_margin_is_that_of_student() -> None:
    daily = np.array([0.7, 0.8, 0.75, 0.9, 0.6, 0.85, 0.8])
    without = [figures(600, (daily.sum() - one) / 6) for one in daily]

    found = certainty.margins(CONTRACT, figures(700, daily.mean()), without)

    low, high = stats.t.interval(0.95, 6, loc=daily.mean(), scale=stats.sem(daily))
    assert found == {"accuracy at_least": pytest.approx((high - low) / 2)}


def test_days_that_differ_as_rows_do_have_the_margin_of_rows() -> None:
    generator = np.random.default_rng(8)
    sizes = np.array([500, 900, 700, 800, 600, 1000, 500, 700, 900, 400])
    widths = []
    for _ in range(60):
        hits = generator.binomial(sizes, 0.8)
        without = [
            figures(int(sizes.sum() - n), (hits.sum() - k) / (sizes.sum() - n))
            for k, n in zip(hits.tolist(), sizes.tolist(), strict=True)
        ]
        whole = figures(int(sizes.sum()), hits.sum() / sizes.sum())
        widths.append(certainty.margins(CONTRACT, whole, without)["accuracy at_least"])

    of_rows = stats.t.ppf(0.975, 9) * np.sqrt(0.8 * 0.2 / sizes.sum())
    assert np.sqrt(np.square(widths).mean()) == pytest.approx(of_rows, rel=0.15)


def test_shortfalls_are_below_zero_where_a_promise_is_kept() -> None:
    found = figures(
        700,
        0.75,
        metrics={"accuracy": 0.75, "cost_per_prediction": 8.0},
        baseline_metrics={"cost_per_prediction": 10.0},
        fairness=({"by": "sex", "metric": "recall", "ratio": 0.9, "difference": 0.04},),
    )

    assert certainty.shortfalls(CONTRACT, found) == pytest.approx(
        {
            "accuracy at_least": 0.05,
            "cost_per_prediction below_baseline_by": -1.0,
            "recall by sex": -0.06,
        }
    )


def test_few_pieces_or_a_figure_that_one_of_them_lacks_have_no_margin() -> None:
    whole, piece = figures(700, 0.7), figures(600, 0.7)

    assert certainty.margins(CONTRACT, whole, [piece] * 3) == {}
    assert certainty.margins(CONTRACT, whole, [piece] * 6 + [figures(700, 0.7)]) != {}
    lacking = [piece] * 6 + [figures(600, 0.7, metrics={})]
    assert certainty.margins(CONTRACT, whole, lacking) == {}
    endless = [piece] * 6 + [figures(600, float("inf"))]
    assert certainty.margins(CONTRACT, whole, endless) == {}
    assert certainty.margins(CONTRACT, figures(700, float("inf")), [piece] * 6) == {}


@pytest.mark.parametrize(
    ("short", "margin", "is_open", "is_kept"),
    [
        (0.05, 0.04, False, False),
        (0.03, 0.04, False, True),
        (0.03, 0.04, True, False),
        (-0.03, 0.04, True, False),
        (-0.05, 0.04, True, True),
    ],
)
def test_between_missed_and_kept_a_finding_stays_as_it_was(
    short: float, margin: float, is_open: bool, is_kept: bool
) -> None:
    good = short <= 0

    assert certainty.holds(short, margin, is_open=is_open, is_good=good) is is_kept
    assert certainty.holds(short, None, is_open=is_open, is_good=good) is good
