"""For models that answer slowly: requests that arrive together are scored together.

Only the `original` runtime is worth it. A plan scores a row in microseconds, and waiting for
company was measured to make it slower.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from loopline.data.columns import Columns
from loopline.errors import LooplineError

_MOST_ROWS = 512
"""Rows scored together; one request may have more."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    columns: Columns
    rows: int
    scores: "asyncio.Future[np.ndarray]"


class Batcher:
    """Hands one batch at a time to `score`, in a thread of its own; belongs to one event loop."""

    def __init__(self, score: Callable[[Columns], np.ndarray]) -> None:
        self._score = score
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="original")
        self._queue: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def score(self, columns: Columns, rows: int) -> np.ndarray:
        """Score `rows` rows, together with whatever else waits.

        Raises:
            LooplineError: as `score` raises it.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(columns, rows, loop.create_future())
        self._queue.append(waiting)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work())
        return await waiting.scores

    def close(self) -> None:
        """End the thread; nothing may wait any more."""
        self._thread.shutdown()

    async def _work(self) -> None:
        while self._queue:
            batch, rows = [self._queue.pop(0)], 0
            rows = batch[0].rows
            while self._queue and rows + self._queue[0].rows <= _MOST_ROWS:
                batch.append(self._queue.pop(0))
                rows += batch[-1].rows
            await self._answer(batch)

    async def _answer(self, batch: list[_Waiting]) -> None:
        together = (
            batch[0].columns
            if len(batch) == 1
            else {
                name: np.concatenate([waiting.columns[name] for waiting in batch])
                for name in batch[0].columns
            }
        )
        try:
            scores = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._score, together
            )
        except LooplineError as error:
            if len(batch) == 1:
                _give(batch[0], error)
            else:  # one caller's row must not fail the others'
                for waiting in batch:
                    await self._answer([waiting])
            return
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
