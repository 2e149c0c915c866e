"""Who gets in: by token, or on a loopback address by how the server was called.

On loopback nobody needs a token, so a page in the reader's browser must not pass for the reader:
its own name for this machine fails the Host check, its requests to ours the Origin check.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from loopline.governance.access import Access, Scope, host_allowed

Permission = Literal["health", "predict", "metrics"]
"""What a route takes: `health` is open to all, the others are scopes of a token."""

_REMEMBERED = 64


@dataclass(frozen=True)
class Refusal:
    """Why somebody does not get in."""

    status: int
    message: str


@dataclass(frozen=True)
class Guard:
    """The rule of one server."""

    access: Access
    needs_token: bool
    """False only on a loopback address without `LOOPLINE_TOKEN`."""
    _hosts: set[bytes] = field(default_factory=set, repr=False)

    @property
    def caller(self) -> str:
        """What the log calls whoever was let in."""
        return "token" if self.needs_token else "local"

    def refusal(self, permission: Permission, headers: Mapping[bytes, bytes]) -> Refusal | None:
        """Return why a request may not pass, or None."""
        if permission == "health":
            return None
        if self.needs_token:
            return self._by_token(permission, headers.get(b"authorization"))
        return self._by_name(headers)

    def _by_token(self, scope: Scope, header: bytes | None) -> Refusal | None:
        given = None if header is None else header.decode("latin-1")
        if self.access.allows(given, scope):
            return None
        return Refusal(401, "Send the server's token: Authorization: Bearer TOKEN.")

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
