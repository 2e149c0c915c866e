"""Who may call a server: tokens, and the names it answers to.

A token is random, shown once when it is made, and kept only as a hash: who reads the home cannot
call the server with what is there. A Host header that names neither the server's address nor an
allowed name is refused, since a web page elsewhere can point its own name at a loopback address
and would otherwise speak to the server through its reader's browser.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from loopline.errors import SettingError
from loopline.governance.signing import write_private

Scope = Literal["predict", "metrics"]
"""`predict`: score and give feedback; `metrics`: read figures, as Prometheus does."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The names by which a server on a loopback address is called."""

_SHORTEST = 16


class Access:
    """The tokens of one home."""

    def __init__(self, home: Path, token: str | None = None) -> None:
        """`token` is `LOOPLINE_TOKEN`: when set, it alone opens the server, for every scope.

        Raises:
            SettingError: it is too short to be safe.
        """
        if token is not None and len(token) < _SHORTEST:
            raise SettingError(
                f"LOOPLINE_TOKEN has {len(token)} characters, and a token needs at least "
                f"{_SHORTEST}. Make one with: openssl rand -base64 24"
            )
        self._folder = home / "keys" / "tokens"
        self._set = None if token is None else _hash(token)

    def exists(self, scope: Scope) -> bool:
        """Return whether any token opens `scope`."""
        return self._wanted(scope) is not None

    def make(self, scope: Scope) -> str:
        """Make a token for `scope` and return it: the one time it can be read.

        The one before is dead at once, in running servers too.
        """
        token = f"loopline-{secrets.token_urlsafe(32)}"
        write_private(self._folder / f"{scope}.sha256", _hash(token).encode("ascii"))
        return token

    def revoke(self, scope: Scope) -> None:
        """Make the token for `scope` useless, in running servers too."""
        (self._folder / f"{scope}.sha256").unlink(missing_ok=True)

    def allows(self, authorization: str | None, scope: Scope) -> bool:
        """Return whether an Authorization header (`Bearer TOKEN`) opens `scope`.

        Takes as long whether the first or the last character is wrong.
        """
        kind, _, token = (authorization or "").partition(" ")
        wanted = self._wanted(scope)
        same = hmac.compare_digest(_hash(token.strip()), wanted or "")
        return same and kind.lower() == "bearer"

    def _wanted(self, scope: Scope) -> str | None:
        if self._set is not None:
            return self._set
        try:
            return (self._folder / f"{scope}.sha256").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None


def is_loopback(address: str) -> bool:
    """Return whether a server that listens on `address` is reached from this machine alone."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def host_allowed(header: str | None, allowed: Collection[str] = LOOPBACK) -> bool:
    """Return whether a request's Host header names one of `allowed`, with any port."""
    name, colon, port = (header or "").rpartition(":")
    if not colon or port.endswith("]"):  # no port, or the inside of an IPv6 address
        name = header or ""
    elif not (port.isascii() and port.isdecimal()):
        return False
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    return name.lower().removesuffix(".") in {known.lower() for known in allowed}


def _hash(token: str) -> str:
    # Plain SHA-256 is enough: a random token cannot be guessed from a list of likely ones.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
