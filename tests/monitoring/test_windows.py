"""Windows lie end to end, behind `now`."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from loopline.monitoring.windows import Window, current, earlier, mature

NOW = datetime(2013, 5, 31, 10, 20, tzinfo=UTC)


def test_the_current_window_ends_with_the_hour_that_holds_now() -> None:
    window = current(NOW, timedelta(days=7))

    assert window.text == ("2013-05-24T11:00:00Z", "2013-05-31T11:00:00Z")


@pytest.mark.parametrize(
    ("length", "hours"),
    [(timedelta(minutes=5), 1), (timedelta(hours=1), 1), (timedelta(minutes=90), 2)],
)
def test_a_window_is_at_least_an_hour_and_a_whole_number_of_them(
    length: timedelta, hours: int
) -> None:
    window = current(NOW, length)

    assert window.last - window.first == hours


def test_earlier_windows_touch_and_do_not_overlap() -> None:
    windows = earlier(current(NOW, timedelta(days=30)), 3)

    assert len(windows) == 4
    assert all(older.last == newer.first for newer, older in pairwise(windows))


def test_the_newest_window_with_enough_labels_is_judged() -> None:
    windows = [Window(20, 30), Window(10, 20), Window(0, 10)]

    assert mature(windows, {25: 3, 19: 4, 10: 6, 9: 50}, minimum=10) == Window(10, 20)
    assert mature(windows, {25: 3, 19: 4, 10: 5, 9: 50}, minimum=10) == Window(0, 10)
    assert mature(windows, {30: 99}, minimum=10) is None
