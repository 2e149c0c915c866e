"""Checks by stage: each once, where it was asked, and in the words that every reader gets."""

from dataclasses import replace

from loopline.monitoring.quality import Point, Quality
from loopline.monitoring.stages import crossed, said

PAST = (Point("2026-03-01T00:00:00Z", 100, 0), Point("2026-03-02T00:00:00Z", 100, 3))
FAILING = Quality(
    "serving", "production", "age", "minimum 18", "warn", 100, 3, 0.03, 0.01, False, "worse", PAST
)
CLEAN = replace(
    FAILING, stage="source", where="people.csv", failed=0, share=0.0, passed=True, trend="steady",
    history=PAST[:1],
)  # fmt: skip


def test_a_check_is_one_row_whose_stages_stand_in_the_order_of_the_data():
    table = crossed([FAILING, CLEAN])

    assert table.places == ("source", "serving")
    [check] = table.checks
    assert (check.column, check.name) == ("age", "minimum 18")
    assert [said(check.found[place]) for place in table.places] == ["ok", "FAILS 3.00% worse"]
    assert table.told == "1 check, 1 of them fails."


def test_what_two_environments_were_sent_stands_apart():
    table = crossed([FAILING, replace(FAILING, where="staging", passed=True)])

    assert table.places == ("serving production", "serving staging")
    assert [said(table.checks[0].found[place]) for place in table.places] == [
        "FAILS 3.00% worse", "3.00% worse"
    ]  # fmt: skip


def test_what_failed_once_is_not_clean_although_it_passes_now():
    past = (Point("2026-03-01T00:00:00Z", 100, 3), Point("2026-03-02T00:00:00Z", 100, 0))
    mended = replace(CLEAN, history=past, trend="better")

    [now, never] = crossed([mended, replace(CLEAN, name="maximum 99")]).checks

    assert (now.is_clean, never.is_clean) == (False, True)
    assert not crossed([mended]).failing
    assert said(mended) == "ok better"


def test_where_a_check_was_not_asked_nothing_is_said():
    assert said(None) == ""
    assert crossed([]).checks == ()
    assert crossed([]).told == "0 checks, none of them fail."


def test_a_notebook_shows_every_check_as_a_row_and_no_name_as_a_tag():
    hostile = replace(CLEAN, column="<b>age</b>")

    shown = crossed([FAILING, hostile])._repr_html_()

    assert shown.startswith("<p>2 checks, 1 of them fails.</p><table>")
    assert shown.count("<tr>") == 3
    assert "FAILS 3.00% worse" in shown
    assert "<b>" not in shown
    assert "&lt;b&gt;age&lt;/b&gt;" in shown
