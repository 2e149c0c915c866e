"""Where alerts go: Alertmanager's configuration, and what Prometheus scrapes, from the contract."""

from typing import Any

from loopline.contract.quiet import Quiet
from loopline.contract.schema import Contract
from loopline.delivery.alerts import PAGE, TICKET, job

_QUIET = "quiet"


def alertmanager(contract: Contract, webhook: str | None) -> dict[str, Any]:
    """Return Alertmanager's configuration: one message a group, urgent ones at any hour.

    Without `webhook` the receivers have no place to send to yet; a team adds its own.
    """
    quiet = contract.monitor.quiet
    sends = {} if webhook is None else {"webhook_configs": [{"url": webhook}]}
    ticket: dict[str, Any] = {
        "matchers": [f'severity="{TICKET}"'],
        "receiver": f"{job(contract)}-{TICKET}",
        "repeat_interval": "1d",
    }
    if quiet is not None:
        ticket["mute_time_intervals"] = [_QUIET]
    found: dict[str, Any] = {
        "route": {
            "receiver": f"{job(contract)}-{TICKET}",
            "group_by": ["project", "environment", "alertname"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "4h",
            "routes": [
                {
                    "matchers": [f'severity="{PAGE}"'],
                    "receiver": f"{job(contract)}-{PAGE}",
                    "group_wait": "5s",
                },
                ticket,
            ],
        },
        "receivers": [
            {"name": f"{job(contract)}-{severity}", **sends} for severity in (TICKET, PAGE)
        ],
        "inhibit_rules": [
            {
                # A server that is down is slow and fails as well: one message says it.
                "source_matchers": ['alertname="LooplineServerDown"'],
                "target_matchers": ['alertname=~"LooplineErrors|LooplineSlow.*"'],
                "equal": ["project"],
            },
            {
                # Of a watcher that is down the gauges are old.
                "source_matchers": ['alertname="LooplineWatcherDown"'],
                "target_matchers": ['alertname=~"LooplineGoalMissed|LooplineDrift"'],
                "equal": ["project"],
            },
        ],
    }
    if quiet is not None:
        found["time_intervals"] = [
            {"name": _QUIET, "time_intervals": [{"times": _times(quiet), "location": quiet.zone}]}
        ]
    return found


def _times(quiet: Quiet) -> list[dict[str, str]]:
    """Return hours as Alertmanager takes them: a stretch over midnight is two."""
    start, end = f"{quiet.start:%H:%M}", f"{quiet.end:%H:%M}"
    if quiet.start < quiet.end:
        return [{"start_time": start, "end_time": end}]
    after = [{"start_time": "00:00", "end_time": end}] if end != "00:00" else []
    return [{"start_time": start, "end_time": "24:00"}, *after]


def prometheus(contract: Contract, rules: str, server: str, watcher: str) -> dict[str, Any]:
    """Return a configuration of Prometheus that scrapes `server` and `watcher`, each HOST:PORT."""
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": [rules],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]},
        "scrape_configs": [
            {"job_name": job(contract), "static_configs": [{"targets": [server]}]},
            {
                "job_name": f"{job(contract)}-watch",
                "static_configs": [{"targets": [watcher]}],
            },
        ],
    }
