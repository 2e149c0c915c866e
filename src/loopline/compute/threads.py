"""Threads of this process: the kernels and Arrow let go of the interpreter while they work."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loopline.compute.base import Done, Item, Stage, Work

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Threads", "cores"]

_AHEAD = 1
"""Items that wait while every thread has one, so that none waits for the next to be read."""


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_TOGETHER = 1 << 16
"""Rows that come at a time where they are brought together."""


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

    def gather(
        self,
        work: "Work[Item, Iterator[pa.RecordBatch]]",
        items: Iterable[Item],
        stages: Sequence[Stage],
    ) -> Iterator[Any]:
        """Bring rows together in this process's memory: all of them are in one place."""
        rows = self._rows(work, items)
        for place, stage in enumerate(stages, start=1):
            if stage.more is not None:
                rows += self._rows(*stage.more)
            if not rows:
                continue
            with stage.work.open() as do:
                made = do(_in_order(rows, stage))
                if place == len(stages):
                    yield made
                    return
                rows = [batch for batch in made if batch.num_rows]

    def _rows(
        self, work: "Work[Any, Iterator[pa.RecordBatch]]", items: Iterable[Any]
    ) -> "list[pa.RecordBatch]":
        every = self.map(_Listed(work), items)
        return [batch for batches in every for batch in batches if batch.num_rows]


@dataclass(frozen=True)
class _Listed:
    """Makes the rows of an item where it is worked on, not where they are asked for."""

    work: Work[Any, Any]

    @contextmanager
    def open(self) -> "Iterator[Callable[[Any], list[pa.RecordBatch]]]":
        with self.work.open() as do:
            yield lambda item: list(do(item))


def _in_order(rows: "list[pa.RecordBatch]", stage: Stage) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    table = pa.Table.from_batches(rows, stage.schema)
    ordered = table.sort_by([(name, "ascending") for name in stage.order])
    return iter(ordered.combine_chunks().to_batches(max_chunksize=_TOGETHER))
