"""Stages, and the moves between them."""

import pytest

from loopline.errors import GateFailedError, MoveRefusedError
from loopline.registry import lifecycle
from loopline.registry.lifecycle import STAGES, rank, stage


def test_environments_rank_from_the_laptop_to_production() -> None:
    assert [rank(name) for name in STAGES[:4]] == [0, 1, 2, 3]
    assert rank("canary-au") == rank("staging")  # a team's own lies between


@pytest.mark.parametrize(
    ("serving", "expected"),
    [
        ([], "none"),
        (["dev"], "dev"),
        (["production", "dev", "staging"], "production"),
        (["dev", "canary"], "canary"),
    ],
)
def test_a_version_stands_where_it_serves_furthest(serving: list[str], expected: str) -> None:
    assert stage(serving, is_retired=False) == expected
    assert stage(serving, is_retired=True) == "retired"


def test_a_move_needs_an_environment_of_the_contract() -> None:
    lifecycle.check_move("churn:1", "staging", ["dev", "staging"])

    with pytest.raises(MoveRefusedError, match=r"no such environment\. It has: dev, staging\."):
        lifecycle.check_move("churn:1", "production", ["dev", "staging"])


def test_what_failed_its_gate_serves_in_dev_and_nowhere_beyond() -> None:
    lifecycle.check_fit("churn:1", "dev", is_retired=False, reasons=["recall is 0.4"])
    lifecycle.check_fit("churn:1", "production", is_retired=False, reasons=None)

    for place in ("staging", "production", "canary-au"):
        with pytest.raises(GateFailedError, match=rf"cannot go to {place}:\n- recall is 0\.4\n"):
            lifecycle.check_fit("churn:1", place, is_retired=False, reasons=["recall is 0.4"])


def test_what_is_retired_serves_nowhere() -> None:
    with pytest.raises(MoveRefusedError, match="churn:1 is retired"):
        lifecycle.check_fit("churn:1", "dev", is_retired=True, reasons=None)


def test_what_was_bad_returns_with_a_reason_alone() -> None:
    lifecycle.check_return("churn:1", "production", because="drift", why="the data is mended")

    with pytest.raises(MoveRefusedError, match="rolled back from production: drift"):
        lifecycle.check_return("churn:1", "production", because="drift", why="")


def test_what_serves_is_not_retired() -> None:
    lifecycle.check_retirement("churn:1", [])

    with pytest.raises(MoveRefusedError, match="serves dev, staging, so it cannot be retired"):
        lifecycle.check_retirement("churn:1", ["dev", "staging"])
