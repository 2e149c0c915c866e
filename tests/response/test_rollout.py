"""A rollout goes on by itself while the new version holds what was promised, and ends when not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from scipy.stats import fisher_exact

from loopline.registry import rollout as registered
from loopline.registry.promotion import promote
from loopline.response import rollout
from loopline.response.rules import Decision
from loopline.status import status

Day = Callable[[float], datetime]


def hopeless(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(score=1 - pl.col("score"))


def in_french(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.format("pour {}", "purpose").alias("purpose"))


def serving(world: Any) -> dict[int, float]:
    [*_, last] = world.space.registry.state().releases["production"]
    return {one.version: round(one.share, 9) for one in last.serves}


@pytest.fixture
def rolling(world: Any, day: Day) -> Any:
    """credit:1 answers, and credit:2 is at the first of three steps, without rules of its own."""
    text = (world.space.root / "loopline.yaml").read_text()
    rules = text[text.index("respond:") :]
    world.amend(
        (rules, ""),
        ("production: {}", "production: {rollout: [10%, 50%, 100%], soak: 1 day}"),
    )
    world.serve(world.version())
    world.serve(world.version())
    return world


def busy(world: Any, at: datetime, **canary: Any) -> None:
    """Let both answer, and everything come out."""
    for version, how in ((1, {}), (2, canary)):
        world.outcomes(world.traffic(version, at, **how), at)


def test_a_step_is_taken_when_it_lasted_and_held_its_promises(rolling: Any, day: Day) -> None:
    busy(rolling, day(0.5))
    early = rolling.look(day(0.9))
    before = serving(rolling)

    seen = rolling.look(day(1.1))

    assert before == {1: 0.9, 2: 0.1}
    assert [one.waits_for for one in early.rollouts] == [
        ("2013-05-02 00:00 UTC (soak: 1 day, 0:00:00)",)
    ]
    [action] = seen.actions
    assert seen.rollouts == ()  # it waits for nothing
    assert (action.kind, action.rule, action.outcome) == ("advance", "rollout", "done")
    assert "credit:2 gets 50%, step 2 of 3: 200 predictions" in action.why
    assert (action.detail["evidence"]["rows"], action.detail["evidence"]["labels"]) == (200, 200)
    assert action.detail["evidence"]["own"]["roc_auc"]["value"] > 0.7
    assert serving(rolling) == {1: 0.5, 2: 0.5}


def test_each_step_rests_on_its_own_predictions_until_everybody_is_served(
    rolling: Any, day: Day
) -> None:
    busy(rolling, day(0.5))
    rolling.look(day(1.1))
    [waits] = rolling.look(day(3)).rollouts
    busy(rolling, day(3))

    [action] = rolling.look(day(3.1)).actions
    after = rolling.look(day(3.2))

    assert waits.waits_for == ("100 more predictions of credit:2",)
    assert (action.kind, serving(rolling)) == ("advance", {2: 1.0})
    assert (after.actions, after.rollouts) == ((), ())


def test_too_few_predictions_or_outcomes_hold_a_step_however_long_it_lasts(
    rolling: Any, day: Day
) -> None:
    truth = rolling.traffic(2, day(0.5), rows=160)
    rolling.outcomes(dict(list(truth.items())[:100]), day(0.6))

    [seen] = rolling.look(day(9)).rollouts

    assert seen.waits_for[0] == "50 more outcomes of credit:2"
    assert serving(rolling) == {1: 0.9, 2: 0.1}


def test_goals_that_rest_on_no_outcomes_wait_for_none(rolling: Any, day: Day) -> None:
    text = (rolling.space.root / "loopline.yaml").read_text()
    rolling.amend(
        ("  - {metric: roc_auc, at_least: 0.7}\n", ""),
        ("  - {metric: cost_per_prediction, below_baseline_by: 5%}\n", ""),
        (text[text.index("fairness:") : text.index("environments:")], ""),
    )
    rolling.traffic(2, day(0.5))

    [action] = rolling.look(day(1.1)).actions

    assert (action.kind, action.detail["evidence"]["labels"]) == ("advance", None)


def test_a_version_that_misses_a_goal_the_other_reaches_is_taken_out_and_people_hear_of_it(
    rolling: Any, day: Day
) -> None:
    busy(rolling, day(0.5), change=hopeless)

    seen = rolling.look(day(0.6))

    back, alert = seen.actions
    assert (back.kind, back.rule, back.outcome) == ("rollback", "rollout", "done")
    assert "credit:2 did worse than credit:1 at step 1 of 3" in back.why
    assert {one.subject for one in seen.news} >= {"roc_auc", "probability"}
    assert set(back.findings) <= {one.id for one in seen.news}
    assert (alert.kind, alert.outcome) == ("alert", "done")
    assert rolling.told.alerts[0].rule == "rollout"
    assert serving(rolling) == {1: 1.0}
    [released] = rolling.space.ledger.events(kinds=["release.written"])[-1:]
    assert (released.payload["rolled_back"], released.payload["why"]) == (2, back.why)
    again = rolling.look(day(0.7))
    assert (again.actions, again.rollouts, again.findings) == ((), (), ())


def test_what_both_versions_suffer_from_is_no_fault_of_the_new_one(rolling: Any, day: Day) -> None:
    for version in (1, 2):
        rolling.outcomes(rolling.traffic(version, day(0.5), change=in_french), day(0.5))

    seen = rolling.look(day(1.1))

    assert {(one.version, one.subject) for one in seen.findings} == {(1, "purpose"), (2, "purpose")}
    assert [one.kind for one in seen.actions] == ["advance"]


def test_what_columns_suffer_is_compared_whichever_of_them_the_finding_is_named_after(
    rolling: Any, day: Day
) -> None:
    def changed(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("credit_amount", "age_in_years") * 100)

    for version in (1, 2):
        rolling.traffic(version, day(0.5), rows=900, change=changed)
    seen = rolling.look(day(0.6))
    drifted = {one.version: one for one in seen.findings if one.kind == "drift"}
    assert {len(one.columns) for one in drifted.values()} == {2}
    other = drifted[1].columns[::-1]
    first = replace(drifted[1], subject=other[0], columns=other)

    assert rollout._faults([first, drifted[2]], "production", 2, 1) == []
    alone = replace(first, evidence={"drivers": first.evidence["drivers"][:1]})
    assert rollout._faults([alone, drifted[2]], "production", 2, 1) == [drifted[2]]


def test_requests_that_fail_beyond_chance_take_a_version_out_without_a_goal(
    rolling: Any, day: Day
) -> None:
    rolling.traffic(1, day(0.5), errors=2)
    rolling.traffic(2, day(0.5), rows=50, errors=8)

    seen = rolling.look(day(0.6))

    [finding] = [one for one in seen.news if one.kind == "rollout"]
    assert finding.message == (
        "credit:2 in production failed 8 of 58 requests, and credit:1 beside it 2 of 202."
    )
    exact = fisher_exact([[8, 50], [2, 200]], alternative="greater")
    assert finding.evidence["chance"] == pytest.approx(exact.pvalue)
    assert seen.actions[0].findings == (finding.id,)
    assert serving(rolling) == {1: 1.0}


def test_a_few_failures_that_chance_explains_hold_nothing_up(rolling: Any, day: Day) -> None:
    busy(rolling, day(0.5), errors=3)

    assert [one.kind for one in rolling.look(day(1.1)).actions] == ["advance"]


def test_a_paused_rollout_stays_and_is_taken_out_all_the_same(rolling: Any, day: Day) -> None:
    registered.pause(rolling.space.registry, "production", by="bob", why="holidays", now=day(0.1))
    busy(rolling, day(0.5))
    seen = rolling.look(day(2))
    held = serving(rolling)
    busy(rolling, day(2.5), change=in_french)

    after = rolling.look(day(2.6))

    assert seen.rollouts[0].waits_for == (
        "loopline rollout resume production (paused by bob, who says: holidays)",
    )
    assert held == {1: 0.9, 2: 0.1}
    assert after.actions[0].kind == "rollback"


def test_a_version_that_people_brought_back_is_left_to_people(rolling: Any, day: Day) -> None:
    busy(rolling, day(0.5), change=in_french)
    rolling.look(day(0.6))
    promote(
        rolling.space.registry, 2, "production", by="ada", why="French is meant",
        now=day(0.7), contract=rolling.space.contract,
    )  # fmt: skip

    seen = rolling.look(day(2))

    assert seen.actions == ()
    assert "a person, for credit:2 was rolled back here before" in seen.rollouts[0].waits_for[-1]
    assert serving(rolling) == {1: 0.9, 2: 0.1}


def test_a_step_that_cannot_be_released_is_tried_again_later(rolling: Any, day: Day) -> None:
    busy(rolling, day(0.5))
    bundle = rolling.space.registry.get(2).bundle
    whole = rolling.space.objects.get(f"{bundle}/profile.bin")
    watch = rolling.watch()
    watch.once(day(0.6))
    rolling.space.objects.put(f"{bundle}/profile.bin", b"damaged")

    [failed] = watch.once(day(1.1)).actions
    rests = watch.once(day(1.102)).actions
    rolling.space.objects.put(f"{bundle}/profile.bin", whole)
    [done] = watch.once(day(1.2)).actions

    assert (failed.outcome, done.outcome, rests) == ("failed", "done", ())


def test_a_watcher_killed_after_the_step_takes_it_once(
    rolling: Any, day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(rolling, day(0.5))
    watch = rolling.watch()
    act = watch._acting.act

    def die(decision: Decision, *where: Any) -> Any:
        watch._acting._do(decision, *where)
        raise KeyboardInterrupt

    monkeypatch.setattr(watch._acting, "act", die)
    with pytest.raises(KeyboardInterrupt):
        watch.once(day(1.1))
    monkeypatch.setattr(watch._acting, "act", act)

    again = rolling.look(day(1.1))

    assert again.actions == ()
    assert serving(rolling) == {1: 0.5, 2: 0.5}
    assert rolling.kinds("release.written") == ["release.written"] * 3


def test_status_says_where_a_rollout_is_and_what_it_waits_for(rolling: Any, day: Day) -> None:
    rolling.traffic(2, day(0.5), rows=40)
    rolling.look(day(0.6))

    found = status(rolling.space, day(0.7))

    [one] = found["rollouts"]
    assert one["told"] == (
        "step 1 of 3 (10%), waits for 2013-05-02 00:00 UTC (soak: 1 day, 0:00:00) and 60 more "
        "predictions of credit:2 and 150 more outcomes of credit:2"
    )
    assert not any("promote" in step and "production" in step for step in found["next"])
