"""Past estimates beside what came true: stretches edge to edge, each kept once."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from loopline.evaluation.report import Estimate
from loopline.monitoring.estimation import Estimation
from loopline.monitoring.held import Compared, Estimates, compare, stretches, widen
from loopline.monitoring.performance import Performance
from loopline.monitoring.windows import Window
from loopline.store.ledger import Ledger

NOW = datetime(2013, 6, 1, tzinfo=UTC)


def compared(first: int, labels: int = 100, real: float = 0.7, **more: Any) -> Compared:
    window = Window(first, first + 24)
    usual: dict[str, Any] = {
        "environment": "production",
        "version": 3,
        "window": window.text,
        "first": first,
        "rows": 200,
        "labels": labels,
        "figures": {
            "roc_auc": (0.72, 0.69, 0.75, real),
            "cost_per_prediction": (9.0, 8.0, 10.0, 9),
        },
    }
    return Compared(**{**usual, **more})


def test_stretches_lie_edge_to_edge_and_have_passed() -> None:
    found = stretches(Window(1010, 1034))

    assert len(found) == 12
    assert (found[0].first, found[0].last) == (1008, 1032)  # the one that holds 1033 goes on
    assert all(one.first == other.last for one, other in pairwise(found))
    assert stretches(Window(1009, 1033)) == found  # an hour earlier they are the same


def test_how_often_estimates_held_is_counted_by_metric(ledger: Ledger) -> None:
    estimates = Estimates(ledger)
    assert estimates.held("production", 3) is None
    estimates.record(compared(240), now=NOW)
    estimates.record(compared(216, real=0.6), now=NOW)
    estimates.record(compared(264, version=2, real=0.1), now=NOW)

    held = Estimates(ledger).held("production", 3)

    assert held is not None
    assert (held.windows, held.inside) == (2, {"roc_auc": 1, "cost_per_prediction": 2})
    assert held.last == compared(240)
    assert held == estimates.held("production", 3)


@pytest.mark.parametrize(("labels", "is_news"), [(100, False), (109, False), (110, True)])
def test_a_stretch_is_compared_again_when_a_tenth_more_outcomes_came(
    ledger: Ledger, labels: int, is_news: bool
) -> None:
    estimates = Estimates(ledger)
    estimates.record(compared(240, 100), now=NOW)

    assert estimates.is_news("production", 3, Window(240, 264), labels) is is_news
    assert estimates.is_news("production", 3, Window(264, 288), labels) is True
    estimates.record(compared(240, 150, real=0.5), now=NOW)
    held = estimates.held("production", 3)
    assert held is not None
    assert (held.windows, held.inside["roc_auc"]) == (1, 0)  # the last one counts


def expected(value: float = 0.72, low: float = 0.69, high: float = 0.75) -> Estimation:
    return Estimation(Window(0, 24), 200, "isotonic", 900, {"roc_auc": Estimate(value, low, high)})


def missed(by: list[float]) -> list[Compared]:
    return [
        compared(24 * place, figures={"roc_auc": (0.5, 0.4, 0.6, 0.5 + one)})
        for place, one in enumerate(by)
    ]


def test_an_interval_is_widened_to_the_largest_of_few_misses_and_says_how_often_that_holds() -> (
    None
):
    found = widen(expected(), missed([0.02, -0.1, 0.05])).widened["roc_auc"]

    assert (found.low, found.high) == pytest.approx((0.62, 0.82))
    assert (found.level, found.stretches) == (3 / 4, 3)


def test_of_many_misses_the_quantile_for_a_95_percent_interval_is_taken() -> None:
    found = widen(expected(), missed([n / 200 for n in range(1, 40)])).widened["roc_auc"]

    # Of 39 the 38th: ceil(0.95 x 40).
    assert (found.low, found.high) == pytest.approx((0.72 - 0.19, 0.72 + 0.19))
    assert found.level == 0.95


def test_a_widened_interval_is_never_narrower_and_stays_where_a_metric_can_be() -> None:
    narrow = widen(expected(), missed([0.001])).widened["roc_auc"]
    wide = widen(expected(), missed([0.5])).widened["roc_auc"]

    assert (narrow.low, narrow.high) == (0.69, 0.75)
    assert wide.high == 1.0
    assert widen(expected(), []).widened == {}


def test_figures_like_those_before_lie_in_the_widened_interval_as_often_as_it_says() -> None:
    generator, inside, tries = np.random.default_rng(3), 0, 400
    for _ in range(tries):
        *past, new = (generator.standard_t(3, 25) / 20).tolist()
        found = widen(expected(0.5, 0.5, 0.5), missed(past)).widened["roc_auc"]
        inside += found.low <= 0.5 + new <= found.high

    assert found.level == 24 / 25
    assert binom.cdf(inside, tries, found.level) > 0.001
    assert binom.sf(inside - 1, tries, found.level) > 0.001


def judged(places: int, inside: int) -> list[Compared]:
    """Return stretches of which so many had the realised figure in their widened interval."""
    return [
        compared(
            24 * place,
            figures={"roc_auc": (0.5, 0.4, 0.6, 0.6)},
            widened={"roc_auc": (0.5, 0.7, 0.9) if place < inside else (0.7, 0.8, 0.9)},
        )
        for place in range(places)
    ]


@pytest.mark.parametrize(("places", "inside"), [(1, 0), (4, 2), (10, 7), (10, 6), (2, 1), (12, 8)])
def test_an_estimate_is_withdrawn_where_chance_does_not_explain_its_misses(
    places: int, inside: int
) -> None:
    found = widen(expected(), judged(places, inside))

    is_withdrawn = binom.cdf(inside, places, 0.9) < 0.05
    assert ("roc_auc" in found.withdrawn) == is_withdrawn
    if is_withdrawn:
        told = f"held the realised figure in {inside} of the last {places} stretches"
        assert told in found.withdrawn["roc_auc"]


def test_a_withdrawn_estimate_comes_back_when_newer_ones_hold() -> None:
    bad, good = judged(6, 0), judged(12, 12)
    later = [compared(one.first + 240, figures=one.figures, widened=one.widened) for one in good]

    assert widen(expected(), bad).withdrawn
    assert not widen(expected(), [*bad, *later]).withdrawn


def test_a_comparison_keeps_the_interval_that_was_known_before_its_own_outcomes(
    ledger: Ledger,
) -> None:
    estimates = Estimates(ledger)
    estimates.record(compared(240, real=0.6), now=NOW)
    found = Performance(Window(264, 288), 200, 100, {"roc_auc": 0.61}, None, {}, (), (), ())

    before = estimates.stated(expected(), "production", 3, at=NOW - timedelta(hours=1))
    after = estimates.stated(expected(), "production", 3, at=NOW)
    estimates.record(compare("production", 3, found, after), now=NOW)

    assert before == expected()
    assert after.widened["roc_auc"].low == pytest.approx(0.6)
    held = Estimates(ledger).held("production", 3)
    assert held is not None
    assert held.inside["roc_auc"] == 0
    assert held.widened == {"roc_auc": (1, 1)}
