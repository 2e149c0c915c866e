"""HTTP/1.1 on httptools, with bounds: on heads, senders, readers, connections and work.

All are held before anybody is asked for a token: without them one caller could fill the memory with
a header that never ends, hold connections open for ever, or make all others wait. What is answered
here (429 past the bound, 503 while there is no model) starts no task, so saying no stays cheap.

A caller sends the same head again and again. What was asked by a head and was answered well is
remembered under its bytes: a request that begins with them and is here as a whole is not parsed
again. docs/decisions/own-transport.md says what that saves, and why it changes nothing.
"""

import asyncio
import logging
import types
from collections import deque
from collections.abc import Coroutine, Generator, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from uvicorn.server import ServerState

from loopline.serving.limits import PAGE, Intake
from loopline.serving.log import Commit
from loopline.serving.routes import Reply

if TYPE_CHECKING:
    from loopline.serving.app import Asked

_HIGH_WATER = 64 * 2**10
"""Bytes of a body that are kept before somebody reads them."""
_LONGEST_REMEMBERED = 4096
"""Bytes of a head that is remembered."""
_UNUSUAL = frozenset({b"expect", b"transfer-encoding", b"upgrade"})
"""Headers that say that a request does not end with the bytes of its body, or not only that."""
_END = b"\r\n\r\n"
_STATUS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}

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
_INVALID = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 30\r\n",
    b"Invalid HTTP request received.",
)
_LIVE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n",
    b'{"live":true}',
)


class Exchange:
    """One request and its answer."""

    asked: "Asked | None" = None
    """What is asked, where the head was known."""
    head: bytes | None = None
    """To be remembered, if it is answered well."""
    scope: Mapping[str, Any] = {}
    """The head, as ASGI has it, where it was not known."""
    has_all = False
    """Whether nothing more will come."""
    keep_alive = True
    expects = False
    """Whether the sender waits for a word before it sends the body."""
    is_answered = False
    is_gone = False
    """Whether its caller is."""
    _news: asyncio.Future[None] | None = None

    def __init__(self, connection: "Connection", method: str, path: str, body: bytes) -> None:
        self.connection = connection
        self.method = method
        self.path = path
        self.body: bytes | bytearray = body
        """What has come and was not read."""

    async def receive(self) -> dict[str, Any]:
        """Return the next piece of the body, as ASGI has it."""
        connection = self.connection
        if self.expects and not connection.transport.is_closing():
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.expects = False
        if not self.has_all:
            connection.resume_reading()
            if not self.body and not self.is_gone:
                self._news = connection.loop.create_future()
                await self._news
        if self.is_gone:
            return {"type": "http.disconnect"}
        piece, self.body = bytes(self.body), b""
        return {"type": "http.request", "body": piece, "more_body": not self.has_all}

    def take(self, piece: bytes) -> None:
        """Keep a piece of the body until it is read."""
        if not self.body:
            self.body = piece
        else:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)
            self.body += piece
        self.tell()

    def tell(self) -> None:
        """Wake whoever waits for the body."""
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)


class Connection(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport
    _exchange: Exchange | None = None
    """The request that came last."""
    _look: asyncio.TimerHandle | None = None
    _pause: asyncio.TimerHandle | None = None
    _client: tuple[str, int] | None = None
    _seen: bytes | None = None
    """The last head that could be remembered: one that comes once only is not."""
    _begun = 0
    """Requests that began in the bytes that came last."""
    _is_between = True
    """Whether the next byte begins a request."""
    _is_upgrade = False
    """Whether the head that came last asks for another protocol."""
    _is_paused = False
    """Whether nothing is read for now."""
    _unwritten: asyncio.Event | None = None
    """Set once the caller reads on; None while it does."""
    _head = 0
    _is_in_body = False
    _is_refused = False
    """Whether nothing more is read: an answer was given, and the connection ends."""
    _body_bytes = 0
    """Of the bodies that this connection's requests have brought and that are not answered."""
    _unsent = 0
    _rests_since = 0.0
    """When the last answer was given. The look at the clock ends a connection that rests too long:
    a timer, set and cancelled for every answer, would cost more than all that is done here."""
    _next: Exchange | None = None
    """The request whose head was let in, and whose body may be here at once."""

    def __init__(self, intake: Intake, state: ServerState) -> None:
        """Belong to the server that ends what `state` lists."""
        self.loop = asyncio.get_running_loop()
        self.tasks = state.tasks
        self._state = state
        self._intake = intake
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that ends its connection is left, so that this one is answered.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._behind: deque[Exchange] = deque()
        """Requests that were sent ahead: they wait for those before them."""
        self._weights: deque[int] = deque()
        """What each of its requests that is complete and not answered counts."""
        self._since: float | None = self.loop.time()
        """When the request that is being sent began; None between two."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room, with a look at the clock now and then."""
        self.transport = transport
        self._client = transport.get_extra_info("peername")
        self._state.connections.add(self)  # type: ignore[arg-type]  # it only calls `shutdown`
        intake = self._intake
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
        self._state.connections.discard(self)
        if self._exchange is not None:
            self._exchange.is_gone = True
            self._exchange.tell()
        self.resume_writing()
        if exc is None:
            self.transport.close()

    def eof_received(self) -> bool | None:
        """Answer what was asked completely: who has nothing more to send may still read."""
        if not self._weights or self._exchange is None:
            return None
        self._exchange.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """Write no more answers: the caller does not read."""
        self._unwritten = asyncio.Event()

    def resume_writing(self) -> None:
        """Write on."""
        if self._unwritten is not None:
            self._unwritten.set()
            self._unwritten = None

    def pause_reading(self) -> None:
        """Read nothing for now."""
        if not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take the next bytes, unless they make the head too large."""
        if self._is_refused:
            return
        is_first = self._is_between and not self._weights
        if is_first and self._is_known(data):
            return
        if self._since is None:
            self._since = self.loop.time()
        self._parse(data)
        if is_first:
            self._remember(data)
        self._begin_next()
        if self._since is not None and not self._is_in_body:
            self._head += len(data)
            if self._head > self._intake.limits.head_bytes and not self.transport.is_closing():
                self._refuse(_LARGE_HEAD)

    def _is_known(self, data: bytes) -> bool:
        """Take `data` if they are one request whose head is known."""
        intake = self._intake
        end = data.find(_END, 0, _LONGEST_REMEMBERED) + len(_END)
        asked = intake.heads.get(data[:end])
        if asked is None:
            return False
        size = len(data) - end
        if size != asked.size or intake.is_full or intake.is_draining or self._is_too_much(size):
            return False  # which the usual way settles
        exchange = Exchange(self, asked.method, asked.path, data[end:])
        exchange.asked, exchange.has_all = asked, True
        self._exchange, self._since = exchange, None
        self._body_bytes += size
        intake.bodies_bytes += size
        self._count_complete()
        self._answer_soon(exchange)
        return True

    def _remember(self, data: bytes) -> None:
        """Have the head of `data` remembered, if they are one request that came as a whole."""
        exchange = self._exchange
        end = data.find(_END, 0, _LONGEST_REMEMBERED) + len(_END)
        is_whole = self._begun == 1 and self._is_between and end >= len(_END)
        if exchange is None or self._is_refused or not is_whole:
            return
        headers = dict(exchange.scope["headers"])
        size = int(headers.get(b"content-length", b"0"))
        if not exchange.keep_alive or len(data) - end != size or not _UNUSUAL.isdisjoint(headers):
            return
        head = data[:end]
        if head == self._seen:
            exchange.head = head
        self._seen = head

    def _parse(self, data: bytes) -> None:
        self._begun = 0
        left = memoryview(data)  # of many requests in it each is a part, and no copy
        try:
            while left:
                left = self._feed(left)
        except httptools.HttpParserError:
            _log.warning("Invalid HTTP request received.")
            if not self._weights:  # else one before it would take this for its answer
                self.transport.write(_INVALID[0] + b"connection: close\r\n\r\n" + _INVALID[1])
            self.transport.close()

    def _feed(self, data: memoryview) -> memoryview:
        """Parse `data`; return what is left of it to parse.

        Who asks for another protocol is answered in this one. The parser takes what follows such a
        head for the other protocol's, so it is given the head again without that wish: Java's own
        client sends it with its first request, and a body behind it.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._is_upgrade:  # CONNECT, after which its connection ends
                return data[:0]
            version = self._parser.get_http_version().encode()
            head = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, version)]
            head += [b"%b: %b" % header for header in self._headers if header[0] != b"upgrade"]
            self._parser.feed_data(b"\r\n".join(head) + _END)
            return data[upgrade.args[0] :]
        return data[:0]

    def on_message_begin(self) -> None:
        """Begin with a request."""
        self._begun += 1
        self._is_between = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        """Take a piece of its target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Start counting anew: what follows is the body."""
        if self._is_refused:
            return
        parser = self._parser
        self._is_upgrade = parser.should_upgrade() and parser.get_method() != b"CONNECT"
        if self._is_upgrade:
            return
        self._head, self._is_in_body = 0, True
        if len(self._headers) > self._intake.limits.headers:
            self._refuse(_LARGE_HEAD)
            return
        before, exchange = self._exchange, self._begun_exchange()
        self._exchange = exchange
        if before is None or before.is_answered:
            self._let_in(exchange)
        else:
            self.pause_reading()
            self._behind.append(exchange)

    def _begun_exchange(self) -> Exchange:
        parser, url = self._parser, httptools.parse_url(self._url)
        method, path = parser.get_method().decode("ascii"), url.path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        exchange = Exchange(self, method, path, b"")
        exchange.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": url.query or b"",
            "headers": self._headers,
            "client": self._client,
        }
        exchange.keep_alive = (
            parser.get_http_version() != "1.0"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        )
        exchange.expects = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self._headers
        )
        return exchange

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, unless all bodies together become too large."""
        exchange = self._exchange
        if self._is_refused or exchange is None or exchange.is_answered:
            return
        intake = self._intake
        is_too_much = self._is_too_much(len(body))
        self._body_bytes += len(body)
        intake.bodies_bytes += len(body)
        if is_too_much:
            intake.shed += 1
            self._refuse(_FULL)
            return
        exchange.take(body)
        if len(exchange.body) > _HIGH_WATER:
            self.pause_reading()

    def _is_too_much(self, size: int) -> bool:
        return self._intake.bodies_bytes + size > self._intake.limits.bodies_bytes

    def on_message_complete(self) -> None:
        """Count the request as one to be answered, and rest until the next."""
        if self._is_upgrade:
            return
        self._is_between = True
        exchange = self._exchange
        if self._is_refused or exchange is None:
            return
        if not exchange.is_answered:
            self._count_complete()
            exchange.has_all = True
            exchange.tell()
        self._since, self._is_in_body = None, False
        following, self._next = self._next, None
        if following is not None:
            self._answer_soon(following)

    def _count_complete(self) -> None:
        weight = 1 + self._body_bytes // PAGE
        self._weights.append(weight)
        self._intake.in_flight += weight

    def _answered(self, exchange: Exchange) -> None:
        """Give back what a request counted, and go on."""
        exchange.is_answered = True
        intake = self._intake
        if self._weights:
            intake.in_flight -= self._weights.popleft()
        if not self._weights:
            intake.bodies_bytes -= self._body_bytes
            self._body_bytes = 0
        self._rests_since = self.loop.time()
        if self.transport.is_closing():
            return
        self.resume_reading()
        if self._behind:
            self._let_in(self._behind.popleft())
            self._begin_next()

    def shutdown(self) -> None:
        """End as soon as what was asked is answered."""
        if self._exchange is not None and (self._weights or self._is_in_body):
            self._exchange.keep_alive = False
        elif self._since is not None:  # it has just connected, or begun to ask
            self.loop.call_later(self._intake.limits.last_seconds, self._close_unasked)
        else:
            self.transport.close()

    def _close_unasked(self) -> None:
        if not self._weights and not self._is_in_body and not self.transport.is_closing():
            self.transport.close()

    def _let_in(self, exchange: Exchange) -> None:
        """Let a request in, or answer it at once."""
        intake = self._intake
        if intake.is_draining:
            exchange.keep_alive = False  # the next one goes to another server
        if intake.app is None or intake.is_draining or intake.is_full:
            answer = self._at_once(exchange.path)
            if answer is not None:
                self._answer_at_once(exchange, answer)
                return
        if exchange.has_all:
            self._answer_soon(exchange)
        else:
            self._next = exchange

    def _answer_soon(self, exchange: Exchange) -> None:
        """Answer a request that is here as a whole, after all that the loop has read by now.

        One after the other the predictions find their code in the processor's caches, where reading
        in between pushes it out: a fifth of the time was saved.
        """
        waiting = self._intake.waiting
        if not waiting:
            self.loop.call_soon(_answer_all, self._intake)
        waiting.append(exchange)

    def answer(self, exchange: Exchange) -> None:
        """Answer a request at once, or in a task if something on the way has to wait.

        With a plan nothing has but for the log, which calls those who wait for it one after the
        other; a task with its messages costs as much as the prediction.
        """
        self._go_on_at_once(self._reply(exchange))

    def _go_on_at_once(self, answering: Coroutine[Any, Any, None]) -> None:
        try:
            awaited = answering.send(None)
        except StopIteration:
            return
        if isinstance(awaited, Commit):
            awaited._asyncio_future_blocking = False  # as a task says that it has seen it
            awaited.then.append(partial(self._go_on_at_once, answering))
        else:
            self._go_on(_rest(answering, awaited))

    def _begin_next(self) -> None:
        """Begin a request whose body is still on the way: its sender may wait for a word."""
        exchange, self._next = self._next, None
        if exchange is not None and not self.transport.is_closing():
            self._go_on(self._reply(exchange))

    def _go_on(self, answering: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(answering)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _reply(self, exchange: Exchange) -> None:
        app = self._intake.app
        assert app is not None  # noqa: S101 - without one nothing is let in
        try:
            if exchange.asked is not None:
                body = bytes(exchange.body)
                reply: Reply | None = await app.again(exchange.asked, body, self._client)
            else:
                reply = await app.reply(exchange.scope, exchange.receive)
            if self._unwritten is not None and not exchange.is_gone:
                await self._unwritten.wait()
            if reply is not None and not exchange.is_gone:
                self._write(exchange, reply)
        except Exception:  # noqa: BLE001 - those behind this one are answered
            _log.exception("%s was not answered.", exchange.path)
        finally:
            if not exchange.is_answered:
                self.transport.close()

    def _write(self, exchange: Exchange, reply: Reply) -> None:
        """Write an answer in one piece."""
        lines = [_STATUS[reply.status]]
        for name, value in reply.headers:
            lines += (name, b": ", value, b"\r\n")
            if name == b"connection":
                exchange.keep_alive = False
        lines.append(b"content-length: %d\r\n" % len(reply.body))
        lines.append(b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n")
        if exchange.method != "HEAD":
            lines.append(reply.body)
        self.transport.write(b"".join(lines))
        if exchange.head is not None and reply.status == HTTPStatus.OK:
            self._intake.remember(exchange.head, exchange.scope)
        if not exchange.keep_alive:
            self.transport.close()
        self._answered(exchange)

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

    def _answer_at_once(self, exchange: Exchange, answer: tuple[bytes, bytes]) -> None:
        head, body = answer
        # A body that was announced and will not be sent, or requests behind this one: to go on
        # would mean to take one thing for another.
        ends = not exchange.keep_alive or exchange.expects or bool(self._behind)
        last = b"connection: close\r\n\r\n" if ends else b"\r\n"
        self.transport.write(head + last + (b"" if exchange.method == "HEAD" else body))
        if ends:
            self._is_refused = True
            self.transport.close()
        self._answered(exchange)
        if answer is _FULL and not ends:
            self.pause_reading()
            pause = self._intake.limits.pause_seconds
            self._pause = self.loop.call_later(pause, self.resume_reading)

    def _refuse(self, answer: tuple[bytes, bytes]) -> None:
        """Answer, and read nothing more."""
        self._is_refused = True
        self._intake.cut_off += 1
        if not self._weights:  # else one before it would take this for its answer
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
    for exchange in waiting:
        exchange.connection.answer(exchange)


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
