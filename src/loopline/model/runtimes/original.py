"""The original estimator, in a worker process of its own.

Only the worker unpickles, and only a bundle that it has verified itself. It is started when it is
first needed, and again when it dies: what it was answering fails, the next request does not.
"""

import contextlib
import os
import selectors
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from loopline.data.columns import Columns
from loopline.errors import RequestError, RuntimeUnavailableError
from loopline.model.bundle import Bundle
from loopline.model.runtimes.wire import pack, unpack

__all__ = ["OriginalRuntime"]

START_SECONDS = 60.0
"""How long a worker may take to load its model and the libraries behind it."""
ANSWER_SECONDS = 30.0
_SERVERS_OWN = {"LOOPLINE_TOKEN", "LOOPLINE_WEBHOOK", "LOOPLINE_DATABASE"}
"""What a model's own code has no business with."""


class OriginalRuntime:
    """Answers from a bundle's original; may be called from several threads."""

    def __init__(
        self,
        bundle: Bundle,
        home: Path,
        store_url: str,
        environment: Mapping[str, str],
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Take the bundle, the workspace's keys and store, and the worker's environment.

        A worker that takes longer than `seconds` for an answer is ended.
        """
        self._seconds = seconds
        self._argument = msgspec.json.encode(
            {
                "home": str(home),
                "store": store_url,
                "prefix": bundle.prefix,
                "digest": bundle.digest,
            }
        ).decode()
        self._prefix = bundle.prefix
        # One thread each for numerical libraries: waiting threads cost more than they bring.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        own = {name: value for name, value in environment.items() if name not in _SERVERS_OWN}
        self._environment = {**own, **threads}
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None

    def score(self, columns: Columns) -> np.ndarray:
        """Return the scores of the rows of `columns`.

        Raises:
            RequestError: the model cannot score such rows.
            RuntimeUnavailableError: the worker died or took too long.
        """
        with self._lock:
            worker = self._running()
            try:
                deadline = time.monotonic() + self._seconds
                _send(worker, pack(columns), deadline)
                status, content = _receive(worker, deadline)
            except (OSError, EOFError, TimeoutError) as error:
                self._end()
                raise RuntimeUnavailableError(
                    f"The worker of {self._prefix} stopped answering ({error}). It is started "
                    "again with the next request."
                ) from error
        if status != "scores":
            raise RequestError(f"The model cannot score these rows. It says: {content}")
        return unpack(content)["scores"]

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._end()

    @property
    def process_id(self) -> int | None:
        """The worker's process id, while it runs."""
        worker = self._worker
        return None if worker is None or worker.poll() is not None else worker.pid

    def _running(self) -> subprocess.Popen[bytes]:
        if self._worker is not None and self._worker.poll() is None:
            return self._worker
        self._end()
        self._worker = subprocess.Popen(
            # -P: what lies in the current folder is not imported.
            [sys.executable, "-P", "-m", "loopline.model.runtimes.worker", self._argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            bufsize=0,
        )
        assert self._worker.stdin is not None  # noqa: S101 - opened with a pipe
        os.set_blocking(self._worker.stdin.fileno(), False)
        try:
            status, content = _receive(self._worker, time.monotonic() + START_SECONDS)
        except (OSError, EOFError, TimeoutError) as error:
            self._end()
            raise RuntimeUnavailableError(
                f"The worker of {self._prefix} did not start ({error})."
            ) from error
        if status != "ready":
            self._end()
            raise RuntimeUnavailableError(f"The worker of {self._prefix} refused: {content}")
        return self._worker

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _send(worker: subprocess.Popen[bytes], message: bytes, deadline: float) -> None:
    assert worker.stdin is not None  # noqa: S101 - opened with a pipe
    pipe, left = worker.stdin.fileno(), memoryview(struct.pack("<Q", len(message)) + message)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_WRITE)
        while left:
            # A stopped worker does not read, and a full pipe would hold its caller for ever.
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError("it took too long")
            left = left[os.write(pipe, left) :]


def _receive(worker: subprocess.Popen[bytes], deadline: float) -> tuple[str, Any]:
    assert worker.stdout is not None  # noqa: S101 - opened with a pipe
    (length,) = struct.unpack("<Q", _read(worker.stdout.fileno(), 8, deadline))
    status, content = msgspec.msgpack.decode(_read(worker.stdout.fileno(), length, deadline))
    return status, content


def _read(pipe: int, length: int, deadline: float) -> bytes:
    found = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(found) < length:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise TimeoutError("it took too long")
            piece = os.read(pipe, min(length - len(found), 1 << 20))
            if not piece:
                raise EOFError("it ended")
            found += piece
    return bytes(found)
