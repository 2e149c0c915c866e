"""A look back: the same figures as the look of that day, for every stretch of time."""

import importlib.util
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from loopline.monitoring import gauges, history
from loopline.monitoring.reference import References
from loopline.monitoring.windows import Window

_spec = importlib.util.spec_from_file_location(
    "publishing_world", Path(__file__).parents[1] / "publishing" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

applicants, world, day = _module.applicants, _module.world, _module.day
lived, read_only = _module.lived, _module.read_only


def read(world, now):
    space = world.space
    return history.read(space.contract, space.database, References(space.registry), now)


def test_every_prediction_outcome_and_request_is_in_one_stretch(lived, day):
    [one] = read(lived, day(17))

    assert one.environment == "production"
    assert one.versions == [1, 2]
    assert sum(point.rows for point in one.points) == 6 * 200 + 200 + 200
    known = [point.performance.labels for point in one.points if point.performance]
    assert sum(known) == 6 * 200
    assert sum(point.service.requests for point in one.points) == 8 * 200 + 10
    assert sum(point.service.failed for point in one.points) == 10


def test_stretches_are_equal_without_gaps_and_long_enough_to_judge(lived, day):
    [one] = read(lived, day(17))
    windows = sorted({point.window for point in one.points}, key=lambda window: window.first)

    assert {window.last - window.first for window in windows} == {one.hours}
    assert all((b.first - a.first) % one.hours == 0 for a, b in pairwise(windows))
    # 1,600 predictions in 15 days; 150 outcomes are needed: 36 hours, of which two days are whole.
    assert one.hours == 48
    assert all(window.first % 24 == 0 for window in windows)


def test_the_newest_window_is_that_of_the_version_that_answered_last(lived, day):
    [one] = read(lived, day(17))

    assert one.version == 1
    assert one.window.end == day(15) + timedelta(hours=1)
    assert one.window.last - one.window.first == 240
    assert one.rows == 200 * 3 + 200  # of days 6, 8, 10 and 15
    assert {pair.drift.column for pair in one.pairs} == {
        "age_in_years", "credit_amount", "purpose", "housing", "probability"
    }  # fmt: skip
    psi = [pair.drift.figures["psi"] for pair in one.pairs]
    assert psi == sorted(psi, reverse=True)


def test_the_watcher_goals_gauges_and_the_look_back_tell_the_same_number(lived, day):
    [one] = read(lived, day(12))
    assert one.performance is not None
    assert one.performing == 1
    judged = {finding.subject: finding for finding in one.judged}
    assert set(judged) == {
        "roc_auc", "cost_per_prediction", "selection_rate by housing", "latency_p99"
    }  # fmt: skip

    at_its_end = one.performance.window.end - timedelta(hours=1)
    seen = lived.look(at_its_end)
    shown = gauges.exposition("credit", seen.watched, seen.judged, (), seen.waiting, 0.0).decode()

    [watched] = [each for each in seen.watched if each.performance is not None]
    assert watched.performance == one.performance
    told = {finding.subject: finding for finding in seen.judged}
    for name in ("roc_auc", "cost_per_prediction", "selection_rate by housing"):
        value = judged[name].value
        assert told[name].value == value
        [gauge] = [
            line for line in shown.splitlines() if f'goal="{name}"' in line and "_value" in line
        ]
        assert float(gauge.split()[-1]) == value
    assert judged["roc_auc"].value == one.performance.metrics["roc_auc"]


def test_a_stretch_with_few_outcomes_says_so(lived, day):
    lived.traffic(1, day(16.5), rows=100)

    [one] = read(lived, day(17))

    firm = {point.is_mature for point in one.points if point.performance is not None}
    assert firm <= {True, False}
    assert all(
        point.is_mature == (point.performance is not None and point.performance.labels >= 150)
        for point in one.points
    )


def test_a_version_whose_bundle_is_gone_is_left_out_and_said(lived, day):
    for file in (lived.space.root / ".loopline" / "store" / "bundles" / "credit" / "2").glob("*"):
        file.unlink()

    [one] = read(lived, day(17))

    assert one.versions == [1]
    assert "Version 2 of production is left out" in one.notes[0]


def test_what_came_after_the_moment_asked_for_is_not_there_yet(lived, day):
    [one] = read(lived, day(1))

    assert one.points[0].window.first == one.points[-1].window.first
    assert Window(one.points[0].window.first, one.points[0].window.last).start <= day(1)
