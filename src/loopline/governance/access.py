"""Who may call a server: tokens, and the names it answers to.

A token is random, shown once when it is made, and kept only as a hash: who reads the home cannot
call the server with what is there. Each is one file under its name, so that one can be revoked
without touching the others; a running server looks at the folder twice a second and not for every
request. A Host header that names neither the server's address nor an allowed name is refused, since
a web page elsewhere can point its own name at a loopback address and would otherwise speak to the
server through its reader's browser.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

from loopline.errors import AccessError, SettingError
from loopline.governance.signing import write_private

Scope = Literal["predict", "feedback", "metrics", "admin"]
"""`predict`: ask the model; `feedback`: say what turned out true; `metrics`: read figures, as
Prometheus does; `admin`: load and unload models. None of them contains another."""
SCOPES: tuple[Scope, ...] = get_args(Scope)

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The names by which a server on a loopback address is called."""

LOOK_SECONDS = 0.5
"""How long a running server goes by what it read: a revoked token is dead after so long."""
_SHORTEST = 16
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Token(msgspec.Struct, frozen=True):
    """What is kept of one token."""

    name: str
    scopes: tuple[Scope, ...]
    digest: str
    """The token's SHA-256."""
    made_at: datetime
    expires_at: datetime | None = None
    rate: float | None = None
    """Requests a second; None for as many as there are."""
    burst: int = 1
    """Requests at once, after a rest."""


class Access:
    """The tokens of one home."""

    def __init__(
        self,
        home: Path,
        token: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
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
        self._set = None if token is None else _setting(token)
        self._clock = clock
        self._now = now
        self._known: dict[str, Token] = {}
        self._seen: list[tuple[str, int, int, int]] | None = None
        self._looked = -1e9

    def exists(self, scope: Scope) -> bool:
        """Return whether any token opens `scope` now."""
        known = [self._set] if self._set is not None else self.tokens()
        return any(scope in token.scopes and not self._has_expired(token) for token in known)

    def tokens(self) -> list[Token]:
        """Return every token of the home, by name."""
        self._look()
        return sorted(self._known.values(), key=lambda token: token.name)

    def make(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        made_at: datetime,
        expires_at: datetime | None = None,
        rate: float | None = None,
        burst: int | None = None,
    ) -> str:
        """Make a token for `scopes` and return it: the one time it can be read.

        `rate` is in requests a second, of which `burst` may come at once; by default one second's.

        Raises:
            AccessError: the name is taken or cannot be one, or no scope is given.
        """
        if not _NAME.fullmatch(name):
            raise AccessError(
                f"'{name:.80}' cannot be a token's name. Take up to 64 of a-z, 0-9, dot, dash and "
                "underscore, such as scoring-service."
            )
        if not scopes:
            raise AccessError(f"A token opens at least one scope: {', '.join(SCOPES)}.")
        secret = f"loopline-{secrets.token_urlsafe(32)}"
        kept = Token(
            name,
            tuple(dict.fromkeys(scopes)),
            _hash(secret),
            made_at,
            expires_at,
            rate,
            max(1, burst if burst is not None else round(rate or 1)),
        )
        try:
            write_private(self._file(name), msgspec.json.encode(kept), only_if_absent=True)
        except FileExistsError:
            raise AccessError(
                f"There is a token '{name}' already. Take another name, or end that one with: "
                f"loopline token revoke {name}"
            ) from None
        self._looked = -1e9
        return secret

    def revoke(self, name: str) -> None:
        """Make a token useless, in running servers within `LOOK_SECONDS`.

        Raises:
            AccessError: there is none of this name.
        """
        if not _NAME.fullmatch(name) or not self._file(name).is_file():
            known = ", ".join(token.name for token in self.tokens()) or "none"
            raise AccessError(f"There is no token '{name:.80}'. Tokens: {known}.")
        self._file(name).unlink()
        self._looked = -1e9

    def find(self, authorization: str | None) -> Token | None:
        """Return the token that an Authorization header (`Bearer TOKEN`) shows, if it is good."""
        kind, _, given = (authorization or "").partition(" ")
        digest = _hash(given.strip())
        if self._set is not None:
            token: Token | None = self._set
        else:
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._look()
            # What is looked up is a hash, of which nobody can choose a part: how long it takes
            # says nothing about any token.
            token = self._known.get(digest)
        same = hmac.compare_digest(digest, "" if token is None else token.digest)
        if token is None or not same or kind.lower() != "bearer" or self._has_expired(token):
            return None
        return token

    def allows(self, authorization: str | None, scope: Scope) -> bool:
        """Return whether an Authorization header opens `scope`."""
        token = self.find(authorization)
        return token is not None and scope in token.scopes

    def _has_expired(self, token: Token) -> bool:
        return token.expires_at is not None and token.expires_at.timestamp() <= self._now()

    def _look(self) -> None:
        """Read the tokens anew, if any file is another than before."""
        self._looked = self._clock()
        seen = []
        if self._folder.is_dir():
            for file in sorted(self._folder.glob("*.json")):
                try:
                    found = file.stat()
                except FileNotFoundError:  # revoked this moment
                    continue
                seen.append((file.stem, found.st_ino, found.st_mtime_ns, found.st_size))
        if seen == self._seen:
            return
        known = {}
        for name, *_ in seen:
            token = self._read(name)
            if token is not None:
                known[token.digest] = token
        self._known, self._seen = known, seen

    def _read(self, name: str) -> Token | None:
        file = self._file(name)
        try:
            return msgspec.json.decode(file.read_bytes(), type=Token)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise AccessError(f"{file} is no token's file ({error}). Remove it.") from None

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"


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


def _setting(token: str) -> Token:
    return Token("LOOPLINE_TOKEN", SCOPES, _hash(token), datetime.fromtimestamp(0).astimezone())


def _hash(token: str) -> str:
    # Plain SHA-256 is enough: a random token cannot be guessed from a list of likely ones.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
