"""Everything about one version where it serves: drift, service, goals, and what rules may name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from loopline.contract.schema import Contract
from loopline.counts.kernel import ColumnCounts
from loopline.data.multivariate import Apart
from loopline.monitoring import (
    alike,
    causes,
    certainty,
    drift,
    drivers,
    estimation,
    fold,
    goals,
    hours,
    multivariate,
    pairs,
    performance,
    quality,
    service,
    settled,
)
from loopline.monitoring.alike import ALONE, Alike
from loopline.monitoring.causes import Context
from loopline.monitoring.drift import Drift
from loopline.monitoring.estimation import Estimation
from loopline.monitoring.explaining import Explaining
from loopline.monitoring.findings import OPEN, Finding, Subject
from loopline.monitoring.held import Compared, Estimates, Held, compare, stretches
from loopline.monitoring.hours import INPUT, OUTPUT
from loopline.monitoring.pairs import Together
from loopline.monitoring.performance import Performance
from loopline.monitoring.reference import Reference
from loopline.monitoring.seasons import seasonal
from loopline.monitoring.service import Service
from loopline.monitoring.windows import Window, current, earlier
from loopline.registry.release import Served
from loopline.store.database import Database
from loopline.store.ledger import Event, Ledger
from loopline.store.tables import Tables

_EXAMPLES = 5


@dataclass(frozen=True)
class Figure:
    """One figure of a version in service that a rule may name."""

    value: float
    subject: str
    """The column it is of, or the metric itself."""
    rows: int
    is_mature: bool
    """Whether it rests on as many rows and labels as the contract asks for."""


@dataclass(frozen=True)
class Watched:
    """What was seen of one version where it serves."""

    environment: str
    version: int
    share: float
    shadow: bool
    window: tuple[str, str]
    rows: int
    """Predictions in the window, by the time of their event."""
    apart: int
    """Predictions that arrived in the window, of events implausibly far from it."""
    drift: tuple[Drift, ...]
    """Of inputs and outputs, worst first; empty below the contract's minimum_rows."""
    service: Service
    performance: Performance | None
    """In the newest window with enough labels; None while there is none."""
    figures: dict[str, Figure]
    estimation: Estimation | None = None
    """What outcomes to expect in the window; None where the version learned nothing of it."""
    expected: Estimation | None = None
    """The same of the window of `performance`, to be held against it."""
    compared: tuple[Compared, ...] = ()
    """Past stretches whose outcomes came since the last look, beside their estimates."""
    held: Held | None = None
    """How well the estimates of this version held until now."""
    pairs: tuple[Together, ...] = ()
    """Inputs that the contract watches together, the largest change first."""
    multivariate: Apart | None = None
    """How well the window is told from training rows; None where that was not asked, or of too few.
    """


class Survey:
    """Looks at versions, and remembers what cannot have changed since."""

    def __init__(
        self,
        contract: Contract,
        tables: Tables,
        database: Database,
        ledger: Ledger | None = None,
    ) -> None:
        """`ledger` is where releases and snapshots stand that a finding may coincide with."""
        self._estimates = None if ledger is None else Estimates(ledger)
        self._tried: dict[tuple[str, int], object] = {}
        self._contract = contract
        self._tables = tables
        self._database = database
        self._judged: dict[tuple[str, int], tuple[object, Performance | None]] = {}
        self._alike: dict[tuple[str, int, str, str], tuple[int, Alike]] = {}
        self._ledger = ledger
        self._quality = quality.Known()
        self._read: tuple[datetime, list[Event]] | None = None
        self._telling = multivariate.Telling(contract)
        self._estimated: dict[tuple[str, int, bool], tuple[object, Estimation | None]] = {}

    def look(
        self,
        environment: str,
        served: Served,
        reference: Reference,
        now: datetime,
        opened: Mapping[str, Finding] | None = None,
    ) -> tuple[Watched, list[Finding]]:
        """Return what is seen of one version, and the judgement of each promise about it.

        Outcomes are those that are counted (`settled.py`); `opened` are the findings open until
        now, by id.
        """
        contract, version = self._contract, served.version
        subject = Subject(contract.project, environment, version, now)
        window = current(now, contract.monitor.window)
        counted = hours.total(self._database, contract.project, environment, version, window)
        rows = drift.rows(counted)
        known_open = opened or {}
        drifting = _drifting(known_open, subject)
        usual, drifted = self._drift(environment, reference, counted, window, drifting)
        served_so = service.measure(counted, window)
        performed = self._perform(environment, reference, window)
        estimated = self._stated(
            environment, version, self._estimate(environment, reference, counted, window), now
        )
        judged = drift.judge(
            contract,
            subject,
            drifted,
            window,
            lambda column: self._new_values(environment, usual, window, column),
            drifting,
        )
        explaining = Explaining(contract, self._database, self._lazy, environment, usual)
        is_drifting = any(one.status == OPEN for one in judged)
        judged = causes.gather(
            judged,
            Context(
                known=known_open,
                explain=lambda column: explaining.drift(column, window),
                importances=reference.importances,
                events=self._events(now),
                money=explaining.money(estimated) if is_drifting else "",
            ),
        )
        together = pairs.measure(contract, reference, counted)
        judged += pairs.judge(contract, subject, together, window)
        apart = self._telling(
            environment, reference, lambda: self._lazy(environment, version), window, rows
        )
        judged += multivariate.judge(contract, subject, apart, window)
        judged += drivers.judge(contract.monitor, subject, reference, counted, window)
        data = self._known_quality()
        judged += quality.of_data(subject, data)
        judged += quality.judge(
            contract, subject, reference.signature, counted, data.training, window
        )
        judged += service.judge(subject, served_so)
        if served_so.requests >= contract.monitor.minimum_rows:
            judged += goals.of_service(contract, subject, served_so, known_open)
        if performed is not None:
            judged += [
                explaining.goal(finding, performed, drifted)
                for finding in goals.of_labels(contract, subject, performed, known_open)
            ]
        return Watched(
            environment=environment,
            version=version,
            share=served.share,
            shadow=served.shadow,
            window=window.text,
            rows=rows,
            apart=drift.rows(counted, "apart"),
            drift=drifted,
            service=served_so,
            performance=performed,
            figures=self._figures(drifted, served_so, performed, rows, estimated),
            estimation=estimated,
            expected=self._expected(environment, reference, performed),
            compared=self._compare(environment, reference, window),
            held=None if self._estimates is None else self._estimates.held(environment, version),
            pairs=together,
            multivariate=apart,
        ), judged

    def _known_quality(self) -> quality.Known:
        """Return what the newest runs found of their data."""
        if self._ledger is not None:
            self._quality = quality.known(self._ledger, self._quality)
        return self._quality

    def _drift(
        self,
        environment: str,
        reference: Reference,
        counted: Mapping[tuple[str, str], hours.Counts],
        window: Window,
        drifting: Collection[str],
    ) -> tuple[Reference, tuple[Drift, ...]]:
        """Return what the window was compared with, and how far each column is from it."""
        monitor = self._contract.monitor
        if drift.rows(counted) < monitor.minimum_rows:
            return reference, ()
        usual, columns = reference, frozenset[str]()
        if monitor.reference != "training":
            usual, columns = seasonal(
                self._database,
                self._contract.project,
                environment,
                reference,
                monitor,
                window,
            )
        return usual, tuple(
            self._among_days(
                environment,
                usual,
                counted,
                window,
                replace(one, against=monitor.reference) if one.column in columns else one,
                is_open=one.column in drifting,
            )
            for one in drift.measure(usual, counted)
        )

    def _among_days(
        self,
        environment: str,
        usual: Reference,
        counted: Mapping[tuple[str, str], hours.Counts],
        window: Window,
        one: Drift,
        *,
        is_open: bool,
    ) -> Drift:
        """Return a column's drift beside the chance among days, where that may excuse it.

        Nothing else needs the weeks before; they are read once a day.
        """
        is_asked = is_open or drift.is_beyond(self._contract, one)
        if not is_asked or drift.is_flagrant(one):
            return one
        kind = OUTPUT if one.kind == OUTPUT else INPUT
        expected, now = usual.profile.columns[one.column], counted[kind, one.column]
        assert isinstance(now, ColumnCounts)  # noqa: S101 - what drift was measured of
        place, day = (environment, usual.version, kind, one.column), window.first // 24
        before = self._alike.get(place)
        if before is None or before[0] != day:
            series = hours.series(
                self._database,
                self._contract.project,
                environment,
                usual.version,
                alike.before(window),
                (kind, one.column),
            )
            earlier = {
                hour: each for hour, each in series.items() if isinstance(each, ColumnCounts)
            }
            found = alike.measure(expected, earlier, window.first) if earlier else ALONE
            before = self._alike[place] = (day, found)
        return drift.among_days(one, expected, now, before[1])

    def _events(self, now: datetime) -> list[Event]:
        """Return what a finding may coincide with; read once a look."""
        if self._ledger is None:
            return []
        if self._read is None or self._read[0] != now:
            self._read = (now, self._ledger.events(kinds=causes.COINCIDING))
        return self._read[1]

    def _lazy(self, environment: str, version: int) -> pl.LazyFrame | None:
        exists = self._tables.exists(fold.table(self._contract.project))
        return self._rows(environment, version) if exists else None

    def _figures(
        self,
        drifted: tuple[Drift, ...],
        served_so: Service,
        performed: Performance | None,
        rows: int,
        estimated: Estimation | None,
    ) -> dict[str, Figure]:
        minimum = self._contract.monitor.minimum_rows
        found = {
            name: Figure(value, column, rows, is_mature=True)
            for name, (column, value) in drift.worst(drifted).items()
        }
        requests = served_so.requests
        for name, value in served_so.figures.items():
            found[name] = Figure(value, name, requests, is_mature=requests >= minimum)
        for name, number in served_so.notes.items():
            found[name] = Figure(float(number), name, requests, is_mature=True)
        if performed is not None:
            for name, value in performed.metrics.items():
                found[name] = Figure(value, name, performed.labels, is_mature=True)
        if estimated is not None:
            for name, figure in estimated.metrics.items():
                found[f"estimated_{name}"] = Figure(
                    figure.value,
                    f"estimated_{name}",
                    estimated.rows,
                    is_mature=estimated.rows >= minimum and name not in estimated.withdrawn,
                )
        return found

    def _estimate(
        self,
        environment: str,
        reference: Reference,
        counted: Mapping[tuple[str, str], hours.Counts],
        window: Window,
        share: float = 1.0,
    ) -> Estimation | None:
        """Estimate a window, unless nothing can have changed since it was last done."""
        if performance.misfit(self._contract.problem, reference.signature) is not None:
            return None
        place = (environment, reference.version, share == 1.0)
        state = (window, drift.rows(counted), share)
        before = self._estimated.get(place)
        if before is None or before[0] != state:
            found = estimation.measure(self._contract, reference, counted, window, share)
            before = self._estimated[place] = (state, found)
        return before[1]

    def _stated(
        self, environment: str, version: int, found: Estimation | None, at: datetime
    ) -> Estimation | None:
        """Return an estimate with what past misses, known `at` that time, make of it."""
        if found is None or self._estimates is None:
            return found
        return self._estimates.stated(found, environment, version, at=at)

    def _expected(
        self, environment: str, reference: Reference, performed: Performance | None
    ) -> Estimation | None:
        """Estimate the window of known outcomes, as if they were not known."""
        if performed is None or reference.expectation is None:
            return None
        window, project = performed.window, self._contract.project
        counted = hours.total(self._database, project, environment, reference.version, window)
        found = self._estimate(environment, reference, counted, window, performed.coverage)
        return self._stated(environment, reference.version, found, window.end)

    def _new_values(
        self, environment: str, reference: Reference, window: Window, column: str
    ) -> list[str]:
        """Return the most frequent values of the window that the reference does not have."""
        rows = self._rows(environment, reference.version)
        name = fold.stored_name(column, pl.String(), rows.collect_schema())
        moment = pl.col("event_time")
        found = (
            rows.filter((moment >= window.start) & (moment < window.end))
            .filter(~pl.col(name).is_in(list(reference.profile.columns[column].named)))
            .select(pl.col(name).alias("value").value_counts(sort=True, name="rows"))
            .select(pl.col("value").struct.field("value"))
        )
        return [text[:40] for text in found.head(_EXAMPLES).collect().to_series().to_list()]

    def _rows(self, environment: str, version: int) -> pl.LazyFrame:
        """Return one version's plausible predictions in one environment."""
        return self._tables.scan(fold.table(self._contract.project)).filter(
            pl.col("plausible")
            & (pl.col("environment") == environment)
            & (pl.col("version") == version)
        )

    def _perform(
        self, environment: str, reference: Reference, window: Window
    ) -> Performance | None:
        """Judge the newest window with enough labels, unless nothing can have changed since."""
        if performance.misfit(self._contract.problem, reference.signature) is not None:
            return None
        place, state = (environment, reference.version), (self._settled(), window)
        before = self._judged.get(place)
        if before is None or before[0] != state:
            found = self._measure(environment, reference, earlier(window))
            if found is not None:
                found = certainty.sure(
                    self._contract, reference, self._database, environment, found
                )
            before = self._judged[place] = (state, found)
        return before[1]

    def _settled(self) -> object:
        with self._database.read() as connection:
            return settled.state(connection, self._contract.project)

    def _compare(
        self, environment: str, reference: Reference, window: Window
    ) -> tuple[Compared, ...]:
        """Hold the estimates of stretches that passed against the outcomes that came since."""
        contract, place = self._contract, (environment, reference.version)
        misfit = performance.misfit(contract.problem, reference.signature)
        if self._estimates is None or reference.expectation is None or misfit is not None:
            return ()
        past = stretches(window)
        state = (self._settled(), past[0])
        if self._tried.get(place) == state:
            return ()
        self._tried[place] = state
        found = []
        for stretch in past:
            real = self._measure(environment, reference, [stretch])
            if real is None or not self._estimates.is_news(*place, stretch, real.labels):
                continue
            expected = self._expected(environment, reference, real)
            if expected is not None:
                found.append(compare(*place, real, expected))
        return tuple(reversed(found))

    def _measure(
        self, environment: str, reference: Reference, windows: list[Window]
    ) -> Performance | None:
        return performance.measure(self._contract, reference, self._database, environment, windows)


def _drifting(opened: Mapping[str, Finding], subject: Subject) -> frozenset[str]:
    """Return the columns of a version that are in an open finding of drift."""
    place = ("drift", subject.environment, subject.version)
    return frozenset(
        column
        for one in opened.values()
        if (one.kind, one.environment, one.version) == place
        for column in (one.subject, *one.columns)
    )
