"""Which predictions are compared with what.

The current window ends with the hour that holds `now`, and earlier ones lie behind it without a
gap. Counts are kept by the hour, so windows begin and end on one. Drift is judged in the newest
window; goals in the newest one that has enough labels, since outcomes come late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loopline.store.ledger import iso

HOUR = 3_600_000_000
"""Microseconds in an hour: what times in the log are divided by."""
LOOK_BACK = 12
"""Windows behind the current one in which labels are waited for."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Return an aware `moment` as microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(microseconds_since_epoch: int) -> datetime:
    """Return the aware moment that many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=microseconds_since_epoch)


@dataclass(frozen=True)
class Window:
    """Hours since 1970: from the first, up to and without the last."""

    first: int
    last: int

    @property
    def start(self) -> datetime:
        """When it begins."""
        return moment(self.first * HOUR)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return moment(self.last * HOUR)

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"

    @property
    def text(self) -> tuple[str, str]:
        """Start and end as the ledger writes them."""
        return iso(self.start), iso(self.end)


def current(now: datetime, length: timedelta) -> Window:
    """Return the window of `length`, rounded up to whole hours, that ends with `now`'s hour."""
    last = microseconds(now) // HOUR + 1
    return Window(last - max(1, -(-length // timedelta(hours=1))), last)


def earlier(window: Window, count: int = LOOK_BACK) -> list[Window]:
    """Return `window` and the `count` before it, newest first."""
    length = window.last - window.first
    return [Window(window.first - k * length, window.last - k * length) for k in range(count + 1)]


def mature(windows: Sequence[Window], labelled: dict[int, int], minimum: int) -> Window | None:
    """Return the first of `windows` that has `minimum` labels.

    Args:
        windows: newest first.
        labelled: hour to labelled predictions of that hour.
        minimum: labels needed.
    """
    for window in windows:
        found = sum(count for hour, count in labelled.items() if window.first <= hour < window.last)
        if found >= minimum:
            return window
    return None
