"""The report against the contract: pass, or each reason why not.

A goal is judged by the figure itself, and its interval is told beside it; that the model beats
its rival is judged by the whole paired interval, because a difference that chance explains is
no reason to change what runs.
"""

from collections.abc import Iterator
from typing import Any

from loopline.contract.metrics import METRICS
from loopline.contract.quantities import Amount
from loopline.contract.schema import Contract, Fairness, Goal
from loopline.evaluation.report import Estimate, GateResult, Report

RELATIONS = {
    "at_least": "at least",
    "at_most": "at most",
    "below_baseline_by": "below the baseline by",
    "above_baseline_by": "above the baseline by",
}
_SLACK = 1e-12
_FEW_ROWS = 20
"""So that a goal written as a decimal fraction is met by exactly that."""


def gates(contract: Contract, report: Report) -> tuple[GateResult, ...]:
    """Judge a report: its goals, fairness, behaviour, parity, and the rival it must beat."""
    found = [_goal(goal, report) for goal in contract.goals]
    found.append(_rival(report))
    for rule, measured in zip(contract.fairness, report.fairness, strict=True):
        found.append(_fairness(rule, measured))
    found += [_behaviour(test) for test in report.behaviour]
    found += _parity(report)
    return tuple(found)


def figure(report: Report, metric: str, value: float) -> str:
    """Return a metric's value as a person would write it, money with its currency."""
    if metric.startswith("latency"):
        return f"{value * 1000:.3g} ms"
    if metric == "cost_per_prediction":
        return f"{value:,.2f} {report.currency}" if report.currency else f"{value:,.2f}"
    return f"{value:.4g}"


def _goal(goal: Goal, report: Report) -> GateResult:
    [(key, amount)] = goal.conditions.items()
    name = f"{goal.metric} {RELATIONS[key]} {_wanted(goal.metric, key, amount, report)}"
    if goal.metric == "error_rate":
        reason = "error_rate is watched in production; there is nothing to judge before release."
        return GateResult(name, True, None, reason)
    if goal.metric.startswith("latency"):
        value = report.latency[goal.metric.removeprefix("latency_")]
        found = figure(report, goal.metric, value)
        reason = f"{goal.metric} of the runtime is {found}; the goal is {name.split(' ', 1)[1]}."
        return GateResult(name, _meets(key, value, amount, None), value, reason)
    own = report.metrics.get(goal.metric)
    other = report.baseline_metrics.get(goal.metric)
    if own is None:
        reason = f"{goal.metric} is undefined on these {report.rows:,} rows, so the goal is not met"
        return GateResult(name, False, None, f"{reason}: a class or an answer never occurs.")
    told = f"{goal.metric} is {_spread(report, goal.metric, own)}"
    if not key.endswith("baseline_by"):
        reason = f"{told}; the goal is {name.split(' ', 1)[1]}."
        return GateResult(name, _meets(key, own.value, amount, None), own.value, reason)
    if other is None:
        reason = f"{told}, but the baseline ({report.baseline}) has no {goal.metric} to compare."
        return GateResult(name, False, own.value, reason)
    against = figure(report, goal.metric, other.value)
    reason = f"{told}; the baseline ({report.baseline}) has {against}, and the goal is "
    reason += f"{name.split(' ', 1)[1]}."
    return GateResult(name, _meets(key, own.value, amount, other.value), own.value, reason)


def _wanted(metric: str, key: str, amount: Amount, report: Report) -> str:
    if amount.unit or key.endswith("baseline_by"):
        return str(amount)
    return figure(report, metric, amount)


def _meets(key: str, value: float, amount: Amount, baseline: float | None) -> bool:
    return holds(key, value, limit(key, amount, baseline))


def limit(key: str, amount: Amount, baseline: float | None) -> float:
    """Return the value a condition asks for; a share of the baseline is of its absolute value."""
    if baseline is None or not key.endswith("baseline_by"):
        return float(amount)
    margin = amount * abs(baseline) if amount.unit == "%" else float(amount)
    return baseline - margin if key == "below_baseline_by" else baseline + margin


def holds(key: str, value: float, needed: float) -> bool:
    """Return whether `value` meets the condition `key` at its `limit`."""
    slack = _SLACK * max(1.0, abs(needed))
    if key in {"at_least", "above_baseline_by"}:
        return value >= needed - slack
    return value <= needed + slack


def _spread(report: Report, metric: str, estimate: Estimate) -> str:
    low, high = (figure(report, metric, bound) for bound in (estimate.low, estimate.high))
    return f"{figure(report, metric, estimate.value)} (95 % interval {low} to {high})"


def _rival(report: Report) -> GateResult:
    """The champion where there is one, else the baseline."""
    rival = "baseline" if report.champion is None else report.champion
    title = f"baseline ({report.baseline})" if report.champion is None else f"champion {rival}"
    kind = "baseline" if report.champion is None else "champion"
    metric = report.primary
    name = f"{metric} better than the {title}"
    compared = {(each.metric, each.against): each for each in report.comparisons}
    found = compared.get((metric, rival))
    rows = report.rows if report.champion is None else report.champion_rows
    if found is None and rows < report.rows:
        reason = (
            f"{report.rows - rows:,} of the {report.rows:,} test rows taught the {title}, and the "
            f"other {rows:,} are too few to compare on. Bring new rows; `split: {{by: hash}}` with "
            "a key, or by time, keeps them apart for good."
        )
        return GateResult(name, False, None, reason, kind)
    if found is None:
        reason = f"{metric} is undefined for the model or for the {title}, so neither is better."
        return GateResult(name, False, None, reason, kind)
    own, other = (figure(report, metric, value) for value in (found.own, found.other))
    untaught = " that taught neither" if rows < report.rows else ""
    reason = (
        f"{metric} is {own}, and the {title} has {other} on the same {rows:,} rows{untaught}: a "
        f"difference of {_spread(report, metric, found.difference)}. "
    )
    low, high = found.difference.low, found.difference.high
    if found.better:
        reason += "The whole interval is on the good side."
        if rows < _FEW_ROWS:  # resampling so few finds hardly another answer
            reason += f" But {rows:,} rows prove little: bring more."
    elif low == high == 0:
        reason += "They answer alike."
    elif low <= 0 <= high:
        reason += "Chance alone could explain it."
    else:
        better = "higher" if METRICS[metric].direction == "higher" else "lower"
        reason += f"It is worse: {better} is better."
    return GateResult(name, found.better, found.own, reason, kind)


def _fairness(rule: Fairness, measured: dict[str, Any]) -> GateResult:
    if rule.ratio_at_least is not None:
        key, relation, limit = "ratio", "at least", rule.ratio_at_least
    else:
        key, relation, limit = "difference", "at most", rule.difference_at_most or 0.0
    what = f"{rule.metric} by {rule.by}"
    name, told = f"{what}: {key} {relation} {limit:g}", ", ".join(_groups(measured))
    value = measured[key]
    if measured["difference"] is None:
        reason = f"{what} could not be judged: fewer than two groups have "
        reason += f"{rule.minimum_rows:,} rows ({told})."
        return GateResult(name, True, None, reason, "fairness")
    if value is None:
        reason = f"{what} is negative for a group, so there is no ratio ({told}). Use "
        return GateResult(name, False, None, f"{reason}difference_at_most.", "fairness")
    holds = value >= limit - _SLACK if key == "ratio" else value <= limit + _SLACK
    reason = f"{what} is {told}: a {key} of {value:.3g}; the rule is {relation} {limit:g}."
    return GateResult(name, holds, value, reason, "fairness")


def _groups(measured: dict[str, Any]) -> Iterator[str]:
    for group in measured["groups"]:
        value = "undefined" if group["figure"] is None else f"{group['figure']:.3g}"
        note = "" if group["judged"] else f" ({group['rows']:,} rows, not judged)"
        yield f"{group['group']} {value}{note}"


def _behaviour(test: dict[str, Any]) -> GateResult:
    name = f"behaviour: {test['name']}"
    passed = bool(test["passed"])
    reason = f"{test['name']} holds." if passed else f"{test['file']}: {test['message']}"
    return GateResult(name, passed, None, reason, "behaviour")


def _parity(report: Report) -> Iterator[GateResult]:
    if not report.parity:
        return
    found = report.parity
    largest = float(found["largest_difference"])
    reason = (
        f"On {found['rows']:,} held-out and {found['hostile_rows']:,} hostile rows the answer "
        f"differs from the original by at most {largest:.2g} and flips {found['flipped']:,} labels."
    )
    name = "the plan agrees with the original"
    yield GateResult(name, found["agreed"], largest, reason, "parity")
