"""Alerts as lines on the terminal, or wherever the watcher's output goes."""

import sys
from collections.abc import Callable

from loopline.monitoring.channels.base import Alert

__all__ = ["Console"]


class Console:
    """Writes alerts as lines."""

    name = "console"
    waits = False  # a log is read when people look
    follows = False

    def __init__(self, say: Callable[[str], object] | None = None) -> None:
        self._say = say or (lambda line: sys.stderr.write(line + "\n"))

    def send(self, alert: Alert) -> None:
        """Write one line for each thing the alert says and for each finding behind it."""
        for line in alert.lines or (alert.text,):
            self._say(f"ALERT {_plain(line)}")
        for finding in alert.findings:
            self._say(f"  - {_plain(finding.message)}")


def _plain(text: str) -> str:
    """Return `text` without control characters: category values come from callers."""
    return "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}" for character in text
    )
