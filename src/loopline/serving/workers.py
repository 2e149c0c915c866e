"""Several processes that answer on one address, and the parent that keeps them there.

The parent opens the address, imports what a server needs and forks; it loads no model, starts no
thread and answers nobody, so forking it again is safe at any time. The workers accept from the one
socket they inherit: what waits there when a worker dies is taken by the others, where a socket of
its own for each (SO_REUSEPORT) would lose it. Each has a model memory, a log segment and a watch on
the releases of its own.

A worker holds the reading end of a pipe that nobody writes to. When the parent is gone, however it
went, the pipe ends, and the worker drains.
"""

import contextlib
import logging
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec

from loopline.errors import LooplineError
from loopline.serving.metrics import Family, lasting, total

DRAIN_SECONDS = 10.0
"""How long a worker may take to end; it is killed then."""
_AGAIN_SECONDS = 1.0
"""A worker that ended this soon after its start is started again this much later, not at once."""
_PLACE_BYTES = 256 * 2**10
_HEAD = struct.Struct("<II")

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""They ask to end. A worker begins with both blocked."""

_log = logging.getLogger(__name__)


class _Posted(msgspec.Struct):
    """What a process says of itself, or the parent of those that have ended."""

    processes: list[int]
    is_ready: bool
    families: list[Family]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Posted).decode


class Board:
    """Memory that all processes share: each writes its own place, and reads the others'.

    Without a lock: who reads while another writes sees a wrong checksum, and goes by what it read
    before. The last place is the parent's, for those that have ended, so that no counter falls.
    """

    def __init__(self, workers: int) -> None:
        """Make it before forking."""
        self._memory = mmap.mmap(-1, (workers + 1) * _PLACE_BYTES)
        self._places = workers + 1
        self._last: dict[int, _Posted] = {}

    def post(self, place: int, families: Sequence[Family], *, is_ready: bool = True) -> None:
        """Write the figures of this process."""
        self._write(place, _Posted([os.getpid()], is_ready, list(families)))

    def others(self, place: int) -> list[list[Family]]:
        """Return the figures of all processes but the one at `place`."""
        running = [self._read(other) for other in range(self._places - 1) if other != place]
        ended = self._read(self._places - 1) or _Posted([], False, [])
        # One that has ended may still have its place; it is counted with the ended ones.
        counted = [
            one for one in running if one is not None and one.processes[0] not in ended.processes
        ]
        return [one.families for one in (*counted, ended)]

    @property
    def has_ended(self) -> bool:
        """Whether any process has: whoever is at its place now is not the first."""
        return self._read(self._places - 1) is not None

    def is_ready(self, place: int) -> bool:
        """Return whether the process there answers."""
        posted = self._read(place)
        return posted is not None and posted.is_ready

    def end(self, place: int) -> None:
        """Keep what still counts of the process at `place`, which has ended; the parent's task."""
        posted = self._read(place)
        if posted is not None and posted.families:
            ended = self._read(self._places - 1) or _Posted([], False, [])
            families = total([ended.families, lasting(posted.families)])
            processes = [*ended.processes, *posted.processes][-1000:]
            self._write(self._places - 1, _Posted(processes, False, families))
        self._last.pop(place, None)
        self._memory[place * _PLACE_BYTES : place * _PLACE_BYTES + _HEAD.size] = bytes(_HEAD.size)

    def _write(self, place: int, posted: _Posted) -> None:
        content = _encode(posted)
        if len(content) > _PLACE_BYTES - _HEAD.size:
            _log.error("The figures of process %d take too much room to add up.", os.getpid())
            return
        start = place * _PLACE_BYTES
        framed = _HEAD.pack(len(content), zlib.crc32(content)) + content
        self._memory[start : start + len(framed)] = framed

    def _read(self, place: int) -> _Posted | None:
        start = place * _PLACE_BYTES
        length, checksum = _HEAD.unpack(self._memory[start : start + _HEAD.size])
        if not length:
            return None
        begin = start + _HEAD.size
        content = self._memory[begin : begin + min(length, _PLACE_BYTES)]
        if zlib.crc32(content) == checksum:
            self._last[place] = _decode(content)
        return self._last.get(place)


@dataclass
class _Worker:
    place: int
    process: int
    began: float


@dataclass
class Workers:
    """Runs `count` workers until a signal comes, and starts those again that die."""

    count: int
    work: Callable[[int, int], None]
    """What a worker does, given its place and the pipe that ends with the parent."""
    board: Board
    listener: socket.socket
    every_minute: Callable[[], None]
    _running: dict[int, _Worker] = field(default_factory=dict)
    _due: dict[int, float] = field(default_factory=dict)
    """Place to when its next worker starts."""
    _asked: bool = False
    _failed: int | None = None
    """The exit code of a worker that never became ready, before any did."""
    _was_ready: bool = False

    def run(self) -> int:
        """Return the exit code: 0 after SIGTERM or SIGINT."""
        with _woken(self._ask) as wake:
            self._alive, self._mine = os.pipe()
            self._start(0)  # the others follow when it answers: what is wrong is said once
            minute = time.monotonic() + 60
            while not self._asked and self._failed is None:
                select.select([wake], [], [], self._rest())
                _emptied(wake)
                self._reap()
                now = time.monotonic()
                if not self._was_ready and self.board.is_ready(0):
                    self._was_ready = True
                    self._due.update(dict.fromkeys(range(1, self.count), now))
                for place in [place for place, due in self._due.items() if due <= now]:
                    if not self._asked:
                        self._start(place)
                if now >= minute:
                    minute += 60
                    self.every_minute()
            self._end(wake)
        return self._failed or 0

    def _rest(self) -> float:
        if not self._was_ready:
            return 0.02
        now = time.monotonic()
        return max(0.0, min([1.0, *(due - now for due in self._due.values())]))

    def _ask(self) -> None:
        self._asked = True

    def _start(self, place: int) -> None:
        self._due.pop(place, None)
        sys.stdout.flush()
        sys.stderr.flush()
        # What asks to end meanwhile waits until the worker can heed it.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        process = os.fork()
        if process:
            self._running[process] = _Worker(place, process, time.monotonic())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            return
        os.close(self._mine)
        _become_worker(lambda: self.work(place, self._alive))

    def _reap(self) -> None:
        while self._running:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            worker = self._running.pop(process)
            self.board.end(worker.place)
            code = os.waitstatus_to_exitcode(status)
            if self._asked:
                continue
            if not self._was_ready:
                self._failed = code if code > 0 else 1
                return
            lived = time.monotonic() - worker.began
            _log.error("Worker %d ended with %d; another takes its place.", process, code)
            wait = 0.0 if lived > _AGAIN_SECONDS else _AGAIN_SECONDS
            self._due[worker.place] = time.monotonic() + wait

    def _end(self, wake: int) -> None:
        """Have every worker drain, and wait for it."""
        self._asked = True
        self.listener.close()  # the workers have theirs, until they end
        until = time.monotonic() + DRAIN_SECONDS
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        while self._running and time.monotonic() < until:
            select.select([wake], [], [], 0.1)
            _emptied(wake)
            self._reap()
        for process in list(self._running):
            _log.error("Worker %d did not end within %g s.", process, DRAIN_SECONDS)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        os.close(self._mine)
        os.close(self._alive)


def _become_worker(work: Callable[[], None]) -> NoReturn:
    """Do a worker's work and end, without what the parent would do at its end."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        work()
        code = 0
    except LooplineError as error:
        print(error, file=sys.stderr)  # noqa: T201 - as the command would
    except Exception:  # noqa: BLE001 - it is said, and the process ends
        _log.exception("A worker failed.")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextlib.contextmanager
def _woken(ask: Callable[[], None]) -> Iterator[int]:
    """Yield what becomes readable when a child ends or a signal asks to end."""
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    previous = {number: signal.signal(number, lambda *_: ask()) for number in SIGNALS}
    previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
    before = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(waker)


def _emptied(pipe: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(pipe, 4096):
            pass
