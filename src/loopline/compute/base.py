"""What runs work over many items, somewhere.

The work says how it is opened: once in each thread or process, for what it keeps (a kernel's
workspace, a worker process) is nobody else's. What comes back is small; what is large the work
writes itself, so that nothing but receipts crosses a network.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")
Item_contra = TypeVar("Item_contra", contravariant=True)
Done_co = TypeVar("Done_co", covariant=True)


class Work(Protocol[Item_contra, Done_co]):
    """What is done with each item; it can be pickled where it leaves this process."""

    def open(self) -> AbstractContextManager[Callable[[Item_contra], Done_co]]:
        """Make ready what one thread needs, and clear it away afterwards."""


class Compute(Protocol):
    """One place to run work."""

    @property
    def name(self) -> str:
        """What people call it, with how wide it is."""

    def map(self, work: Work[Item, Done], items: Iterable[Item]) -> Iterator[Done]:
        """Do `work` on every item, and yield what came of it in the items' order.

        Items are taken as they are needed: a few are held at a time, however many there are.

        Raises:
            LooplineError: as the work raises it; what was not begun is left undone.
        """
