"""Quality of the data at every stage: what fails first, then what is clean, each with its past."""

from dataclasses import dataclass

from loopline.monitoring.quality import Quality
from loopline.monitoring.stages import Check, crossed, said
from loopline.publishing.watching.past import Past

_MARKED, _CLEAN = 100, 300
"""Checks that are listed, failing and clean; a thousand columns have thousands."""
_WIDTH, _HEIGHT = 60.0, 14.0
"""Of the line of a check's past, in pixels."""


@dataclass(frozen=True)
class Cell:
    """One check at one place."""

    text: str
    """As the terminal says it."""
    state: str
    """`passed`, `failed` or ``, where it was not asked."""
    line: str
    """The points of its past, where something ever failed; else empty."""
    told: str
    """The past in words."""


@dataclass(frozen=True)
class Row:
    """One check at every place."""

    column: str
    name: str
    on_fail: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Every check, at every place where it was asked."""

    told: str
    fails: bool
    places: tuple[tuple[str, str], ...]
    """Each with what was looked at there."""
    marked: tuple[Row, ...]
    """What fails or failed, what fails now first."""
    clean: tuple[Row, ...]
    more_marked: int
    more_clean: int
    """How many of each kind are not listed."""


def table(past: Past) -> Table:
    """Return the table of the page."""
    found = crossed(past.quality)
    clean = [check for check in found.checks if check.is_clean]
    marked = [check for check in found.checks if not check.is_clean]
    marked.sort(key=lambda check: not check.fails)
    return Table(
        told=found.told if past.quality else "",
        fails=bool(found.failing),
        places=tuple((place, _looked_at(found.checks, place)) for place in found.places),
        marked=tuple(_row(check, found.places) for check in marked[:_MARKED]),
        clean=tuple(_row(check, found.places) for check in clean[:_CLEAN]),
        more_marked=max(len(marked) - _MARKED, 0),
        more_clean=max(len(clean) - _CLEAN, 0),
    )


def _looked_at(checks: tuple[Check, ...], place: str) -> str:
    """Return which data a place's newest figures are of."""
    here = [check.found[place] for check in checks if place in check.found]
    newest = max(here, key=lambda one: one.history[-1].at)
    rows, at = max(one.rows for one in here), newest.history[-1].at[:16].replace("T", " ")
    since = "since " if newest.stage == "serving" else ""
    return f"{rows:,} rows, {since}{at}"


def _row(check: Check, places: tuple[str, ...]) -> Row:
    on_fail = next(iter(check.found.values())).on_fail
    return Row(
        check.column, check.name, on_fail, tuple(_cell(check.found.get(place)) for place in places)
    )


def _cell(one: Quality | None) -> Cell:
    if one is None:
        return Cell("", "", "", "")
    shares = [point.failed / point.rows if point.rows else 0.0 for point in one.history]
    told = ", ".join(f"{share:.2%}" for share in shares)
    return Cell(said(one), "passed" if one.passed else "failed", _line(shares), told)


def _line(shares: list[float]) -> str:
    """Return a line's points, oldest first, from nothing to the most that ever failed."""
    most = max(shares)
    if len(shares) < 2 or most <= 0:
        return ""
    step = (_WIDTH - 4) / (len(shares) - 1)
    return " ".join(
        f"{2 + place * step:.1f},{_HEIGHT - 2 - share / most * (_HEIGHT - 4):.1f}"
        for place, share in enumerate(shares)
    )
