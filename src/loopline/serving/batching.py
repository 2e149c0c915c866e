"""For models that answer slowly: requests that arrive together are scored together.

Only the `original` runtime is worth it. A plan scores a row in microseconds, and waiting for
company was measured to make it slower. Nobody waits for company here either: what arrives while
the model works on one batch is the next one, so batches grow with the load and with nothing else.

Who would not be answered in time is told so at once, and who was not is not scored any more.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from loopline.data.columns import Columns
from loopline.errors import LooplineError, OverloadedError, TooSlowError

MOST_ROWS = 512
"""Rows scored together; one request may have more."""
MOST_WAITING = 2048
"""Requests; those of callers that have gone count until it is their turn."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    columns: Columns
    rows: int
    scores: "asyncio.Future[np.ndarray]"


class Batcher:
    """Hands one batch at a time to `score`, in a thread of its own; belongs to one event loop."""

    def __init__(self, score: Callable[[Columns], np.ndarray], *, seconds: float = 30.0) -> None:
        """A caller is kept waiting for `seconds` at most."""
        self.on_batch: Callable[[int], None] = lambda _rows: None
        """Hears how many rows were scored together."""
        self.waiting_rows = 0
        """Rows that wait or are being scored."""
        self._score = score
        self._seconds = seconds
        self._slowest = 0.0
        """Seconds of a batch: the slowest of late."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="original")
        self._queue: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def score(self, columns: Columns, rows: int) -> np.ndarray:
        """Score `rows` rows, together with whatever else waits.

        Raises:
            OverloadedError: it would not be answered in time.
            TooSlowError: it was not.
            LooplineError: as `score` raises it.
        """
        ahead = math.ceil(self.waiting_rows / MOST_ROWS) * self._slowest
        if ahead > self._seconds or len(self._queue) >= MOST_WAITING:
            raise OverloadedError(
                f"The model is {ahead:.0f} s behind, and a caller is kept waiting for "
                f"{self._seconds:g} s at most. Send it again a little later."
            )
        loop = asyncio.get_running_loop()
        waiting = _Waiting(columns, rows, loop.create_future())
        self._queue.append(waiting)
        self.waiting_rows += rows
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work())
        alarm = loop.call_later(self._seconds, self._give_up, waiting)
        try:
            return await waiting.scores
        finally:
            alarm.cancel()

    def close(self) -> None:
        """End the thread; nothing may wait any more."""
        self._thread.shutdown()

    def _give_up(self, waiting: _Waiting) -> None:
        message = f"The model did not answer within {self._seconds:g} s."
        _give(waiting, TooSlowError(message))

    async def _work(self) -> None:
        while self._queue:
            batch: list[_Waiting] = []
            rows = 0
            while self._queue and (not batch or rows + self._queue[0].rows <= MOST_ROWS):
                waiting = self._queue.popleft()
                if waiting.scores.done():  # its caller has gone, or was told that it takes too long
                    self.waiting_rows -= waiting.rows
                    continue
                batch.append(waiting)
                rows += waiting.rows
            try:
                if batch:
                    await self._answer(batch)
            finally:
                self.waiting_rows -= rows

    async def _answer(self, batch: list[_Waiting]) -> None:
        together = (
            batch[0].columns
            if len(batch) == 1
            else {
                name: np.concatenate([waiting.columns[name] for waiting in batch])
                for name in batch[0].columns
            }
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            scores = await loop.run_in_executor(self._thread, self._score, together)
        except LooplineError as error:
            if len(batch) == 1:
                _give(batch[0], error)
            else:  # one caller's row must not fail the others'
                for waiting in batch:
                    if not waiting.scores.done():
                        await self._answer([waiting])
            return
        finally:
            self._slowest = max(loop.time() - began, self._slowest * 0.9)
        self.on_batch(sum(waiting.rows for waiting in batch))
        ends = np.cumsum([0, *[waiting.rows for waiting in batch]])
        for waiting, (start, end) in zip(batch, pairwise(ends.tolist()), strict=True):
            _give(waiting, scores[start:end])


def _give(waiting: _Waiting, answer: np.ndarray | LooplineError) -> None:
    if waiting.scores.done():  # its caller has gone
        return
    if isinstance(answer, LooplineError):
        waiting.scores.set_exception(answer)
    else:
        waiting.scores.set_result(answer)
