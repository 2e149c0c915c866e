"""How well past estimates held: each stretch of time, once its outcomes came, beside its estimate.

Stretches are as long as the contract's window and lie edge to edge, so that none is judged twice.
A comparison is an event in the ledger, written again when a tenth more outcomes came.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import msgspec

from loopline.monitoring.estimation import Estimation
from loopline.monitoring.performance import Performance
from loopline.monitoring.windows import LOOK_BACK, Window
from loopline.store.ledger import Ledger

KIND = "estimate.compared"


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

    @property
    def inside(self) -> dict[str, bool]:
        """Whether each realised figure lies in its interval."""
        return {name: low <= real <= high for name, (_, low, high, real) in self.figures.items()}


@dataclass(frozen=True)
class Held:
    """How well the estimates of one version in one environment held."""

    windows: int
    """Stretches compared."""
    inside: dict[str, int]
    """Metric to how many of them had the realised figure in the 95 % interval."""
    last: Compared


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
    )


class Estimates:
    """The comparisons of one project, as the ledger holds them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[tuple[str, int], dict[tuple[str, str], Compared]] = {}
        self._read = 0

    def of(self, environment: str, version: int) -> Mapping[tuple[str, str], Compared]:
        """Return what was compared of a version, by stretch."""
        for event in self._ledger.events(kinds=[KIND], after=self._read):
            found = msgspec.convert(event.payload, Compared)
            place = self._known.setdefault((found.environment, found.version), {})
            place[found.window] = found
            self._read = event.number
        return self._known.get((environment, version), {})

    def held(self, environment: str, version: int) -> Held | None:
        """Return how well estimates held; None where none was compared."""
        known = sorted(self.of(environment, version).values(), key=lambda each: each.first)
        if not known:
            return None
        inside: dict[str, int] = {}
        for one in known:
            for name, is_inside in one.inside.items():
                inside[name] = inside.get(name, 0) + is_inside
        return Held(len(known), inside, known[-1])

    def is_news(self, environment: str, version: int, window: Window, labels: int) -> bool:
        """Return whether a stretch with so many outcomes is not known, or by a tenth fewer."""
        before = self.of(environment, version).get(window.text)
        return before is None or 10 * labels >= 11 * before.labels

    def record(self, compared: Compared, *, now: datetime) -> None:
        """Write a comparison to the ledger."""
        payload: dict[str, Any] = asdict(compared)
        name = f"{self._ledger.project}:{compared.version}"
        self._ledger.append(KIND, name, payload, now=now)
