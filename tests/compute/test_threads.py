"""Work over many items: in order, a few at a time, opened once a thread."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from loopline.compute.threads import Threads
from loopline.errors import DataError


class Squares:
    """Squares numbers, the early ones slowest, and says what was open."""

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.closed = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[Callable[[int], int]]:
        self.opened.append(threading.get_ident())
        try:
            yield self._square
        finally:
            self.closed += 1

    def _square(self, number: int) -> int:
        if number == 13:
            raise DataError("13 cannot be squared.")
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number * number


@pytest.mark.parametrize("count", [1, 2, 4])
def test_what_came_of_each_item_is_in_the_items_order(count):
    work = Squares()

    assert list(Threads(count).map(work, range(12))) == [n * n for n in range(12)]

    assert len(work.opened) == len(set(work.opened)) == work.closed <= count


@pytest.mark.parametrize("count", [1, 3])
def test_items_are_taken_as_they_are_needed(count):
    taken = []

    def items() -> Iterator[int]:
        for number in range(100, 200):
            taken.append(number)
            yield number

    done = Threads(count).map(Squares(), items())
    next(done)

    assert len(taken) <= count + 1
    done.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_ends_it_and_everything_is_closed(count):
    work = Squares()

    with pytest.raises(DataError, match="13 cannot"):
        list(Threads(count).map(work, range(10, 1000)))

    assert work.closed == len(work.opened)
