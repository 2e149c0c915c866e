"""Data quality at every stage, from the source to the outcomes, in one list of records.

Runs leave what they found in the ledger. What callers send is counted while the log is folded, by
the same checks and by the hour: integers that add. Whether a share at serving is as it was among
the rows that trained the model is judged by chance: three standard errors.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import select

from loopline.contract.schema import Contract, OnFail
from loopline.data.conforming import Conformed
from loopline.data.quality import CHECKED, Stage, Tally, recorded
from loopline.data.validation import row_checks
from loopline.errors import RowSqlError
from loopline.model.bundle import open_bundle
from loopline.model.signature import Signature
from loopline.monitoring import hours, labels
from loopline.monitoring.findings import Finding, Subject
from loopline.monitoring.hours import CHECKS, Cell, Counts
from loopline.monitoring.segments import DTYPES, Typed
from loopline.monitoring.windows import HOUR, Window
from loopline.pipeline.workspace import Workspace
from loopline.store.database import Database, counts
from loopline.store.ledger import Ledger
from loopline.store.tables import Tables

POINTS = 10
"""Of a check's history at most."""
_ROWS = "rows"
_ERRORS = 3.0
"""Standard errors that a share at serving may lie above that of training."""


@dataclass(frozen=True)
class Point:
    """One look at a check."""

    at: str
    """When, in UTC; of serving and feedback, when the time looked at begins."""
    rows: int
    failed: int


@dataclass(frozen=True)
class Quality:
    """One check at one stage, as it is and as it was."""

    stage: Stage
    where: str
    """The snapshot or the refused source, the environment, or the table of outcomes."""
    column: str | None
    name: str
    on_fail: OnFail
    rows: int
    failed: int
    share: float
    limit: float
    """The share that may fail."""
    passed: bool
    trend: str
    """`better`, `worse`, `steady` or `new`: the share beside its mean before."""
    history: tuple[Point, ...]
    """Oldest first, the present last."""
    note: str = ""
    """Why it was not asked here; empty where it was."""


class Checks:
    """Counts the contract's checks over what is folded."""

    def __init__(self, contract: Contract | None) -> None:
        self._contract = contract
        self._asked: dict[int, Contract] = {}
        """By version: what can be asked of its requests, for parsing rules takes its time."""

    def __call__(
        self, found: Typed, signature: Signature, place: tuple[str, int]
    ) -> dict[Cell, Counts]:
        """Return how many of the plausible rows fail each check, by the hour of the event."""
        if self._contract is None or not found.inputs:
            return {}
        types = {each.name: each.type for each in signature.inputs if each.logged}
        frame = pl.DataFrame(list(found.inputs))
        if place[1] not in self._asked:
            self._asked[place[1]] = _without_key(self._contract, types)
        checks = row_checks(Conformed(frame, dict(types), {}), self._asked[place[1]])
        gaps = [
            name
            for name, column in self._contract.data.columns.items()
            if column.missing_at_most is not None and name in types
        ]
        if not checks and not gaps:
            return {}
        masks = [check.fails.fill_null(value=False).alias(f"{n}") for n, check in enumerate(checks)]
        masks += [pl.col(name).is_null().alias(f"{len(checks) + n}") for n, name in enumerate(gaps)]
        failing = frame.select(masks).to_numpy()[found.is_plausible]
        named = [(check.column or "", check.name) for check in checks]
        named += [(name, _missing(self._contract, name)) for name in gaps]
        cells: dict[Cell, Counts] = {}
        by_hour = found.hours[found.is_plausible]
        for hour in np.unique(by_hour).tolist():
            here = failing[by_hour == hour]
            for (column, name), failed in zip(named, here.sum(axis=0).tolist(), strict=True):
                cell = cells.setdefault(Cell(*place, hour, column, CHECKS), Counter())
                assert isinstance(cell, Counter)  # noqa: S101 - made so here
                cell[_ROWS] = len(here)
                cell[name] = int(failed)
        return cells


def asked(contract: Contract, signature: Signature) -> dict[str, list[str]]:
    """Return the checks that are asked of requests, by column; those of rules under ""."""
    types = {each.name: each.type for each in signature.inputs if each.logged}
    nothing = pl.DataFrame(schema={name: DTYPES[kind] for name, kind in types.items()})
    found: dict[str, list[str]] = {}
    for check in row_checks(Conformed(nothing, dict(types), {}), _without_key(contract, types)):
        found.setdefault(check.column or "", []).append(check.name)
    for name, column in contract.data.columns.items():
        if column.missing_at_most is not None and name in types:
            found.setdefault(name, []).append(_missing(contract, name))
    return found


def _missing(contract: Contract, name: str) -> str:
    limit = contract.data.columns[name].missing_at_most
    return f"missing at most {limit:.4g}"


def _without_key(contract: Contract, types: Mapping[str, str]) -> Contract:
    """Return the contract with what can be asked of single requests: no unique key, known columns.

    Rules that need a column which is not sent, as the target's, are left out.
    """
    from loopline.data.row_sql import parse

    rules = []
    for check in contract.data.checks:
        if check.rule is None:
            continue
        try:
            parse(check.rule, types)
        except RowSqlError:
            continue
        rules.append(check)
    data = contract.data.model_copy(update={"key": None, "checks": rules})
    return contract.model_copy(update={"data": data})


@dataclass(frozen=True)
class Known:
    """What the newest runs found of their data."""

    training: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Each check's share of failing training rows."""
    source: tuple[Tally, ...] = ()
    """What the newest run, also a refused one, found at the source."""
    where: str = ""
    at: str = ""
    event: int = 0


def known(ledger: Ledger, before: Known | None = None) -> Known:
    """Return what the newest runs found; `before` is what was known so far."""
    found = before or Known()
    for event in ledger.events(kinds=[CHECKED], after=found.event):
        tallies = recorded(event.payload)
        training = {(t.column or "", t.name): t.share for t in tallies if t.stage == "training"}
        source = tuple(t for t in tallies if t.stage == "source")
        found = Known(training or found.training, source, event.subject, event.at, event.number)
    return found


def of_data(subject: Subject, found: Known) -> list[Finding]:
    """Judge each check of the newest data, which the next version would be made of."""
    return [
        subject.judge(
            "quality",
            f"source, {one.column}: {one.name}" if one.column else f"source, {one.name}",
            holds=one.passed,
            metric="failing_rate",
            value=one.share,
            limit=0.0,
            window=(found.at, found.at),
            rows=one.rows,
            labels=None,
            message=f"{one.failed:,} of {one.rows:,} rows ({one.share:.2%}) of {found.where} fail "
            f"'{one.column or ''}{': ' if one.column else ''}{one.name}', which is to "
            f"{one.on_fail}; checked {found.at}.",
            evidence={"failed": one.failed, "on_fail": one.on_fail},
        )
        for one in found.source
    ]


def judge(
    contract: Contract,
    subject: Subject,
    signature: Signature,
    counted: Mapping[tuple[str, str], Counts],
    before: Mapping[tuple[str, str], float],
    window: Window,
) -> list[Finding]:
    """Judge the share of requests that fail each check beside that of the training rows."""
    found, names = [], asked(contract, signature)
    for (kind, column), each in counted.items():
        if kind != CHECKS or not isinstance(each, Counter):
            continue
        rows = each[_ROWS]
        if rows < contract.monitor.minimum_rows:
            continue
        for name in names.get(column, ()):
            share = each[name] / rows
            limit = _limit(name, before.get((column, name), 0.0), rows)
            what = f"{column}: {name}" if column else name
            state = "fail" if share > limit else "fail no more than chance"
            found.append(
                subject.judge(
                    "quality",
                    what,
                    holds=share <= limit,
                    metric="failing_rate",
                    value=share,
                    limit=limit,
                    window=window.text,
                    rows=rows,
                    labels=None,
                    message=f"{share:.2%} of {rows:,} requests to {subject.name} {state} "
                    f"'{what}', {window}; of the training rows "
                    f"{before.get((column, name), 0.0):.2%} did.",
                    evidence={"failed": each[name], "training": before.get((column, name), 0.0)},
                )
            )
    return found


def _limit(name: str, before: float, rows: int) -> float:
    """Return the share that may fail: what is promised, or what chance makes of what was usual."""
    if name.startswith("missing at most "):
        return float(name.rsplit(" ", 1)[1])
    if not rows:
        return before
    share = min(max(before, 1 / rows), 1.0)
    return before + _ERRORS * math.sqrt(share * (1 - share) / rows)


def report(
    contract: Contract,
    ledger: Ledger,
    database: Database,
    tables: Tables,
    signature: Signature | None,
    now: datetime,
) -> list[Quality]:
    """Return every check at every stage: source, snapshot, features, training, serving, feedback.

    `signature` is that of the newest version, which says what callers send and what outcomes may
    be; without one neither is looked at.
    """
    found = list(_of_runs(ledger))
    before = known(ledger).training
    if signature is not None:
        found += _of_serving(contract, database, signature, before, now)
        found += _of_feedback(contract, tables, signature)
    return found


def of_project(space: Workspace, now: datetime) -> list[Quality]:
    """Return every check of a project at every stage."""
    versions, signature = space.registry.all(), None
    if versions:
        newest = versions[-1]
        bundle = open_bundle(space.objects, space.keys, newest.bundle, newest.bundle_digest)
        signature = bundle.signature
    found = report(space.contract, space.ledger, space.database, space.tables, signature, now)
    if signature is not None:
        from loopline.monitoring.suites import asked_of_log  # which has its records from here

        found += asked_of_log(space.contract, space.tables, space.root, signature, now)
    return found


def _of_runs(ledger: Ledger) -> Iterable[Quality]:
    events = ledger.events(kinds=[CHECKED])[-POINTS:]
    told: dict[tuple[Stage, str | None, str], list[tuple[Point, Tally]]] = {}
    newest: dict[Stage, tuple[str, str]] = {}
    for event in events:
        for one in recorded(event.payload):
            point = Point(event.at, one.rows, one.failed)
            told.setdefault((one.stage, one.column, one.name), []).append((point, one))
            newest[one.stage] = (event.at, event.subject)
    for (stage, _, name), points in told.items():
        at, where = newest[stage]
        if points[-1][0].at != at:
            continue  # the contract asks for it no more
        one = points[-1][1]
        limit = 0.0 if not name.startswith("missing at most ") else _limit(name, 0.0, 1)
        history = tuple(point for point, _ in points)
        yield quality_of(stage, where, one, limit, history)


def quality_of(
    stage: Stage, where: str, one: Tally, limit: float, history: tuple[Point, ...]
) -> Quality:
    """Return a check's newest look and those before it as one record."""
    return Quality(
        stage, where, one.column, one.name, one.on_fail, one.rows, one.failed, one.share,
        limit, one.passed, "new" if one.note else _trend(history), history, one.note,
    )  # fmt: skip


def _trend(history: tuple[Point, ...]) -> str:
    *earlier, present = (point.failed / point.rows if point.rows else 0.0 for point in history)
    if not earlier:
        return "new"
    mean = sum(earlier) / len(earlier)
    rows = max(history[-1].rows, 1)
    share = min(max(mean, 1 / rows), 1.0)
    noise = _ERRORS * math.sqrt(share * (1 - share) / rows)
    if abs(present - mean) <= noise:
        return "steady"
    return "worse" if present > mean else "better"


def _of_serving(
    contract: Contract,
    database: Database,
    signature: Signature,
    before: Mapping[tuple[str, str], float],
    now: datetime,
) -> Iterable[Quality]:
    length = max(int(contract.monitor.window.total_seconds() * 1e6) // HOUR, 1)
    end = int(now.timestamp() * 1e6) // HOUR + 1
    sums: dict[tuple[str, str], dict[int, Counter[str]]] = {}
    for environment, column, hour, counted in _stored(contract, database, end - POINTS * length):
        if hour < end:
            windows = sums.setdefault((environment, column), {})
            windows.setdefault((end - 1 - hour) // length, Counter()).update(counted)
    names = asked(contract, signature)
    for (environment, column), windows in sums.items():
        for name in names.get(column, ()):
            history = tuple(
                Point(_iso(end - (back + 1) * length), part[_ROWS], part[name])
                for back, part in sorted(windows.items(), reverse=True)
            )
            rows, failed = history[-1].rows, history[-1].failed
            limit = _limit(name, before.get((column, name), 0.0), rows)
            passed = failed <= limit * rows
            kind = _on_fail(contract, column, name)
            one = Tally("serving", column or None, name, kind, rows, failed, passed)
            yield quality_of("serving", environment, one, limit, history)


def _on_fail(contract: Contract, column: str, name: str) -> OnFail:
    rules = [each.on_fail for each in contract.data.checks if name == f"rule {each.rule}"]
    if rules:
        return rules[0]
    known = contract.data.columns.get(column)
    return "warn" if known is None else known.on_fail


def _stored(
    contract: Contract, database: Database, first: int
) -> Iterable[tuple[str, str, int, Counter[str]]]:
    query = select(counts).where(
        counts.c.project == contract.project,
        counts.c.slice == CHECKS,
        counts.c.hour >= first * HOUR,
    )
    with database.read() as connection:
        for row in connection.execute(query.order_by(counts.c.hour)):
            counted = hours.decode(CHECKS, row.payload)
            assert isinstance(counted, Counter)  # noqa: S101 - as this slice is
            yield row.environment, row.column, row.hour // HOUR, counted


def _iso(hour: int) -> str:
    return datetime.fromtimestamp(hour * HOUR / 1e6, UTC).isoformat().replace("+00:00", "Z")


def _of_feedback(contract: Contract, tables: Tables, signature: Signature) -> Iterable[Quality]:
    """Yield whether outcomes are what the model answers, day by day of their arrival."""
    key = labels.table(contract.project)
    if not tables.exists(key):
        return
    rows = (
        tables.scan(key)
        .filter(pl.col("label").is_not_null())
        .select("label", day=pl.col("arrival").dt.truncate("1d"))
        .collect()
    )
    if rows.is_empty():
        return
    truth = labels.truth(rows["label"], signature)
    names = {
        "a number" if signature.task == "regression" else "one of the classes": np.isnan(truth)
    }
    target = contract.data.columns.get(contract.problem.target)
    if signature.task == "regression" and target is not None:
        for bound, limit, beyond in (
            ("minimum", target.minimum, np.less),
            ("maximum", target.maximum, np.greater),
        ):
            if limit is not None:
                names[f"{bound} {limit:g}"] = beyond(truth, limit)
    for name, fails in names.items():
        days = (
            rows.with_columns(fails=pl.Series(fails))
            .group_by("day")
            .agg(rows=pl.len(), failed=pl.col("fails").sum())
            .sort("day")
            .tail(POINTS)
        )
        history = tuple(
            Point(day.isoformat().replace("+00:00", "Z"), total, failed)
            for day, total, failed in days.iter_rows()
        )
        total, failed = len(rows), int(fails.sum())
        one = Tally("feedback", None, name, "warn", total, failed, failed == 0)
        yield quality_of("feedback", key, one, 0.0, history)


def summary(found: Iterable[Quality]) -> dict[str, Any]:
    """Return how many checks each stage has, and how many fail."""
    stages: dict[str, dict[str, int]] = {}
    for one in found:
        stage = stages.setdefault(one.stage, {"checks": 0, "failing": 0})
        stage["checks"] += 1
        stage["failing"] += not one.passed
    return stages
