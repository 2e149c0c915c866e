"""How well past estimates held: each stretch of time, once its outcomes came, beside its estimate.

Stretches are as long as the contract's window and lie edge to edge, so that none is judged twice.
A comparison is an event in the ledger, written again when a tenth more outcomes came.

What was missed widens what is stated next (split conformal prediction, Vovk et al., 2005): with the
absolute misses of n stretches, the interval out to the k-th smallest holds the next figure with
chance k/(n+1), if that stretch is like those. It never makes an interval narrower. Each comparison
keeps the widened interval as it was known when its stretch ended, before any outcome of it, so
whether widening helps is a count; where even that fails, the estimate is withdrawn.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from loopline.contract.metrics import METRICS
from loopline.monitoring.estimation import Estimation, Widened
from loopline.monitoring.performance import Performance
from loopline.monitoring.windows import LOOK_BACK, Window
from loopline.store.ledger import Ledger

KIND = "estimate.compared"
LEVEL = 0.95
"""How often a widened interval should hold; fewer than nineteen stretches teach less."""
_JUDGED = 12
"""So many of the newest widened intervals say whether an estimate is withdrawn."""
_CHANCE = 0.05
"""Withdrawn where so few would hold by chance no more often than this."""


@dataclass(frozen=True)
class Compared:
    """One stretch of one version: what was estimated, and what came true."""

    environment: str
    version: int
    window: tuple[str, str]
    first: int
    """Its first hour, since 1970."""
    rows: int
    labels: int
    figures: dict[str, tuple[float, float, float, float]]
    """Metric to estimate, low, high and realised."""
    widened: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Metric to low, high and level of the interval widened by what was known at its end."""

    @property
    def inside(self) -> dict[str, bool]:
        """Whether each realised figure lies in its interval."""
        return {name: low <= real <= high for name, (_, low, high, real) in self.figures.items()}

    @property
    def inside_widened(self) -> dict[str, bool]:
        """Whether each realised figure lies in its widened interval, where there was one."""
        return {
            name: low <= self.figures[name][3] <= high
            for name, (low, high, _) in self.widened.items()
            if name in self.figures
        }


@dataclass(frozen=True)
class Held:
    """How well the estimates of one version in one environment held."""

    windows: int
    """Stretches compared."""
    inside: dict[str, int]
    """Metric to how many of them had the realised figure in the 95 % interval."""
    last: Compared
    widened: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Metric to how many of the widened intervals had it inside, and of how many."""


def stretches(window: Window) -> list[Window]:
    """Return the stretches that have passed when `window` is the current one, newest first."""
    length = window.last - window.first
    newest = window.last // length
    return [
        Window((newest - number) * length, (newest - number + 1) * length)
        for number in range(1, LOOK_BACK + 1)
    ]


def compare(environment: str, version: int, found: Performance, expected: Estimation) -> Compared:
    """Hold one stretch's estimate against what came true."""
    return Compared(
        environment,
        version,
        found.window.text,
        found.window.first,
        found.rows,
        found.labels,
        {
            name: (figure.value, figure.low, figure.high, found.metrics[name])
            for name, figure in expected.metrics.items()
            if name in found.metrics
        },
        {
            name: (each.low, each.high, each.level)
            for name, each in expected.widened.items()
            if name in found.metrics
        },
    )


def widen(expected: Estimation, known: Collection[Compared]) -> Estimation:
    """Return an estimate with its intervals widened by the misses of `known`, or withdrawn."""
    widened, withdrawn = {}, {}
    for name, figure in expected.metrics.items():
        pairs = [one.figures[name] for one in known if name in one.figures]
        misses = sorted(abs(real - value) for value, _, _, real in pairs)
        if not misses:
            continue
        place = min(math.ceil(LEVEL * (len(misses) + 1)), len(misses))
        margin = misses[place - 1]
        widened[name] = Widened(
            max(min(figure.low, figure.value - margin), METRICS[name].low),
            min(max(figure.high, figure.value + margin), METRICS[name].high),
            place / (len(misses) + 1),
            len(misses),
        )
        why = _why_withdrawn(name, known)
        if why is not None:
            withdrawn[name] = why
    return replace(expected, widened=widened, withdrawn=withdrawn)


def _why_withdrawn(name: str, known: Collection[Compared]) -> str | None:
    """Return why an estimate is not to be stated any more; None where it is."""
    with_one = [one for one in known if name in one.widened and name in one.figures]
    judged = sorted(with_one, key=lambda one: one.first)[-_JUDGED:]
    inside = sum(one.inside_widened[name] for one in judged)
    level = sum(one.widened[name][2] for one in judged) / max(len(judged), 1)
    if _at_most(inside, len(judged), level) >= _CHANCE:
        return None
    return (
        f"The estimate of {name} is withdrawn: even widened by past misses, its interval held the "
        f"realised figure in {inside} of the last {len(judged)} stretches."
    )


def _at_most(hits: int, count: int, chance: float) -> float:
    """Return how likely at most `hits` of `count` are, each with `chance` (binomial)."""
    return sum(
        math.comb(count, each) * chance**each * (1 - chance) ** (count - each)
        for each in range(hits + 1)
    )


class Estimates:
    """The comparisons of one project, as the ledger holds them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._events: dict[tuple[str, int], list[tuple[datetime, Compared]]] = {}
        self._read = 0

    def of(
        self, environment: str, version: int, *, at: datetime | None = None
    ) -> Mapping[tuple[str, str], Compared]:
        """Return what was compared of a version, by stretch; with `at`, what was known then."""
        for event in self._ledger.events(kinds=[KIND], after=self._read):
            found = msgspec.convert(event.payload, Compared)
            place = self._events.setdefault((found.environment, found.version), [])
            place.append((datetime.fromisoformat(event.at), found))
            self._read = event.number
        known = self._events.get((environment, version), [])
        return {one.window: one for when, one in known if at is None or when <= at}

    def stated(
        self, expected: Estimation, environment: str, version: int, *, at: datetime
    ) -> Estimation:
        """Return an estimate as it is to be stated, by the misses that were known `at` a time."""
        return widen(expected, self.of(environment, version, at=at).values())

    def held(self, environment: str, version: int) -> Held | None:
        """Return how well estimates held; None where none was compared."""
        known = sorted(self.of(environment, version).values(), key=lambda each: each.first)
        if not known:
            return None
        inside: dict[str, int] = {}
        widened: dict[str, tuple[int, int]] = {}
        for one in known:
            for name, is_inside in one.inside.items():
                inside[name] = inside.get(name, 0) + is_inside
            for name, is_inside in one.inside_widened.items():
                hits, count = widened.get(name, (0, 0))
                widened[name] = (hits + is_inside, count + 1)
        return Held(len(known), inside, known[-1], widened)

    def is_news(self, environment: str, version: int, window: Window, labels: int) -> bool:
        """Return whether a stretch with so many outcomes is not known, or by a tenth fewer."""
        before = self.of(environment, version).get(window.text)
        return before is None or 10 * labels >= 11 * before.labels

    def record(self, compared: Compared, *, now: datetime) -> None:
        """Write a comparison to the ledger."""
        payload: dict[str, Any] = asdict(compared)
        name = f"{self._ledger.project}:{compared.version}"
        self._ledger.append(KIND, name, payload, now=now)
