"""The contract's goals and fairness rules, judged on live figures.

The conditions are the gate's own (`evaluation/gates.py`): what kept a version out of production is
what takes it out again. Near its limit a figure crosses it to and fro by chance alone, so a finding
opens and passes by the whole interval (`certainty.py`), unless the contract says
`judge_by: figure`.
"""

from collections.abc import Collection, Mapping
from typing import Any

from loopline.contract.metrics import METRICS
from loopline.contract.schema import Contract, Fairness, Goal
from loopline.counts.pairs import spelled
from loopline.evaluation.gates import RELATIONS, holds, limit
from loopline.monitoring import certainty
from loopline.monitoring.findings import Finding, Subject, finding_id, spell
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


def of_labels(
    contract: Contract, subject: Subject, found: Performance, opened: Collection[str] = ()
) -> list[Finding]:
    """Judge the goals and fairness rules that rest on labels.

    `opened` are the ids of the findings that are open: one that chance may explain stays so.
    """
    judged = [
        _goal(contract, subject, found, goal, opened)
        for goal in contract.goals
        if not METRICS[goal.metric].service
    ]
    judged += [
        _fairness(subject, found, rule, measured, opened)
        for rule in contract.fairness
        for measured in found.fairness
        if (measured["by"], measured["metric"]) == (rule.by, rule.metric)
    ]
    return [finding for finding in judged if finding is not None]


def of_service(
    contract: Contract, subject: Subject, found: Service, opened: Collection[str] = ()
) -> list[Finding]:
    """Judge the goals about latency and errors; `opened` as for labels."""
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
        is_open = _is_open(subject, "service", goal.metric, opened)
        short = certainty.missed_by(condition, value, float(needed))
        good = holds(condition, value, needed)
        if contract.monitor.judge_by == "interval" and value > 0:
            good = certainty.holds(
                short, found.margin(goal.metric, short), is_open=is_open, is_good=good
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
        judged.append(subject.judge("service", goal.metric, holds=good, **facts))
    return judged


def _is_open(subject: Subject, kind: str, what: str, opened: Collection[str]) -> bool:
    name = finding_id(subject.project, subject.environment, subject.version, kind, what)
    return name in opened


def _goal(
    contract: Contract,
    subject: Subject,
    found: Performance,
    goal: Goal,
    opened: Collection[str],
) -> Finding | None:
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
    name = f"{metric} {condition}"
    is_open = _is_open(subject, "goal", metric, opened)
    short = certainty.missed_by(condition, value, needed)
    return subject.judge(
        "goal",
        metric,
        holds=certainty.holds(
            short,
            found.margins.get(name),
            is_open=is_open,
            is_good=holds(condition, value, needed),
        ),
        **_facts(found, metric, value, needed),
        message=f"{metric} of {subject.name} is {spell(metric, value, currency)} {_on(found)}; the "
        f"goal is {asked}{certainty.told(found.margins, name, short, is_open=is_open)}",
        evidence={
            "metrics": found.metrics,
            "baseline": found.baseline_metrics,
            "margin": found.margins.get(name),
        },
    )


def _fairness(
    subject: Subject,
    found: Performance,
    rule: Fairness,
    measured: Mapping[str, Any],
    opened: Collection[str],
) -> Finding | None:
    key, condition, needed = certainty.of_rule(rule)
    value = measured[key]
    if value is None:  # fewer than two groups are large enough
        return None
    what = f"{rule.metric} by {rule.by}"
    groups = ", ".join(
        f"{group['group']} {group['figure']:.3g}" for group in measured["groups"] if group["judged"]
    )
    is_open = _is_open(subject, "fairness", what, opened)
    short = certainty.missed_by(condition, value, needed)
    return subject.judge(
        "fairness",
        what,
        holds=certainty.holds(
            short,
            found.margins.get(what),
            is_open=is_open,
            is_good=holds(condition, value, needed),
        ),
        **_facts(found, rule.metric, value, needed),
        message=f"{what} of {subject.name} is {groups} {_on(found)}: a {key} of {value:.3g}, and "
        f"the rule is {RELATIONS[condition]} {needed:g}."
        f"{certainty.told(found.margins, what, short, is_open=is_open)}",
        evidence={"groups": measured["groups"], "margin": found.margins.get(what)},
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
