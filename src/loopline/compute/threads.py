"""Threads of this process: the kernels and Arrow let go of the interpreter while they work."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from loopline.compute.base import Done, Item, Work

__all__ = ["Threads", "cores"]

_AHEAD = 1
"""Items that wait while every thread has one, so that none waits for the next to be read."""


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Threads:
    """Runs work in `count` threads."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count or cores()

    @property
    def name(self) -> str:
        """As people read it."""
        return "1 thread" if self.count == 1 else f"{self.count} threads"

    def map(self, work: Work[Item, Done], items: Iterable[Item]) -> Iterator[Done]:
        """Do `work` on every item, in order."""
        if self.count == 1:
            with work.open() as do:
                for item in items:
                    yield do(item)
            return
        mine = threading.local()
        with ExitStack() as opened:
            adding = threading.Lock()

            def on_its_thread(item: Item) -> Done:
                if not hasattr(mine, "do"):
                    ready = work.open()
                    mine.do = ready.__enter__()
                    with adding:
                        opened.push(ready)
                do: Callable[[Any], Done] = mine.do
                return do(item)

            pool = ThreadPoolExecutor(self.count, thread_name_prefix="compute")
            waiting: deque[Future[Done]] = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(on_its_thread, item))
                    if len(waiting) >= self.count + _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)
