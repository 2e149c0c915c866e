"""Findings to actions: cool-down, label maturity.

A rule of the contract holds or does not, on figures that rest on enough rows and labels; what it
asks for is due unless it was done too short a time ago. Deciding changes nothing: `watch.py` acts,
and writes every decision to the ledger, the cooling down too, so that a quiet system explains
itself.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from loopline.contract.schema import Contract, Response
from loopline.contract.when import When, parse_when
from loopline.monitoring.findings import Finding, spell
from loopline.monitoring.survey import Figure
from loopline.notebooks import Shown

DONE, COOLING, REFUSED, FAILED, WAITING = "done", "cooling down", "refused", "failed", "waiting"
_URGENCY = ("rollback", "alert", "retrain")
"""A dead webhook must not hold up a rollback, nor a retraining an alert."""
_DRIFT = ("drift", "correlation", "multivariate")
"""Kinds of findings that the rule `drift` is about."""
RETRY_AFTER = timedelta(minutes=10)
"""How soon what failed is tried again, where the rule's cool-down is not shorter."""


@dataclass(frozen=True)
class Action(Shown):
    """What was done about findings, and why: the last record of the chain."""

    id: str
    kind: str
    """`alert`, `retrain` or `rollback`; or `advance`, of a rollout."""
    rule: str
    findings: tuple[str, ...]
    environment: str
    version: int
    outcome: str
    """`done`, `waiting` (for approval), `cooling down`, `refused` or `failed`."""
    detail: dict[str, Any]
    why: str
    at: str


@dataclass(frozen=True)
class Situation:
    """What is known about one version where it serves, and what was done there before."""

    environment: str
    version: int
    figures: Mapping[str, Figure]
    findings: tuple[Finding, ...]
    """Open ones about this version here."""
    history: Sequence[Action]
    """Every earlier action of the project, oldest first."""


@dataclass(frozen=True)
class Decision:
    """One thing a rule asks for, and whether to do it now."""

    kind: str
    rule: str
    findings: tuple[Finding, ...]
    outcome: str | None
    """None: do it; else why not, as an action's outcome."""
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What a step of a rollout rests on."""


def action_id(kind: str, rule: str, environment: str, version: int, at: str) -> str:
    """Return the name of one action."""
    text = "\0".join((kind, rule, environment, str(version), at))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decide(contract: Contract, situation: Situation, now: datetime) -> list[Decision]:
    """Return what the contract's rules ask for, urgent things first; what was said is left out.

    A version is rolled back at most once: one that a person brought back afterwards stays.
    """
    decisions: list[Decision] = []
    asked: set[str] = set()
    for rule in contract.respond:
        found = _holds(parse_when(rule.when), situation)
        if found is None:
            continue
        findings, why = found
        for kind in rule.do:
            if kind == "alert" and findings and all(one.acknowledged for one in findings):
                continue  # somebody knows
            # Two rules may ask for the same; rolling back twice would go back too far.
            if kind in asked and kind != "alert":
                continue
            decision = _decide(rule, kind, findings, why, situation, now)
            if decision is not None:
                decisions.append(decision)
                if decision.outcome is None:
                    asked.add(kind)
    return sorted(decisions, key=lambda decision: _URGENCY.index(decision.kind))


def _holds(when: When, situation: Situation) -> tuple[tuple[Finding, ...], str] | None:
    if when.kind == "metric":
        figure = situation.figures.get(when.metric)
        if figure is None or not figure.is_mature or not when.holds(figure.value):
            return None
        of = "" if figure.subject == when.metric else f" of {figure.subject}"
        findings = tuple(
            finding
            for finding in situation.findings
            if figure.subject in (finding.subject, *finding.columns)
        )
        why = f"{when.metric}{of} is {spell(when.metric, figure.value)} on {figure.rows:,} rows"
        return findings, f"{why}, and the rule says {when.op} {when.limit}."
    kinds = _DRIFT if when.kind == "drift" else ("goal", "fairness")
    findings = tuple(finding for finding in situation.findings if finding.kind in kinds)
    told = ", ".join(
        f"{finding.subject} ({finding.metric} {spell(finding.metric, finding.value)}, "
        f"limit {spell(finding.metric, finding.limit)})"
        for finding in findings
    )
    return (findings, f"Open: {told}.") if findings else None


def _decide(
    rule: Response,
    kind: str,
    findings: tuple[Finding, ...],
    why: str,
    situation: Situation,
    now: datetime,
) -> Decision | None:
    here = [
        action
        for action in situation.history
        if action.kind == kind and action.environment == situation.environment
    ]
    same = [action for action in here if action.rule == rule.when]
    outcome = None
    if kind == "rollback" and any(
        action.version == situation.version and action.outcome == DONE for action in here
    ):
        outcome = REFUSED
        why = "This version was rolled back once already and brought back since. " + why
    else:
        # People want to hear of each rule; what changes the service rests for all of them.
        ready = _ready(rule, same if kind == "alert" else here, now)
        if ready is not None:
            outcome = COOLING
            why = f"Not before {ready:%Y-%m-%d %H:%M} UTC, the rule's cool-down. {why}"
    last = same[-1] if same else None
    said_before = last is not None and last.outcome == outcome and last.version == situation.version
    return None if said_before else Decision(kind, rule.when, findings, outcome, why)


def _ready(rule: Response, before: list[Action], now: datetime) -> datetime | None:
    """Return when the rule may act again, or None where it may now."""
    acted = next((action for action in reversed(before) if action.outcome != COOLING), None)
    if acted is None:
        return None
    pause = min(rule.cool_down, RETRY_AFTER) if acted.outcome == FAILED else rule.cool_down
    ready = datetime.fromisoformat(acted.at) + pause
    return ready if now < ready else None
