"""Past estimates beside what came true: stretches edge to edge, each kept once."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from loopline.monitoring.held import Compared, Estimates, stretches
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
