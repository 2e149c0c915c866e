"""The contract's goals and fairness rules, judged on live figures.

The conditions are the gate's own (`evaluation/gates.py`): what kept a version out of production is
what takes it out again.
"""

from collections.abc import Mapping
from typing import Any

from loopline.contract.metrics import METRICS
from loopline.contract.schema import Contract, Fairness, Goal
from loopline.counts.pairs import spelled
from loopline.evaluation.gates import RELATIONS, holds, limit
from loopline.monitoring.findings import Finding, Subject, spell
from loopline.monitoring.performance import Performance
from loopline.monitoring.service import Service


def promised(contract: Contract) -> dict[str, set[str]]:
    """Return what the contract asks by name to be judged: findings' kinds to subjects."""
    metrics = {goal.metric for goal in contract.goals}
    service = {metric for metric in metrics if METRICS[metric].service}
    pairs = contract.monitor.pairs
    return {
        "correlation": {spelled(each) for pair in pairs for each in (pair, pair[::-1])},
        "multivariate": {"inputs"} if "multivariate" in contract.monitor.drift else set(),
        "goal": metrics - service,
        "service": service,
        "fairness": {f"{rule.metric} by {rule.by}" for rule in contract.fairness},
    }


def of_labels(contract: Contract, subject: Subject, found: Performance) -> list[Finding]:
    """Judge the goals and fairness rules that rest on labels."""
    judged = [
        _goal(contract, subject, found, goal)
        for goal in contract.goals
        if not METRICS[goal.metric].service
    ]
    judged += [
        _fairness(subject, found, rule, measured)
        for rule in contract.fairness
        for measured in found.fairness
        if (measured["by"], measured["metric"]) == (rule.by, rule.metric)
    ]
    return [finding for finding in judged if finding is not None]


def of_service(contract: Contract, subject: Subject, found: Service) -> list[Finding]:
    """Judge the goals about latency and errors."""
    figures = found.figures
    judged = []
    for goal in contract.goals:
        value = figures.get(goal.metric)
        if value is None:
            continue
        [(condition, needed)] = goal.conditions.items()
        told = (
            f"{goal.metric} of {subject.name} is {spell(goal.metric, value)} on {found.requests:,} "
            f"requests, {found.window}; the goal is {RELATIONS[condition]} "
            f"{spell(goal.metric, needed)}."
        )
        facts = {
            "metric": goal.metric,
            "value": value,
            "limit": float(needed),
            "window": found.window.text,
            "rows": found.requests,
            "labels": None,
            "message": told,
            "evidence": {"figures": figures, "errors": found.errors},
        }
        good = holds(condition, value, needed)
        judged.append(subject.judge("service", goal.metric, holds=good, **facts))
    return judged


def _goal(contract: Contract, subject: Subject, found: Performance, goal: Goal) -> Finding | None:
    metric = goal.metric
    [(condition, amount)] = goal.conditions.items()
    value, baseline = found.metrics.get(metric), found.baseline_metrics.get(metric)
    if value is None or (condition.endswith("baseline_by") and baseline is None):
        return None  # undefined on these rows, or nothing to compare with
    needed = limit(condition, amount, baseline)
    currency = contract.problem.costs.currency if contract.problem.costs else None
    asked = f"{RELATIONS[condition]} {spell(metric, needed, currency)}."
    if condition.endswith("baseline_by") and baseline is not None:
        asked = (
            f"{RELATIONS[condition]} {amount}, and the baseline ({found.baseline}) has "
            f"{spell(metric, baseline, currency)} on the same rows."
        )
    return subject.judge(
        "goal",
        metric,
        holds=holds(condition, value, needed),
        **_facts(found, metric, value, needed),
        message=f"{metric} of {subject.name} is {spell(metric, value, currency)} {_on(found)}; the "
        f"goal is {asked}",
        evidence={"metrics": found.metrics, "baseline": found.baseline_metrics},
    )


def _fairness(
    subject: Subject, found: Performance, rule: Fairness, measured: Mapping[str, Any]
) -> Finding | None:
    key, condition, needed = "difference", "at_most", rule.difference_at_most
    if rule.ratio_at_least is not None:
        key, condition, needed = "ratio", "at_least", rule.ratio_at_least
    value = measured[key]
    if value is None or needed is None:  # fewer than two groups are large enough
        return None
    what = f"{rule.metric} by {rule.by}"
    groups = ", ".join(
        f"{group['group']} {group['figure']:.3g}" for group in measured["groups"] if group["judged"]
    )
    return subject.judge(
        "fairness",
        what,
        holds=holds(condition, value, needed),
        **_facts(found, rule.metric, value, needed),
        message=f"{what} of {subject.name} is {groups} {_on(found)}: a {key} of {value:.3g}, and "
        f"the rule is {RELATIONS[condition]} {needed:g}.",
        evidence={"groups": measured["groups"]},
    )


def _facts(found: Performance, metric: str, value: float, needed: float) -> dict[str, Any]:
    return {
        "metric": metric,
        "value": value,
        "limit": needed,
        "window": found.window.text,
        "rows": found.rows,
        "labels": found.labels,
    }


def _on(found: Performance) -> str:
    return (
        f"on {found.labels:,} labelled of {found.rows:,} predictions ({found.coverage:.0%}), "
        f"{found.window}"
    )
