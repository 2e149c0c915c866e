"""Every promise of the contract as a row: what was promised, what is, and on what."""

from typing import Any

from loopline.contract.metrics import METRICS
from loopline.monitoring.findings import RESOLVED, Finding, spell
from loopline.monitoring.history import History
from loopline.publishing.watching.past import Past


def promises(past: Past, one: History) -> list[dict[str, Any]]:
    """Return a row per goal and fairness rule: what was promised, what is, on what."""
    rows = []
    for finding in one.judged:
        is_money = finding.metric == "cost_per_prediction"
        currency = past.currency if is_money else None
        on = f"{finding.labels:,} outcomes" if finding.labels is not None else (
            f"{finding.rows:,} requests"
        )  # fmt: skip
        rows.append(
            {
                "what": finding.subject,
                "holds": finding.status == RESOLVED,
                "value": _figure(finding, finding.value, currency),
                "limit": _figure(finding, finding.limit, currency),
                "version": past.name(finding.version),
                "on": on,
                "from": finding.window[0][:10],
                "to": finding.window[1][:10],
                "told": finding.message,
            }
        )
    judged = {finding.subject for finding in one.judged}
    wanted = [goal.metric for goal in past.contract.goals]
    wanted += [f"{rule.metric} by {rule.by}" for rule in past.contract.fairness]
    rows += [
        {"what": name, "holds": None, "value": "", "limit": "", "version": "", "on": "",
         "from": "", "to": "", "told": _lacking(past, one, name)}
        for name in dict.fromkeys(wanted)
        if name not in judged
    ]  # fmt: skip
    return rows


def _lacking(past: Past, one: History, name: str) -> str:
    """Return what a promise still lacks to be judged."""
    monitor = past.contract.monitor
    if name in METRICS and METRICS[name].service:
        return f"{one.service.requests:,} requests, and a judgement needs {monitor.minimum_rows:,}"
    return f"Not judged yet: it needs {monitor.minimum_labels:,} outcomes of one window"


def _figure(finding: Finding, value: float, currency: str | None) -> str:
    # A fairness finding's figure is a ratio or a difference of its metric.
    return f"{value:.3g}" if finding.kind == "fairness" else spell(finding.metric, value, currency)
