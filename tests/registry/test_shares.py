"""Shares of those that answer add up to everybody, whatever is placed beside or taken out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopline.errors import MoveRefusedError
from loopline.registry.release import Part, Served
from loopline.registry.shares import newest, placed, told, without
from loopline.registry.versions import ModelVersion


def version(number: int) -> ModelVersion:
    return ModelVersion(
        "churn", number, "d", f"bundles/{number}", f"b{number}", "run", "snap", "plan",
        gate_passed=True, reasons=(), author="ada", created_at="",
    )  # fmt: skip


def shown(serves: tuple[Served, ...]) -> dict[int, object]:
    return {s.version: "shadow" if s.shadow else round(s.share, 9) for s in serves}


CANARY = placed(placed((), version(1)), version(2), Part(0.1, arm="bold"))


def test_a_version_alone_answers_everybody_and_a_canary_its_share():
    assert shown(placed((), version(1))) == {1: 1.0}
    assert shown(CANARY) == {1: 0.9, 2: 0.1}
    assert CANARY[1].bundle_digest == "b2"


def test_more_for_one_is_less_for_the_others_in_proportion():
    three = placed(CANARY, version(3), Part(0.5))
    more = placed(three, version(2), Part(0.4))

    assert shown(three) == {1: 0.45, 2: 0.05, 3: 0.5}
    assert shown(more) == {1: pytest.approx(0.6 * 45 / 95), 3: pytest.approx(0.6 * 50 / 95), 2: 0.4}
    assert shown(placed(more, version(2))) == {2: 1.0}


def test_a_shadow_takes_nothing_and_stays_while_shares_change():
    beside = placed(CANARY, version(4), Part(0.0, shadow=True))

    assert shown(beside) == {1: 0.9, 2: 0.1, 4: "shadow"}
    assert shown(without(beside, 2)) == {1: 1.0, 4: "shadow"}
    assert shown(placed(beside, version(4), Part(0.2))) == {1: 0.72, 2: 0.08, 4: 0.2}


@pytest.mark.parametrize(
    ("present", "part", "message"),
    [
        ((), Part(0.1), "Nothing else answers there beside which churn:1 could have 0.1"),
        (placed((), version(1)), Part(0.1), "Promote it without --share"),
        ((), Part(0.0, shadow=True), "churn:1 can only be the shadow of a version that answers"),
        (CANARY, Part(0.0, shadow=True), "beside itself. Promote another first, or roll this one"),
    ],
)
def test_what_cannot_be_is_refused_in_words(present, part, message):
    with pytest.raises(MoveRefusedError, match=message):
        placed(present, version(1), part)


def test_the_newest_is_the_one_that_came_last_however_large_its_share_has_grown():
    one, grown = placed((), version(1)), placed(CANARY, version(2), Part(0.8))

    assert newest([one]) == 1
    assert newest([one, CANARY]) == 2
    assert newest([one, CANARY, grown]) == 2
    assert newest([placed((), version(7)), CANARY]) == 2  # both came at once: the smaller
    shadow = placed(one, version(9), Part(0.0, shadow=True))
    assert newest([shadow, shadow]) == 1


def test_it_is_said_as_people_say_it():
    assert told("churn", placed((), version(1))) == "churn:1"
    shadow = placed(CANARY, version(3), Part(0.0, shadow=True))
    assert told("churn", shadow) == "churn:1 (90%) and churn:2 (10%, arm bold), shadow churn:3"


@given(
    st.lists(st.tuples(st.integers(2, 6), st.floats(0.01, 1.0)), max_size=8),
    st.integers(1, 6),
)
def test_shares_always_add_up(steps, gone):
    present = placed((), version(1))
    for number, share in steps:
        others = any(served.version != number for served in present)
        present = placed(present, version(number), Part(share if others else 1.0))
        assert sum(served.share for served in present) == pytest.approx(1.0)
        assert len({served.version for served in present}) == len(present)
    left = without(present, gone)
    assert not left or sum(served.share for served in left) == pytest.approx(1.0)
