"""One way of telling people that something was found."""

from dataclasses import dataclass
from typing import Protocol

from loopline.monitoring.findings import Finding


@dataclass(frozen=True)
class Alert:
    """What people are told in one message: why, and what was found.

    Where it says several things at once, project aside its first fields are those of the most
    urgent.
    """

    project: str
    environment: str
    version: int
    rule: str
    """The rule of the contract that asked for it."""
    text: str
    findings: tuple[Finding, ...]
    id: str = ""
    """The same each time the same is tried, so that a receiver can drop what it has."""
    is_urgent: bool = False
    passed: tuple[Finding, ...] = ()
    """What was told before and holds again; for channels that follow."""
    at: str = ""
    lines: tuple[str, ...] = ()
    """The text's own lines, where it says several things: no newline of the data makes one."""


class Channel(Protocol):
    """Delivers alerts. Its file's name is what people call it."""

    name: str
    waits: bool
    """Whether it reaches people, who are left alone in quiet hours."""
    follows: bool
    """Whether it is told too when something has passed."""

    def send(self, alert: Alert) -> None:
        """Deliver `alert`.

        Raises:
            ChannelError: it was not delivered; the message never repeats a secret or an answer.
        """
