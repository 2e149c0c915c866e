"""One way of telling people that something was found."""

from dataclasses import dataclass
from typing import Protocol

from loopline.monitoring.findings import Finding


@dataclass(frozen=True)
class Alert:
    """What people are told: why, and what was found."""

    project: str
    environment: str
    version: int
    rule: str
    """The rule of the contract that asked for it."""
    text: str
    findings: tuple[Finding, ...]


class Channel(Protocol):
    """Delivers alerts. Its file's name is what people call it."""

    name: str

    def send(self, alert: Alert) -> None:
        """Deliver `alert`.

        Raises:
            ChannelError: it was not delivered; the message never repeats a secret or an answer.
        """
