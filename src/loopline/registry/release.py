"""The release document that servers follow (imports nothing else of this folder).

`releases/PROJECT/ENVIRONMENT/NUMBER.json` in the store: numbered, created only if absent, signed.
The highest number is what holds. Two writers cannot both win, and the history stays.

The signature covers the document's exact bytes, and the document names its project, environment and
number: neither an edited copy nor a copy under another name is believed.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from loopline.errors import ReleaseError
from loopline.governance.signing import Keys
from loopline.notebooks import Shown
from loopline.store.objects import Objects

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_NUMBER = re.compile(r"[1-9][0-9]{0,9}\.json")
_FOLDER = "releases"
_PURPOSE = b"loopline release\n"
"""Signed in front of a document, so that no signature over anything else passes for its own."""


@dataclass(frozen=True)
class Part:
    """What a version has of an environment's callers."""

    share: float = 1.0
    """Those of the versions that answer add up to 1."""
    shadow: bool = False
    """Asked too, and logged; it answers nobody."""
    arm: str = ""
    """What people call it in an A/B test."""
    at_once: bool = False
    """Everybody without the steps of a rollout, which begins only where nothing is said."""


WHOLE = Part()
"""Everybody; step by step, where the contract says so."""


@dataclass(frozen=True)
class Rollout:
    """How far a version has come on its way to everybody, and what it held on the way."""

    version: int
    steps: tuple[float, ...]
    """Its shares, growing, the last one 1: as the contract had them when it began."""
    step: int
    """At which it is, from 1."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """What the step before rested on; empty for the first, and where a person went on."""

    @property
    def is_going_on(self) -> bool:
        """Whether there is a step ahead."""
        return self.step < len(self.steps)

    @property
    def told(self) -> str:
        """Where it is, as people say it: `step 1 of 3 (5%)`."""
        share = self.steps[self.step - 1] * 100
        return f"step {self.step} of {len(self.steps)} ({share:.4g}%)"


@dataclass(frozen=True)
class Served:
    """One version in a release, and its share of the callers, as in `Part`."""

    version: int
    bundle: str
    bundle_digest: str
    share: float = 1.0
    shadow: bool = False
    arm: str = ""


@dataclass(frozen=True)
class Release(Shown):
    """What one environment serves: the sixth record of the chain."""

    project: str
    environment: str
    number: int
    serves: tuple[Served, ...]
    by: str
    why: str
    at: str
    rolled_back: int | None = None
    """The version that this release took out because it was bad."""
    ledger: str = ""
    """`NUMBER:HASH` of the ledger's last event: the signature holds the ledger to its history."""
    rollout: Rollout | None = None
    """The step that this release is; servers go by the shares alone."""

    @property
    def version(self) -> int:
        """The version that answers most callers."""
        answering = [served for served in self.serves if not served.shadow]
        return max(answering, key=lambda served: served.share).version


class _Document(msgspec.Struct):
    release: msgspec.Raw
    signature: str


def write(objects: Objects, keys: Keys, release: Release) -> Release:
    """Sign `release` and put it where servers look; from then on it holds.

    Raises:
        AlreadyExistsError: its number is taken; nothing was changed.
    """
    content = msgspec.json.encode(release)
    document = _Document(msgspec.Raw(content), keys.sign(_PURPOSE + content))
    key = document_key(release.project, release.environment, release.number)
    objects.create(key, msgspec.json.encode(document))
    return release


def latest(
    objects: Objects, keys: Keys, project: str, environment: str, after: int = 0
) -> Release | None:
    """Return the release that holds, verified; None when there is none beyond number `after`.

    With `after`, only the numbers that follow are tried: to ask again and again is one read.

    Raises:
        ReleaseError: the document is malformed, unsigned or signed by a stranger.
    """
    if after == 0:
        highest = max(numbers(objects, project, environment), default=0)
        return read(objects, keys, project, environment, highest) if highest else None
    number, content = after, None
    while (following := objects.find(document_key(project, environment, number + 1))) is not None:
        number, content = number + 1, following
    return None if content is None else _open(content, keys, (project, environment, number))


def read(objects: Objects, keys: Keys, project: str, environment: str, number: int) -> Release:
    """Return one release, verified.

    Raises:
        ReleaseError: it is absent, malformed, unsigned or signed by a stranger.
    """
    content = objects.find(document_key(project, environment, number))
    if content is None:
        raise ReleaseError(f"There is no release {number} of {project} in {environment}.")
    return _open(content, keys, (project, environment, number))


def numbers(objects: Objects, project: str, environment: str) -> list[int]:
    """Return the numbers of the documents there are, in order, verified or not."""
    keys = objects.list(document_key(project, environment, 1).rpartition("/")[0])
    names = [key.rpartition("/")[2] for key in keys]
    return sorted(int(name[: -len(".json")]) for name in names if _NUMBER.fullmatch(name))


def environments(objects: Objects, project: str) -> list[str]:
    """Return the environments that have a release document."""
    keys = objects.list(document_key(project, "any", 1).rsplit("/", 2)[0])
    return sorted({key.split("/")[2] for key in keys})


def released(objects: Objects) -> list[tuple[str, str]]:
    """Return every project and environment that has a release document."""
    parts = [key.split("/") for key in objects.list(_FOLDER)]
    return sorted({(part[1], part[2]) for part in parts if len(part) == 4})


def document_key(project: str, environment: str, number: int) -> str:
    """Return the key that a document lies under.

    Raises:
        ReleaseError: a name is none.
    """
    for name in (project, environment):
        if not _NAME.fullmatch(name):
            raise ReleaseError(
                f"{name!r} is not a project or environment: lower-case letters, digits and dashes."
            )
    return f"{_FOLDER}/{project}/{environment}/{number}.json"


def _open(content: bytes, keys: Keys, place: tuple[str, str, int]) -> Release:
    """Return the release in `content`, once its signature and place are proven."""
    project, environment, number = place
    name = f"Release {number} of {project} in {environment}"
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested without end
        raise ReleaseError(f"{name} is not a release document: {error}.") from error
    signed = bytes(document.release)
    if not keys.verify(_PURPOSE + signed, document.signature):
        raise ReleaseError(
            f"{name} was changed, or is not signed by a key that is trusted here. If another home "
            f"wrote it, put its public key into {keys.trusted}; if nobody did, promote or roll "
            "back: the next release takes its place."
        )
    release = msgspec.json.decode(signed, type=Release)
    if (release.project, release.environment, release.number) != place:
        raise ReleaseError(
            f"{name} is a copy of release {release.number} of {release.project} in "
            f"{release.environment}. If nobody here copied it, someone else writes to the store."
        )
    return release
