"""Alert rules for Prometheus, each with the case that proves it.

A rule comes from the contract: a goal, a fairness rule, a response, or what every service needs.
Beside it stands a small course of time in which it must fire and one in which it must not, from
which `promtool test rules` is told what to expect: a rule that nobody saw fire is a decoration.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from loopline.contract.schema import Contract, Goal
from loopline.contract.when import parse_when

TICKET, PAGE = "ticket", "page"
"""How urgent: `page` wakes people, `ticket` waits for the morning."""
_LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")


@dataclass(frozen=True)
class Case:
    """A course of time: series and their values by the minute, in promtool's notation."""

    series: Mapping[str, str]
    minute: int
    """When it is asked what fires."""
    labels: Mapping[str, str] | None
    """Of the alert that fires then, besides the rule's own; None where none does."""


@dataclass(frozen=True)
class Rule:
    """One alert."""

    alert: str
    expression: str
    minutes: int
    """How long it must hold."""
    severity: str
    summary: str
    """May name labels of the series: `{{ $labels.version }}`."""
    description: str
    cases: tuple[Case, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """What tells it from rules of the same alert."""


def job(contract: Contract) -> str:
    """Return what Prometheus calls the servers of a project."""
    return f"loopline-{contract.project}"


def rules(contract: Contract) -> list[Rule]:
    """Return the alerts of a contract, those of its promises first."""
    return [*_promises(contract), *_watcher(contract), *_service(contract)]


def document(contract: Contract) -> dict[str, Any]:
    """Return the rules as Prometheus reads them."""
    owner = {"owner": _plain(contract.problem.owner)} if contract.problem.owner else {}
    return {
        "groups": [
            {
                "name": job(contract),
                "rules": [
                    {
                        "alert": rule.alert,
                        "expr": rule.expression,
                        "for": f"{rule.minutes}m",
                        "labels": {
                            name: _plain(value) for name, value in _labels(contract, rule).items()
                        },
                        "annotations": {
                            "summary": rule.summary, "description": rule.description, **owner
                        },
                    }
                    for rule in rules(contract)
                ],
            }
        ]
    }  # fmt: skip


def proof(contract: Contract, file: str) -> dict[str, Any]:
    """Return the unit tests that promtool runs of the rules in `file`."""
    return {
        "rule_files": [file],
        "evaluation_interval": "1m",
        "tests": [
            _test(contract, rule, case) for rule in rules(contract) for case in rule.cases
        ],
    }  # fmt: skip


def _test(contract: Contract, rule: Rule, case: Case) -> dict[str, Any]:
    expected = []
    if case.labels is not None:
        labels = {**case.labels, **_labels(contract, rule)}
        told = {"summary": rule.summary, "description": rule.description}
        if contract.problem.owner:
            told["owner"] = _plain(contract.problem.owner)
        expected.append(
            {
                "exp_labels": labels,
                "exp_annotations": {name: _filled(text, labels) for name, text in told.items()},
            }
        )
    return {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values} for name, values in case.series.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": f"{case.minute}m", "alertname": rule.alert, "exp_alerts": expected
            }
        ],
    }  # fmt: skip


def _labels(contract: Contract, rule: Rule) -> dict[str, str]:
    return {**rule.labels, "severity": rule.severity, "project": contract.project}


def _plain(text: str) -> str:
    """Return text of the contract as a template that comes to that text."""
    return re.sub(r"\{\{", '{{ "{{" }}', " ".join(text.split()))


def _filled(text: str, labels: Mapping[str, str]) -> str:
    """Return what Prometheus makes of an annotation: labels filled in, braces as they were."""
    filled = _LABEL.sub(lambda found: labels.get(found[1], ""), text)
    return filled.replace('{{ "{{" }}', "{{")


def quoted(text: str) -> str:
    """Return a text as PromQL writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _series(name: str, **labels: str) -> str:
    return f"{name}{{{','.join(f'{key}={quoted(value)}' for key, value in labels.items())}}}"


_WHERE = "{{ $labels.project }}:{{ $labels.version }} in {{ $labels.environment }}"


def _promises(contract: Contract) -> Iterator[Rule]:
    named = {goal.metric: _asked(goal) for goal in contract.goals}
    for rule in contract.fairness:
        needed = (
            f"the least group's over the greatest's at least {rule.ratio_at_least:g}"
            if rule.ratio_at_least is not None
            else f"groups apart by at most {rule.difference_at_most:g}"
        )
        named[f"{rule.metric} by {rule.by}"] = needed
    for name, asked in named.items():
        place = {
            "project": contract.project, "environment": "production", "version": "3",
            "kind": "goal", "goal": name,
        }  # fmt: skip
        series = _series("loopline_goal_met", **place)
        own = {name: value for name, value in place.items() if name != "project"}
        matched = f"project={quoted(contract.project)},goal={quoted(name)}"
        yield Rule(
            alert="LooplineGoalMissed",
            expression=f"loopline_goal_met{{{matched}}} == 0",
            minutes=5,
            severity=TICKET,
            summary=f"{_plain(name)} of {_WHERE} is not as promised.",
            description=_plain(f"Promised: {name} {asked}. loopline watch --report shows since "
                               "when, and what came with it."),
            cases=(
                Case({series: "1x4 0x20"}, 12, own),
                Case({series: "1x4 0x20"}, 8, None),
            ),
            labels={"goal": name},
        )  # fmt: skip
    yield from _drift(contract)


def _asked(goal: Goal) -> str:
    [(condition, amount)] = goal.conditions.items()
    return f"{condition.replace('_', ' ')} {amount}"


def _drift(contract: Contract) -> Iterator[Rule]:
    place = {
        "project": contract.project, "environment": "production", "version": "3",
        "kind": "input", "column": 'a "b"\\c',
    }  # fmt: skip
    series = _series("loopline_drifted", **place)
    own = {name: value for name, value in place.items() if name != "project"}
    yield Rule(
        alert="LooplineDrift",
        expression=f"loopline_drifted{{project={quoted(contract.project)}}} == 1",
        minutes=15,
        severity=TICKET,
        summary=f"{{{{ $labels.column }}}} of {_WHERE} has drifted.",
        description="It is further from the rows that trained the version than the contract "
        "allows, and by more than chance. loopline watch --report shows both distributions.",
        cases=(
            Case({series: "0x4 1x40"}, 30, own),
            Case({series: "0x4 1x40"}, 15, None),
        ),
    )


def _watcher(contract: Contract) -> Iterator[Rule]:
    project = {"project": contract.project}
    own = f"project={quoted(contract.project)}"
    looked = _series("loopline_watch_timestamp_seconds", **project)
    yield Rule(
        alert="LooplineWatcherDown",
        expression=f"time() - loopline_watch_timestamp_seconds{{{own}}} > 600 "
        f"or absent(loopline_watch_timestamp_seconds{{{own}}})",
        minutes=5,
        severity=TICKET,
        summary=f"Nobody watches {contract.project}.",
        description="The watcher has not looked for ten minutes, or is not scraped: drift and "
        "missed goals go unseen. Serving goes on.",
        cases=(
            Case({looked: "0+60x10 600x60"}, 40, {}),
            Case({}, 10, {}),
            Case({looked: "0+60x60"}, 40, None),
        ),
    )
    waiting = _series("loopline_log_waiting_seconds", **project)
    yield Rule(
        alert="LooplineLogBehind",
        expression=f"loopline_log_waiting_seconds{{{own}}} > 900",
        minutes=5,
        severity=TICKET,
        summary=f"The log of {contract.project} is not folded.",
        description="Predictions have waited for more than fifteen minutes: the figures are old. "
        "loopline watch --once says what holds them.",
        cases=(
            Case({waiting: "0x5 1000x30"}, 20, {}),
            Case({waiting: "0x5 1000x30"}, 9, None),
        ),
    )


def _service(contract: Contract) -> Iterator[Rule]:
    name = job(contract)
    own = f"job={quoted(name)}"
    place = {"job": name, "instance": "a:8080"}
    yield Rule(
        alert="LooplineServerDown",
        expression=f"up{{{own}}} == 0 or absent(up{{{own}}})",
        minutes=2,
        severity=PAGE,
        summary=f"A server of {contract.project} does not answer.",
        description="Prometheus cannot scrape it, or knows none. loopline status says what should "
        "serve where.",
        cases=(
            Case({_series("up", **place): "1x4 0x20"}, 10, place),
            Case({}, 10, {"job": name}),
            Case({_series("up", **place): "1x4 0x20"}, 6, None),
        ),
    )
    yield _errors(contract)
    yield from _latency(contract)
    lost, failing = "loopline_log_lost_total", "loopline_log_failing"
    yield Rule(
        alert="LooplineLogLost",
        expression=f"increase({lost}{{{own}}}[10m]) > 0 or {failing}{{{own}}} == 1",
        minutes=0,
        severity=TICKET,
        summary=f"A server of {contract.project} cannot keep its log.",
        description="Callers are answered, but what they were told is lost: the disk is full, slow "
        "or read-only.",
        cases=(
            Case({_series(lost, **place): "0x5 3x20"}, 8, place),
            Case({_series(failing, **place): "0x5 1x20"}, 8, place),
            Case({_series(lost, **place): "3x30", _series(failing, **place): "0x30"}, 8, None),
        ),
    )
    refused = _series("loopline_releases_refused_total", **place)
    yield Rule(
        alert="LooplineReleaseRefused",
        expression=f"increase(loopline_releases_refused_total{{{own}}}[15m]) > 0",
        minutes=0,
        severity=PAGE,
        summary=f"A server of {contract.project} refused a release.",
        description="It goes on with the one before. The document is not signed by a key that is "
        "trusted there, or its bundle is not what was registered.",
        cases=(
            Case({refused: "0x5 1x20"}, 8, place),
            Case({refused: "1x30"}, 8, None),
        ),
    )


def _bound(contract: Contract, metric: str) -> float | None:
    """Return the lowest bound that the contract's goals and responses put on a service's metric."""
    found = [
        float(amount)
        for goal in contract.goals
        if goal.metric == metric
        for amount in goal.conditions.values()
    ]
    for rule in contract.respond:
        when = parse_when(rule.when)
        if when.metric == metric and when.op.startswith(">"):
            found.append(float(when.limit))
    return min(found, default=None)


def _errors(contract: Contract) -> Rule:
    name = job(contract)
    own = f"job={quoted(name)}"
    bound = _bound(contract, "error_rate")
    limit = 0.01 if bound is None else bound
    failed = f'sum by (job) (rate(loopline_requests_total{{{own},status=~"5.."}}[5m]))'
    answered = f"sum by (job) (rate(loopline_prediction_seconds_count{{{own}}}[5m]))"
    requests = _series("loopline_requests_total", job=name, route="/v2/infer", status="500")
    answers = _series("loopline_prediction_seconds_count", job=name)
    few = 600 * min(limit, 0.5)
    return Rule(
        alert="LooplineErrors",
        expression=f"{failed} / ({failed} + {answered}) > {limit:g}",
        minutes=5,
        severity=PAGE,
        summary=f"Requests to {contract.project} fail.",
        description=f"More than {limit:.3%} of its requests got no answer (status 500 and above) "
        "for five minutes."
        + ("" if bound is not None else " The contract names no limit; 1 % is taken."),
        cases=(
            Case({requests: "0x5 0+600x20", answers: "0+600x25"}, 18, {"job": name}),
            Case({requests: f"0+{few / 4:g}x25", answers: "0+600x25"}, 18, None),
        ),
    )


def _latency(contract: Contract) -> Iterator[Rule]:
    name = job(contract)
    for metric, share in (("latency_p50", 0.5), ("latency_p95", 0.95), ("latency_p99", 0.99)):
        limit = _bound(contract, metric)
        if limit is None:
            continue
        bucket = "loopline_prediction_seconds_bucket"
        fast = {_series(bucket, job=name, le=f"{limit / 2:g}"): "0+600x25",
                _series(bucket, job=name, le=f"{limit * 4:g}"): "0+600x25",
                _series(bucket, job=name, le="+Inf"): "0+600x25"}  # fmt: skip
        slow = {**fast, _series(bucket, job=name, le=f"{limit / 2:g}"): "0x25"}
        yield Rule(
            alert=f"LooplineSlow{metric[-3:].title()}",
            expression=f"histogram_quantile({share:g}, sum by (job, le) "
            f"(rate({bucket}{{job={quoted(name)}}}[5m]))) > {limit:g}",
            minutes=10,
            severity=PAGE,
            summary=f"{contract.project} is slow.",
            description=f"{metric} has been above {limit * 1000:g} ms for ten minutes.",
            cases=(
                Case(slow, 22, {"job": name}),
                Case(fast, 22, None),
            ),
        )
