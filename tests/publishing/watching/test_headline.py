"""The first sentence says how the loop stands, the environment that matters most first."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from loopline.monitoring.findings import Finding
from loopline.publishing.watching.headline import Line, lines
from loopline.publishing.watching.past import Stay


@pytest.fixture
def found() -> Callable[..., Stay]:
    def make(environment: str) -> Stay:
        finding = Finding(
            "a", "credit", environment, 1, "drift", "age", "psi", 0.5, 0.2, ("a", "b"), 900, None,
            "m", {}, "open", "2026-01-01T00:00:00Z",
        )  # fmt: skip
        return Stay(finding, "2026-01-01T00:00:00Z", None)

    return make


def test_a_missed_promise_is_said_first_and_is_red(past, history, point, judgement):
    one = judgement(history(point(0, 0.6)), "roc_auc", 0.61, 0.65, first=0, last=1)

    told = lines(replace(past, histories=(one,)), {})

    assert told == [
        Line("In production 1 of 2 promises is missed: roc_auc. No finding is open.", "failed")
    ]


def test_a_finding_without_a_missed_promise_is_amber(past, history, point, judgement, found):
    one = judgement(history(point(0, 0.7)), "roc_auc", 0.7, 0.65, first=0, last=1)

    [told] = lines(replace(past, histories=(one,), stays=(found("production"),)), {})

    assert told.tone == "warned"
    assert told.text == (
        "In production every promise that can be judged holds, 1 of 2. 1 finding is open."
    )


def test_when_everything_holds_that_is_all_there_is_to_say(past, history, point, judgement):
    one = judgement(history(point(0, 0.7)), "roc_auc", 0.7, 0.65, first=0, last=1)
    one = judgement(one, "cost_per_prediction", 2.0, 2.7, first=0, last=1)

    told = lines(replace(past, histories=(one,)), {})

    assert told == [Line("In production every promise holds. No finding is open.", "passed")]


def test_the_findings_of_one_environment_are_not_those_of_another(past, history, point, found):
    here = history(point(0, None))
    there = replace(here, environment="dev")

    told = lines(replace(past, histories=(there, here), stays=(found("dev"),)), {})

    assert [line.text for line in told] == [
        "In production no promise can be judged yet. No finding is open.",
        "In dev no promise can be judged yet. 1 finding is open.",
    ]
    assert [line.tone for line in told] == ["", "warned"]


def test_before_anything_serves_the_next_step_is_said(past):
    told = lines(past, {"next": ["loopline run"]})

    assert told == [Line("Nothing serves yet. Next: loopline run", "")]
