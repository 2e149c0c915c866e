"""The past is read as the ledger has it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete

from loopline.monitoring.findings import Finding, Findings
from loopline.monitoring.held import Compared, Estimates
from loopline.publishing.watching.past import _stays, gather
from loopline.store.database import folded


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


def test_outcomes_that_are_to_be_counted_anew_are_said_until_the_next_look(lived, day):
    assert [one.notes for one in gather(lived.space, day(17)).histories] == [()]
    with lived.space.database.begin() as connection:  # as an earlier Loopline left it
        connection.execute(delete(folded).where(folded.c.segment.endswith("settled asked")))

    [one] = gather(lived.space, day(17)).histories

    [note] = one.notes
    assert note.endswith("Count them with: loopline watch --once")
    lived.look(day(17))
    assert [one.notes for one in gather(lived.space, day(17)).histories] == [()]


def test_a_stretch_is_expected_where_past_misses_known_at_its_end_have_it(lived, day):
    miss = Compared("production", 1, ("a", "b"), 0, 200, 200, {"roc_auc": (0.5, 0.45, 0.55, 0.9)})
    before = {point.window: point for point in gather(lived.space, day(17)).histories[0].points}
    Estimates(lived.space.ledger).record(miss, now=day(8))

    points = gather(lived.space, day(17)).histories[0].points

    for point in points:
        assert point.estimated is not None
        usual = before[point.window].estimated
        assert usual is not None
        is_known = point.version == 1 and point.window.end >= day(8)
        assert ("roc_auc" in point.estimated.widened) == is_known
        assert (point.estimated.interval("roc_auc") != usual.interval("roc_auc")) == is_known


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
