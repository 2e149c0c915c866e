"""A history's stretches on the axis of time, and in words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from loopline.monitoring.history import History, Point
from loopline.monitoring.windows import HOUR, Window
from loopline.publishing.charts.over_time import Value


def span(one: History) -> str:
    """Return how long a stretch is, in words: a week."""
    return _spelled(one.hours)


def spelled(length: timedelta) -> str:
    """Return a length of time in words, in whole hours."""
    return _spelled(max(1, -(-length // timedelta(hours=1))))


def _spelled(hours: int) -> str:
    if hours % 168 == 0:
        return "a week" if hours == 168 else f"{hours // 168} weeks"
    if hours % 24 == 0:
        return "a day" if hours == 24 else f"{hours // 24} days"
    return "an hour" if hours == 1 else f"{hours} hours"


def per(one: History) -> str:
    """Return a stretch's length as it stands behind `per`: week."""
    return span(one).removeprefix("a ").removeprefix("an ")


def start(window: Window) -> int:
    """Return when a window begins, in milliseconds since 1970."""
    return window.first * HOUR // 1000


def end(window: Window) -> int:
    """Return when a window ends, in milliseconds since 1970."""
    return window.last * HOUR // 1000


def middle(window: Window) -> int:
    """Return the middle of a window, in milliseconds since 1970: where its point is drawn."""
    return (window.first + window.last) * HOUR // 2000


def milliseconds(text: str) -> int:
    """Return a written moment in milliseconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def extent(one: History) -> tuple[int, int]:
    """Return from when to when every chart goes, so that they lie under each other."""
    return start(one.points[0].window), end(one.points[-1].window)


def on(point: Point) -> str:
    """Return what a point's figures rest on."""
    known = 0 if point.performance is None else point.performance.labels
    return f"{known:,} outcomes of {point.rows:,} predictions"


def whole(one: History, values: Mapping[int, Value]) -> list[Value]:
    """Return a line's points; of a single one two, for no line goes through one."""
    if len(values) != 1 or not one.points:
        return list(values.values())
    [value] = values.values()
    [window, *_] = [
        *(each.window for each in one.points if middle(each.window) == value.at),
        one.points[0].window,
    ]
    return [replace(value, at=at) for at in (start(window), end(window))]


def continuous(values: Sequence[Value]) -> list[Value]:
    """Return one point a time and series, the later version's: two would make a zigzag."""
    return list({(one.at, one.series): one for one in values}.values())
