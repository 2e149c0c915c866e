"""A model on disk: an immutable, signed set of files.

`manifest.json` lists every other file with its size and SHA-256; `manifest.sig` is its ed25519
signature. `open_bundle` is the one choke point: nothing of a bundle is parsed, let alone
unpickled, before signature and digest hold. A manifest is data alone: the names of files come from
the closed list here, so nothing in it can reach a path or an import.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from loopline.errors import AlreadyExistsError, BundleRefusedError
from loopline.governance.signing import Keys
from loopline.model.plan import Plan
from loopline.model.runtimes.onnx import OnnxRuntime
from loopline.model.signature import Signature
from loopline.store.objects import Objects

if TYPE_CHECKING:
    from loopline.counts.kernel import Profile

FORMAT = 1
FILES = frozenset(
    {
        "signature.json", "plan.json", "plan.bin", "original.pkl", "profile.bin", "run.json",
        "report.json", "snapshot.json", "parity.json", "environment.json", "contract.yaml",
        "baseline.json", "card.md", "taught.bin", "model.onnx", "expectation.json",
        "explanation.bin", "pairs.bin", "sample.bin",
    }
)  # fmt: skip
"""Every file a bundle may hold beside its manifest and the manifest's signature."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; each file is read, and checked against the manifest, when it is asked for.

    A file that is asked for and changed since raises `BundleRefusedError`.
    """

    prefix: str
    digest: str
    listed: Mapping[str, tuple[int, str]]
    """File to size and SHA-256, as the signed manifest has them."""
    objects: Objects

    def file(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            BundleRefusedError: the bundle has no such file, or it is not what was signed.
        """
        if name not in self.listed:
            raise BundleRefusedError(f"The bundle {self.prefix} has no {name}.")
        content = self.objects.find(f"{self.prefix}/{name}")
        size, digest = self.listed[name]
        if content is None or len(content) != size or _sha256(content) != digest:
            what = "is missing" if content is None else "is not what was signed"
            raise BundleRefusedError(
                f"The bundle {self.prefix} is refused: {name} {what}. Restore it from a backup, "
                "or train the model again with: loopline run --fresh"
            )
        return content

    @cached_property
    def signature(self) -> Signature:
        """Inputs, features and outputs."""
        return msgspec.json.decode(self.file("signature.json"), type=Signature)

    @cached_property
    def plan(self) -> Plan | None:
        """The exact plan, or None where the original answers."""
        if "plan.json" not in self.listed:
            return None
        return Plan.from_files({name: self.file(name) for name in ("plan.json", "plan.bin")})

    @cached_property
    def network(self) -> OnnxRuntime | None:
        """The network that answers, or None where a plan or the original does.

        Raises:
            MissingExtraError: ONNX Runtime is not installed.
        """
        if "model.onnx" not in self.listed:
            return None
        return OnnxRuntime(self.file("model.onnx"), self.signature)

    def profile(self) -> "Profile":
        """Return the reference profile: inputs and outputs as they were at training."""
        from loopline.counts.kernel import Profile

        return Profile.from_bytes(self.file("profile.bin"))


def write(objects: Objects, keys: Keys, prefix: str, files: Mapping[str, bytes]) -> str:
    """Write a bundle, its manifest last; return the manifest's digest.

    A write that was killed leaves nothing that opens, and the next one clears it away. The same
    files again are the same bundle.

    Raises:
        BundleRefusedError: a file is not among those a bundle holds.
        AlreadyExistsError: another bundle has this prefix; it was left as it is.
    """
    unknown = sorted(set(files) - FILES)
    if unknown:
        raise BundleRefusedError(f"A bundle holds no {', '.join(unknown)}.")
    manifest = json.dumps(
        {
            "format": FORMAT,
            "files": {n: [len(files[n]), _sha256(files[n])] for n in sorted(files)},
        },
        indent=1,
    ).encode()
    present = objects.find(f"{prefix}/manifest.json")
    if present == manifest:
        return _sha256(manifest)
    if present is not None:
        raise AlreadyExistsError(f"There is another bundle under {prefix}; it was left as it is.")
    for key in _unlisted(objects, prefix, files):
        objects.delete(key)
    for name, content in files.items():
        objects.put(f"{prefix}/{name}", content)
    objects.put(f"{prefix}/manifest.sig", keys.sign(manifest).encode())
    objects.create(f"{prefix}/manifest.json", manifest)
    return _sha256(manifest)


def open_bundle(objects: Objects, keys: Keys, prefix: str, digest: str) -> Bundle:
    """Open the bundle under `prefix` whose manifest has this digest.

    Raises:
        BundleRefusedError: it is missing, changed, or not signed by a key trusted here.
    """
    manifest = objects.find(f"{prefix}/manifest.json")
    signature = objects.find(f"{prefix}/manifest.sig")
    if manifest is None or signature is None:
        raise BundleRefusedError(f"There is no bundle {prefix} in the store, or only part of one.")
    if _sha256(manifest) != digest:
        raise BundleRefusedError(
            f"The bundle {prefix} is refused: its manifest has digest {_sha256(manifest)[:12]}, "
            f"and {digest[:12]} was registered. Restore it from a backup."
        )
    if not keys.verify(manifest, signature.decode("ascii", "replace")):
        raise BundleRefusedError(
            f"The bundle {prefix} is refused: no key trusted here has signed it. If it comes from "
            "another workspace, add that workspace's public key to this one's trusted keys."
        )
    head = json.loads(manifest)
    if head["format"] != FORMAT or not set(head["files"]) <= FILES:
        raise BundleRefusedError(
            f"The bundle {prefix} has format {head['format']} or files that this Loopline does "
            "not know. Open it with the Loopline that made it."
        )
    listed = {name: (int(size), str(sha)) for name, (size, sha) in head["files"].items()}
    extra = _unlisted(objects, prefix, listed)
    if extra:
        raise BundleRefusedError(
            f"The bundle {prefix} is refused: it holds {extra[0]}, which its manifest does not "
            "list. Remove that file, and find out who put it there."
        )
    return Bundle(prefix, digest, listed, objects)


def _unlisted(objects: Objects, prefix: str, listed: Iterable[str]) -> list[str]:
    known = {f"{prefix}/{name}" for name in (*listed, "manifest.json", "manifest.sig")}
    return [key for key in objects.list(prefix) if key not in known]


def version_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of what a version answers: its plan, signature and threshold.

    Without a plan the network's or the original's bytes stand for it.
    """
    parts = ["model.onnx"] if "model.onnx" in files else ["original.pkl"]
    if "plan.json" in files:
        parts = ["plan.json", "plan.bin"]
    total = hashlib.sha256()
    for name in ("signature.json", *parts):
        total.update(f"{name} {len(files[name])}\n".encode())
        total.update(files[name])
    return total.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
