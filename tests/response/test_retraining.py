"""Champion against challenger: what takes over, what is refused, and why."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from loopline.contract.schema import Environment
from loopline.errors import TrainingError
from loopline.registry.promotion import rollback
from loopline.registry.versions import ModelVersion
from loopline.response.retraining import Outcome, challenge
from loopline.response.rules import DONE, FAILED, REFUSED, WAITING

Day = Callable[[float], datetime]


@pytest.fixture
def challenged(world: Any, day: Day) -> Callable[..., Outcome]:
    """The outcome of challenging credit:1 in production with what `retrain` returns."""
    champion = world.version()
    world.serve(champion)

    def run(retrain: Callable[[datetime], ModelVersion]) -> Outcome:
        space = world.space
        return challenge(
            space.registry, space.contract, retrain, champion, "production", by="loopline",
            now=day(5),
        )  # fmt: skip

    return run


def serves(world: Any) -> int:
    return int(world.space.registry.serving("production").number)


def test_a_challenger_that_passed_takes_over(
    world: Any, day: Day, challenged: Callable[..., Outcome]
) -> None:
    asked: list[datetime] = []

    def retrain(now: datetime) -> ModelVersion:
        asked.append(now)
        version: ModelVersion = world.version()
        return version

    outcome = challenged(retrain)

    assert asked == [day(5)]
    assert (outcome.outcome, outcome.why) == (DONE, "credit:2 passed its gate and took over.")
    assert outcome.detail == {"challenger": 2, "champion": 1, "reasons": []}
    assert serves(world) == 2


def test_one_that_failed_its_gate_is_refused_with_the_reasons(
    world: Any, challenged: Callable[..., Outcome]
) -> None:
    outcome = challenged(lambda _: world.version(reasons=("recall is 0.4.", "cost is 9 EUR.")))

    assert outcome.outcome == REFUSED
    assert outcome.why == "credit:2 did not pass its gate. recall is 0.4. cost is 9 EUR."
    assert outcome.detail["reasons"] == ["recall is 0.4.", "cost is 9 EUR."]
    assert serves(world) == 1


def test_the_champion_again_is_refused_though_it_passed(
    world: Any, challenged: Callable[..., Outcome]
) -> None:
    champion = world.space.registry.get(1)

    outcome = challenged(lambda _: world.version(digest=champion.digest))

    assert outcome.outcome == REFUSED
    assert "gave credit:1 again: there is nothing new to learn from" in outcome.why
    assert serves(world) == 1


def test_where_people_must_approve_it_waits_for_them(
    world: Any, challenged: Callable[..., Outcome]
) -> None:
    world.space.contract.environments["production"] = Environment(approvals=1)

    outcome = challenged(lambda _: world.version())

    assert outcome.outcome == WAITING
    assert "waits for 1 approval(s): loopline model approve credit:2" in outcome.why
    assert serves(world) == 1
    assert list(world.space.registry.state().requests) == [("production", 2)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrainingError("No column is left."), "Retraining failed: No column is left."),
        (ZeroDivisionError("theirs"), "Retraining failed: ZeroDivisionError: theirs"),
    ],
)
def test_whatever_the_training_raises_the_watch_hears_of_it_and_goes_on(
    world: Any, challenged: Callable[..., Outcome], error: Exception, said: str
) -> None:
    def retrain(_: datetime) -> ModelVersion:
        raise error

    outcome = challenged(retrain)

    assert (outcome.outcome, outcome.why) == (FAILED, said)
    assert serves(world) == 1


def test_ctrl_c_while_it_trains_is_not_swallowed(challenged: Callable[..., Outcome]) -> None:
    def retrain(_: datetime) -> ModelVersion:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        challenged(retrain)


def test_a_model_that_was_rolled_back_there_does_not_come_back_under_a_new_number(
    world: Any, day: Day, challenged: Callable[..., Outcome]
) -> None:
    second = world.version()
    world.serve(second)
    rollback(world.space.registry, "production", by="ada", why="It drifts.", now=day(4), bad=2)

    outcome = challenged(lambda _: world.version(digest=second.digest))

    assert outcome.outcome == REFUSED
    assert outcome.why == (
        "Retraining gave credit:2 again, which was rolled back from production: It drifts."
    )
    assert serves(world) == 1
