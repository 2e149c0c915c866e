"""Every check of the data once, its stages beside each other: what the terminal and the page show.

Both take their rows and their words from here, so that they cannot say different things.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from loopline.monitoring.quality import Quality
from loopline.notebooks import rows_table

_STAGES = ("source", "snapshot", "features", "training", "serving", "feedback")


@dataclass(frozen=True)
class Check:
    """One check, wherever it was asked."""

    column: str
    """Empty for a check of whole rows."""
    name: str
    found: Mapping[str, Quality]
    """By the name of the place."""

    @property
    def fails(self) -> bool:
        """Whether it fails somewhere now."""
        return not all(one.passed for one in self.found.values())

    @property
    def is_clean(self) -> bool:
        """Whether nothing fails it anywhere, and nothing did."""
        return all(
            one.passed and not any(point.failed for point in one.history)
            for one in self.found.values()
        )


@dataclass(frozen=True)
class Crossed:
    """Every check by every place where it was asked."""

    places: tuple[str, ...]
    """A stage's name, and the environment's behind it where several are served."""
    checks: tuple[Check, ...] = field(repr=False)

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """A row for each check: its column, its name, and its state at each place."""
        return tuple(_row(check, self.places) for check in self.checks)

    def _repr_html_(self) -> str:
        return f"<p>{self.told}</p>{rows_table(('column', 'check', *self.places), self.rows)}"

    @property
    def failing(self) -> tuple[Check, ...]:
        """Those that fail somewhere."""
        return tuple(check for check in self.checks if check.fails)

    @property
    def told(self) -> str:
        """How many there are, and how many of them fail, in a sentence."""
        number, bad = len(self.checks), len(self.failing)
        return (
            f"{number:,} check{'' if number == 1 else 's'}, "
            f"{bad or 'none'} of them fail{'s' if bad == 1 else ''}."
        )


def _row(check: Check, places: tuple[str, ...]) -> tuple[str, ...]:
    return (check.column, check.name, *(said(check.found.get(place)) for place in places))


def crossed(found: Iterable[Quality]) -> Crossed:
    """Return the checks in the order in which data meets them."""
    known = list(found)
    served = {one.where for one in known if one.stage == "serving"}
    checks: dict[tuple[str, str], dict[str, Quality]] = {}
    places: dict[str, int] = {}
    for one in known:
        is_one_of_several = one.stage == "serving" and len(served) > 1
        place = f"{one.stage} {one.where}" if is_one_of_several else one.stage
        places.setdefault(place, _STAGES.index(one.stage))
        checks.setdefault((one.column or "", one.name), {})[place] = one
    return Crossed(
        tuple(sorted(places, key=lambda place: places[place])),
        tuple(Check(column, name, cells) for (column, name), cells in checks.items()),
    )


def said(one: Quality | None) -> str:
    """Return a check's state at one place, in a few words; nothing where it was not asked."""
    if one is None:
        return ""
    if one.note:
        return f"not asked: {one.note}"
    share = f"{one.share:.2%}"
    state = "ok" if one.passed and not one.share else share if one.passed else f"FAILS {share}"
    return state if one.trend in ("steady", "new") else f"{state} {one.trend}"
