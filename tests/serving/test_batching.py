"""Requests that arrive while the model is busy are scored together, and apart when one fails."""

import asyncio
import time

import numpy as np
import pytest

from loopline.errors import RuntimeUnavailableError
from loopline.serving.batching import Batcher


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
