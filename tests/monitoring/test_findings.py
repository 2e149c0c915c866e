"""Findings are recorded once, and read back from the ledger."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from loopline.errors import UnknownFindingError
from loopline.monitoring.findings import Finding, Findings, finding_id
from loopline.store.ledger import Ledger

NOW = datetime(2013, 4, 8, tzinfo=UTC)


def kinds(ledger: Ledger) -> list[str]:
    return [event.kind for event in ledger.events()]


def test_a_cause_is_opened_once_however_often_it_is_found(
    ledger: Ledger, finding: Callable[..., Finding]
) -> None:
    first = Findings(ledger).record([finding()], now=NOW)
    second = Findings(ledger).record([finding()], now=NOW)

    assert [one.subject for one in first] == ["temp"]
    assert second == []
    assert kinds(ledger) == ["finding.opened"]


def test_what_holds_again_is_resolved_and_what_was_never_found_says_nothing(
    ledger: Ledger, finding: Callable[..., Finding]
) -> None:
    findings = Findings(ledger)
    findings.record([finding()], now=NOW)

    findings.record([finding(status="resolved"), finding(id="other", status="resolved")], now=NOW)

    assert kinds(ledger) == ["finding.opened", "finding.resolved"]
    assert findings.open() == {}


def test_a_cause_that_is_not_judged_stays_open(
    ledger: Ledger, finding: Callable[..., Finding]
) -> None:
    findings = Findings(ledger)
    findings.record([finding()], now=NOW)

    findings.record([], now=NOW)

    assert list(findings.open()) == ["0123456789abcdef"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"value": 0.54}, []),
        ({"value": 0.6}, ["finding.updated"]),
        ({"metric": "ks"}, ["finding.updated"]),
        ({"window": ("2013-04-07T00:00:00Z", "2013-04-14T00:00:00Z")}, []),
        ({"window": ("2013-04-08T00:00:00Z", "2013-04-15T00:00:00Z")}, ["finding.updated"]),
    ],
)
def test_an_open_finding_is_written_again_only_when_its_figure_or_window_has_moved(
    ledger: Ledger,
    finding: Callable[..., Finding],
    change: dict[str, Any],
    expected: list[str],
) -> None:
    findings = Findings(ledger)
    findings.record([finding()], now=NOW)

    findings.record([finding(found_at="2013-04-20T00:00:00Z", **change)], now=NOW)

    assert kinds(ledger)[1:] == expected
    assert findings.open()["0123456789abcdef"].found_at == "2013-04-08T00:00:00Z"


def test_findings_of_a_version_that_no_longer_serves_are_closed(
    ledger: Ledger, finding: Callable[..., Finding]
) -> None:
    findings = Findings(ledger)
    elsewhere = finding(id="elsewhere", environment="staging")
    findings.record([finding(), finding(id="of the next", version=4), elsewhere], now=NOW)

    findings.close({"production": {4}}, {}, now=NOW)

    assert list(findings.open()) == ["of the next", "elsewhere"]
    [event] = ledger.events(kinds=["finding.resolved"])
    assert event.payload["message"] == "credit:3 no longer serves in production."


def test_a_finding_survives_the_ledger_unchanged(
    ledger: Ledger, finding: Callable[..., Finding]
) -> None:
    written = finding(evidence={"psi": 0.5, "worst": ["EWR", "JFK"]}, labels=40)

    Findings(ledger).record([written], now=NOW)

    assert Findings(ledger).open() == {written.id: written}


def test_parts_of_a_cause_do_not_run_into_each_other() -> None:
    assert finding_id("a", "bc", 1, "drift", "x") != finding_id("ab", "c", 1, "drift", "x")


def test_a_finding_that_is_acknowledged_stays_so_until_it_is_resolved(
    ledger: Ledger, finding: Any
) -> None:
    found, findings = finding(), Findings(ledger)
    findings.record([found], now=NOW)

    known = findings.acknowledge("01234567", why="the new sensor", now=NOW)

    assert known.acknowledged == "ada: the new sensor"
    findings.record([finding(value=0.9)], now=NOW)
    assert findings.open()[found.id].acknowledged == "ada: the new sensor"
    assert Findings(ledger).open()[found.id].acknowledged == "ada: the new sensor"
    findings.record([finding(status="resolved")], now=NOW)
    findings.record([found], now=NOW)
    assert Findings(ledger).open()[found.id].acknowledged is None


def test_only_an_open_finding_can_be_acknowledged(ledger: Ledger, finding: Any) -> None:
    findings = Findings(ledger)
    with pytest.raises(UnknownFindingError, match=r"begins with 'abc'\. Open are: none"):
        findings.acknowledge("abc", why="x", now=NOW)
    findings.record([finding(), finding(id="0123fedc", subject="humid")], now=NOW)

    with pytest.raises(UnknownFindingError, match=r"Several .* Open are: 01234567 \(temp\), 0123"):
        findings.acknowledge("0123", why="x", now=NOW)
