"""Requests that arrive while the model is busy are scored together, and apart when one fails."""

import asyncio
import threading
import time

import numpy as np
import pytest

from loopline.errors import OverloadedError, RuntimeUnavailableError, TooSlowError
from loopline.serving.batching import MOST_ROWS, MOST_WAITING, Batcher


def _columns(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values)}


def test_those_who_wait_are_scored_together_and_get_their_own_rows():
    sizes = []

    def score(columns):
        sizes.append(len(columns["x"]))
        time.sleep(0.02)
        return columns["x"] * 10

    async def story():
        batcher = Batcher(score)
        answers = await asyncio.gather(*[batcher.score(_columns(n, n + 0.5), 2) for n in range(20)])
        batcher.close()
        return [answer.tolist() for answer in answers]

    assert asyncio.run(story()) == [[n * 10, n * 10 + 5] for n in range(20)]
    assert sum(sizes) == 40
    assert len(sizes) <= 3


def test_a_row_that_the_model_refuses_fails_alone():
    def score(columns):
        if (columns["x"] < 0).any():
            raise RuntimeUnavailableError("refused")
        return columns["x"]

    async def story():
        batcher = Batcher(score)
        answers = await asyncio.gather(
            *[batcher.score(_columns(n), 1) for n in (1.0, -1.0, 2.0)], return_exceptions=True
        )
        batcher.close()
        return answers

    good, bad, other = asyncio.run(story())
    assert (good.tolist(), other.tolist()) == ([1.0], [2.0])
    assert isinstance(bad, RuntimeUnavailableError)


def test_the_event_loop_goes_on_while_the_model_works():
    async def story():
        batcher = Batcher(lambda columns: (time.sleep(0.2), columns["x"])[1])
        task = asyncio.ensure_future(batcher.score(_columns(1.0), 1))
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.005)
            ticks += 1
        batcher.close()
        return ticks

    assert asyncio.run(story()) > 5


def test_a_caller_that_left_does_not_disturb_the_others():
    async def story():
        batcher = Batcher(lambda columns: (time.sleep(0.05), columns["x"])[1])
        leaving = asyncio.ensure_future(batcher.score(_columns(1.0), 1))
        staying = asyncio.ensure_future(batcher.score(_columns(2.0), 1))
        await asyncio.sleep(0.01)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        answer = await staying
        batcher.close()
        return answer.tolist()

    assert asyncio.run(story()) == [2.0]


def test_who_waits_too_long_is_told_so_and_is_not_scored_any_more():
    scored = []

    def score(columns):
        scored.extend(columns["x"].tolist())
        time.sleep(0.3)
        return columns["x"]

    async def story():
        batcher = Batcher(score, seconds=0.1)
        first = asyncio.ensure_future(batcher.score(_columns(1.0), 1))
        await asyncio.sleep(0.02)
        answers = await asyncio.gather(
            first, batcher.score(_columns(2.0), 1), return_exceptions=True
        )
        while batcher.waiting_rows:
            await asyncio.sleep(0.01)
        batcher.close()
        return answers

    answers = asyncio.run(story())
    assert [str(answer) for answer in answers] == ["The model did not answer within 0.1 s."] * 2
    assert [type(answer) for answer in answers] == [TooSlowError] * 2
    assert scored == [1.0]


def test_who_would_not_be_answered_in_time_is_told_at_once():
    release = threading.Event()

    def score(columns):
        release.wait(10)
        return columns["x"]

    async def story():
        batcher = Batcher(score, seconds=2.0)
        batcher._slowest = 1.5  # what the last batch took
        tasks = [asyncio.ensure_future(batcher.score(_columns(*[1.0] * MOST_ROWS), MOST_ROWS))]
        await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(batcher.score(_columns(2.0), 1)))  # 1.5 s behind
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match=r"is 3 s behind, .* 2 s at most"):
            await batcher.score(_columns(3.0), 1)
        release.set()
        answers = await asyncio.gather(*tasks)
        after = await batcher.score(_columns(4.0), 1)
        batcher.close()
        return [len(answer) for answer in (*answers, after)]

    assert asyncio.run(story()) == [MOST_ROWS, 1, 1]


def test_callers_that_leave_cannot_fill_its_memory():
    release = threading.Event()

    async def story():
        batcher = Batcher(lambda columns: (release.wait(10), columns["x"])[1])
        tasks = []
        for _ in range(MOST_WAITING + 1):
            tasks.append(asyncio.ensure_future(batcher.score(_columns(1.0), 1)))
            await asyncio.sleep(0)
            if len(tasks) > 1:
                tasks[-1].cancel()
        with pytest.raises(OverloadedError):
            await batcher.score(_columns(1.0), 1)
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        while batcher.waiting_rows:
            await asyncio.sleep(0.001)
        answer = await batcher.score(_columns(5.0), 1)
        batcher.close()
        return answer.tolist()

    assert asyncio.run(story()) == [5.0]


def test_batches_are_counted_by_their_rows_and_none_is_larger_than_it_may_be():
    sizes = []

    async def story():
        batcher = Batcher(lambda columns: (time.sleep(0.01), columns["x"])[1])
        batcher.on_batch = sizes.append
        await asyncio.gather(*[batcher.score(_columns(*[1.0] * 200), 200) for _ in range(7)])
        await batcher.score(_columns(*[1.0] * 1000), 1000)  # one request may be larger
        batcher.close()
        return batcher.waiting_rows

    assert asyncio.run(story()) == 0
    assert sizes == [400, 400, 400, 200, 1000]
