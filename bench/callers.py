"""Callers that ask so many times a second over a few connections, and write every answer down.

A process of its own: whoever promotes, kills and folds meanwhile does not delay it. What is known
of each request is one line of CSV, for others to judge; here only the answer's values are compared
with those that the version it names gave before.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

COLUMNS = ("sent", "taken", "port", "place", "version", "outcome", "prediction")
"""Microseconds of the monotonic clock; the caller's port; which body; what came of it."""
LOST, TIMEOUT, WRONG, REFUSED = "lost", "timeout", "wrong", "refused"
"""Besides statuses: cut off unanswered, no answer in time, other values, no connection."""
PER_CONNECTION = 500
"""Requests before a connection is made anew, as pools do: else those of a worker that ended would
stay for ever with the one that is left."""
_ANSWER_SECONDS = 10.0
_TICK = 0.002


class Callers:
    """So many connections, and what they are to ask."""

    def __init__(
        self,
        port: int,
        path: str,
        bodies: Sequence[bytes],
        expected: Mapping[str, Sequence[str]],
        file: TextIO,
    ) -> None:
        """`expected` has, for each version, the outputs of each body."""
        self.requests = [
            (
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body
            for body in bodies
        ]
        self.expected = {
            (version.encode(), place): text.encode()
            for version, texts in expected.items()
            for place, text in enumerate(texts)
        }
        self.asked = 0
        self.answered = 0
        self.is_over = False
        self._port = port
        self._rests = False
        self._file = file
        self._lines: list[str] = []
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()

    async def run(self, clients: int, rate: float, seconds: float) -> float:
        """Ask for so long; return how long it was. Without a rate, again at each answer."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end)
        self._rests = rate > 0
        await asyncio.gather(*(self._open() for _ in range(clients)))
        start = time.monotonic()
        checked = start
        while not self.is_over and (now := time.monotonic()) < start + seconds:
            due = int((now - start) * rate) - self.asked if self._rests else clients
            while due > 0 and self._idle:
                self._ask(self._idle.popleft())
                due -= 1
            if now > checked + 1:
                checked = now
                self._look(now)
            await asyncio.sleep(_TICK)
        self.is_over = True
        passed = time.monotonic() - start
        while any(one.place is not None for one in self._all) and self._look(time.monotonic()):
            await asyncio.sleep(0.02)
        await asyncio.gather(*self._opening)
        for one in tuple(self._all):
            one.close()
        self._look(time.monotonic())
        return passed

    def ready(self, connection: "_Connection") -> None:
        """Take back a connection that has its answer, or is new."""
        self._all.add(connection)
        self._idle.append(connection)

    def again(self, connection: "_Connection") -> None:
        """Ask at once where no rate is wanted; else rest."""
        if self._rests or self.is_over:
            self._idle.append(connection)
        else:
            self._ask(connection)

    def gone(self, connection: "_Connection") -> None:
        """Replace a connection that ended."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self.is_over:
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def note(self, *values: object) -> None:
        """Write down what became of one request."""
        self.answered += 1
        self._lines.append(",".join(map(str, values)) + "\n")

    def _ask(self, connection: "_Connection") -> None:
        connection.ask(self.asked % len(self.requests))
        self.asked += 1

    def _end(self) -> None:
        self.is_over = True

    def _look(self, now: float) -> bool:
        """Give up what takes too long, and write; return whether anything still waits."""
        for one in tuple(self._all):
            if one.place is not None and now - one.sent > _ANSWER_SECONDS:
                one.give_up()
        self._file.writelines(self._lines)
        self._lines.clear()
        return any(one.place is not None for one in self._all)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await loop.create_connection(partial(_Connection, self), "127.0.0.1", self._port)
        except OSError:
            self.note(time.monotonic_ns() // 1000, 0, 0, "", "", REFUSED, "")
            await asyncio.sleep(0.05)
            if not self.is_over:
                await self._open()


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._got = b""
        self._whole = 0
        self._left = PER_CONNECTION
        self.place: int | None = None
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._local = transport.get_extra_info("sockname")[1]
        self._callers.ready(self)

    def ask(self, place: int) -> None:
        self.place = place
        self.sent = time.monotonic()
        self._transport.write(self._callers.requests[place])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._whole:
            head, end, _ = self._got.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = head.lower()
            self._whole = len(head) + 4 + int(_field(self._head, b"content-length") or b"0")
        if len(self._got) >= self._whole:
            self._answered(self._got)
            self._got, self._whole = b"", 0
            self._left -= 1
            if self._left <= 0:
                self._transport.close()
            else:
                self._callers.again(self)

    def _answered(self, answer: bytes) -> None:
        version = _field(self._head, b"x-model-version")
        outcome = self._head[9:12].decode()
        prediction = answer.partition(b'"prediction_ids":"')[2].partition(b'"')[0]
        if outcome == "200":
            outputs = answer.partition(b'"outputs":')[2]
            if outputs != self._callers.expected.get((version, self.place)):
                outcome = WRONG
        self._note(version.decode(), outcome, prediction.decode())

    def connection_lost(self, exc: Exception | None) -> None:
        if self.place is not None:
            self._note("", LOST, "")
        self._callers.gone(self)

    def give_up(self) -> None:
        self._note("", TIMEOUT, "")
        self._transport.abort()  # type: ignore[attr-defined]

    def close(self) -> None:
        self._transport.close()

    def _note(self, version: str, outcome: str, prediction: str) -> None:
        sent, taken = round(self.sent * 1e6), round((time.monotonic() - self.sent) * 1e6)
        place, self.place = self.place, None
        self._callers.note(sent, taken, self._local, place, version, outcome, prediction)


def _field(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip()


def main() -> int:
    """Ask as the plan on standard input says; print how it went."""
    parser = argparse.ArgumentParser(prog="python -m bench.callers", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.0, help="0 asks again at each answer")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    plan = json.load(sys.stdin)
    bodies = [body.encode() for body in plan["bodies"]]
    import uvloop

    with (
        options.out.open("w") as file,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        file.write(",".join(COLUMNS) + "\n")
        callers = Callers(options.port, plan["path"], bodies, plan["expected"], file)
        passed = runner.run(callers.run(options.clients, options.rate, options.seconds))
    print(json.dumps({"asked": callers.asked, "noted": callers.answered, "seconds": passed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
