"""What the rules decided is done, and whatever came of it is in the ledger."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from loopline.monitoring.findings import Finding, Subject
from loopline.response.acting import ACTOR, Acting
from loopline.response.rules import COOLING, DONE, REFUSED, Decision

Day = Callable[[float], datetime]


@pytest.fixture
def found(day: Day) -> Finding:
    subject = Subject("credit", "production", 2, day(3))
    return subject.judge(
        "drift", "purpose", holds=False, metric="psi", value=0.4, limit=0.2, window=("a", "b"),
        rows=900, labels=None, message="psi of purpose is 0.4", evidence={},
    )  # fmt: skip


@pytest.fixture
def decision(found: Finding) -> Callable[..., Decision]:
    def make(kind: str, outcome: str | None = None) -> Decision:
        return Decision(kind, "drift", (found,), outcome, "Open: purpose.")

    return make


def acting(world: Any, *channels: Any, retrain: Any = None) -> Acting:
    names = [channel.name for channel in channels]
    return Acting(world.space.contract, world.space.registry, retrain, names)


def test_an_alert_says_who_is_to_be_told_of_what_and_tells_nobody_yet(
    world: Any, day: Day, decision: Callable[..., Decision], found: Finding
) -> None:
    action = acting(world, world.told).act(decision("alert"), "production", 2, day(3))

    assert world.told.alerts == []
    assert (action.outcome, action.why) == (DONE, "Open: purpose.")
    assert action.detail == {"to": ["memory"], "urgent": False}
    assert action.findings == (found.id,)


@pytest.mark.parametrize(
    ("rule", "kind", "urgent"),
    [
        ("drift", "drift", False),
        ("goal missed", "goal", False),
        ("new_category_rate > 20%", "drift", True),  # it asks for a rollback too
        ("rollout", "goal", True),
        ("drift", "service", True),
        ("drift", "release", True),
    ],
)
def test_an_alert_is_urgent_beside_a_rollback_and_where_callers_are_failed_now(
    world: Any, day: Day, found: Finding, rule: str, kind: str, urgent: bool
) -> None:
    decision = Decision("alert", rule, (replace(found, kind=kind),), None, "why")

    action = acting(world, world.told).act(decision, "production", 2, day(3))

    assert action.detail["urgent"] is urgent


def test_a_rollback_serves_the_last_good_version_and_says_which(
    world: Any, day: Day, decision: Callable[..., Decision]
) -> None:
    world.serve(world.version())
    world.serve(world.version())

    action = acting(world).act(decision("rollback"), "production", 2, day(3))

    registry = world.space.registry
    assert registry.serving("production") == registry.get(1)
    assert (action.outcome, action.detail["serves"]) == (DONE, 1)
    [*_, written] = registry.ledger.events(kinds=["release.written"])
    assert (written.actor, written.payload["rolled_back"]) == (ACTOR, 2)
    assert written.payload["why"] == "Open: purpose."


def test_a_rollback_with_nothing_to_go_back_to_is_refused_in_words(
    world: Any, day: Day, decision: Callable[..., Decision]
) -> None:
    world.serve(world.version())

    action = acting(world).act(decision("rollback"), "production", 1, day(3))

    assert action.outcome == REFUSED
    assert action.why.startswith("Open: purpose. production has no earlier version to go back to")
    assert world.space.registry.serving("production").number == 1


def test_a_version_that_was_replaced_meanwhile_is_not_rolled_back(
    world: Any, day: Day, decision: Callable[..., Decision]
) -> None:
    for _ in range(3):
        world.serve(world.version())

    action = acting(world).act(decision("rollback"), "production", 2, day(3))

    assert action.outcome == REFUSED
    assert "no longer serves credit:2, but credit:3" in action.why
    assert world.space.registry.serving("production").number == 3


def test_where_nothing_may_be_trained_it_says_so(
    world: Any, day: Day, decision: Callable[..., Decision]
) -> None:
    world.serve(world.version())

    action = acting(world).act(decision("retrain"), "production", 1, day(3))

    assert (action.outcome, action.why) == (
        REFUSED,
        "Open: purpose. Retraining is switched off here.",
    )


def test_what_cools_down_is_recorded_and_not_done(
    world: Any, day: Day, decision: Callable[..., Decision]
) -> None:
    for kind in ("alert", "rollback", "retrain"):
        action = acting(world, world.told).act(decision(kind, COOLING), "production", 1, day(3))
        assert (action.kind, action.outcome) == (kind, COOLING)

    assert world.told.alerts == []
    assert world.kinds("action") == ["action.taken"] * 3
    assert world.kinds("release") == []


def test_what_another_watcher_did_is_history_too(
    world: Any, day: Day, decision: Callable[..., Decision]
) -> None:
    first, second = acting(world, world.told), acting(world, world.told)

    done = [
        watcher.act(decision("alert"), "production", 1, day(number))
        for number, watcher in enumerate((first, second, first))
    ]

    assert first.history() == second.history() == done
    assert acting(world).history() == done
    assert len({action.id for action in done}) == 3
