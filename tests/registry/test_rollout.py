"""A version on its way to everybody: each step once, held and hurried by people."""

from datetime import timedelta

import pytest
from tests.registry.conftest import NOW, make_contract

from loopline.contract.schema import Contract
from loopline.errors import MoveRefusedError
from loopline.registry import proof
from loopline.registry.promotion import approve, promote, rollback
from loopline.registry.release import Part, Rollout, latest
from loopline.registry.rollout import advance, began, pause, resume, skip
from loopline.registry.versions import Registry, Request


def stepwise(*steps: float, approvals: int = 0) -> Contract:
    contract = make_contract(approvals=approvals)
    production = contract.environments["production"].model_copy(update={"rollout": list(steps)})
    places = {**contract.environments, "production": production}
    return contract.model_copy(update={"environments": places})


STEPS = stepwise(0.05, 0.5, 1.0)


def served(registry: Registry) -> dict[int, float]:
    found = latest(registry.objects, registry.keys, registry.project, "production")
    return {} if found is None else {one.version: round(one.share, 9) for one in found.serves}


def give(registry: Registry, number: int, contract: Contract = STEPS, part: Part | None = None):
    parts = {} if part is None else {"part": part}
    return promote(
        registry, number, "production", by="ada", why="x", now=NOW, contract=contract, **parts
    )


def step(registry: Registry, after: int, **changes):
    said = {"by": "loopline", "why": "held", "now": NOW, "evidence": {"rows": 300}, **changes}
    return advance(registry, "production", after=after, **said)


@pytest.fixture
def begun(registry, versions):
    """churn:1 answers, and churn:2 is at the first step."""
    give(registry, 1)
    give(registry, 2)
    return registry


def test_the_first_version_of_an_environment_answers_everybody_at_once(registry, versions):
    released = give(registry, 1)

    assert (released.rollout, served(registry)) == (None, {1: 1.0})


def test_a_promotion_releases_the_first_step_and_each_step_the_next_share(begun):
    first = served(begun)
    second = step(begun, 1)
    third = step(begun, 2)

    assert first == {1: 0.95, 2: 0.05}
    assert {one.version: one.share for one in second.serves} == {1: 0.5, 2: 0.5}
    assert served(begun) == {2: 1.0}
    assert third.rollout == Rollout(2, (0.05, 0.5, 1.0), 3, {"rows": 300})
    assert not third.rollout.is_going_on


def test_each_step_is_an_event_with_what_it_rested_on(begun):
    step(begun, 1)

    event = begun.ledger.events(("release.written",))[-1]
    assert (event.actor, event.payload["why"]) == ("loopline", "held")
    assert event.payload["rollout"] == {
        "version": 2, "steps": [0.05, 0.5, 1.0], "step": 2, "evidence": {"rows": 300},
    }  # fmt: skip
    proof.verify(begun)


def test_a_step_that_was_taken_already_is_not_taken_twice(begun):
    first = step(begun, 1)
    again = step(begun, 1)

    assert again == first
    assert served(begun) == {1: 0.5, 2: 0.5}


def test_promoting_again_what_is_on_its_way_changes_nothing_at_any_step(begun):
    before = begun.ledger.events()
    again = give(begun, 2)
    step(begun, 1)
    at_half = give(begun, 2, stepwise(0.1, 0.9, 1.0))

    assert again.number == 2
    assert (at_half.number, at_half.rollout.step) == (3, 2)
    assert len(begun.ledger.events()) == len(before) + 1


def test_another_version_waits_for_the_end_of_a_rollout(begun):
    with pytest.raises(MoveRefusedError, match=r"churn:2, step 1 of 3 \(5%\)\. Wait for its end"):
        give(begun, 3)

    assert served(begun) == {1: 0.95, 2: 0.05}


def test_a_share_by_hand_ends_the_rollout_and_everybody_at_once_is_one(begun):
    give(begun, 2, part=Part(share=0.2))
    by_hand = served(begun)
    give(begun, 2, part=Part(at_once=True))

    assert by_hand == {1: 0.8, 2: 0.2}
    assert served(begun) == {2: 1.0}
    with pytest.raises(MoveRefusedError, match="No rollout goes on in production, which serves"):
        step(begun, 1)


def test_a_canary_by_hand_goes_on_from_the_step_that_takes_no_callers_from_it(begun):
    give(begun, 2, part=Part(share=0.2))

    released = give(begun, 2)

    assert released.rollout == Rollout(2, (0.05, 0.5, 1.0), 2)


def test_a_shadow_leaves_a_rollout_and_its_pause_as_they_are(begun):
    pause(begun, "production", by="bob", why="holidays", now=NOW)
    released = give(begun, 3, part=Part(share=0.0, shadow=True))

    assert released.rollout.version == 2
    assert served(begun) == {1: 0.95, 2: 0.05, 3: 0.0}
    assert begun.state().pauses["production"].why == "holidays"


def test_the_approval_is_asked_for_once_and_releases_the_first_step(registry, versions):
    contract = stepwise(0.05, 1.0, approvals=1)
    give(registry, 1, make_contract(approvals=0))

    asked = give(registry, 2, contract)
    approve(registry, 2, by="grace", now=NOW, contract=contract)

    assert isinstance(asked, Request)
    assert served(registry) == {1: 0.95, 2: 0.05}
    assert step(registry, 1).rollout.step == 2


def test_a_rollback_ends_the_rollout_and_gives_the_callers_back(begun):
    released = rollback(begun, "production", by="bob", why="complaints", now=NOW)

    assert (released.rollout, released.rolled_back, served(begun)) == (None, 2, {1: 1.0})


def test_a_third_version_that_is_taken_out_leaves_the_rollout_going(registry, versions):
    give(registry, 1)
    give(registry, 3, part=Part(share=0.5, arm="b"))
    give(registry, 2)

    released = rollback(registry, "production", by="bob", why="bad", now=NOW, bad=3)

    assert released.rollout.version == 2
    assert step(registry, 1).serves[-1].share == 0.5


def test_a_pause_is_said_once_and_ends_with_the_step_or_by_resuming(begun):
    first = pause(begun, "production", by="bob", why="holidays", now=NOW)
    again = pause(begun, "production", by="eve", why="too", now=NOW)
    resume(begun, "production", by="bob", why="", now=NOW)
    resume(begun, "production", by="bob", why="", now=NOW)
    resumed = begun.state().pauses
    pause(begun, "production", by="bob", why="", now=NOW)
    skip(begun, "production", by="bob", why="sure", now=NOW)

    assert again == first
    assert resumed == {}
    assert begun.state().pauses == {}
    kinds = [event.kind for event in begun.ledger.events()]
    assert kinds.count("rollout.paused") == 2
    assert kinds.count("rollout.resumed") == 1


def test_a_person_may_skip_a_step_or_all_of_them(begun):
    one = skip(begun, "production", by="bob", why="sure", now=NOW)
    rest = skip(begun, "production", by="bob", why="surer", now=NOW, to_end=True)

    assert (one.rollout.step, one.why, one.rollout.evidence) == (2, "sure", {})
    assert (rest.rollout.step, served(begun)) == (3, {2: 1.0})


@pytest.mark.parametrize("verb", [pause, resume, skip])
def test_without_a_rollout_there_is_nothing_to_hold_or_hurry(registry, verb):
    with pytest.raises(MoveRefusedError, match="No rollout goes on in production, which serves no"):
        verb(registry, "production", by="bob", why="x", now=NOW)


def test_a_rollout_and_its_step_began_when_they_did_whatever_else_was_released(begun):
    hour = timedelta(hours=1)
    step(begun, 1, now=NOW + hour)
    promote(
        begun, 3, "production", by="a", now=NOW + 2 * hour, contract=STEPS,
        part=Part(share=0.0, shadow=True),
    )  # fmt: skip

    assert began(begun.state().releases["production"]) == (NOW, NOW + hour)


def test_a_rollout_that_begins_anew_began_then(begun):
    hour = timedelta(hours=1)
    step(begun, 1)
    rollback(begun, "production", by="bob", why="bad", now=NOW)
    promote(begun, 2, "production", by="a", why="fixed", now=NOW + hour, contract=STEPS)

    assert began(begun.state().releases["production"]) == (NOW + hour, NOW + hour)
