"""Who gets in, and how often: by token, or on a loopback address by how the server was called.

On loopback nobody needs a token, so a page in the reader's browser must not pass for the reader:
its own name for this machine fails the Host check, its requests to ours the Origin check.

A right token always passes, also from an address that showed many wrong ones: behind a proxy all
callers have one address, and a stranger must not be able to lock them out. Against guessing stands
the length of a token.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from loopline.governance.access import Access, Scope, Token, host_allowed

Permission = Literal["health", "predict", "feedback", "metrics", "admin"]
"""What a route takes: `health` is open to all, the others are scopes of a token."""

_REMEMBERED = 64
_ADDRESSES = 1024
_FAILURES_A_SECOND, _FAILURES_AT_ONCE = 1.0, 20


@dataclass(frozen=True)
class Refusal:
    """Why somebody does not get in."""

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Bucket:
    """A rate with bursts: a token bucket."""

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Start full: `burst` at once, then `rate` a second."""
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._since = now

    def wait(self, now: float) -> float:
        """Take one and return 0, or return after how many seconds there is one."""
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate


@dataclass(frozen=True)
class Guard:
    """The rule of one server."""

    access: Access
    needs_token: bool
    """False only on a loopback address without `LOOPLINE_TOKEN`, or where `is_behind` is."""
    workers: int = 1
    """Processes that share a token's rate; each grants its part."""
    is_behind: bool = False
    """Whether the platform lets only callers through that it has authenticated."""
    clock: Callable[[], float] = time.monotonic
    _hosts: set[bytes] = field(default_factory=set, repr=False)
    _rates: dict[str, tuple[Token, Bucket]] = field(default_factory=dict, repr=False)
    _failures: OrderedDict[str, Bucket] = field(default_factory=OrderedDict, repr=False)

    @property
    def caller(self) -> str:
        """What the log calls whoever was let in."""
        if self.is_behind:
            return "platform"
        return "token" if self.needs_token else "local"

    def refusal(
        self, permission: Permission, headers: Mapping[bytes, bytes], address: str = ""
    ) -> Refusal | None:
        """Return why a request from `address` may not pass, or None."""
        if permission == "health" or self.is_behind:
            return None
        if self.needs_token:
            return self._by_token(permission, headers.get(b"authorization"), address)
        return self._by_name(headers)

    def _by_token(self, scope: Scope, header: bytes | None, address: str) -> Refusal | None:
        token = self.access.find(None if header is None else header.decode("latin-1"))
        if token is None:
            return self._failed(address)
        if scope not in token.scopes:
            return Refusal(
                403,
                f"The token '{token.name}' opens {' and '.join(token.scopes)}, and this takes "
                f"{scope}. Make another with: loopline token make NAME --scope {scope}",
            )
        if token.rate is None:
            return None
        wait = self._bucket(token, token.rate).wait(self.clock())
        return _later(f"The token '{token.name}' is past its rate.", wait) if wait else None

    def _bucket(self, token: Token, rate: float) -> Bucket:
        known = self._rates.get(token.name)
        if known is None or known[0] != token:  # new, or made anew with another rate
            burst = max(1.0, token.burst / self.workers)
            known = token, Bucket(rate / self.workers, burst, self.clock())
            self._rates[token.name] = known
        return known[1]

    def _failed(self, address: str) -> Refusal:
        bucket = self._failures.pop(address, None)
        if bucket is None:
            bucket = Bucket(_FAILURES_A_SECOND, _FAILURES_AT_ONCE, self.clock())
            if len(self._failures) >= _ADDRESSES:
                self._failures.popitem(last=False)
        self._failures[address] = bucket  # the one seen last is forgotten last
        wait = bucket.wait(self.clock())
        if wait:
            return _later("Too many requests without a token that opens this.", wait)
        return Refusal(
            401,
            "Send the server's token: Authorization: Bearer TOKEN.",
            ((b"www-authenticate", b"Bearer"),),
        )

    def _by_name(self, headers: Mapping[bytes, bytes]) -> Refusal | None:
        host = headers.get(b"host", b"")
        if host not in self._hosts:
            if not host_allowed(host.decode("latin-1")):
                return Refusal(
                    403,
                    "This server answers to localhost, 127.0.0.1 and [::1], and the request's Host "
                    "is another. To serve other names, set LOOPLINE_TOKEN and --host.",
                )
            if len(self._hosts) < _REMEMBERED:
                self._hosts.add(host)
        origin = headers.get(b"origin")
        if origin is not None and not host_allowed(origin.decode("latin-1").partition("://")[2]):
            return Refusal(403, "A page of another site may not call this server.")
        return None


def _later(reason: str, seconds: float) -> Refusal:
    whole = max(1, math.ceil(seconds))
    return Refusal(
        429, f"{reason} Try again in {whole} s.", ((b"retry-after", str(whole).encode()),)
    )
