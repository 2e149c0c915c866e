"""What was found, once, with its evidence.

A judgement is a `Finding` whether it is good or bad: `open` when a limit is passed, `resolved` when
it holds. The ledger hears of a cause when it opens, when its figure moves, and when it holds again;
a cause that cannot be judged just now, for want of rows or labels, stays as it was.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from loopline.errors import UnknownFindingError
from loopline.notebooks import Shown
from loopline.store.ledger import Ledger, iso

OPEN, RESOLVED = "open", "resolved"
_KINDS = ("finding.opened", "finding.updated", "finding.resolved")
_ACKNOWLEDGED = "finding.acknowledged"
_MOVED = 0.1
"""A figure has moved when it differs from the one last written by a tenth of it."""


@dataclass(frozen=True)
class Finding(Shown):
    """Something that is not as promised: the record before the last."""

    id: str
    """Hash of project, environment, version, kind and subject: one finding per cause."""
    project: str
    environment: str
    version: int
    kind: str
    """`drift`, `correlation`, `multivariate`, `goal`, `fairness`, `service`, `log`, `release`,
    `importance` or `quality`."""
    subject: str
    """The column, goal or figure concerned."""
    metric: str
    value: float
    limit: float
    window: tuple[str, str]
    """Start and end (ISO, UTC) of the time looked at."""
    rows: int
    labels: int | None
    message: str
    evidence: dict[str, Any]
    status: str
    """`open` or `resolved`."""
    found_at: str
    columns: tuple[str, ...] = ()
    """Of drift: every column that drifts for the same cause, the one that led it first."""
    since: str | None = None
    """When it began (ISO, UTC), as the hourly counts tell; None where they do not."""
    acknowledged: str | None = None
    """Who knows of it and why it may stay, where somebody said so; it alerts nobody then."""


def finding_id(project: str, environment: str, version: int, kind: str, subject: str) -> str:
    """Return the name of one cause, the same each time it is found."""
    cause = "\0".join((project, environment, str(version), kind, subject))
    return hashlib.sha256(cause.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Subject:
    """What a judgement is about: one version, where it serves, and when it was looked at."""

    project: str
    environment: str
    version: int
    now: datetime

    @property
    def name(self) -> str:
        """As a message names it: `churn:7 in production`."""
        return f"{self.project}:{self.version} in {self.environment}"

    def judge(self, kind: str, subject: str, *, holds: bool, **facts: Any) -> Finding:
        """Return the judgement of one cause: resolved where it holds, else open.

        `facts` are the finding's metric, value, limit, window, rows, labels, message, evidence.
        """
        return Finding(
            id=finding_id(self.project, self.environment, self.version, kind, subject),
            project=self.project,
            environment=self.environment,
            version=self.version,
            kind=kind,
            subject=subject,
            status=RESOLVED if holds else OPEN,
            found_at=iso(self.now),
            **facts,
        )


def spell(metric: str, value: float, currency: str | None = None) -> str:
    """Return a figure as a message gives it: times in ms, money with its currency, rates in %."""
    if metric.startswith("latency"):
        return f"{value * 1000:.3g} ms"
    if metric.endswith("cost_per_prediction"):
        return f"{value:,.2f} {currency}" if currency else f"{value:,.2f}"
    return f"{value:.2%}" if metric.endswith("_rate") else f"{value:.4g}"


class Findings:
    """The open findings of one project, as the ledger's events add up to them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._open: dict[str, Finding] = {}
        self._read = 0

    def open(self) -> dict[str, Finding]:
        """Return the open findings by id, oldest first."""
        for event in self._ledger.events(kinds=(*_KINDS, _ACKNOWLEDGED), after=self._read):
            self._read = event.number
            if event.kind == _ACKNOWLEDGED:
                if event.subject in self._open:
                    said = f"{event.actor}: {event.payload['why']}"
                    self._open[event.subject] = replace(
                        self._open[event.subject], acknowledged=said
                    )
                continue
            finding = msgspec.convert(event.payload, Finding)
            if finding.status == RESOLVED:
                self._open.pop(finding.id, None)
            else:
                known = self._open.get(finding.id)
                by = None if known is None else known.acknowledged
                self._open[finding.id] = replace(finding, acknowledged=by)
        return dict(self._open)

    def acknowledge(self, text: str, *, why: str, now: datetime) -> Finding:
        """Note that somebody knows of an open finding, named by its id or the beginning of it.

        Raises:
            UnknownFindingError: no open finding is called so, or several are.
        """
        finding = self.named(text)
        payload = {
            "environment": finding.environment,
            "project": finding.project,
            "subject": finding.subject,
            "version": finding.version,
            "why": why,
        }
        self._ledger.append(_ACKNOWLEDGED, finding.id, payload, now=now)
        return self.open()[finding.id]

    def named(self, text: str) -> Finding:
        """Return the open finding whose id begins with `text`.

        Raises:
            UnknownFindingError: there is none, or there are several.
        """
        found = [one for key, one in self.open().items() if text and key.startswith(text)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{one.id[:8]} ({one.subject})" for one in self.open().values())
        what = "No open finding's id begins" if not found else "Several open findings' ids begin"
        raise UnknownFindingError(f"{what} with {text!r}. Open are: {known or 'none'}.")

    def record(self, judged: Iterable[Finding], *, now: datetime) -> list[Finding]:
        """Write to the ledger what of `judged` is news, and return that."""
        known = self.open()
        news = []
        for found in _by_cause(judged):
            before = known.get(found.id)
            finding = found
            if before is not None:
                finding = replace(found, found_at=before.found_at, acknowledged=before.acknowledged)
            if finding.status == RESOLVED:
                kind = "finding.resolved" if before is not None else None
            elif before is None:
                kind = "finding.opened"
            else:
                kind = "finding.updated" if _has_moved(before, finding) else None
            if kind is not None:
                self._ledger.append(kind, finding.id, asdict(finding), now=now)
                news.append(finding)
        return news

    def close(
        self,
        serving: Mapping[str, Collection[int]],
        promised: Mapping[str, Collection[str]],
        *,
        now: datetime,
    ) -> list[Finding]:
        """Resolve what concerns a version that no longer serves, or that nobody asks for any more.

        `serving` says which versions each environment serves, `promised` of which subjects there
        are findings of a kind; what they do not name stays as it is.
        """
        gone = []
        for finding in self.open().values():
            why = None
            if finding.version not in serving.get(finding.environment, (finding.version,)):
                name = f"{finding.project}:{finding.version}"
                why = f"{name} no longer serves in {finding.environment}."
            elif finding.subject not in promised.get(finding.kind, (finding.subject,)):
                why = f"loopline.yaml says nothing of {finding.subject} any more."
            if why is not None:
                gone.append(replace(finding, status=RESOLVED, message=why))
        return self.record(gone, now=now)


def _by_cause(judged: Iterable[Finding]) -> list[Finding]:
    """Return one judgement per cause: of two goals for one metric, the one that is missed."""
    found: dict[str, Finding] = {}
    for one in judged:
        if one.id not in found or found[one.id].status == RESOLVED:
            found[one.id] = one
    return list(found.values())


def _has_moved(before: Finding, now: Finding) -> bool:
    return (
        abs(now.value - before.value) > _MOVED * abs(before.value)
        or now.metric != before.metric
        or now.limit != before.limit
        or set(now.columns) != set(before.columns)
        or now.window[0] >= before.window[1]
    )
