"""Quiet hours by the clock of a place, through its summer and winter."""

from datetime import UTC, datetime

import pytest

from loopline.contract.quiet import Quiet


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "quiet"),
    [
        ("2026-01-15T11:00", True),  # 22:00 in Sydney's summer (UTC+11)
        ("2026-01-15T10:59", False),
        ("2026-01-15T19:59", True),
        ("2026-01-15T20:00", False),  # 07:00
        ("2026-07-15T11:59", False),  # 21:59 in its winter (UTC+10)
        ("2026-07-15T12:00", True),
        ("2026-07-15T20:59", True),
    ],
)
def test_a_night_over_midnight_goes_by_the_clock_there(now, quiet):
    assert Quiet.parse("22:00-07:00 Australia/Sydney").holds(at(now)) is quiet


@pytest.mark.parametrize(
    ("now", "ends"),
    [("2026-01-15T11:00", "2026-01-15T20:00"), ("2026-01-15T14:00", "2026-01-15T20:00")],
)
def test_they_end_in_the_morning_that_follows(now, ends):
    assert Quiet.parse("22:00-07:00 Australia/Sydney").ends(at(now)) == at(ends)


def test_without_a_zone_they_are_utc_and_within_a_day_too():
    lunch = Quiet.parse("12:00-13:30")

    assert str(lunch) == "12:00-13:30 UTC"
    assert lunch.holds(at("2026-01-15T13:29"))
    assert not lunch.holds(at("2026-01-15T13:30"))
    assert lunch.ends(at("2026-01-15T12:10")) == at("2026-01-15T13:30")
    assert Quiet.parse(str(lunch)) == lunch


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("night", "written 22:00-07:00"),
        ("25:00-07:00", "between 00:00 and 23:59"),
        ("22:00-22:00", "never begin, or never end"),
        ("22:00-07:00 Mars/Olympus", "no time zone 'Mars/Olympus'"),
        ("22:00-07:00 ../../etc/passwd", "no time zone|written"),
    ],
)
def test_what_are_no_quiet_hours_is_refused_with_what_would_be(text, why):
    with pytest.raises(ValueError, match=why):
        Quiet.parse(text)
