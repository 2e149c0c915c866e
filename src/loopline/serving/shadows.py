"""Asks shadows what callers were answered already: after the answer, and never at its cost.

A queue of bounded length and one task that lets every ready request go first. What finds the queue
full is not asked, and counted: a shadow that is too slow misses some of the traffic, and no caller
notices.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass

from loopline.errors import LooplineError
from loopline.serving.dialects.base import Content
from loopline.serving.log import LogWriter
from loopline.serving.metrics import Metrics
from loopline.serving.models import Model

MOST_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class Question:
    """What one caller asked, as it was answered."""

    dialect: str
    body: bytes
    content: Content
    request_id: str
    arrival: int
    caller: str


class Shadows:
    """Belongs to one event loop."""

    def __init__(self, log: LogWriter, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self._waiting: deque[tuple[Model, Question]] = deque()
        self._task: asyncio.Task[None] | None = None

    def ask(self, model: Model, question: Question) -> None:
        """Have `model` answer `question` when there is time for it."""
        if len(self._waiting) >= MOST_WAITING:
            self._metrics.shadows_skipped += 1
            return
        model.in_flight += 1  # so that it is not closed before
        self._waiting.append((model, question))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def drained(self) -> None:
        """Wait until nothing waits any more."""
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)
            model, question = self._waiting.popleft()
            try:
                await self._answer(model, question)
            except (LooplineError, RecursionError) as error:
                kind = type(error).__name__
                self._log.append(["e", question.arrival, kind, 500, 0, model.version])
            finally:
                model.in_flight -= 1

    async def _answer(self, model: Model, question: Question) -> None:
        started = time.perf_counter_ns()
        call = model.dialects[question.dialect].read(question.body, question.content)
        outputs, rows = await model.answer(call)
        latency = (time.perf_counter_ns() - started) // 1000
        about = [question.request_id, call.client_id, question.arrival, model.version, True]
        said = outputs.scores if outputs.labels is None else [outputs.labels, *outputs.scores]
        self._log.append(["p", *about, latency, question.caller, call.rows, rows.logged, said])
        self._metrics.shadowed[model.version] += call.rows
