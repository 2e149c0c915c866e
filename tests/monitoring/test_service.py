"""The service's figures from counts, and the goals about them."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy import stats

from loopline.contract.schema import Contract
from loopline.counts.kernel import count_column
from loopline.monitoring import goals, service
from loopline.monitoring.findings import Subject, finding_id
from loopline.monitoring.hours import ERRORS, LATENCY, NOTES
from loopline.monitoring.windows import Window

WINDOW = Window(380_000, 380_168)
SUBJECT = Subject("flights", "production", 3, datetime(2013, 5, 8, tzinfo=UTC))


def measured(seconds: list[float], **errors: int) -> service.Service:
    counted: dict[tuple[str, str], Any] = {
        (ERRORS, ""): Counter({name.replace("_", " ").strip(): n for name, n in errors.items()})
    }
    if seconds:
        counted[LATENCY, ""] = count_column(np.array(seconds))
    return service.measure(counted, WINDOW)


def contract(*conditions: dict[str, Any]) -> Contract:
    return Contract.model_validate(
        {
            "project": "flights",
            "problem": {"task": "binary", "target": "late"},
            "goals": list(conditions),
            "data": {"source": "x.csv"},
        }
    )


def test_what_the_server_failed_at_counts_and_what_it_refused_does_not() -> None:
    found = measured([0.001] * 90, _503_RuntimeUnavailableError=4, _400_RequestError=6)

    assert (found.requests, found.failed, found.refused) == (100, 4, 6)
    assert found.error_rate == 0.04


def test_latencies_are_within_half_a_cell_of_those_of_the_values() -> None:
    seconds = np.random.default_rng(5).lognormal(-7, 0.5, 20_000)

    found = measured(seconds.tolist())

    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        exact = np.quantile(seconds, share, method="inverted_cdf")
        assert found.latency[name] == pytest.approx(exact, rel=0.003)


def test_without_a_request_there_are_no_figures() -> None:
    assert measured([]).figures == {}


def test_goals_about_the_service_are_judged_by_its_figures() -> None:
    promised = contract(
        {"metric": "latency_p99", "at_most": "25 ms"}, {"metric": "error_rate", "at_most": "1%"}
    )

    slow, failing = goals.of_service(
        promised, SUBJECT, measured([0.03] * 500, _503_RuntimeUnavailableError=2)
    )

    assert (slow.status, slow.kind, slow.metric) == ("open", "service", "latency_p99")
    assert slow.message == (
        "latency_p99 of flights:3 in production is 30 ms on 502 requests, 2013-05-08 08:00 to "
        "2013-05-15 08:00; the goal is at most 25 ms."
    )
    assert (failing.status, failing.value) == ("resolved", pytest.approx(2 / 502))


@pytest.mark.parametrize(
    ("failed", "is_open", "status"),
    [
        (30, False, "open"),
        (12, False, "resolved"),  # 1.2 %, and chance may be why
        (12, True, "open"),
        (8, True, "open"),
        (2, True, "resolved"),
        (0, True, "resolved"),
    ],
)
def test_errors_near_their_limit_stay_as_they_were(failed: int, is_open: bool, status: str) -> None:
    promised = contract({"metric": "error_rate", "at_most": "1%"})
    found = measured([0.001] * (1000 - failed), _503_RuntimeUnavailableError=failed)
    name = finding_id("flights", "production", 3, "service", "error_rate")

    [judged] = goals.of_service(promised, SUBJECT, found, {name} if is_open else ())
    by_figure = promised.model_copy(
        update={"monitor": promised.monitor.model_copy(update={"judge_by": "figure"})}
    )
    [plain] = goals.of_service(by_figure, SUBJECT, found, {name} if is_open else ())

    assert judged.status == status
    assert plain.status == ("open" if failed > 10 else "resolved")


def test_figures_of_the_service_have_their_intervals() -> None:
    seconds = np.random.default_rng(6).lognormal(-7, 0.5, 2000)

    found = measured(seconds.tolist(), _503_RuntimeUnavailableError=40)

    low, high = found.spread["error_rate"]
    exact = stats.binomtest(40, 2040).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high))
    low, high = found.spread["latency_p95"]
    # The 1,881st and the 1,919th of 2,000: 1,900 less and plus 1.96 times the root of 95.
    order = np.sort(seconds)
    assert (low, high) == pytest.approx((order[1880], order[1919]), rel=0.006)


def test_what_servers_note_of_themselves_is_a_finding_that_says_what_was_not_kept() -> None:
    noted = Counter({"log_lost": 12, "release_refused Release 4 was changed.": 2})
    seen = service.measure({(NOTES, ""): noted}, WINDOW)

    log, release = service.judge(SUBJECT, seen)

    assert seen.notes == {"log_lost": 12, "release_refused": 2}
    assert (log.kind, log.status, log.value) == ("log", "open", 12)
    assert log.message.startswith("12 frames of the log of flights:3 in production were not kept")
    assert (release.kind, release.status) == ("release", "open")
    assert release.message.endswith("Release 4 was changed.")
    quiet = service.judge(SUBJECT, measured([0.001]))
    assert {one.status for one in quiet} == {"resolved"}
