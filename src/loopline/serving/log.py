"""The prediction log: append-only segments of checksummed frames.

A segment is `HOME/log/PROJECT/ENVIRONMENT/<start_us>-<pid>-<random>.log`: eight bytes of header,
then frames of length, CRC-32 and one msgpack array. Its writer holds a lock on it, so a segment
that nobody has locked grows no more, whatever became of who wrote it. Frames are made on the event
loop (a few microseconds) and written by a thread that only writes and syncs: packing in the thread
was measured to raise p99 twentyfold. Logging never fails a prediction: what cannot be written is
counted.
"""

import asyncio
import contextlib
import fcntl
import io
import os
import re
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

Level = Literal["async", "durable", "off"]

HEADER = b"LOOPLOG1"
SEALED = ["s"]
LOG_LOST, RELEASE_REFUSED = "log_lost", "release_refused"
"""What a server notes of itself: frames that were not kept, releases that cannot be used."""
_FRAME = struct.Struct("<II")
_GATHER_SECONDS = 0.012  # what arrives in this time is written and synced together
_SEGMENT_BYTES = 32 * 2**20
_SEGMENT_SECONDS = 600.0
_BACKLOG_BYTES = 64 * 2**20  # more than this waiting for the disk is dropped, and counted

_encode = msgspec.msgpack.Encoder().encode

SEGMENT = re.compile(r"[0-9]{1,20}-[0-9]+-[A-Za-z0-9]+\.log")
"""The name of a segment."""


def frame(payload: list[Any]) -> bytes:
    """Return one frame: length, CRC-32, msgpack array."""
    packed = _encode(payload)
    return _FRAME.pack(len(packed), zlib.crc32(packed)) + packed


_SEAL = frame(SEALED)
"""No text of a caller holds these bytes: they are no UTF-8."""


def read_frames(source: Path | bytes, offset: int = 0) -> Iterator[tuple[list[Any], int]]:
    """Yield each whole frame after `offset` and where it ends; stop at a torn tail.

    `source` is a segment's file or its bytes, `offset` 0 or an end yielded before. What does not
    begin with the header yields nothing.
    """
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        if file.read(len(HEADER)) != HEADER:
            return
        position = max(offset, len(HEADER))
        size = file.seek(0, os.SEEK_END)
        file.seek(position)
        while len(head := file.read(_FRAME.size)) == _FRAME.size:
            length, checksum = _FRAME.unpack(head)
            packed = file.read(min(length, size))  # a length that is none takes no memory
            # Nothing has the checksum 0: after a power cut a file may end in zeros.
            if not packed or len(packed) < length or zlib.crc32(packed) != checksum:
                return
            position += _FRAME.size + length
            yield msgspec.msgpack.decode(packed), position


def is_damaged(content: bytes, end: int) -> bool:
    """Return whether a segment of which only what lies before `end` can be read holds more.

    What a killed writer leaves is cut off; what a disk spoils has its beginning and its seal.
    """
    rest = content[end:]
    return rest.endswith(_SEAL) or (len(rest) >= len(HEADER) and not content.startswith(HEADER))


@contextlib.contextmanager
def final(path: Path) -> Iterator[bool]:
    """Give whether a segment grows no more, and keep other processes from taking it meanwhile.

    False where its writer lives, another process has it, or the file system knows no locks and it
    does not say itself that it is sealed.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        except OSError:
            file.seek(-min(len(_SEAL), os.fstat(file.fileno()).st_size), os.SEEK_END)
            yield file.read() == _SEAL
        else:
            yield True


class Commit(asyncio.Future[bool]):
    """That all that was queued so far is on disk: one for everybody who waits for the same sync."""

    def __init__(self, since: int) -> None:
        """Begin with the frame at `since`, in bytes queued: that of who waits first."""
        super().__init__()
        self.since = since
        self.then: list[Callable[[], None]] = []
        """Called once it is settled, in order; a task's waking each costs as much as its work."""

    def cancel(self, msg: Any = None) -> bool:
        """Refuse: who no longer waits must not end the waiting of the others."""
        return False

    def settle(self, written: bool) -> None:
        """Tell everybody whether it was written."""
        self.set_result(written)
        for call in self.then:
            call()


class LogWriter:
    """Appends frames to segments in one folder, from one event loop.

    `append` only queues; `committed()` is awaited by whoever promises that a frame is on disk.
    The lists are shared with the thread without a lock: one side only appends, the other takes a
    copy and deletes what it copied, and each of these is one step for the interpreter.
    """

    def __init__(self, folder: Path, level: Level) -> None:
        self.folder = folder
        self.level = level
        self.frames = 0
        """Frames on disk."""
        self.lost = 0
        """Frames that could not be written: the disk was full or too slow."""
        self.failure: str | None = None
        """What the disk last said, until it works again."""
        self._queue: list[bytes] = []
        self._pending: list[Commit] = []
        """What the next batch settles: one at most."""
        self._queued_bytes = 0
        self._last_frame = 0
        """Where the frame that was queued last begins, in bytes queued."""
        self._handled_bytes = 0
        self._failed_bytes = 0
        """Where the last batch that could not be written ends."""
        self._wake = threading.Event()
        self._is_closing = False
        self._segment: _Segment | None = None
        self._thread: threading.Thread | None = None
        if level != "off":
            folder.mkdir(parents=True, exist_ok=True)
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """What is not on disk yet."""
        return self._queued_bytes - self._handled_bytes

    def append(self, payload: list[Any]) -> bool:
        """Queue one frame, and return at once; False when it is not kept."""
        if self.level == "off":
            return False
        framed = frame(payload)
        if self._queued_bytes - self._handled_bytes > _BACKLOG_BYTES:
            self.lost += 1
            return False
        self._last_frame = self._queued_bytes
        self._queued_bytes += len(framed)
        self._queue.append(framed)
        if not self._wake.is_set():
            self._wake.set()
        return True

    async def committed(self) -> bool:
        """Wait until everything queued so far is on disk; False if the last frame is not.

        The thread may have taken that frame already, and failed with it: then its batch is over,
        and the next one, which settles this, says nothing of it.
        """
        if self.level == "off":
            return False
        try:
            commit = self._pending[0]
        except IndexError:  # nobody waits yet, or the thread has just taken it
            commit = Commit(self._last_frame)
            self._pending.append(commit)
        if not self._wake.is_set():
            self._wake.set()
        return await commit

    def close(self) -> None:
        """Write what waits, seal the segment and end the thread."""
        if self._thread is not None:
            self._is_closing = True
            self._wake.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait(_SEGMENT_SECONDS)
            if self.level != "durable" and not self._pending and not self._is_closing:
                time.sleep(_GATHER_SECONDS)
            self._wake.clear()
            self._commit()
        self._commit()
        self._try(self._seal)

    def _commit(self) -> None:
        # Who waits is taken first: its frame was queued before, so it is in this batch.
        pending = self._pending[:]
        del self._pending[: len(pending)]
        batch = self._queue[:]
        del self._queue[: len(batch)]
        framed = b"".join(batch)
        written = self._try(lambda: self._write(framed))
        self._handled_bytes += len(framed)
        if written:
            self.frames += len(batch)
        else:
            self.lost += len(batch)
            self._failed_bytes = self._handled_bytes
        for commit in pending:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                kept = written and commit.since >= self._failed_bytes
                commit.get_loop().call_soon_threadsafe(commit.settle, kept)

    def _write(self, framed: bytes) -> None:
        if self._segment is not None and self._segment.is_full():
            self._seal()
        if framed:
            if self._segment is None:
                self._segment = _Segment(self.folder)
            self._segment.append(framed)
            self.failure = None

    def _seal(self) -> None:
        if self._segment is not None:
            segment, self._segment = self._segment, None
            segment.seal()

    def _try(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except OSError as error:
            self.failure = f"{error.strerror or error} ({self.folder})"
            self._segment = None
            return False
        return True


class _Segment:
    """One open segment file."""

    def __init__(self, folder: Path) -> None:
        name = f"{time.time_ns() // 1000}-{os.getpid()}-{secrets.token_hex(4)}.log"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        draft = folder / f"{name}~"  # nobody takes it for a segment before it is locked
        self._descriptor = os.open(draft, flags, 0o600)
        self._good = 0
        self._born = time.monotonic()
        try:
            with contextlib.suppress(OSError):  # some network file systems know no locks
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.append(HEADER)
            draft.rename(folder / name)
        except OSError:
            draft.unlink()
            raise
        parent = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    def is_full(self) -> bool:
        """Whether the next frame belongs in a new segment."""
        return self._good > _SEGMENT_BYTES or time.monotonic() - self._born > _SEGMENT_SECONDS

    def append(self, framed: bytes) -> None:
        """Write and sync, or cut the file back to its last whole frame and close it."""
        left = memoryview(framed)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fdatasync(self._descriptor)
        except OSError:
            # A reader stops at a torn frame, so nothing may follow one.
            try:
                os.ftruncate(self._descriptor, self._good)
            finally:
                os.close(self._descriptor)
            raise
        self._good += len(framed)

    def seal(self) -> None:
        """Say that nothing follows, and close."""
        self.append(frame(SEALED))
        os.close(self._descriptor)
