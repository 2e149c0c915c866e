"""What one server process takes on at a time, and what it has taken on.

Plans answer in the event loop, so nothing ever waits in a queue of ours: what waits is what was
read and not answered yet. That is bounded by work and not by requests, since a body of a hundred
rows takes as long as some ten with one. Past the bound a request is told to come back, in
microseconds and before anything is decoded; so whoever is let in waits no longer than the bound
takes, however many ask.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopline.serving.app import App, Asked

PAGE = 4096
"""Bytes of a body that count as one more request: decoding and scoring them takes about as long."""

_HEADS = 256
"""Heads that are remembered: a caller has one or two, and one for each length of its bodies."""


@dataclass(frozen=True)
class Limits:
    """The bounds of one process."""

    in_flight: int = 512
    """Requests read and not answered yet, and one for each further `PAGE` of their bodies."""
    connections: int = 1000
    """Open connections; past it an idle one makes room, or the new one is refused. libuv goes on
    polling where 1,024 are ready at once, and what was let in waits meanwhile: with 2,000
    connections that never rest it was measured to wait for four seconds."""
    pause_seconds: float = 0.1
    """A connection is not read for so long after a 429, since some callers ask again at once."""
    bodies_bytes: int = 256 * 2**20
    """Of bodies that are being sent or answered, over all connections."""
    head_bytes: int = 64 * 2**10
    headers: int = 100
    head_seconds: float = 10.0
    """A connection that sends nothing, or not the whole head of a request, is closed then."""
    body_seconds: float = 60.0
    """A request that is not sent completely by then is cut off."""
    unread_seconds: float = 20.0
    """A caller that does not read a byte of its answer for so long is cut off."""
    last_seconds: float = 0.5
    """Who has just connected to a server that ends may ask so long."""
    keep_alive_seconds: int = 75
    """Longer than the 60 s of common load balancers: who closes first must not be the server,
    or a request that is on its way meanwhile is lost."""


class FullError(Exception):
    """The request is told to come back."""


@dataclass
class Intake:
    """What one process has taken on now; the transport keeps it."""

    limits: Limits = field(default_factory=Limits)
    app: "App | None" = None
    """What answers; None until the models are loaded."""
    live: Collection[str] = ()
    """Paths that say whether the process is up: 200 from the start."""
    ready: Collection[str] = ()
    """Paths that say whether it is to be asked: 503 until models answer, and when it drains."""
    spared: Collection[str] = ()
    """Paths that are answered past the bound too."""
    is_draining: bool = False
    in_flight: int = 0
    bodies_bytes: int = 0
    waiting: list[Any] = field(default_factory=list)
    """Requests that are here as a whole, and answered next."""
    heads: "dict[bytes, Asked]" = field(default_factory=dict)
    """What was asked by a head, and answered well."""
    connections: set[Any] = field(default_factory=set)
    shed: int = 0
    """Requests that were told to come back."""
    refused_connections: int = 0
    cut_off: int = 0
    """Connections closed on a caller that was too slow, or sent too much."""

    def remember(self, head: bytes, scope: Mapping[str, Any]) -> None:
        """Keep what the head `scope`, which was sent as the bytes `head`, asks for."""
        if len(self.heads) >= _HEADS:
            self.heads.clear()
        if self.app is not None:
            self.heads[head] = self.app.asked(scope)

    @property
    def is_full(self) -> bool:
        """Whether the next request is told to come back."""
        return self.in_flight >= self.limits.in_flight

    @contextmanager
    def let_in(self, size: int, *, is_spared: bool) -> Iterator[None]:
        """Count a request of `size` bytes as one to be answered, for who has no transport of ours.

        Raises:
            FullError: past the bound, unless `is_spared`.
        """
        bodies = self.bodies_bytes + size > self.limits.bodies_bytes
        if not is_spared and (self.is_full or bodies):
            self.shed += 1
            raise FullError
        weight = 1 + size // PAGE
        self.in_flight += weight
        self.bodies_bytes += size
        try:
            yield
        finally:
            self.in_flight -= weight
            self.bodies_bytes -= size
