"""uvicorn's HTTP with the bounds that it lacks: on heads, senders, readers, connections and work.

All are held before anybody is asked for a token: without them one caller could fill the memory with
a header that never ends, hold connections open for ever, or make all others wait. What is answered
here (429 past the bound, 503 while there is no model) starts no task, so saying no stays cheap.
"""

import asyncio
import logging
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from loopline.serving.limits import PAGE, Intake
from loopline.serving.routes import Reply

_log = logging.getLogger(__name__)


def _canned(status: str, code: str, message: str) -> tuple[bytes, bytes]:
    """Return an answer's head and body; its fields are read by clients of either protocol."""
    body = f'{{"error":"{message}","error_code":"{code}","message":"{message}"}}'.encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
    if status[0] != "4" or status.startswith("429"):
        head += "retry-after: 1\r\n"
    return f"{head}content-length: {len(body)}\r\n".encode(), body


_FULL = _canned(
    "429 Too Many Requests",
    "REQUEST_LIMIT_EXCEEDED",
    "The server has as many requests as it can answer in time. Send it again a little later.",
)
_STARTING = _canned(
    "503 Service Unavailable", "TEMPORARILY_UNAVAILABLE", "The model is being loaded."
)
_DRAINING = _canned("503 Service Unavailable", "TEMPORARILY_UNAVAILABLE", "The server is ending.")
_CROWDED = _canned(
    "503 Service Unavailable", "TEMPORARILY_UNAVAILABLE", "The server has too many connections."
)
_LARGE_HEAD = _canned(
    "431 Request Header Fields Too Large", "BAD_REQUEST", "The head of the request is too large."
)
_LIVE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n",
    b'{"live":true}',
)


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(self, intake: Intake, **named: Any) -> None:
        super().__init__(**named)
        self._intake = intake
        self._head = 0
        self._is_in_body = False
        self._is_refused = False
        """Whether nothing more is read: an answer was given, and the connection ends."""
        self._body_bytes = 0
        """Of the bodies that this connection's requests have brought and that are not answered."""
        self._weights: deque[int] = deque()
        """What each of its requests that is complete and not answered counts."""
        self._unsent = 0
        self._since: float | None = self.loop.time()
        """When the request that is being sent began; None between two."""
        self._rests_since = 0.0
        """When the last answer was given. The look at the clock ends a connection that rests too
        long: uvicorn's timer, set and cancelled for every answer, was a tenth of the floor."""
        self._next: RequestResponseCycle | None = None
        """The request whose head was let in, and whose body may be here at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room, with a look at the clock now and then."""
        super().connection_made(transport)
        intake = self._intake
        self._look: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        if len(intake.connections) >= intake.limits.connections and not self._make_room():
            intake.refused_connections += 1
            self._refuse(_CROWDED)
            return
        intake.connections.add(self)
        self._look = self.loop.call_later(intake.limits.head_seconds, self._look_at_the_clock)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and give back what was taken."""
        intake = self._intake
        for timer in (self._look, self._pause):
            if timer is not None:
                timer.cancel()
        intake.connections.discard(self)
        intake.in_flight -= sum(self._weights)
        intake.bodies_bytes -= self._body_bytes
        self._weights.clear()
        self._body_bytes = 0
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer what was asked completely: who has nothing more to send may still read."""
        if not self._weights:
            return None
        self.cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Take the next bytes, unless they make the head too large."""
        if self._is_refused:
            return
        if self._since is None:
            self._since = self.loop.time()
        super().data_received(data)
        self._begin_next()
        if self._since is not None and not self._is_in_body:
            self._head += len(data)
            if self._head > self._intake.limits.head_bytes and not self.transport.is_closing():
                self._refuse(_LARGE_HEAD)

    def on_headers_complete(self) -> None:
        """Start counting anew: what follows is the body."""
        if self._is_refused:
            return
        self._head, self._is_in_body = 0, True
        if len(self.headers) > self._intake.limits.headers:
            self._refuse(_LARGE_HEAD)
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, unless all bodies together become too large."""
        if self._is_refused or self.cycle.response_complete:
            return
        intake = self._intake
        self._body_bytes += len(body)
        intake.bodies_bytes += len(body)
        if intake.bodies_bytes > intake.limits.bodies_bytes:
            intake.shed += 1
            self._refuse(_FULL)
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Count the request as one to be answered, and rest until the next."""
        if self._is_refused:
            return
        if not self.cycle.response_complete:
            weight = 1 + self._body_bytes // PAGE
            self._weights.append(weight)
            self._intake.in_flight += weight
        super().on_message_complete()
        self._since, self._is_in_body = None, False
        cycle, self._next = self._next, None
        if cycle is not None:
            self._answer_soon(cycle)

    def on_response_complete(self) -> None:
        """Give back what the request counted."""
        intake = self._intake
        if self._weights:
            intake.in_flight -= self._weights.popleft()
        if not self._weights:
            intake.bodies_bytes -= self._body_bytes
            self._body_bytes = 0
        self.server_state.total_requests += 1
        self._rests_since = self.loop.time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            self._begin_next()

    def shutdown(self) -> None:
        """End as soon as what was asked is answered."""
        if self._weights or self._is_in_body:
            self.cycle.keep_alive = False
        elif self._since is not None:  # it has just connected, or begun to ask
            self.loop.call_later(self._intake.limits.last_seconds, self._close_unasked)
        else:
            super().shutdown()

    def _close_unasked(self) -> None:
        if not self._weights and not self._is_in_body and not self.transport.is_closing():
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Let a request in, or answer it at once."""
        intake = self._intake
        if intake.is_draining:
            cycle.keep_alive = False  # the next one goes to another server
        if intake.app is None or intake.is_draining or intake.is_full:
            answer = self._at_once(cycle.scope["path"])
            if answer is not None:
                self._answer(cycle, answer)
                return
        if cycle.more_body:
            self._next = cycle
        else:
            self._answer_soon(cycle)

    def _answer_soon(self, cycle: RequestResponseCycle) -> None:
        """Answer a request that is here as a whole, after all that the loop has read by now.

        One after the other the predictions find their code in the processor's caches, where reading
        in between pushes it out: a fifth of the time was saved.
        """
        waiting = self._intake.waiting
        if not waiting:
            self.loop.call_soon(_answer_all, self._intake)
        waiting.append((self, cycle))

    def answer(self, cycle: RequestResponseCycle) -> None:
        """Answer a request at once, or in a task if something on the way has to wait.

        With a plan nothing has, and a task with its messages costs as much as the prediction.
        """
        answering = self._reply(cycle)
        try:
            awaited = answering.send(None)
        except StopIteration:
            return
        self._go_on(_rest(answering, awaited))

    def _begin_next(self) -> None:
        """Begin a request whose body is still on the way: its sender may wait for a word."""
        cycle, self._next = self._next, None
        if cycle is not None and not self.transport.is_closing():
            self._go_on(self._reply(cycle))

    def _go_on(self, answering: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(answering)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _reply(self, cycle: RequestResponseCycle) -> None:
        app = self._intake.app
        assert app is not None  # noqa: S101 - without one nothing is let in
        try:
            reply = await app.reply(cycle.scope, cycle.receive)  # type: ignore[arg-type]
            if self.flow.write_paused and not cycle.disconnected:
                await self.flow.drain()
            if reply is not None and not cycle.disconnected:
                self._write(cycle, reply)
        except Exception:  # noqa: BLE001 - those behind this one are answered
            _log.exception("%s was not answered.", cycle.scope["path"])
        finally:
            if not cycle.response_complete:
                self.transport.close()

    def _write(self, cycle: RequestResponseCycle, reply: Reply) -> None:
        """Write an answer in one piece."""
        lines = [STATUS_LINE[reply.status]]
        for name, value in reply.headers:
            lines += (name, b": ", value, b"\r\n")
            if name == b"connection":
                cycle.keep_alive = False
        lines.append(b"content-length: %d\r\n" % len(reply.body))
        lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            lines.append(reply.body)
        self.transport.write(b"".join(lines))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _at_once(self, path: str) -> tuple[bytes, bytes] | None:
        """Return what a request gets without being let in, or None where it is let in."""
        intake = self._intake
        if path in intake.ready and intake.is_draining:
            return _DRAINING
        if intake.app is None:
            return _LIVE if path in intake.live else _STARTING
        if not intake.is_full or path in intake.spared:
            return None
        intake.shed += 1
        return _FULL

    def _answer(self, cycle: RequestResponseCycle, answer: tuple[bytes, bytes]) -> None:
        head, body = answer
        # A body that was announced and will not be sent, or requests behind this one: to go on
        # would mean to take one thing for another.
        ends = not cycle.keep_alive or cycle.waiting_for_100_continue or bool(self.pipeline)
        last = b"connection: close\r\n\r\n" if ends else b"\r\n"
        self.transport.write(head + last + (b"" if cycle.scope["method"] == "HEAD" else body))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if ends:
            self._is_refused = True
            self.transport.close()
        cycle.on_response()
        if answer is _FULL and not ends:
            self.flow.pause_reading()
            pause = self._intake.limits.pause_seconds
            self._pause = self.loop.call_later(pause, self.flow.resume_reading)

    def _refuse(self, answer: tuple[bytes, bytes]) -> None:
        """Answer, and read nothing more."""
        self._is_refused = True
        self._intake.cut_off += 1
        self.transport.write(answer[0] + b"connection: close\r\n\r\n" + answer[1])
        self.transport.close()

    def _make_room(self) -> bool:
        """Close a connection that rests between two requests, if one does."""
        for other in self._intake.connections:
            if other._since is None and not other._weights:
                other.transport.close()
                self._intake.connections.discard(other)
                return True
        return False

    def _look_at_the_clock(self) -> None:
        limits = self._intake.limits
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent >= self._unsent > 0:
            self._intake.cut_off += 1
            self.transport.abort()  # closing would wait for ever until it is read
            return
        self._unsent = unsent
        now = self.loop.time()
        if self._since is not None:
            most = limits.body_seconds if self._is_in_body else limits.head_seconds
            left = self._since + most - now
        elif self._weights:
            left = limits.unread_seconds  # it waits for us
        else:
            left = self._rests_since + limits.keep_alive_seconds - now
        if left <= 0:
            self._intake.cut_off += self._since is not None
            self.transport.close()
            return
        wait = min(max(left, 0.01), limits.unread_seconds)
        self._look = self.loop.call_later(wait, self._look_at_the_clock)


def _answer_all(intake: Intake) -> None:
    waiting, intake.waiting = intake.waiting, []
    for connection, cycle in waiting:
        connection.answer(cycle)


async def _rest(begun: Coroutine[Any, Any, None], awaited: Any) -> None:
    """Go on in a task with what has begun outside one, and waits for `awaited`."""
    await _resumed(begun, awaited)


@types.coroutine
def _resumed(begun: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            said = yield awaited
        except BaseException as error:  # noqa: BLE001 - for who waits: the task was cancelled
            go_on = partial(begun.throw, error)
        else:
            go_on = partial(begun.send, said)
        try:
            awaited = go_on()
        except StopIteration:
            return


async def unused(_scope: Any, _receive: Any, _send: Any) -> None:
    """Stand where uvicorn wants an application: `Intake.app` is asked, once there is one."""


def protocol(intake: Intake) -> Callable[..., BoundedHttp]:
    """Return what makes a connection of one server, as uvicorn wants it."""
    return partial(BoundedHttp, intake)
