"""What became of the promises over time: one environment's past, in stretches of equal length.

Read from the counts by the hour, those of outcomes included, and nothing else: a look back changes
nothing, takes no longer for a billion predictions, and gives the figures that the watcher gave.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select

from loopline.contract.schema import Contract
from loopline.counts.kernel import ColumnCounts
from loopline.counts.pairs import Association
from loopline.errors import BundleRefusedError, UnknownVersionError
from loopline.monitoring import (
    certainty,
    drift,
    estimation,
    goals,
    hours,
    pairs,
    performance,
    service,
)
from loopline.monitoring.drift import Drift
from loopline.monitoring.estimation import Estimation
from loopline.monitoring.findings import Finding, Subject
from loopline.monitoring.held import Estimates
from loopline.monitoring.hours import INPUT, OUTPUT, ROWS
from loopline.monitoring.pairs import Together
from loopline.monitoring.performance import Performance
from loopline.monitoring.reference import Reference
from loopline.monitoring.service import Service
from loopline.monitoring.windows import HOUR, Window, current, microseconds
from loopline.store.database import Database, counts

POINTS = 48
"""At most so many stretches: more would be dust on a page."""
WINDOWS = 26
"""How far back: half a year of weeks."""
_DAY = 24
_STEPS = (1, 2, 3, 6, 12, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY)


@dataclass(frozen=True)
class Point:
    """One version in one stretch of time."""

    version: int
    window: Window
    rows: int
    """Predictions, by the time of their event."""
    drift: tuple[Drift, ...]
    """Worst first; empty below the contract's minimum_rows."""
    service: Service
    performance: Performance | None
    """None without any label."""
    is_mature: bool
    """Whether the outcomes are as many as the contract asks for."""
    estimated: Estimation | None = None
    """What outcomes were to be expected, known or not; None where the version cannot tell."""
    together: Mapping[str, Association] = field(default_factory=dict)
    """Of the contract's pairs; those with `monitor.minimum_rows`."""


@dataclass(frozen=True)
class Pair:
    """One column as the version was made from it, and as it is now."""

    drift: Drift
    reference: ColumnCounts
    current: ColumnCounts


@dataclass(frozen=True)
class History:
    """One environment's past."""

    environment: str
    hours: int
    """How long each stretch is."""
    points: tuple[Point, ...]
    """By time, then version."""
    version: int
    """The version that answered last: what `window`, `pairs` and `performance` are of."""
    window: Window
    """The newest window of the contract's length with predictions in it."""
    rows: int
    pairs: tuple[Pair, ...]
    """Of each watched column, the largest drift first."""
    service: Service
    """In the same window."""
    judged: tuple[Finding, ...]
    """The contract's goals and fairness rules: of the service in that window, of outcomes in the
    newest one that has enough of them."""
    performance: Performance | None
    """In that one; None where there is none."""
    performing: int
    """The version it is of."""
    notes: tuple[str, ...]
    """What could not be read, and why."""
    together: tuple[Together, ...] = ()
    """How the contract's pairs go together in the window of `pairs`, the largest change first."""

    @property
    def versions(self) -> list[int]:
        """Those that answered, in order."""
        return sorted({point.version for point in self.points})


@dataclass(frozen=True)
class _Span:
    version: int
    window: Window


def read(
    contract: Contract,
    database: Database,
    reference: Callable[[int], Reference],
    now: datetime,
    opened: Collection[str] = (),
    estimates: Estimates | None = None,
) -> list[History]:
    """Return the past of each environment that ever answered, in the contract's order, last first.

    The last environment of a contract is the one that matters most. `opened` are the ids of the
    findings that are open: what chance may explain stays so, as the watcher has it. By `estimates`
    those of each stretch are stated as past misses, known when it ended, widen or withdraw them.
    """
    spans = _spans(database, contract.project, now)
    order = list(contract.environments)
    names = sorted(spans, key=lambda name: -order.index(name) if name in order else 1)
    reader = _Reader(contract, database, reference, now, opened, estimates)
    return [reader.history(name, spans[name]) for name in names]


def _spans(database: Database, project: str, now: datetime) -> dict[str, list[_Span]]:
    """Return the hours of which something is counted, by environment and version."""
    query = (
        select(
            counts.c.environment,
            counts.c.version,
            func.min(counts.c.hour).label("first"),
            func.max(counts.c.hour).label("last"),
        )
        .where(counts.c.project == project, counts.c.hour <= microseconds(now))
        .group_by(counts.c.environment, counts.c.version)
    )
    found: dict[str, list[_Span]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            window = Window(row.first // HOUR, row.last // HOUR + 1)
            found.setdefault(row.environment, []).append(_Span(row.version, window))
    return found


class _Reader:
    def __init__(
        self,
        contract: Contract,
        database: Database,
        reference: Callable[[int], Reference],
        now: datetime,
        opened: Collection[str],
        estimates: Estimates | None,
    ) -> None:
        self._now = now
        self._estimates = estimates
        self._opened = opened
        self._contract = contract
        self._database = database
        self._reference = reference
        # Whatever outcomes there are: how many they are is said beside each figure.
        monitor = contract.monitor.model_copy(update={"minimum_labels": 1})
        self._any = contract.model_copy(update={"monitor": monitor})

    def history(self, environment: str, spans: list[_Span]) -> History:
        notes = []
        usable = []
        for span in spans:
            try:
                self._reference(span.version)
            except (UnknownVersionError, BundleRefusedError) as error:
                notes.append(f"Version {span.version} of {environment} is left out: {error}")
            else:
                usable.append(span)
        if not usable:
            nothing = Window(0, 1)
            served = service.measure({}, nothing)
            return History(environment, 1, (), 0, nothing, 0, (), served, (), None, 0, tuple(notes))
        length = int(self._contract.monitor.window / timedelta(hours=1)) or 1
        last = max(span.window.last for span in usable)
        first = max(min(span.window.first for span in usable), last - WINDOWS * length)
        step = self._step(environment, Window(first, last), length)
        points = tuple(self._points(environment, usable, _stretches(first, last, step)))
        newest = max(usable, key=lambda span: (span.window.last, span.version))
        window = current(newest.window.end - timedelta(microseconds=1), timedelta(hours=length))
        reference = self._reference(newest.version)
        counted = hours.total(
            self._database, self._contract.project, environment, newest.version, window
        )
        served = service.measure(counted, window)
        performing, performed = self._newest(environment, points, length)
        return History(
            environment=environment,
            hours=step,
            points=points,
            version=newest.version,
            window=window,
            rows=drift.rows(counted),
            pairs=tuple(_pairs(reference, counted)),
            together=pairs.measure(self._contract, reference, counted),
            service=served,
            judged=tuple(self._judged(environment, newest.version, served, performing, performed)),
            performance=performed,
            performing=performing,
            notes=tuple(notes),
        )

    def _step(self, environment: str, span: Window, length: int) -> int:
        """Return how long stretches are: few enough to see, long enough to hold enough rows."""
        counted = [
            each
            for version in self._versions(environment)
            for each in hours.series(
                self._database, self._contract.project, environment, version, span, (ROWS, "")
            ).values()
        ]
        total = sum(each["whole"] for each in counted if isinstance(each, Counter))
        monitor = self._contract.monitor
        wanted = max(monitor.minimum_rows, monitor.minimum_labels)
        whole = span.last - span.first
        for step in _STEPS:
            if step >= length:
                break
            if whole / step <= POINTS and total * step / whole >= wanted:
                return step
        return length

    def _versions(self, environment: str) -> list[int]:
        query = (
            select(counts.c.version)
            .where(counts.c.project == self._contract.project, counts.c.environment == environment)
            .distinct()
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def _points(
        self, environment: str, spans: list[_Span], stretches: list[Window]
    ) -> Iterator[Point]:
        minimum = self._contract.monitor
        for window in stretches:
            for span in spans:
                if span.window.last <= window.first or span.window.first >= window.last:
                    continue
                reference = self._reference(span.version)
                counted = hours.total(
                    self._database, self._contract.project, environment, span.version, window
                )
                rows = drift.rows(counted)
                served = service.measure(counted, window)
                if not rows and not served.requests:
                    continue
                judged = rows >= minimum.minimum_rows
                performed = self._perform(environment, reference, window)
                yield Point(
                    version=span.version,
                    window=window,
                    rows=rows,
                    drift=drift.measure(reference, counted) if judged else (),
                    service=served,
                    performance=performed,
                    is_mature=performed is not None and performed.labels >= minimum.minimum_labels,
                    estimated=self._estimate(environment, reference, counted, window)
                    if judged
                    else None,
                    together=pairs.now(self._contract, reference, counted),
                )

    def _estimate(
        self,
        environment: str,
        reference: Reference,
        counted: dict[tuple[str, str], hours.Counts],
        window: Window,
    ) -> Estimation | None:
        if performance.misfit(self._contract.problem, reference.signature) is not None:
            return None
        found = estimation.measure(self._contract, reference, counted, window)
        if found is None or self._estimates is None:
            return found
        return self._estimates.stated(found, environment, reference.version, at=window.end)

    def _perform(
        self, environment: str, reference: Reference, window: Window
    ) -> Performance | None:
        return self._measure(self._any, environment, reference, [window])

    def _newest(
        self, environment: str, points: tuple[Point, ...], length: int
    ) -> tuple[int, Performance | None]:
        """Return version and figures of the newest window that has enough outcomes."""
        labelled = [point for point in points if point.performance is not None]
        for point in reversed(labelled):
            last = point.window.last
            windows = [Window(last - length, last)]
            found = self._measure(
                self._contract, environment, self._reference(point.version), windows
            )
            if found is not None:
                own = self._reference(point.version)
                return point.version, certainty.sure(
                    self._contract, own, self._database, environment, found
                )
        return 0, None

    def _judged(
        self,
        environment: str,
        version: int,
        served: Service,
        performing: int,
        performed: Performance | None,
    ) -> list[Finding]:
        contract = self._contract
        found: list[Finding] = []
        if performed is not None:
            subject = Subject(contract.project, environment, performing, self._now)
            found += goals.of_labels(contract, subject, performed, self._opened)
        if served.requests >= contract.monitor.minimum_rows:
            subject = Subject(contract.project, environment, version, self._now)
            found += goals.of_service(contract, subject, served, self._opened)
        return found

    def _measure(
        self, contract: Contract, environment: str, reference: Reference, windows: list[Window]
    ) -> Performance | None:
        if performance.misfit(contract.problem, reference.signature) is not None:
            return None
        return performance.measure(contract, reference, self._database, environment, windows)


def _stretches(first: int, last: int, step: int) -> list[Window]:
    """Return windows of `step` hours that hold all hours; whole days where they are that long."""
    if step % _DAY == 0:
        last = -(-last // _DAY) * _DAY
    number = -(-(last - first) // step)
    return [Window(last - k * step, last - (k - 1) * step) for k in range(number, 0, -1)]


def _pairs(reference: Reference, counted: dict[tuple[str, str], hours.Counts]) -> Iterator[Pair]:
    for one in drift.measure(reference, counted):
        here = counted[OUTPUT if one.kind == OUTPUT else INPUT, one.column]
        if isinstance(here, ColumnCounts):
            yield Pair(one, reference.profile.columns[one.column], here)
