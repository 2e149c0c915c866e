"""The past is read as the ledger has it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loopline.monitoring.findings import Finding, Findings
from loopline.publishing.watching.past import _stays, gather


def test_a_finding_that_came_back_has_two_stays(finding: Callable[..., Finding]):
    one = finding()
    told = [("2026-01-01T00:00:00Z", one), ("2026-01-02T00:00:00Z", one),
            ("2026-01-03T00:00:00Z", replace(one, status="resolved")),
            ("2026-01-05T00:00:00Z", one)]  # fmt: skip

    stays = [(stay.opened[:10], stay.closed and stay.closed[:10]) for stay in _stays(told)]

    assert stays == [("2026-01-01", "2026-01-03"), ("2026-01-05", None)]


def test_what_somebody_acknowledged_is_said_with_the_finding(lived, day):
    findings = Findings(lived.space.ledger)
    [name, *_] = findings.open()
    findings.acknowledge(name, why="the importer is being mended", now=day(16))

    said = [finding.acknowledged for finding in gather(lived.space, day(17)).open]

    assert any(text and "the importer is being mended" in text for text in said)


@pytest.fixture
def finding() -> Callable[..., Finding]:
    def make(**changes: Any) -> Finding:
        usual: dict[str, Any] = {
            "id": "a", "project": "credit", "environment": "production", "version": 3,
            "kind": "drift", "subject": "temp", "metric": "psi", "value": 0.5, "limit": 0.2,
            "window": ("a", "b"), "rows": 900, "labels": None, "message": "m", "evidence": {},
            "status": "open", "found_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        return Finding(**{**usual, **changes})

    return make
