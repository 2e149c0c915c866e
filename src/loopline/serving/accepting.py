"""Take connections: the address at once, and of several processes each its share."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from loopline.errors import ServingError
from loopline.serving.limits import Intake
from loopline.serving.transport import Connection

_BACKLOG = 2048
_AT_ONCE = 64
"""Connections that are accepted before the next requests are looked at."""
_AGAIN_SECONDS = 0.1
_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, but for how it begins and ends.

    Left to itself the event loop accepts whatever waits, and one of several workers was measured to
    take eight connections of eight. Signals are ours: uvicorn's own way ends the process by the
    signal, not with 0.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        intake: Intake,
        listener: socket.socket,
        *,
        is_alone: bool,
        is_first: bool,
    ) -> None:
        """Only the first process of a server accepts before it has a model: the others would
        turn away whom one that has could answer."""
        super().__init__(config)
        self._is_first = is_first
        self._intake = intake
        self._listener = listener
        self._is_alone = is_alone
        self._opening: set[asyncio.Task[Any]] = set()
        self.grace_seconds = 0.0

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin; the first process of a server accepts at once."""
        self.servers = []
        self._listener.setblocking(False)
        if self._is_first:
            self.accept()
        self.started = True

    def accept(self) -> None:
        """Take connections from now on."""
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(self._listener, self._accept_some)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let who is connected finish, take in who waits, and end."""
        self._intake.is_draining = True
        loop = asyncio.get_running_loop()
        until = loop.time() + self.grace_seconds
        while self._intake.connections and loop.time() < until:
            await asyncio.sleep(0.02)
        loop.remove_reader(self._listener)
        while self._accept():  # who waits there would be cut off
            pass
        self._listener.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await super().shutdown()

    def _accept_some(self) -> None:
        # One at first, so that the other workers get some too; more where there are many already.
        most = _AT_ONCE if self._is_alone else 1 + len(self._intake.connections) // 8
        for _ in range(most):
            if not self._accept():
                return

    def _accept(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another worker was there first
            return False
        except OSError as error:  # no more files may be open
            _log.error("A connection cannot be accepted: %s.", error.strerror)
            loop.remove_reader(self._listener)
            loop.call_later(_AGAIN_SECONDS, self.accept)
            return False
        task = loop.create_task(loop.connect_accepted_socket(self._connect, connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    def _connect(self) -> Connection:
        return Connection(self._intake, self.server_state)


def listen(host: str, port: int) -> socket.socket:
    """Take an address, so that whoever connects waits and is not refused.

    Raises:
        ServingError: it cannot be taken.
    """
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)  # who connects from now on waits, and is not refused
    except socket.gaierror as error:
        raise ServingError(f"There is no address for --host {host}: {error.strerror}.") from error
    except OSError as error:
        raise ServingError(
            f"Port {port} on {host} cannot be used: {error.strerror}. Take another, for example: "
            f"loopline serve --port {port + 1 if port < 65535 else 8081}"
        ) from error
    return listener
