"""Callers that are slow, large, many, or gone: each is bounded, and the others are answered."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.server import ServerState

from loopline.serving.limits import Intake, Limits
from loopline.serving.routes import Reply
from loopline.serving.transport import Connection

Story = Callable[[int, Intake], Awaitable[Any]]


class App:
    """Answers with the length of what it got, once `gate` is open; `/large` with a lot."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.paths: list[str] = []
        self.again_paths: list[str] = []
        """Of those, what was asked by a head that was known."""

    def asked(self, scope: Any) -> Any:
        size = int(dict(scope["headers"]).get(b"content-length", b"0"))
        return SimpleNamespace(method=scope["method"], path=scope["path"], size=size)

    async def again(self, asked: Any, body: bytes, client: Any) -> Reply | None:
        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        self.again_paths.append(asked.path)
        return await self.reply({"path": asked.path}, receive)

    async def reply(self, scope: Any, receive: Any) -> Reply | None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message["body"]
            more = message["more_body"]
        self.paths.append(scope["path"])
        if scope["path"] == "/broken":
            raise ValueError("a fault of ours")
        if scope["path"] != "/ready":
            await self.gate.wait()
        if scope["path"] == "/refused":
            return Reply(403, b"no")
        return Reply(200, b"x" * 20_000_000 if scope["path"] == "/large" else b"%d" % len(body))


@contextlib.asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[tuple[int, Intake, App]]:
    intake, app = Intake(Limits(**limits), ready=["/ready"], spared=["/ready", "/live"]), App()
    intake.app, intake.live = app, ["/live"]
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(intake, state), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], intake, app
    finally:
        server.close()
        app.gate.set()
        for caller in _callers:
            caller.writer.transport.abort()
        _callers.clear()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0.01)
        # Whatever happened, all that was taken has been given back.
        assert (intake.in_flight, intake.bodies_bytes, intake.connections) == (0, 0, set())


def told(story: Story, **limits: Any) -> Any:
    async def whole() -> Any:
        async with asyncio.timeout(20), serving(**limits) as (port, intake, app):
            return await story(port, intake, app)  # type: ignore[call-arg]

    return asyncio.run(whole())


_callers: "list[Caller]" = []
"""To be closed at the end of a story, however it ends."""


class Caller:
    """One connection, spoken to in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, port: int) -> "Caller":
        caller = cls(*await asyncio.open_connection("127.0.0.1", port))
        _callers.append(caller)
        return caller

    def send(self, content: bytes) -> None:
        self.writer.write(content)

    def ask(self, path: str, body: bytes = b"", *headers: str, method: str = "POST") -> None:
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        self.send("\r\n".join([*head, *headers, "", ""]).encode() + body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(fields["content-length"]))
        return int(head[0].split()[1]), fields, body

    async def rest(self) -> bytes:
        """Return what comes until the other side closes."""
        with contextlib.suppress(ConnectionResetError):
            return await self.reader.read()
        return b""


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.002)


def test_a_request_is_answered_and_what_it_took_is_given_back() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        app.gate.clear()
        caller.ask("/a", b"x" * 10_000)
        await until(lambda: intake.in_flight > 0)
        assert (intake.in_flight, intake.bodies_bytes) == (3, 10_000)  # 4 KiB count as one more
        app.gate.set()
        assert (await caller.answer())[2] == b"10000"
        assert (intake.in_flight, intake.bodies_bytes) == (0, 0)
        caller.ask("/a")
        assert (await caller.answer())[2] == b"0"

    told(story)


def test_a_body_may_come_in_pieces_and_in_chunks() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        caller.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        await asyncio.sleep(0.02)
        caller.send(b"cd")
        assert (await caller.answer())[2] == b"4"
        chunked = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        caller.send(chunked + b"3\r\nabc\r\n")
        await asyncio.sleep(0.02)
        caller.send(b"2\r\nde\r\n0\r\n\r\n")
        assert (await caller.answer())[2] == b"5"
        caller.send(chunked + b"3\r\nabc\r\n0\r\n\r\n")
        assert (await caller.answer())[2] == b"3"

    told(story)


def test_who_asks_for_the_head_gets_no_body() -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        caller = await Caller.at(port)
        caller.ask("/a", b"", "Connection: close", method="HEAD")
        return await caller.rest()

    head, _, body = told(story).partition(b"\r\n\r\n")
    assert b"content-length: 1" in head
    assert b"connection: close" in head
    assert body == b""


def test_who_waits_to_send_its_body_hears_that_it_may_also_behind_another_request() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        app.gate.clear()
        caller.ask("/a")
        expects = (
            b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        caller.send(expects)
        await until(lambda: len(app.paths) == 1)
        app.gate.set()
        assert (await caller.answer())[2] == b"0"
        assert await caller.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.send(b"ab")
        assert (await caller.answer())[2] == b"2"

    told(story)


def test_a_fault_in_one_request_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        callers = [await Caller.at(port) for _ in range(3)]
        for caller, path in zip(callers, ("/a", "/broken", "/b"), strict=True):
            caller.ask(path)
        assert (await callers[0].answer())[0] == (await callers[2].answer())[0] == 200
        return await callers[1].rest()

    assert told(story) == b""
    assert "/broken was not answered" in caplog.text


def test_a_request_that_waits_and_is_given_up_closes_its_connection() -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        caller = await Caller.at(port)
        app.gate.clear()
        caller.ask("/a")
        await until(lambda: len(app.paths) == 1)
        [connection] = intake.connections
        await until(lambda: bool(connection.tasks))
        for task in connection.tasks:
            task.cancel()
        return await caller.rest()

    assert told(story) == b""


def test_a_connection_that_rests_too_long_is_closed_and_blames_nobody() -> None:
    async def story(port: int, intake: Intake, app: App) -> int:
        caller = await Caller.at(port)
        caller.ask("/a")
        await caller.answer()
        assert await caller.rest() == b""
        return intake.cut_off

    assert told(story, keep_alive_seconds=1, unread_seconds=0.1, head_seconds=0.1) == 0


@pytest.mark.parametrize(
    "sent", [b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n"], ids=len
)
def test_a_head_that_does_not_come_is_cut_off(sent: bytes) -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        caller = await Caller.at(port)
        caller.send(sent)
        rest = await caller.rest()
        assert intake.cut_off == 1
        return rest

    assert told(story, head_seconds=0.1) == b""


def test_a_head_that_drips_gains_no_time() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        caller.send(b"POST / HTTP/1.1\r\n")
        dripped = 0
        while not caller.reader.at_eof() and dripped < 500:
            caller.send(b"X-A: b\r\n")
            dripped += 1
            await asyncio.sleep(0.02)
        assert dripped < 50

    told(story, head_seconds=0.2)


def test_a_body_that_drips_is_cut_off_and_one_that_comes_in_time_is_not() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        slow, brisk = await Caller.at(port), await Caller.at(port)
        for caller in (slow, brisk):
            caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na")
        await asyncio.sleep(0.15)  # longer than a head may take
        brisk.send(b"bcd")
        assert (await brisk.answer())[2] == b"4"
        assert await slow.rest() == b""
        assert app.paths == ["/"]

    told(story, head_seconds=0.1, body_seconds=0.4)


def test_a_connection_may_rest_between_two_requests() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        caller.ask("/a")
        await caller.answer()
        await asyncio.sleep(0.3)
        caller.ask("/b")
        assert (await caller.answer())[0] == 200

    told(story, head_seconds=0.1, body_seconds=0.1)


@pytest.mark.parametrize(
    "bomb",
    [
        b"POST / HTTP/1.1\r\nX-A: " + b"a" * 70_000,
        b"POST / HTTP/1.1\r\n" + b"X-A: b\r\n" * 101 + b"\r\n",
        b"POST / HTTP/1.1\r\n" + b"X-A: b\r\n" * 9000,
        b"POST /" + b"a" * 70_000,
    ],
    ids=["one long header", "many headers", "headers without end", "a long path"],
)
def test_a_head_that_is_too_large_is_refused(bomb: bytes) -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        caller = await Caller.at(port)
        caller.send(bomb)
        answer = await caller.rest()
        assert app.paths == []
        return answer

    assert told(story).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


def test_a_hundred_headers_are_fine() -> None:
    async def story(port: int, intake: Intake, app: App) -> int:
        caller = await Caller.at(port)
        caller.ask("/a", b"", *[f"X-{number}: a" for number in range(98)])
        return (await caller.answer())[0]

    assert told(story) == 200


def test_who_has_said_everything_and_stops_sending_still_gets_the_answer() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        app.gate.clear()
        caller.ask("/a", b"abc")
        caller.writer.write_eof()
        await until(lambda: intake.in_flight == 1)
        await asyncio.sleep(0.05)
        app.gate.set()
        status, headers, body = await caller.answer()
        assert (status, headers["connection"], body) == (200, "close", b"3")
        assert await caller.rest() == b""

    told(story)


def test_who_stops_in_the_middle_is_let_go() -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        caller = await Caller.at(port)
        caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na")
        caller.writer.write_eof()
        rest = await caller.rest()
        assert app.paths == []
        return rest

    assert told(story) == b""


def test_past_the_bound_a_request_is_told_to_come_back_and_health_still_answers() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        app.gate.clear()
        inside = [await Caller.at(port) for _ in range(2)]
        for caller in inside:
            caller.ask("/a")
        await until(lambda: intake.in_flight == 2)
        late, prober = await Caller.at(port), await Caller.at(port)
        late.ask("/a", b"some body")
        status, headers, body = await late.answer()
        assert (status, headers["retry-after"]) == (429, "1")
        assert headers["content-type"] == "application/json"
        assert b'"error":"The server has as many requests' in body
        assert b'"error_code":"REQUEST_LIMIT_EXCEEDED"' in body
        assert intake.shed == 1
        prober.ask("/ready", method="GET")
        assert (await prober.answer())[0] == 200
        app.gate.set()
        for caller in inside:
            assert (await caller.answer())[0] == 200
        late.ask("/a", b"again")  # on the same connection
        assert (await late.answer())[2] == b"5"

    told(story, in_flight=2, pause_seconds=0.05)


def test_a_large_body_counts_as_many() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        app.gate.clear()
        large, small = await Caller.at(port), await Caller.at(port)
        large.ask("/a", b"x" * 4096 * 9)
        await until(lambda: intake.in_flight == 10)
        small.ask("/a")
        assert (await small.answer())[0] == 429

    told(story, in_flight=10)


def test_a_connection_that_was_told_is_not_read_for_a_while() -> None:
    async def story(port: int, intake: Intake, app: App) -> int:
        app.gate.clear()
        inside, eager = await Caller.at(port), await Caller.at(port)
        inside.ask("/a")
        await until(lambda: intake.in_flight == 1)
        for _ in range(3):
            eager.ask("/a")
            await eager.answer()
        eager.ask("/a")
        await asyncio.sleep(0.05)
        return intake.shed

    assert told(story, in_flight=1, pause_seconds=0.2) == 3


def test_who_waits_to_send_its_body_is_told_before_it_does() -> None:
    async def story(port: int, intake: Intake, app: App) -> tuple[int, str, bytes]:
        app.gate.clear()
        inside, late = await Caller.at(port), await Caller.at(port)
        inside.ask("/a")
        await until(lambda: intake.in_flight == 1)
        late.send(b"POST /a HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        status, headers, _ = await late.answer()
        return status, headers["connection"], await late.rest()

    assert told(story, in_flight=1) == (429, "close", b"")


def test_requests_sent_ahead_are_answered_in_order_or_not_at_all() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        app.gate.clear()
        caller = await Caller.at(port)
        for number in range(6):
            caller.ask("/a", b"x" * number)
        await until(lambda: len(app.paths) == 1)
        app.gate.set()
        answers = await caller.rest()
        # What waits behind the first counts too, so the second finds the server full.
        assert answers.count(b"HTTP/1.1 200") == 1
        assert answers.count(b"HTTP/1.1 429") == 1
        patient = await Caller.at(port)
        for number in range(3):
            patient.ask("/a", b"x" * number)
        assert [(await patient.answer())[2] for _ in range(3)] == [b"0", b"1", b"2"]

    told(story, in_flight=4)


def test_a_flood_of_requests_on_one_connection_breaks_nothing() -> None:
    async def story(port: int, intake: Intake, app: App) -> int:
        caller = await Caller.at(port)
        caller.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000)
        await caller.rest()
        other = await Caller.at(port)
        other.ask("/a")
        return (await other.answer())[0]

    assert told(story, in_flight=50) == 200


def test_one_that_rests_makes_room_for_one_that_comes() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        resting = [await Caller.at(port) for _ in range(3)]
        for caller in resting:
            caller.ask("/a")
            await caller.answer()
        new = await Caller.at(port)
        new.ask("/a")
        assert (await new.answer())[0] == 200
        await until(lambda: sum(caller.reader.at_eof() for caller in resting) == 1)
        assert intake.refused_connections == 0

    told(story, connections=3)


def test_where_none_rests_the_new_one_is_refused() -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        app.gate.clear()
        busy = [await Caller.at(port) for _ in range(3)]
        for caller in busy:
            caller.ask("/a")
        await until(lambda: intake.in_flight == 3)
        new = await Caller.at(port)
        answer = await new.rest()
        assert intake.refused_connections == 1
        app.gate.set()
        for caller in busy:
            assert (await caller.answer())[0] == 200
        return answer

    answer = told(story, connections=3)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"retry-after: 1\r\n" in answer


def test_all_bodies_together_have_a_bound() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"
        slow = [await Caller.at(port) for _ in range(4)]
        for caller in slow[:3]:
            caller.send(head + b"x" * 3000)
        await until(lambda: intake.bodies_bytes == 9000)
        slow[3].send(head + b"x" * 3000)
        assert (await slow[3].rest()).startswith(b"HTTP/1.1 429 ")
        await until(lambda: intake.bodies_bytes == 9000)
        slow[0].writer.close()
        await until(lambda: intake.bodies_bytes == 6000)
        quick = await Caller.at(port)
        quick.ask("/a", b"x" * 3000)
        assert (await quick.answer())[0] == 200

    told(story, bodies_bytes=10_000)


def test_who_does_not_read_its_answer_is_cut_off() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        caller.writer.transport.pause_reading()
        caller.ask("/large")
        await until(lambda: intake.cut_off == 1)
        await until(lambda: not intake.connections)

    told(story, unread_seconds=0.05, head_seconds=0.05)


def test_who_reads_its_answer_slowly_gets_all_of_it() -> None:
    async def story(port: int, intake: Intake, app: App) -> int:
        caller = await Caller.at(port)
        caller.ask("/large")
        await caller.reader.readuntil(b"\r\n\r\n")
        read = 0
        while read < 20_000_000:
            read += len(await caller.reader.read(400_000))
            await asyncio.sleep(0.005)
        return read

    assert told(story, unread_seconds=0.1, head_seconds=0.1) == 20_000_000


@pytest.mark.parametrize("resets", [True, False])
def test_a_caller_that_goes_away_takes_nothing_with_it(resets: bool) -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        app.gate.clear()
        caller = await Caller.at(port)
        caller.ask("/a", b"x" * 5000)
        await until(lambda: intake.in_flight == 2)
        if resets:
            connection = caller.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.writer.transport.abort()
        if not resets:  # it may still be reading, for all that can be seen
            await until(lambda: app.paths == ["/a"])
            app.gate.set()
        await until(lambda: intake.in_flight == 0 and intake.bodies_bytes == 0)

    told(story)


def test_until_there_is_a_model_it_is_up_and_not_ready() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        intake.app = None
        caller = await Caller.at(port)
        found = {}
        for path in ("/live", "/ready", "/a"):
            caller.ask(path, b"a body")
            found[path] = await caller.answer()
        assert [found[path][0] for path in ("/live", "/ready", "/a")] == [200, 503, 503]
        assert found["/a"][1]["retry-after"] == "1"
        assert b"The model is being loaded." in found["/a"][2]
        caller.ask("/a", method="HEAD")
        head = await caller.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        intake.app = app
        caller.ask("/a", b"now")
        assert (await caller.answer())[2] == b"3"

    told(story)


def test_one_that_ends_hears_out_who_has_just_connected_and_closes_who_rests() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        resting, asking, silent = [await Caller.at(port) for _ in range(3)]
        resting.ask("/a")
        await resting.answer()
        await until(lambda: len(intake.connections) == 3)
        intake.is_draining = True
        for connection in list(intake.connections):
            connection.shutdown()
        assert await resting.rest() == b""
        asking.ask("/a", b"abc")
        status, headers, body = await asking.answer()
        assert (status, headers["connection"], body) == (200, "close", b"3")
        assert await silent.rest() == b""

    told(story, last_seconds=0.1)


def test_one_that_ends_is_not_ready_and_has_each_caller_connect_anew() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller, prober = await Caller.at(port), await Caller.at(port)
        intake.is_draining = True
        prober.ask("/ready", method="GET")
        status, headers, body = await prober.answer()
        assert (status, headers["connection"]) == (503, "close")
        assert b"The server is ending." in body
        caller.ask("/a", b"abc")
        status, headers, body = await caller.answer()
        assert (status, headers["connection"], body) == (200, "close", b"3")
        assert await caller.rest() == b""

    told(story)


def test_a_head_that_comes_again_is_not_parsed_again_and_answered_the_same() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller, other = await Caller.at(port), await Caller.at(port)
        for number in range(4):
            caller.ask("/a", b"x" * 5000)
            assert (await caller.answer())[2] == b"5000"
            assert app.again_paths == ["/a"] * max(0, number - 1)
        app.gate.clear()
        other.ask("/a", b"y" * 5000)  # on any connection
        await until(lambda: len(app.again_paths) == 3)
        assert (intake.in_flight, intake.bodies_bytes) == (2, 5000)
        app.gate.set()
        assert (await other.answer())[2] == b"5000"

    told(story)


def known(port: int) -> Awaitable[Caller]:
    async def taught() -> Caller:
        caller = await Caller.at(port)
        for method in ("POST", "HEAD"):
            for _ in range(2):
                caller.ask("/a", b"abc", method=method)
                await caller.reader.readuntil(b"\r\n\r\n")
                if method == "POST":
                    assert await caller.reader.readexactly(1) == b"3"
        return caller

    return taught()


HEAD = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"


def test_what_only_begins_as_a_known_request_is_parsed() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await known(port)
        assert HEAD in intake.heads
        caller.send(HEAD + b"ab")
        await until(lambda: intake.bodies_bytes == 2)
        caller.send(b"c")
        assert (await caller.answer())[2] == b"3"
        caller.send(HEAD + b"abc" + HEAD + b"de")
        assert (await caller.answer())[2] == b"3"
        caller.send(b"f" + HEAD[:9])
        assert (await caller.answer())[2] == b"3"
        caller.send(HEAD[9:] + b"ghi")
        assert (await caller.answer())[2] == b"3"
        assert app.again_paths == []
        caller.send(HEAD + b"jkl")
        assert (await caller.answer())[2] == b"3"
        assert app.again_paths == ["/a"]

    told(story)


def test_who_only_sends_what_is_known_is_not_taken_for_one_that_sends_no_head() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        await known(port)
        caller = await Caller.at(port)
        for _ in range(6):
            caller.send(HEAD + b"abc")
            assert (await caller.answer())[2] == b"3"
            await asyncio.sleep(0.05)
        assert len(app.again_paths) == 6
        assert intake.cut_off == 0

    told(story, head_seconds=0.1)


def test_a_known_head_asks_for_no_body_where_it_asked_for_none() -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        caller = await known(port)
        caller.ask("/a", b"abc", method="HEAD")
        head = await caller.reader.readuntil(b"\r\n\r\n")
        assert app.again_paths == ["/a"]
        assert b"content-length: 1\r\n" in head
        caller.writer.write_eof()
        return await caller.rest()

    assert told(story) == b""


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/refused", "X-A: b"),
        ("/a", "Connection: close"),
        ("/a", "Expect: 100-continue"),
        ("/a", "Upgrade: h2c"),
        ("/a", f"X-A: {'b' * 5000}"),
    ],
)
def test_what_is_refused_or_says_more_than_its_body_is_not_remembered(
    path: str, header: str
) -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        for _ in range(3):
            if header == "Connection: close":
                caller = await Caller.at(port)
            caller.ask(path, b"abc", header)
            if header.startswith("Expect"):
                await caller.reader.readuntil(b"\r\n\r\n")
            await caller.answer()
        assert len(app.paths) == 3
        assert intake.heads == {}

    told(story)


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_who_asks_for_another_protocol_is_answered_in_this_one_with_its_body(
    pieces: int, is_chunked: bool
) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    body = b"GET /b HTTP/1.1\r\n\r\n"
    if is_chunked:
        request = head + b"Transfer-Encoding: chunked\r\n\r\n13\r\n" + body + b"\r\n0\r\n\r\n"
    else:
        request = head + b"Content-Length: 19\r\n\r\n" + body

    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        cut = request.index(b"\r\n\r\n") + 4 if pieces == 2 else len(request)
        caller.send(request[:cut])
        if pieces == 2:
            await until(lambda: bool(intake.connections) and caller_is_in_body(intake))
        caller.send(request[cut:] + HEAD + b"abc")
        assert [(await caller.answer())[2] for _ in range(2)] == [b"19", b"3"]
        assert app.paths == ["/a", "/a"]

    told(story)


def caller_is_in_body(intake: Intake) -> bool:
    [connection] = intake.connections
    return bool(connection._is_in_body)


def test_connect_is_refused_and_what_follows_it_is_not_read() -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        caller = await Caller.at(port)
        caller.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + HEAD + b"abc")
        answer = await caller.rest()
        assert app.paths == []
        return answer

    assert told(story).startswith(b"HTTP/1.1 400 ")


def test_too_many_headers_behind_a_known_head_are_refused_and_break_nothing() -> None:
    async def story(port: int, intake: Intake, app: App) -> list[Any]:
        broken: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, said: broken.append(said))
        caller = await known(port)
        caller.send(HEAD + b"abc")
        assert (await caller.answer())[2] == b"3"
        caller.ask("/a", b"", *(f"A{number}: b" for number in range(101)))
        assert (await caller.answer())[0] == 431
        return broken

    assert told(story) == []


def test_what_is_no_request_answers_none_that_came_before() -> None:
    async def story(port: int, intake: Intake, app: App) -> bytes:
        caller = await Caller.at(port)
        app.gate.clear()
        caller.ask("/a")
        await until(lambda: intake.in_flight == 1)
        caller.send(b"no request\r\n\r\n")
        return await caller.rest()

    assert told(story) == b""


def test_a_head_that_comes_once_is_forgotten_and_not_many_are_kept() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller = await Caller.at(port)
        for number in range(300):
            for _ in range(1 + (number > 10)):
                caller.ask("/a", b"", f"X-Trace: {number}")
                await caller.answer()
            if number == 10:
                assert intake.heads == {}
        assert 0 < len(intake.heads) <= 256

    told(story)


def test_past_the_bound_a_known_head_is_told_to_come_back_and_a_server_that_ends_says_so() -> None:
    async def story(port: int, intake: Intake, app: App) -> None:
        caller, inside = await known(port), await Caller.at(port)
        app.gate.clear()
        inside.ask("/b")
        await until(lambda: intake.in_flight == 1)
        caller.send(HEAD + b"abc")
        assert (await caller.answer())[0] == 429
        app.gate.set()
        await inside.answer()
        intake.is_draining = True
        caller.send(HEAD + b"abc")
        status, headers, _ = await caller.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert app.again_paths == []

    told(story, in_flight=1, pause_seconds=0.01)


def test_however_requests_are_cut_into_pieces_the_answers_are_the_same() -> None:
    chance = random.Random(7)
    requests = [
        HEAD + b"abc",
        b"GET /b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"\r\n" + HEAD + b"abc",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 63\r\n\r\n" + HEAD + b"abc" + b"d" * 4,
    ]
    assert len(HEAD) == 56  # so that the last one's body holds a whole request that is known
    answers = [b"3", b"0", b"2", b"3", b"63"]

    async def story(port: int, intake: Intake, app: App) -> None:
        await known(port)
        for _ in range(120):
            caller = await Caller.at(port)
            picked = chance.choices(range(len(requests)), k=chance.randint(1, 6))
            stream = b"".join(requests[which] for which in picked)
            while stream:
                whole = chance.random() < 0.5
                size = len(HEAD) + 3 if whole else chance.randint(1, len(stream))
                caller.send(stream[:size])
                stream = stream[size:]
                await asyncio.sleep(0)
                if chance.random() < 0.3:
                    await asyncio.sleep(0.001)
            assert [(await caller.answer())[2] for _ in picked] == [answers[at] for at in picked]
            caller.writer.close()
        assert app.again_paths

    told(story)
