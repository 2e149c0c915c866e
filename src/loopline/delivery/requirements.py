"""What an image installs: the few packages a target needs, pinned with their hashes.

The pins are Loopline's own lock, which travels in its wheel; which of them a target needs follows
from what the installed packages say they need. A lock is names, versions and hashes alone: an
option, a URL or a path in one could make the build fetch from, or read, anywhere.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Marker, default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import loopline
from loopline.errors import DeliveryError

SERVE = (
    "click", "cryptography", "httptools", "msgspec", "numpy", "obstore", "uvicorn", "uvloop",
)  # fmt: skip
"""All that answering with a plan imports."""
BATCH = (
    *SERVE, "charset-normalizer", "cloudpickle", "polars", "pyarrow", "pydantic", "sqlalchemy",
    "sqlglot",
)  # fmt: skip
"""And what `loopline score` reads and writes tables with."""

_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_EXACT = re.compile(r"==([A-Za-z0-9.!+_-]+)")


@dataclass(frozen=True)
class Pin:
    """One package at one version."""

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: Marker | None = None
    """Where it counts; everywhere without one."""

    def lines(self) -> str:
        """Return it as pip reads it, for where it counts."""
        parts = [f"{self.name}=={self.version}", *(f"--hash={one}" for one in self.hashes)]
        return " \\\n    ".join(parts) + "\n"


@dataclass(frozen=True)
class Needed:
    """What a target installs, and which package needs which."""

    pins: tuple[Pin, ...]
    edges: Mapping[str, tuple[str, ...]]

    def text(self) -> str:
        """Return the requirements file."""
        return "".join(pin.lines() for pin in self.pins)


def own_lock() -> Path:
    """Return the lock that Loopline was tested with: in the wheel, or beside the source tree.

    Raises:
        DeliveryError: there is none.
    """
    package = Path(loopline.__file__).parent
    for place in (
        package / "delivery" / "requirements.txt",
        package.parents[1] / "requirements.txt",
    ):
        if place.is_file():
            return place
    raise DeliveryError(
        "Loopline's own requirements.txt is missing from this installation, so an image's packages "
        "cannot be pinned. Install Loopline again, from its wheel or its source tree."
    )


def read(text: str, name: str) -> list[Pin]:
    """Return the pins of a requirements file called `name`.

    Raises:
        DeliveryError: a line is more, or less, than a name, a version and hashes; all of them.
    """
    pins, faults = [], []
    for number, line in _joined(text):
        requirement, *options = re.split(r"\s+(?=--)", line)
        hashes = [match[1] for match in map(_HASH.fullmatch, options) if match]
        pin = _pin(requirement, hashes)
        if pin is None or len(hashes) != len(options):
            faults.append(f"{name}:{number}: {line[:60]!r} is no pin.")
        else:
            pins.append(pin)
    if faults:
        raise DeliveryError(
            "\n".join(faults[:10]) + "\nA line is NAME==VERSION with its --hash=sha256:..., and "
            "nothing else. Write the file with: uv pip compile --generate-hashes --no-header"
        )
    return pins


def _pin(requirement: str, hashes: Sequence[str]) -> Pin | None:
    try:
        asked = Requirement(requirement)
    except InvalidRequirement:
        return None
    version = _EXACT.fullmatch(str(asked.specifier))
    if version is None or asked.url or not hashes:
        return None
    return Pin(canonicalize_name(asked.name), version[1], tuple(hashes), asked.marker)


def _joined(text: str) -> Iterable[tuple[int, str]]:
    """Return the lines with a requirement, those that a backslash continues joined."""
    begun, held = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not held and (not line.strip() or line.lstrip().startswith("#")):
            continue
        begun = begun if held else number
        held += f"{line.rstrip().removesuffix(chr(92)).strip()} "
        if not line.rstrip().endswith("\\"):
            yield begun, held.strip()
            held = ""
    if held:
        yield begun, held.strip()


def needed(roots: Iterable[str], pins: Sequence[Pin], extra_pins: Sequence[Pin] = ()) -> Needed:
    """Return what `roots` need, on Linux; of `extra_pins` all, and they go before `pins`.

    A root is a name, or `name[extra]`.

    Raises:
        DeliveryError: something that is needed is not installed here, or not pinned.
    """
    environment = _target()
    # A lock for every platform pins some packages once for each.
    known, chosen = (
        {pin.name: pin for pin in given if pin.marker is None or pin.marker.evaluate(environment)}
        for given in (pins, extra_pins)
    )
    edges: dict[str, tuple[str, ...]] = {}
    waiting: list[tuple[str, frozenset[str]]] = [
        (canonicalize_name(one.name), frozenset(one.extras)) for one in map(Requirement, roots)
    ]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in chosen:
            if name not in known:
                raise DeliveryError(
                    f"{name} is needed in the image, and the lock has no pin of it."
                )
            chosen[name] = known[name]
        below = _requires(name, extras, environment)
        edges[name] = tuple(sorted({*edges.get(name, ()), *(each for each, _ in below)}))
        waiting += below
    return Needed(tuple(chosen[name] for name in sorted(chosen)), edges)


def roots_of_loopline(extras: Iterable[str] = ()) -> list[str]:
    """Return everything that Loopline itself requires, with `extras`.

    Raises:
        DeliveryError: it has no such extra.
    """
    known = set(distribution("loopline").metadata.get_all("Provides-Extra") or ())
    for extra in extras:
        if extra not in known:
            raise DeliveryError(
                f"Loopline has no extra '{extra}'. There are: {', '.join(sorted(known))}."
            )
    below = _requires("loopline", frozenset(extras), _target())
    return [f"{name}[{','.join(sorted(more))}]" if more else name for name, more in below]


def _requires(
    name: str, extras: frozenset[str], environment: Mapping[str, str | Set[str]]
) -> list[tuple[str, frozenset[str]]]:
    try:
        asked = distribution(name).requires or []
    except PackageNotFoundError:
        raise DeliveryError(
            f"{name} goes into the image, and is not installed here, so that what it needs is not "
            f"known. Install it: pip install {name}"
        ) from None
    found = []
    for requirement in map(Requirement, asked):
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)
        ):
            found.append((str(canonicalize_name(requirement.name)), frozenset(requirement.extras)))
    return found


def _target() -> dict[str, str | Set[str]]:
    """Return what markers are read against: this Python, on Linux."""
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    here = {name: str(value) for name, value in default_environment().items()}
    return {**here, **linux}
