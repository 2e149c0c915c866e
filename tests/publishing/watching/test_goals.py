"""A goal over time: its figures beside its limit, the baseline and what was expected."""

import pytest


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
    assert made.title == "roc_auc: at least 0.65"


def test_a_limit_against_the_baseline_moves_with_it(past, chart, history, point, rows_of):
    made = chart(past, history(point(0, 0.7), point(1, 0.7)), "cost_per_prediction")

    limits = {row["value"] for row in rows_of(made.spec) if row.get("series") == "limit"}
    assert sorted(limits) == [pytest.approx(2.7)]
    assert "EUR per prediction" in str(made.spec)


def test_before_any_outcome_the_estimates_stand_alone_and_hollow(
    past, chart, history, point, rows_of
):
    made = chart(past, history(point(0, None), point(1, None)), "roc_auc")

    own = [row for row in rows_of(made.spec) if row.get("series") == "credit:1" and "value" in row]
    assert {row["value"] for row in own} == {0.7}
    assert not any(row["firm"] for row in own)
    assert made.rows[0][2:] == ("", "0.66 to 0.74", "", "0")


def test_of_a_single_stretch_the_limit_is_a_line_all_the_same(past, chart, history, point, rows_of):
    made = chart(past, history(point(0, 0.71)), "roc_auc")

    limits = [row for row in rows_of(made.spec) if row.get("series") == "limit"]
    assert {row["at"] for row in limits} == {0, 24 * 3_600_000}
