"""What runs work over many items, somewhere.

The work says how it is opened: once in each thread or process, for what it keeps (a kernel's
workspace, a worker process) is nobody else's. What comes back is small; what is large the work
writes itself, so that nothing but receipts crosses a network.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

Item = TypeVar("Item")
Done = TypeVar("Done")
Item_contra = TypeVar("Item_contra", contravariant=True)
Done_co = TypeVar("Done_co", covariant=True)


class Work(Protocol[Item_contra, Done_co]):
    """What is done with each item; it can be pickled where it leaves this process."""

    def open(self) -> AbstractContextManager[Callable[[Item_contra], Done_co]]:
        """Make ready what one thread needs, and clear it away afterwards."""


@dataclass(frozen=True)
class Stage:
    """Rows that are brought together by what they share, and the work on what is together."""

    schema: "pa.Schema"
    """Of the rows that come in."""
    by: str
    """Rows with the same value of this column come to one place."""
    order: tuple[str, ...]
    """How they come there: sorted by these."""
    work: "Work[Iterator[pa.RecordBatch], Any]"
    """Is given all rows of one place, as a stream; makes rows for the next stage, and in the last
    stage what is returned. Of no rows it is not asked."""
    more: "tuple[Work[Any, Iterator[pa.RecordBatch]], Sequence[Any]] | None" = None
    """Work and items that make more rows for this stage, beside those of the stage before."""


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

    def gather(
        self,
        work: "Work[Item, Iterator[pa.RecordBatch]]",
        items: Iterable[Item],
        stages: Sequence[Stage],
    ) -> Iterator[Any]:
        """Make rows of every item, bring them together stage by stage; yield what the last makes.

        How many places there are, and in which order what they make comes, is not told: it adds.

        Raises:
            LooplineError: as a work raises it.
        """
