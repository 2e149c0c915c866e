"""Inputs that are watched together: what their training rows said, and what the window says."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy import stats

from loopline.contract.schema import Contract
from loopline.counts.kernel import Profile
from loopline.counts.pairs import count_pairs, grid_for
from loopline.model.signature import Signature
from loopline.monitoring import pairs
from loopline.monitoring.findings import Finding, Subject
from loopline.monitoring.hours import PAIR
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import Window

WINDOW = Window(380_000, 380_168)
SUBJECT = Subject("flights", "production", 3, datetime(2013, 5, 8, tzinfo=UTC))
NAMES = ("distance", "air_time")


def contract(*named: tuple[str, str], **limits: float) -> Contract:
    return Contract.model_validate(
        {
            "project": "flights",
            "problem": {"task": "binary", "target": "late"},
            "goals": [{"metric": "roc_auc", "at_least": 0.65}],
            "data": {"source": "x.csv"},
            "monitor": {"drift": limits, "pairs": [list(pair) for pair in named]},
        }
    )


def rows(number: int, seed: int, tied: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    distance = draw.lognormal(6.5, 0.7, number)
    noise = draw.permutation(distance)
    return distance, tied * distance / 8 + (1 - tied) * noise / 8 + draw.normal(20, 2, number)


def reference() -> Reference:
    one, other = rows(4000, 1)
    counted = count_pairs(one, other, (grid_for(one), grid_for(other)))
    return Reference(
        3, Signature("flights", "binary", (), ()), Profile({}), None, pairs={NAMES: counted}
    )


def judged(
    number: int, tied: float, *named: tuple[str, str], **limits: float
) -> tuple[Any, list[Finding]]:
    known, asked = reference(), contract(*(named or (NAMES,)), **limits)
    counted = {
        (PAIR, "distance:air_time"): count_pairs(*rows(number, 2, tied), known.pairs[NAMES].grids)
    }
    found = pairs.measure(asked, known, counted)
    return found, pairs.judge(asked, SUBJECT, found, WINDOW)


def test_a_pair_that_goes_together_as_in_training_holds() -> None:
    [seen], [finding] = judged(3000, 0.9)

    assert seen.rows == 3000
    assert seen.moved.current.value == pytest.approx(
        stats.spearmanr(*rows(3000, 2)).statistic, abs=seen.moved.current.bound
    )
    assert (finding.kind, finding.subject, finding.status) == (
        "correlation", "distance:air_time", "resolved"
    )  # fmt: skip
    assert "go together as in training" in finding.message


def test_one_that_does_not_is_a_finding_with_its_evidence() -> None:
    _, [finding] = judged(3000, 0.3)
    was, now = (stats.spearmanr(*each).statistic for each in (rows(4000, 1), rows(3000, 2, 0.3)))

    assert (finding.status, finding.metric, finding.limit) == ("open", "spearman", 0.1)
    assert finding.value == pytest.approx(abs(now - was), abs=0.02)
    assert "distance and air_time of flights:3 in production no longer go together" in (
        finding.message
    )
    assert "Pearson's correlation is" in finding.message
    low, high = finding.evidence["interval"]
    assert low < finding.evidence["change"] < high < 0
    assert finding.evidence["p_value"] < 0.001
    assert finding.evidence["reference_rows"] == 4000


def test_the_contract_s_limit_and_the_number_of_rows_decide() -> None:
    assert [one.status for one in judged(3000, 0.3, correlation=0.95)[1]] == ["resolved"]
    assert judged(199, 0.3) == ((), [])  # monitor.minimum_rows


def test_a_pair_is_known_in_either_order_and_missed_where_the_version_lacks_it() -> None:
    known = reference()
    asked = contract(("air_time", "distance"), ("distance", "carrier"))

    assert list(pairs.known(asked, known)) == [NAMES]
    assert pairs.lacking(asked, known) == ["distance:carrier"]
    assert len(judged(3000, 0.3, ("air_time", "distance"))[1]) == 1
    assert pairs.measure(contract(), known, {}) == ()
