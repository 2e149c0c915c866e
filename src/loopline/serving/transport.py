"""uvicorn's HTTP, with two bounds that it lacks: the size of a request's head, and sending time.

Both are held before anybody is asked for a token: without them one caller could fill the memory
with a header that never ends, or hold connections open for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 2**10
SEND_SECONDS = 60.0
"""A connection that has been sending one request, or nothing yet, for as long is closed."""


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head = 0
        self._is_in_body = False
        self._since: float | None = self.loop.time()
        """When the request that is being sent began; None between two."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a look at the clock now and then."""
        super().connection_made(transport)
        self._look = self.loop.call_later(SEND_SECONDS, self._close_if_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes, unless they make the head too large."""
        if self._since is None:
            self._since = self.loop.time()
        super().data_received(data)
        if self._since is not None and not self._is_in_body:
            self._head += len(data)
            if self._head > LARGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        """Start counting anew: what follows is the body."""
        self._head, self._is_in_body = 0, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Rest until the next request."""
        self._since, self._is_in_body = None, False
        super().on_message_complete()

    def _close_if_late(self) -> None:
        late = 0.0 if self._since is None else self.loop.time() - self._since
        if late >= SEND_SECONDS:
            self.transport.close()
        else:
            self._look = self.loop.call_later(SEND_SECONDS - late, self._close_if_late)
