"""Alerts posted as JSON to one URL, such as a chat's incoming webhook.

Where it goes is guarded by `monitoring/posting.py`. With a secret each message is signed as
standardwebhooks.com describes, so a receiver can tell ours from anybody's, and an old one from a
new one; `webhook-id` is the same each time a message is tried.
"""

import base64
import hashlib
import hmac
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec

from loopline.monitoring.channels.base import Alert
from loopline.monitoring.posting import Poster

__all__ = ["Webhook"]


class Webhook:
    """Posts alerts to one URL.

    Its body is the alert as JSON; `text` is what chat tools show.

    Args:
        url: https, or http as well where `private` is true.
        private: whether loopback and private addresses may be connected to.
        secret: what messages are signed with; None leaves them unsigned.
        timeout_seconds: for the whole delivery.
        resolve: finds a name's addresses, as `socket.getaddrinfo` does.
        clock: seconds since 1970, which the signature covers.

    Raises:
        SettingError: the URL is none that alerts may be posted to.
    """

    name = "webhook"
    waits = True
    follows = False

    def __init__(
        self,
        url: str,
        *,
        private: bool = False,
        secret: str | None = None,
        timeout_seconds: float = 5.0,
        resolve: Callable[..., list[Any]] = socket.getaddrinfo,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._poster = Poster(
            url,
            "LOOPLINE_WEBHOOK",
            private=private,
            timeout_seconds=timeout_seconds,
            resolve=resolve,
        )
        self._secret = secret
        self._clock = clock

    def send(self, alert: Alert) -> None:
        """Post `alert`; any 2xx is success."""
        body = msgspec.json.encode(alert)
        self._poster.post(body, {} if self._secret is None else self._signed(alert.id, body))

    def _signed(self, name: str, body: bytes) -> dict[str, str]:
        at = str(int(self._clock()))
        signed = b".".join([name.encode(), at.encode(), body])
        digest = hmac.digest(str(self._secret).encode(), signed, hashlib.sha256)
        return {
            "webhook-id": name,
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
