"""A goal over time: its figures beside its limit, the baseline and what was expected."""

from dataclasses import replace

import pytest

from loopline.monitoring.estimation import Widened
from loopline.publishing.watching.sections import sections


def test_a_goal_has_its_figures_its_baseline_its_limit_and_what_was_expected(
    past, chart, history, point, rows_of
):
    made = chart(past, history(point(0, 0.71), point(1, 0.6)), "roc_auc")

    rows = rows_of(made.spec)
    by_series = {
        name: [row["value"] for row in rows if row.get("series") == name and "value" in row]
        for name in ("baseline", "limit")
    }
    assert by_series["baseline"][:2] == [0.5, 0.5]
    assert by_series["limit"][:2] == [0.65, 0.65]
    assert [(row["low"], row["high"]) for row in rows if "low" in row] == [(0.66, 0.74)] * 2
    assert made.rows[0][1:] == ("credit:1", "0.71", "0.66 to 0.74", "0.5", "600")
    assert made.title == "roc_auc not judged yet, promised at least 0.65"
    assert made.holds is None


def test_a_limit_against_the_baseline_moves_with_it(past, chart, history, point, rows_of):
    made = chart(past, history(point(0, 0.7), point(1, 0.7)), "cost_per_prediction")

    limits = {row["value"] for row in rows_of(made.spec) if row.get("series") == "limit"}
    assert sorted(limits) == [pytest.approx(2.7)]
    assert "EUR per prediction" in str(made.spec)


def test_before_any_outcome_the_estimates_stand_alone_and_hollow(
    past, chart, history, point, rows_of
):
    made = chart(past, history(point(0, None), point(1, None)), "roc_auc")

    own = [row for row in rows_of(made.spec) if row.get("series") == "v1" and "value" in row]
    assert {row["value"] for row in own} == {0.7}
    assert not any(row["firm"] for row in own)
    assert made.rows[0][2:] == ("", "0.66 to 0.74", "", "0")


def test_of_a_single_stretch_the_limit_is_a_line_all_the_same(past, chart, history, point, rows_of):
    made = chart(past, history(point(0, 0.71)), "roc_auc")

    limits = [row for row in rows_of(made.spec) if row.get("series") == "limit"]
    assert {row["at"] for row in limits} == {0, 24 * 3_600_000}


def test_of_a_single_stretch_with_outcomes_among_several_the_limit_lies_there(
    past, chart, history, point, rows_of
):
    made = chart(past, history(point(0, None), point(1, 0.71), point(2, None)), "roc_auc")

    limits = [row for row in rows_of(made.spec) if row.get("series") == "limit"]
    day = 24 * 3_600_000
    assert {row["at"] for row in limits} == {day, 2 * day}


def test_the_judged_figure_is_a_line_over_its_whole_window_and_in_the_title(
    past, chart, history, point, judgement, rows_of
):
    one = judgement(
        history(*(point(day, 0.7) for day in range(9))), "roc_auc", 0.61, 0.65, first=2, last=9
    )

    made = chart(past, one, "roc_auc")

    assert made.title == "roc_auc 0.61, promised at least 0.65"
    assert made.holds is False
    day = 24 * 3_600_000
    [line, *_] = [row for row in rows_of(made.spec) if row.get("label") == "judged 0.61"]
    assert (line["at"], line["end"], line["value"]) == (2 * day, 9 * day, 0.61)
    assert line["told"] == "5,000 outcomes"


def test_a_window_that_began_before_the_first_point_is_drawn_from_there(
    past, chart, history, point, judgement, rows_of
):
    one = judgement(history(point(3, 0.7), point(4, 0.7)), "roc_auc", 0.7, 0.65, first=-2, last=5)

    made = chart(past, one, "roc_auc")

    assert made.holds is True
    [line, *_] = [row for row in rows_of(made.spec) if row.get("label") == "judged 0.7"]
    assert (line["at"], line["end"]) == (3 * 24 * 3_600_000, 5 * 24 * 3_600_000)
    assert line["when"] == "1969-12-30 00:00 to 1970-01-06 00:00"


def test_a_promise_against_the_baseline_also_says_what_that_comes_to(
    past, chart, history, point, judgement
):
    one = judgement(history(point(0, 0.7)), "cost_per_prediction", 2.0, 2.7, first=0, last=1)

    title = chart(past, one, "cost_per_prediction").title

    assert (
        title == "cost_per_prediction 2.00 EUR, promised at most 2.70 EUR (10% below the baseline)"
    )


def test_the_band_is_as_wide_as_past_misses_made_it(past, chart, history, point, rows_of):
    one = point(0, 0.71)
    wider = replace(one.estimated, widened={"roc_auc": Widened(0.6, 0.8, 0.95, 19)})

    made = chart(past, history(replace(one, estimated=wider)), "roc_auc")

    assert {(row["low"], row["high"]) for row in rows_of(made.spec) if "low" in row} == {(0.6, 0.8)}
    assert made.rows[0][3] == "0.6 to 0.8"
    assert made.note == ""


def test_a_withdrawn_estimate_is_not_drawn_and_the_chart_says_why(
    past, chart, history, point, rows_of
):
    one = point(1, 0.71)
    gone = replace(
        one.estimated,
        widened={"roc_auc": Widened(0.6, 0.8, 0.95, 19)},
        withdrawn={"roc_auc": "It missed."},
    )

    made = chart(past, history(point(0, 0.7), replace(one, estimated=gone)), "roc_auc")

    bands = [(row["at"], row["low"]) for row in rows_of(made.spec) if "low" in row]
    assert bands == [(12 * 3_600_000, 0.66)]
    assert [row[3] for row in made.rows] == ["0.66 to 0.74", ""]
    assert made.note == "It missed."


def test_a_withdrawn_estimate_does_not_stand_in_for_outcomes(past, history, point):
    one = point(0, None)
    gone = replace(one.estimated, withdrawn={"roc_auc": "It missed."})

    found = [*sections(past, history(replace(one, estimated=gone)))]

    assert not any(each.title.startswith("roc_auc") for part in found for each in part.charts)
