"""Alerts on the terminal."""

from collections.abc import Callable

from loopline.monitoring.channels.base import Alert
from loopline.monitoring.channels.console import Console
from loopline.monitoring.findings import Finding


def test_an_alert_is_a_line_and_a_line_for_each_finding(finding: Callable[..., Finding]) -> None:
    lines: list[str] = []
    alert = Alert("churn", "dev", 1, "drift", "One column drifted", (finding(message="it moved"),))

    Console(lines.append).send(alert)

    assert lines == ["ALERT One column drifted", "  - it moved"]


def test_control_characters_from_callers_do_not_reach_the_terminal() -> None:
    lines: list[str] = []

    Console(lines.append).send(Alert("churn", "dev", 1, "drift", "new: \x1b[2Jx\n", ()))

    assert lines == ["ALERT new: \\x1b[2Jx\\x0a"]
