"""One pass over everything, from real traffic in the log to what is done about it."""

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from loopline.counts import pairs
from loopline.errors import ChannelError, TrainingError
from loopline.governance.access import Access
from loopline.monitoring.held import Compared, Estimates
from loopline.registry.versions import ModelVersion
from loopline.store.ledger import iso

Day = Callable[[float], datetime]


def in_french(frame: pl.DataFrame) -> pl.DataFrame:
    """A fault upstream: purposes arrive under names the model never saw."""
    return frame.with_columns(pl.format("pour {}", "purpose").alias("purpose"))


def hopeless(frame: pl.DataFrame) -> pl.DataFrame:
    """Scores that say the opposite of what they should."""
    return frame.with_columns(score=1 - pl.col("score"))


def test_without_a_release_there_is_nothing_to_watch(world: Any, day: Day) -> None:
    seen = world.look(day(1))

    assert (seen.watched, seen.findings, seen.actions) == ((), (), ())


def test_without_traffic_nothing_is_judged(world: Any, day: Day) -> None:
    world.serve(world.version())

    seen = world.look(day(1))

    assert [(one.environment, one.version, one.rows) for one in seen.watched] == [
        ("production", 1, 0)
    ]
    assert seen.findings == ()


def test_good_traffic_opens_no_finding_and_shows_every_figure(world: Any, day: Day) -> None:
    world.serve(world.version())
    truth = world.traffic(1, day(3))
    world.outcomes(truth, day(4))

    seen = world.look(day(5))

    [watched] = seen.watched
    assert watched.rows == 200
    assert watched.service.requests == 200
    assert watched.service.latency["p50"] == pytest.approx(400e-6, rel=0.01)
    assert {one.column for one in watched.drift} == {
        "age_in_years", "credit_amount", "purpose", "housing", "probability",
    }  # fmt: skip
    assert watched.performance.coverage == 1.0
    assert watched.performance.metrics["roc_auc"] > 0.7
    assert watched.performance.baseline == "everyone"
    assert watched.performance.fairness[0]["groups"][0]["group"] == "A152"
    assert seen.findings == ()


def test_figures_of_labels_are_the_ones_that_sklearn_computes(world: Any, day: Day) -> None:
    from sklearn.metrics import log_loss, roc_auc_score

    world.serve(world.version())
    truth = world.traffic(1, day(3))
    known = dict(list(truth.items())[:160])
    world.outcomes(known, day(4))

    performance = world.look(day(5)).watched[0].performance

    table = world.space.tables.read("predictions/credit")
    score = dict(table.select("prediction_id", "score").iter_rows())
    actual = [int(label) for label in known.values()]
    scores = [score[name] for name in known]
    assert (performance.rows, performance.labels) == (200, 160)
    # They come out of cells, and each says how far it may be from the rows themselves.
    for name, theirs in (("roc_auc", roc_auc_score), ("log_loss", log_loss)):
        bound = performance.bounds[name]
        assert 0 < bound < 0.004
        assert performance.metrics[name] == pytest.approx(
            theirs(actual, scores), abs=bound + 1e-9, rel=0
        )


def test_an_estimate_is_held_against_what_came_true_and_the_ledger_keeps_both(
    world: Any, day: Day
) -> None:
    world.serve(world.version())
    truth = world.traffic(1, day(3), rows=600)

    [before] = world.look(day(5)).watched
    assert before.performance is None
    assert before.held is None
    estimate = before.estimation.metrics["cost_per_prediction"]
    assert before.figures["estimated_cost_per_prediction"].value == estimate.value

    world.outcomes(truth, day(22))
    [after] = world.look(day(23)).watched

    # The same rows taught what the errors are, so it holds.
    assert after.held.windows == 1
    assert after.held.inside["cost_per_prediction"] == 1
    value, low, high, real = after.held.last.figures["cost_per_prediction"]
    assert (value, low < real < high) == (pytest.approx(estimate.value), True)
    assert (after.held.last.rows, after.held.last.labels) == (600, 600)
    assert world.kinds("estimate.") == ["estimate.compared"]
    world.look(day(23.5))
    assert world.kinds("estimate.") == ["estimate.compared"]  # nothing new came
    # One miss widens what is stated next, and nothing from before its outcomes came.
    assert after.held.last.widened == {}
    world.traffic(1, day(24), rows=600)
    [last] = world.look(day(25)).watched
    wide = last.estimation.widened["cost_per_prediction"]
    plain = last.estimation.metrics["cost_per_prediction"]
    assert (wide.stretches, wide.level) == (1, 0.5)
    assert wide.low == min(plain.low, plain.value - abs(real - value))


def test_no_rule_acts_on_an_estimate_that_missed_too_often(world: Any, day: Day) -> None:
    world.serve(world.version())
    world.traffic(1, day(3), rows=600)
    name, estimates = "cost_per_prediction", Estimates(world.space.ledger)
    [before] = world.look(day(5)).watched
    for place in range(4):
        estimates.record(
            Compared(
                before.environment, 1, (f"{place}", f"{place + 1}"), place, 600, 600,
                {name: (1.0, 0.9, 1.1, 5.0)}, {name: (0.5, 2.0, 0.8)},
            ),
            now=day(5),
        )  # fmt: skip

    [after] = world.look(day(5.1)).watched

    assert before.figures[f"estimated_{name}"].is_mature
    assert not after.figures[f"estimated_{name}"].is_mature
    assert after.estimation.withdrawn[name].endswith("in 0 of the last 4 stretches.")


def test_new_categories_are_found_and_the_version_is_rolled_back(world: Any, day: Day) -> None:
    world.serve(world.version())
    world.serve(world.version())
    world.traffic(2, day(3), change=in_french)

    seen = world.look(day(3.1))

    [finding] = seen.news
    [rollback, alert] = seen.actions
    assert (finding.kind, finding.subject, finding.metric) == ("drift", "purpose", "psi")
    assert "pour A43" in finding.evidence["new_values"]
    assert (rollback.kind, rollback.outcome, rollback.detail["serves"]) == ("rollback", "done", 1)
    assert "new_category_rate of purpose is 100.00% on 200 rows" in rollback.why
    assert rollback.findings == (finding.id,)
    assert (alert.kind, alert.outcome) == ("alert", "done")
    assert world.told.alerts[0].findings == (finding,)
    assert world.space.registry.serving("production").number == 1


def test_columns_that_change_together_are_one_finding_that_says_since_when_and_where(
    world: Any, day: Day
) -> None:
    def changed(frame: pl.DataFrame) -> pl.DataFrame:
        own = pl.col("housing") == "A152"  # their own
        amount, age = pl.col("credit_amount"), pl.col("age_in_years")
        return frame.with_columns(
            credit_amount=pl.when(own).then(amount * 100).otherwise(amount),
            age_in_years=pl.when(own).then(None).otherwise(age),
        )

    world.serve(world.version())
    for number in range(5):
        world.traffic(1, day(1 + number))
    for number in range(3):
        world.traffic(1, day(7 + number / 8), change=changed)

    seen = world.look(day(7.5))

    [finding] = [one for one in seen.news if "credit_amount" in one.columns]
    assert set(finding.columns) == {"credit_amount", "age_in_years"}
    assert finding.since == "2013-05-08T00:00:00Z"  # day 7
    [held] = finding.evidence["slices"]
    assert (held["column"], held["value"]) == ("housing", "A152")
    assert held["share"] > 0.9
    assert "Since 2013-05-08 00:00 UTC." in finding.message

    # It passes by itself, once nothing of it is in the window any more.
    for number in range(4):
        world.traffic(1, day(18 + number / 2))
    assert finding.id not in {one.id for one in world.look(day(20)).findings}


def test_after_a_rollback_the_bad_version_is_left_and_its_findings_are_closed(
    world: Any, day: Day
) -> None:
    world.serve(world.version())
    world.serve(world.version())
    world.traffic(2, day(3), change=in_french)
    world.look(day(3.1))

    again = world.look(day(3.2))

    assert again.actions == ()
    assert again.findings == ()
    assert [one.message for one in again.news] == ["credit:2 no longer serves in production."]
    assert world.kinds("release") == ["release.written"] * 3


def test_a_rollback_that_fails_is_recorded_and_holds_up_no_alert(world: Any, day: Day) -> None:
    good = world.version()
    world.serve(good)
    world.serve(world.version())
    world.traffic(2, day(3), change=in_french)
    world.space.objects.put(f"{good.bundle}/profile.bin", b"damaged")

    [rollback, alert] = world.look(day(3.1)).actions

    assert (rollback.kind, rollback.outcome) == ("rollback", "failed")
    assert "profile.bin is not what was signed" in rollback.why
    assert (alert.kind, alert.outcome) == ("alert", "done")
    assert world.space.registry.serving("production").number == 2


def test_too_little_traffic_decides_nothing(world: Any, day: Day) -> None:
    world.serve(world.version())
    world.serve(world.version())
    world.traffic(2, day(3), rows=99, change=in_french)

    seen = world.look(day(3.1))

    assert (seen.findings, seen.actions) == ((), ())


def test_failed_requests_roll_a_version_back_even_if_none_was_answered(
    world: Any, day: Day
) -> None:
    world.serve(world.version())
    world.serve(world.version())
    world.traffic(2, day(3), rows=0, errors=120)

    [action] = world.look(day(3.1)).actions

    assert (action.kind, action.outcome) == ("rollback", "done")
    assert "error_rate is 100.00% on 120 rows" in action.why


def test_errors_of_the_version_before_are_not_held_against_the_next(world: Any, day: Day) -> None:
    world.serve(world.version())
    world.traffic(1, day(2), errors=50)
    world.serve(world.version())
    world.traffic(2, day(3))

    seen = world.look(day(3.1))

    assert seen.watched[0].service.error_rate == 0.0
    assert seen.actions == ()


def test_labels_that_come_late_are_judged_in_the_window_they_belong_to(
    world: Any, day: Day
) -> None:
    world.serve(world.version())
    truth = world.traffic(1, day(3), change=hopeless)
    world.traffic(1, day(14))
    before = world.look(day(15))

    world.outcomes(truth, day(15))
    after = world.look(day(15.5))

    assert before.watched[0].performance is None
    judged = after.watched[0].performance
    assert judged.window.start <= day(3) < judged.window.end <= day(14)
    assert {one.subject for one in after.news} == {"roc_auc", "cost_per_prediction"}
    [auc] = [one for one in after.news if one.subject == "roc_auc"]
    assert auc.labels == 200
    assert "on 200 labelled of 200 predictions (100%)" in auc.message


def test_goals_wait_for_the_labels_that_the_contract_asks_for(world: Any, day: Day) -> None:
    world.serve(world.version())
    truth = world.traffic(1, day(3), change=hopeless)

    world.outcomes(dict(list(truth.items())[:149]), day(4))
    too_few = world.look(day(4.5))
    world.outcomes(dict(list(truth.items())[149:150]), day(5))
    enough = world.look(day(5.5))

    assert (too_few.watched[0].performance, too_few.actions) == (None, ())
    assert enough.watched[0].performance.labels == 150
    assert enough.watched[0].performance.coverage == 0.75


def test_a_goal_that_is_met_again_resolves_its_finding(world: Any, day: Day) -> None:
    world.serve(world.version())
    world.outcomes(world.traffic(1, day(3), change=hopeless), day(4))
    world.look(day(5))
    world.outcomes(world.traffic(1, day(20)), day(21))

    seen = world.look(day(22))

    assert seen.findings == ()
    assert {one.subject for one in seen.news} == {"cost_per_prediction", "roc_auc", "probability"}
    assert {one.status for one in seen.news} == {"resolved"}


def missed(world: Any, day: Day) -> ModelVersion:
    """A champion in production that misses its goals."""
    champion = world.version()
    world.serve(champion)
    world.outcomes(world.traffic(1, day(3), change=hopeless), day(4))
    return champion


def test_a_goal_that_the_contract_drops_is_no_longer_missed(world: Any, day: Day) -> None:
    world.serve(world.version())
    world.outcomes(world.traffic(1, day(3), change=hopeless), day(4))
    assert "goal" in {finding.kind for finding in world.look(day(5)).findings}

    world.amend(
        ("  - {metric: roc_auc, at_least: 0.7}\n", ""),
        ("  - {metric: cost_per_prediction, below_baseline_by: 5%}\n", ""),
    )
    seen = world.look(day(40))

    assert {finding.kind for finding in seen.findings} == {"drift"}
    assert seen.news[0].message == "loopline.yaml says nothing of roc_auc any more."
    assert seen.actions == ()


def test_two_goals_for_one_metric_are_one_finding_while_either_is_missed(
    world: Any, day: Day
) -> None:
    met = "  - {metric: roc_auc, at_least: 0.7}"
    world.amend((met, f"  - {{metric: roc_auc, at_least: 0.99}}\n{met}"))
    world.serve(world.version())
    world.outcomes(world.traffic(1, day(3)), day(4))

    seen = [world.look(day(5 + place / 100)) for place in range(3)]

    assert [[finding.limit for finding in one.findings] for one in seen] == [[0.99]] * 3
    assert world.kinds("finding.") == ["finding.opened"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [
                ("task: binary", "task: regression"),
                ('  positive: "1"\n', ""),
                ("false_positive: 5, false_negative: 1", "under: 5, over: 1"),
                ("roc_auc, at_least: 0.7", "mae, at_most: 3"),
                ("selection_rate, ratio_at_least: 0.3", "mae, difference_at_most: 3"),
            ],
            "it answers a binary question, and loopline.yaml has a regression one.",
        ),
        (
            [('positive: "1"', 'positive: "0"')],
            "its probability is that of 1, and loopline.yaml says positive: 0.",
        ),
    ],
)
def test_a_version_made_for_another_problem_is_not_judged_by_this_one(
    world: Any, day: Day, changes: list[tuple[str, str]], expected: str
) -> None:
    world.serve(world.version())
    world.outcomes(world.traffic(1, day(3)), day(4))
    world.amend(*changes)

    seen = world.look(day(5))

    assert seen.watched[0].performance is None
    assert seen.watched[0].drift
    assert seen.notes == (f"The goals of credit:1 in production are not judged: {expected}",)


def test_a_missed_goal_retrains_and_a_better_challenger_takes_over(world: Any, day: Day) -> None:
    missed(world, day)
    asked = []

    def retrain(now: datetime) -> ModelVersion:
        asked.append(now)
        return world.version()

    world.retrain = retrain
    seen = world.look(day(5))

    [alert, retraining] = seen.actions
    assert (alert.kind, retraining.kind, retraining.outcome) == ("alert", "retrain", "done")
    assert retraining.detail["challenger"] == 2
    assert asked == [day(5)]
    assert world.space.registry.serving("production").number == 2


def test_a_challenger_that_fails_its_gate_is_refused_with_its_reasons(world: Any, day: Day) -> None:
    missed(world, day)
    world.retrain = lambda _: world.version(reasons=("roc_auc is 0.61; the goal is at least 0.7.",))

    [_, retraining] = world.look(day(5)).actions

    assert retraining.outcome == "refused"
    assert "roc_auc is 0.61; the goal is at least 0.7." in retraining.why
    assert world.space.registry.serving("production").number == 1


def test_the_champion_again_is_no_challenger(world: Any, day: Day) -> None:
    champion = missed(world, day)
    world.retrain = lambda _: world.version(digest=champion.digest)

    [_, retraining] = world.look(day(5)).actions

    assert retraining.outcome == "refused"
    assert "nothing new to learn" in retraining.why


def test_a_challenger_that_cannot_be_released_is_recorded_and_not_trained_at_each_look(
    world: Any, day: Day
) -> None:
    world.serve(world.version())
    challenger = world.version()
    world.space.objects.put(f"{challenger.bundle}/profile.bin", b"damaged")
    trained = []
    world.retrain = lambda now: trained.append(now) or challenger
    world.outcomes(world.traffic(1, day(3), change=hopeless), day(4))

    [_, retrain] = world.look(day(5)).actions
    world.look(day(5.001))

    assert (retrain.kind, retrain.outcome) == ("retrain", "failed")
    assert "credit:2 passed its gate, but could not be promoted" in retrain.why
    assert trained == [day(5)]


def test_environments_that_ask_in_one_pass_share_one_challenger(world: Any, day: Day) -> None:
    version = world.version()
    challenger = world.version()
    trained = []
    world.retrain = lambda now: trained.append(now) or challenger
    for environment in ("dev", "production"):
        world.serve(version, environment)
        truth = world.traffic(1, day(3), change=hopeless, environment=environment)
        world.outcomes(truth, day(4))

    actions = world.look(day(5)).actions

    done = [(one.environment, one.outcome) for one in actions if one.kind == "retrain"]
    assert done == [("dev", "done"), ("production", "done")]
    assert trained == [day(5)]


def test_a_retraining_that_fails_is_recorded_and_the_watch_goes_on(world: Any, day: Day) -> None:
    missed(world, day)

    def retrain(_: datetime) -> ModelVersion:
        raise TrainingError("no candidate could be trained")

    world.retrain = retrain
    [_, retraining] = world.look(day(5)).actions

    assert retraining.outcome == "failed"
    assert "no candidate could be trained" in retraining.why


def test_retraining_cools_down_and_starts_again_after_it(world: Any, day: Day) -> None:
    missed(world, day)
    world.retrain = lambda _: world.version(reasons=("no better",))

    first = world.look(day(5))
    second = world.look(day(6))
    third = world.look(day(7))
    world.outcomes(world.traffic(1, day(30), change=hopeless), day(31))
    later = world.look(day(36))

    outcomes = [[one.outcome for one in seen.actions] for seen in (first, second, third, later)]
    assert outcomes == [
        ["done", "refused"],
        ["cooling down", "cooling down"],
        [],
        ["done", "refused"],
    ]


def test_where_approval_is_needed_the_challenger_waits_for_it(world: Any, day: Day) -> None:
    missed(world, day)
    contract = (world.space.root / "loopline.yaml").read_text()
    contract = contract.replace("production: {}", "production: {approvals: 1}")
    (world.space.root / "loopline.yaml").write_text(contract)
    world.space = type(world.space)(world.space.root, world.space.settings)
    world.retrain = lambda _: world.version()

    [_, retraining] = world.look(day(5)).actions

    assert retraining.outcome == "waiting"
    assert "loopline model approve credit:2" in retraining.why
    assert world.space.registry.serving("production").number == 1


class Broken:
    """A channel that never delivers."""

    name = "memory"
    waits, follows = True, False

    def send(self, alert: object) -> None:
        raise ChannelError("hooks.example.com answered the alert with status 500.")


def test_an_alert_that_is_not_delivered_is_recorded_and_tried_again(world: Any, day: Day) -> None:
    missed(world, day)
    told, world.told = world.told, Broken()

    first = world.look(day(5))
    world.told = told
    soon = world.look(day(5) + timedelta(seconds=30))
    later = world.look(day(5) + timedelta(minutes=2))

    why = "hooks.example.com answered the alert with status 500."
    assert [(one.outcome, one.why) for one in first.deliveries] == [("failed", why)]
    assert f"An alert was not delivered by memory: {why}" in first.notes
    assert soon.deliveries == ()
    assert [one.outcome for one in later.deliveries] == ["delivered"]
    assert len(told.alerts) == 1


def test_corrections_are_written_once(world: Any, day: Day) -> None:
    world.serve(world.version())
    truth = world.traffic(1, day(3))
    world.outcomes(truth, day(4))
    name = next(iter(truth))
    world.outcomes({name: "0" if truth[name] == "1" else "1"}, day(5))

    world.look(day(6))
    world.look(day(7))

    [event] = world.space.ledger.events(kinds=["labels.corrected"])
    assert event.payload == {"corrected": 1, "new": 1}


def test_outcomes_of_predictions_that_were_never_made_are_counted(world: Any, day: Day) -> None:
    world.serve(world.version())
    world.traffic(1, day(3))
    watch = world.watch()

    counted = [watch.once(day(4)).unknown]
    world.outcomes({"never-0": "1", "r9x0-0": "0"}, day(4))
    counted.append(watch.once(day(4.1)).unknown)
    world._numbers = itertools.count(9)  # the next prediction is one that had an outcome already
    world.traffic(1, day(4.2))
    counted.append(watch.once(day(4.3)).unknown)

    assert counted == [0, 2, 1]


def test_a_bundle_that_was_tampered_with_is_said_and_the_rest_is_watched(
    world: Any, day: Day
) -> None:
    world.serve(world.version())
    world.serve(world.version(), "dev")
    world.traffic(1, day(3))
    world.traffic(2, day(3), environment="dev")
    world.space.objects.put("bundles/credit/2/profile.bin", b"something else")

    seen = world.look(day(4))

    assert [one.environment for one in seen.watched] == ["production"]
    assert seen.folded.predictions == 200
    assert any(note.startswith("dev cannot be watched") for note in seen.notes)
    assert any("waits:" in note for note in seen.notes)


def test_a_pass_is_written_as_json(world: Any, day: Day) -> None:
    import msgspec

    world.serve(world.version())
    world.outcomes(world.traffic(1, day(3), change=in_french), day(4))

    written = msgspec.json.decode(msgspec.json.encode(world.look(day(5))))

    assert written["at"] == iso(day(5))
    assert written["watched"][0]["performance"]["labels"] == 200


def test_frames_that_a_server_lost_are_found_and_told(world: Any, day: Day) -> None:
    world.amend(("respond:", "respond:\n  - {when: log_lost > 0, do: alert}"))
    world.serve(world.version())
    world.traffic(1, day(3))
    world._segment([["n", int(day(3).timestamp() * 1e6), "log_lost", 7, 1, ""]], "production")

    seen = world.look(day(3.5))
    later = world.look(day(40))

    [finding] = [one for one in seen.findings if one.kind == "log"]
    assert finding.message.startswith("7 frames of the log of credit:1 in production were not kept")
    [action] = [one for one in seen.actions if one.rule == "log_lost > 0"]
    assert (action.kind, action.outcome) == ("alert", "done")
    assert "log" not in {one.kind for one in later.findings}  # it passed by itself


def test_rows_that_the_contract_keeps_no_longer_go_once_a_day_and_the_ledger_says_so(
    world: Any, day: Day
) -> None:
    world.amend(("  key: applicant", "  key: applicant\n  retention: 30 days"))
    world.serve(world.version())
    truth = world.traffic(1, day(3), rows=120)
    world.outcomes(truth, day(4))
    world.traffic(1, day(20), rows=50)
    watch = world.watch()
    watch.once(day(20))
    before = world.kinds("rows")

    watch.once(day(34.5))
    watch.once(day(34.6))

    assert before == []
    [event] = world.space.ledger.events(kinds=["rows.expired"])
    assert (event.payload["predictions"], event.payload["labels"]) == (120, 120)
    assert len(world.space.tables.read("predictions/credit")) == 50


def test_a_watcher_beside_another_helps_to_fold_and_judges_nothing(world: Any, day: Day) -> None:
    world.serve(world.version())
    world.serve(world.version())
    world.traffic(2, day(3), change=in_french)
    other = world.watch()

    with other._lease():
        seen = world.look(day(3.1))

    assert seen.notes[0].startswith("Another watcher judges and responds")
    assert (seen.folded.predictions, seen.is_judged) == (200, False)
    assert (seen.findings, seen.actions) == ((), ())
    assert world.space.registry.serving("production").number == 2


def test_a_token_that_ran_out_is_noted_once(world: Any, day: Day) -> None:
    access = Access(world.space.settings.home)
    access.make("batch", ["predict"], made_at=day(0), expires_at=day(2))

    notes = [world.look(day(number)).notes for number in (1, 2, 3)]

    assert notes == [(), ("The token 'batch' has run out.",), ()]
    assert world.kinds("token") == ["token.expired"]


def test_a_pair_that_stops_going_together_is_found_though_no_column_drifts(
    world: Any, day: Day
) -> None:
    pair = ("credit_amount", "purpose")
    amount = world.rows["credit_amount"].to_numpy()
    purpose = np.array(world.rows["purpose"].to_list(), object)
    counted = pairs.count_pairs(amount, purpose, (pairs.grid_for(amount), pairs.grid_for(purpose)))
    world.amend(
        ("drift: {psi: 0.2}", "drift: {psi: 0.2}, pairs: [[credit_amount, purpose]]"),
        ("housing: {type: category}", "housing: {type: category}, credit_amount: {}, purpose: {}"),
    )
    old, new = world.version(), world.version(more={"pairs.bin": pairs.encode({pair: counted})})
    world.serve(old)

    world.traffic(1, day(1))
    first = world.look(day(1.5))
    world.serve(new)
    world.traffic(2, day(2), rows=900)
    quiet = world.look(day(2.5))
    shuffled = pl.col("purpose").shuffle(seed=1)
    world.traffic(2, day(13), rows=900, change=lambda frame: frame.with_columns(shuffled))
    found = world.look(day(14))

    assert "was made before loopline.yaml asked for credit_amount:purpose" in " ".join(first.notes)
    assert quiet.notes == ()
    assert not [one for one in quiet.findings if one.kind == "correlation"]
    assert [(one.kind, one.subject) for one in found.findings if one.kind != "goal"] == [
        ("correlation", "credit_amount:purpose")
    ]
    world.amend((", pairs: [[credit_amount, purpose]]", ""))
    assert not [one for one in world.look(day(14.1)).findings if one.kind == "correlation"]
