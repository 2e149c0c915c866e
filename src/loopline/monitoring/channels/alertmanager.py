"""Alerts handed to Prometheus' Alertmanager, which groups, routes and silences them.

Each finding is one alert of its own, whose labels are what makes it one: told again, it is the same
alert; when it has passed it is told once more, with its end.
"""

import re
from datetime import datetime, timedelta
from typing import Any

import msgspec

from loopline.monitoring.channels.base import Alert
from loopline.monitoring.findings import Finding
from loopline.monitoring.posting import Poster

__all__ = ["Alertmanager"]

_LASTS = timedelta(days=30)
"""Without an end Alertmanager takes an alert for passed after five minutes."""
_PAGES = ("service", "release")
"""Kinds of findings of callers that are failed now."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Alertmanager:
    """Posts findings to the second version of Alertmanager's interface.

    Args:
        url: where it listens, such as `http://127.0.0.1:9093`; most stand on an inner address.
        timeout_seconds: for the whole delivery.

    Raises:
        SettingError: the URL is none that may be posted to.
    """

    name = "alertmanager"
    waits = False  # it has mute times of its own
    follows = True

    def __init__(self, url: str, *, timeout_seconds: float = 5.0) -> None:
        self._poster = Poster(
            f"{url.rstrip('/')}/api/v2/alerts",
            "LOOPLINE_ALERTMANAGER",
            private=True,
            timeout_seconds=timeout_seconds,
        )

    def send(self, alert: Alert) -> None:
        """Post what was found as firing, and what has passed as ended."""
        now = datetime.fromisoformat(alert.at)
        told = [_told(finding, now + _LASTS) for finding in alert.findings]
        told += [_told(finding, now) for finding in alert.passed]
        if told:
            self._poster.post(msgspec.json.encode(told))


def _told(finding: Finding, end: datetime) -> dict[str, Any]:
    return {
        "labels": {
            "alertname": f"Loopline{finding.kind.title()}",
            "project": finding.project,
            "environment": finding.environment,
            "version": str(finding.version),
            "kind": finding.kind,
            "subject": _CONTROL.sub(" ", finding.subject),
            # By what it is, not by what else is told with it: the end must have the same labels.
            "severity": "page" if finding.kind in _PAGES else "ticket",
        },
        "annotations": {"summary": _CONTROL.sub(" ", finding.message)},
        "startsAt": finding.found_at,
        "endsAt": end.isoformat(),
    }
