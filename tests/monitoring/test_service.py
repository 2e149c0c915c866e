"""The service's figures from counts, and the goals about them."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from loopline.contract.schema import Contract
from loopline.counts.kernel import count_column
from loopline.monitoring import goals, service
from loopline.monitoring.findings import Subject
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
