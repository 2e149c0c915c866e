"""Alerts through Apprise: Slack, Teams, Telegram and a hundred others, each by a URL of its own."""

from typing import Any

from loopline.errors import ChannelError, SettingError
from loopline.extras import require
from loopline.monitoring.channels.base import Alert

__all__ = ["Chat"]

_LONGEST = 3000
"""Signs of one message: the least that the usual services take."""


class Chat:
    """Sends alerts to Apprise's URLs, which hold secrets: no message repeats one.

    Args:
        urls: as Apprise writes them, such as `slack://TokenA/TokenB/TokenC`.

    Raises:
        SettingError: one of them is none that Apprise knows.
        MissingExtraError: Apprise is not installed.
    """

    name = "chat"
    waits = True
    follows = False

    def __init__(self, urls: tuple[str, ...]) -> None:
        self._apprise = require("apprise", extra="notify")
        self._places: list[Any] = []
        self._taken: tuple[str, set[int]] = ("", set())
        """Of the last message: its id, and which places have it."""
        for number, url in enumerate(urls, 1):
            place = self._apprise.Apprise()
            if not place.add(url):
                scheme = url.partition("://")[0]
                raise SettingError(
                    f"URL {number} of LOOPLINE_APPRISE ({scheme:.20}://...) is none that Apprise "
                    "knows, or lacks a part."
                )
            self._places.append(place)

    def send(self, alert: Alert) -> None:
        """Send one message to all places; tried again, to those that do not have it yet."""
        if self._taken[0] != alert.id:
            self._taken = (alert.id, set())
        lines = [alert.text, *(f"- {finding.message}" for finding in alert.findings)]
        body = "\n".join(lines)
        kind = self._apprise.NotifyType
        for number, place in enumerate(self._places):
            if number not in self._taken[1] and place.notify(
                title=f"{alert.project}: {'urgent' if alert.is_urgent else 'found'}",
                body=body if len(body) <= _LONGEST else f"{body[:_LONGEST]}…",
                body_format=self._apprise.NotifyFormat.TEXT,
                notify_type=kind.FAILURE if alert.is_urgent else kind.WARNING,
                # Names come from data: no escape in them is read.
                interpret_escapes=False,
            ):
                self._taken[1].add(number)
        missing = [str(n + 1) for n in range(len(self._places)) if n not in self._taken[1]]
        if missing:
            raise ChannelError(
                f"Apprise could not deliver the alert to URL {', '.join(missing)} of "
                f"{len(self._places)}."
            )
