"""Whether a version on its way to everybody goes on, waits, or is taken out.

It goes on when its step has lasted as long, and was asked as often, as the contract says, and when
as many outcomes are known as goals are judged on. It is taken out as soon as it has a finding that
the version beside it has not, or has less badly: what both suffer from is no fault of the new one.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from loopline.contract.metrics import METRICS
from loopline.contract.schema import Contract
from loopline.monitoring import fold, hours
from loopline.monitoring.findings import RESOLVED, Finding, Subject
from loopline.monitoring.survey import Watched
from loopline.monitoring.windows import HOUR, Window, microseconds
from loopline.registry import rollout
from loopline.registry.release import Release
from loopline.registry.versions import Pause, State
from loopline.response.rules import DONE, RETRY_AFTER, Action, Decision
from loopline.store.database import Database
from loopline.store.ledger import iso
from loopline.store.tables import Tables

RULE = "rollout"
_NOT_ITS_OWN = ("log", "release")
"""Kinds of findings about the server, whichever version answers."""
_WORSE = 1.1
"""A limit passed by a tenth more than beside it counts as worse: less is the luck of the draw."""
_AHEAD = 400 * 24
"""Hours that an event may lie after its prediction."""
_FEWEST, _CHANCE = 5, 0.001
"""Failed requests that count as more than beside it: at least so many, and unlikely by chance."""


@dataclass(frozen=True)
class Progress:
    """Where a rollout is, and what it waits for."""

    environment: str
    version: int
    step: int
    steps: tuple[float, ...]
    since: str
    """When the step began."""
    rows: int
    """Predictions that the version answered since then."""
    labels: int | None
    """Outcomes known of events since the first step; None where no goal rests on outcomes."""
    paused: Pause | None
    waits_for: tuple[str, ...]

    @property
    def told(self) -> str:
        """As people say it: `step 1 of 3 (5%), waits for 120 more predictions`."""
        share = self.steps[self.step - 1] * 100
        waits = " and ".join(self.waits_for) or "nothing: the next look goes on"
        return f"step {self.step} of {len(self.steps)} ({share:.4g}%), waits for {waits}"


def progress(
    contract: Contract,
    tables: Tables,
    database: Database,
    state: State,
    environment: str,
    now: datetime,
) -> Progress | None:
    """Return where the rollout in `environment` is; None where none goes on."""
    history = state.releases.get(environment, [])
    going = rollout.going(history[-1]) if history else None
    place = contract.environments.get(environment)
    if going is None or place is None:
        return None
    whole, since = rollout.began(history)
    needs_labels = bool(contract.fairness) or any(
        not METRICS[goal.metric].service for goal in contract.goals
    )
    version = (environment, going.version)
    rows = _answered(contract, tables, version, since)
    labelled = _known(contract, database, version, whole, now)
    labels = labelled if needs_labels else None
    paused = state.pauses.get(environment)
    waits = []
    if paused is not None:
        reason = f", who says: {paused.why}" if paused.why else ""
        waits.append(f"loopline rollout resume {environment} (paused by {paused.by}{reason})")
    ready = since + place.soak
    if now < ready:
        waits.append(f"{ready:%Y-%m-%d %H:%M} UTC (soak: {place.soak})")
    if (missing := contract.monitor.minimum_rows - rows) > 0:
        waits.append(f"{missing:,} more predictions of {contract.project}:{going.version}")
    if labels is not None and (missing := contract.monitor.minimum_labels - labels) > 0:
        waits.append(f"{missing:,} more outcomes of {contract.project}:{going.version}")
    return Progress(
        environment=environment,
        version=going.version,
        step=going.step,
        steps=going.steps,
        since=iso(since),
        rows=rows,
        labels=labels,
        paused=paused,
        waits_for=tuple(waits),
    )


def _answered(contract: Contract, tables: Tables, place: tuple[str, int], since: datetime) -> int:
    """Return how many answers a version gave since its step began."""
    key = fold.table(contract.project)
    if not tables.exists(key):
        return 0
    mine = (pl.col("environment") == place[0]) & (pl.col("version") == place[1])
    rows = tables.scan(key).filter(mine & ~pl.col("shadow") & (pl.col("arrival") >= since))
    return int(rows.select(pl.len()).collect().item())


def _known(
    contract: Contract, database: Database, place: tuple[str, int], whole: datetime, now: datetime
) -> int:
    """Return how many outcomes are counted of events since the hour in which the rollout began."""
    first = microseconds(whole) // HOUR
    span = Window(first, max(microseconds(now) // HOUR + _AHEAD, first))
    counted = hours.series(database, contract.project, *place, span, (hours.ANSWERED, ""))
    return sum(each.total() for each in counted.values() if isinstance(each, Counter))


def compare(contract: Contract, own: Watched, beside: Watched, now: datetime) -> Finding:
    """Judge whether a version fails more requests than the one beside it, beyond chance.

    A goal for `error_rate` is judged like any other; this holds without one.
    """
    from scipy.stats import hypergeom

    mine, other = own.service, beside.service
    failed = mine.failed + other.failed
    chance = 1.0
    if mine.requests and failed:
        drawn = hypergeom(mine.requests + other.requests, failed, mine.requests)
        chance = float(drawn.sf(mine.failed - 1))
    subject = Subject(contract.project, own.environment, own.version, now)
    return subject.judge(
        RULE,
        "error_rate",
        holds=mine.failed < _FEWEST or chance >= _CHANCE,
        metric="error_rate",
        value=mine.error_rate,
        limit=other.error_rate,
        window=own.window,
        rows=mine.requests,
        labels=None,
        message=f"{subject.name} failed {mine.failed:,} of {mine.requests:,} requests, and "
        f"{contract.project}:{beside.version} beside it {other.failed:,} of "
        f"{other.requests:,}.",
        evidence={"chance": chance, "errors": mine.errors, "beside": other.errors},
    )


def of(watched: Iterable[Watched], environment: str, version: int) -> Watched | None:
    """Return what was seen of one version in one environment."""
    found = (one for one in watched if (one.environment, one.version) == (environment, version))
    return next(found, None)


def beside(watched: Iterable[Watched], environment: str, version: int) -> Watched | None:
    """Return what was seen of the version that answers most beside `version`."""
    others = [
        one
        for one in watched
        if one.environment == environment and one.version != version and one.share > 0
    ]
    return max((one for one in others if not one.shadow), key=lambda one: one.share, default=None)


def over(findings: Iterable[Finding], released: Collection[Release]) -> list[Finding]:
    """Return what was found of rollouts that have ended, resolved."""
    going = {
        (last.environment, found.version)
        for last in released
        if (found := rollout.going(last)) is not None
    }
    return [
        replace(finding, status=RESOLVED, message="The rollout is over.")
        for finding in findings
        if finding.kind == RULE and (finding.environment, finding.version) not in going
    ]


def decide(
    contract: Contract,
    seen: Progress,
    watched: Sequence[Watched],
    findings: Collection[Finding],
    *,
    is_returned: bool,
) -> tuple[Progress, Decision | None]:
    """Return what is to be done, and where the rollout is: with what else it waits for.

    A version that was rolled back here before and brought back by a person (`is_returned`) is not
    rolled back a second time; it waits for a person.
    """
    own = of(watched, seen.environment, seen.version)
    other = beside(watched, seen.environment, seen.version)
    if own is None or other is None:
        return replace(seen, waits_for=(*seen.waits_for, "figures, which no look has yet")), None
    faults = _faults(findings, seen.environment, own.version, other.version)
    name = f"{contract.project}:{seen.version}"
    if faults:
        told = " ".join(finding.message for finding in faults)
        if is_returned:
            asks = f"a person, for {name} was rolled back here before. {told}"
            return replace(seen, waits_for=(*seen.waits_for, asks)), None
        why = (
            f"{name} did worse than {contract.project}:{other.version} at step {seen.step} of "
            f"{len(seen.steps)} of its rollout. {told}"
        )
        return seen, Decision("rollback", RULE, tuple(faults), None, why)
    if seen.labels is not None and own.performance is None:
        asks = "outcomes that can be judged in one window (monitor.window)"
        seen = replace(seen, waits_for=(*seen.waits_for, asks))
    if seen.waits_for:
        return seen, None
    share = seen.steps[seen.step]
    outcomes = "" if seen.labels is None else f" and {seen.labels:,} outcomes"
    why = (
        f"{name} gets {share * 100:.4g}%, step {seen.step + 1} of {len(seen.steps)}: "
        f"{seen.rows:,} predictions since {seen.since}{outcomes}, and no finding worse than "
        f"{contract.project}:{other.version}'s."
    )
    return seen, Decision("advance", RULE, (), None, why, _evidence(seen, own, other))


def is_due(decision: Decision, seen: Progress, history: Sequence[Action], now: datetime) -> bool:
    """Return whether to do it now: what failed a short time ago rests."""
    before = [
        action
        for action in history
        if (action.kind, action.rule) == (decision.kind, RULE)
        and (action.environment, action.version) == (seen.environment, seen.version)
    ]
    if not before or before[-1].outcome == DONE:
        return True
    return now >= datetime.fromisoformat(before[-1].at) + RETRY_AFTER


def _faults(findings: Iterable[Finding], environment: str, own: int, other: int) -> list[Finding]:
    here = [finding for finding in findings if finding.environment == environment]
    passed = {
        (finding.kind, subject): excess
        for finding in here
        if finding.version == other
        for subject, excess in _excesses(finding).items()
    }
    return [
        finding
        for finding in here
        if finding.version == own
        and finding.kind not in _NOT_ITS_OWN
        and any(
            excess > _WORSE * passed.get((finding.kind, subject), 0.0)
            for subject, excess in _excesses(finding).items()
        )
    ]


def _excesses(finding: Finding) -> dict[str, float]:
    """Return by how much each limit is passed: of a drift, each column's that belongs to it.

    Two versions may call one cause after different columns.
    """
    if finding.kind == "drift" and finding.columns:
        drivers = finding.evidence["drivers"]
        return {each["column"]: abs(each["value"] - each["limit"]) for each in drivers}
    return {finding.subject: abs(finding.value - finding.limit)}


def _evidence(seen: Progress, own: Watched, other: Watched) -> dict[str, Any]:
    return {
        "step": seen.step,
        "since": seen.since,
        "rows": seen.rows,
        "labels": seen.labels,
        "beside": other.version,
        "own": {name: asdict(figure) for name, figure in own.figures.items()},
        "other": {name: asdict(figure) for name, figure in other.figures.items()},
    }
