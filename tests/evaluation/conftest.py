"""Contracts for evaluation, small enough to read."""

import pytest

from loopline.contract.schema import Contract


@pytest.fixture
def contract():
    """Make a contract with a task and whatever else the test is about."""

    def make(task="binary", costs=None, goals=None, **rest) -> Contract:
        problem = {"task": task, "target": "y", **({"costs": costs} if costs else {})}
        return Contract.model_validate(
            {
                "project": "exam",
                "problem": problem,
                "goals": goals or [{"metric": "error_rate", "at_most": 0.01}],
                "data": {"source": "x.csv"},
                **rest,
            }
        )

    return make
