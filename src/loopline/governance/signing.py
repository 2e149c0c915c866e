"""Sign what this workspace makes, and recognise what it trusts.

ed25519. The private key stays in the home, readable by its owner alone; the public keys in the
folder `trusted` beside it say whose signatures count. A server elsewhere needs only that folder:
verifying never makes a key.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import stat
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.errors import LooplineError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_SCHEME = "ed25519"


class Keys:
    """The keys of one home."""

    def __init__(self, home: Path) -> None:
        self._private = home / "keys" / "signing.pem"
        self.trusted = home / "keys" / "trusted"
        """Folder of the public keys whose signatures count, one PEM file each."""

    def sign(self, data: bytes) -> str:
        """Return the signature of `data`: `ed25519:KEY:BASE64`. The first use makes the key."""
        signature = self._signer.sign(data)
        return f"{_SCHEME}:{self.id}:{base64.b64encode(signature).decode('ascii')}"

    def verify(self, data: bytes, signature: str) -> bool:
        """Return whether a trusted key made `signature` over exactly these bytes."""
        from cryptography.exceptions import InvalidSignature

        scheme, _, rest = signature.partition(":")
        name, _, encoded = rest.partition(":")
        key = self._trusted_keys().get(name)
        if scheme != _SCHEME or key is None:
            return False
        try:
            key.verify(base64.b64decode(encoded, validate=True), data)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    @cached_property
    def id(self) -> str:
        """The first 16 hex digits of the public key's SHA-256. The first use makes the key."""
        return _id(self._signer.public_key())

    @property
    def public_pem(self) -> str:
        """The public key, as another home's `trusted` folder takes it."""
        return _public_pem(self._signer.public_key()).decode("ascii")

    def trusted_keys(self) -> dict[str, bytes]:
        """Return the public keys whose signatures count, by id, as another home takes them.

        They are written anew: whatever else a file in the folder holds does not travel.
        """
        return {name: _public_pem(key) for name, key in self._trusted_keys().items()}

    def trust(self, folder: Path) -> None:
        """Trust the public keys in `folder` too, as `trusted_keys` has written them."""
        for path in sorted(folder.glob("*.pem")):
            place = self.trusted / path.name
            if not place.exists():
                write_private(place, path.read_bytes())

    @cached_property
    def _signer(self) -> "Ed25519PrivateKey":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        if not self._private.exists():
            self._make()
        mode = stat.S_IMODE(self._private.stat().st_mode)
        if os.name != "nt" and mode & 0o077:
            raise LooplineError(
                f"{self._private} can be read by others (mode {mode:o}), so its signatures prove "
                f"nothing. If nobody read it, run: chmod 600 {self._private}"
            )
        try:
            key = load_pem_private_key(self._private.read_bytes(), password=None)
        except ValueError as error:
            raise LooplineError(
                f"{self._private} is not a private key. Restore it from a backup; if there is "
                "none, move it away, and a new key is made that signs from now on."
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise LooplineError(f"{self._private} is not an ed25519 key, the only kind used here.")
        self._trust(key.public_key())
        return key

    def _make(self) -> None:
        """Make the private key; when another process does so at the same time, the first counts."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        pem = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        with contextlib.suppress(FileExistsError):
            write_private(self._private, pem, only_if_absent=True)

    def _trust(self, key: "Ed25519PublicKey") -> None:
        """Trust our own key; done at every start, so a kill between the two files heals."""
        path = self.trusted / f"{_id(key)}.pem"
        if not path.exists():
            write_private(path, _public_pem(key))

    def _trusted_keys(self) -> "dict[str, Ed25519PublicKey]":
        """Read the trusted keys anew, so that one taken out of the folder counts no more."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        known = {}
        # A signature's text never becomes a path: the folder is listed and the names are computed.
        for file in sorted(self.trusted.glob("*.pem")):
            try:
                key = load_pem_public_key(file.read_bytes())
            except ValueError as error:
                raise LooplineError(
                    f"{file} is not a public key in PEM form. Replace or remove it."
                ) from error
            if isinstance(key, Ed25519PublicKey):
                known[_id(key)] = key
        return known


def _public_pem(key: "Ed25519PublicKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _id(key: "Ed25519PublicKey") -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def write_private(path: Path, content: bytes, *, only_if_absent: bool = False) -> None:
    """Write a file that only its owner reads; it appears whole, or not at all.

    Raises:
        FileExistsError: it was there, and `only_if_absent`; it was left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600, a name nobody can guess
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if only_if_absent:
            path.hardlink_to(draft)
        else:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
