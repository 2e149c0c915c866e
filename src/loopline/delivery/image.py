"""The folder an image is built from: a Dockerfile and everything that it copies.

The folder holds what is written here and nothing else: bundles and releases by key out of the
store, public keys, Loopline's wheel, and of the project its contract and its own Python files. So
no build can pack what lies around, in the project or outside of it.
"""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from loopline.contract.load import project_name
from loopline.delivery.dockerfile import HEADER, default_base, dockerfile
from loopline.delivery.requirements import (
    BATCH,
    SERVE,
    Needed,
    Pin,
    needed,
    own_lock,
    read,
    roots_of_loopline,
)
from loopline.delivery.sbom import sbom
from loopline.delivery.wheel import Wheel, own_wheel
from loopline.errors import DeliveryError
from loopline.model.bundle import Bundle, open_bundle
from loopline.pipeline.workspace import Workspace
from loopline.registry import release
from loopline.registry.release import Release
from loopline.store.objects import Objects

TARGETS = ("full", "batch", "slim")
"""In the order of the Dockerfile: the last is what is built unless another is asked for."""
READ = ("manifest.json", "manifest.sig", "signature.json")
"""What answering reads of every bundle; its plan or its original come on top."""
_EXTRAS = {"lightgbm": "lightgbm", "xgboost": "xgboost", "xgboost-cpu": "xgboost",
           "pandas": "own-model"}  # fmt: skip
"""Package that an original may need, to the extra that brings it."""
_MEASURED_WITH = {"python", "platform", "loopline", "optuna", "polars"}
"""What a bundle's environment names and an original's answers do not hang on."""


@dataclass(frozen=True)
class Wanted:
    """What an image is to be."""

    environment: str = "dev"
    target: str | None = None
    """The only target that is written; by default all."""
    base: str | None = None
    """Where it starts; by default Debian's slim Python, of the version's own Python."""
    has_model: bool = True
    """Whether the released model is baked in; without, it is fetched or mounted."""
    extras: tuple[str, ...] = ()
    """Of Loopline, for the target `full`."""
    requirements: Path | None = None
    """The project's own pins, for the target `full`."""
    offline: bool = False
    """Whether the wheels are downloaded into the folder, so that the build needs no registry."""


@dataclass(frozen=True)
class Image:
    """A folder that is ready to build."""

    folder: Path
    name: str
    """What it serves: `credit:3`, or the project where no model is baked in."""
    target: str
    """What is built unless another is asked for."""
    targets: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Plan:
    """What is going to be written, before anything is."""

    release: Release
    bundles: list[Bundle]
    python: str
    targets: tuple[str, ...] = TARGETS
    needed: dict[str, Needed] = field(default_factory=dict)

    @property
    def originals(self) -> list[Bundle]:
        return [bundle for bundle in self.bundles if "plan.json" not in bundle.listed]

    @property
    def name(self) -> str:
        return f"{self.release.project}:{self.release.version}"


def write_image(workspace: Workspace, wanted: Wanted, folder: Path, *, now: datetime) -> Image:
    """Write the folder of an image for what is released of the project, in place of an earlier one.

    Raises:
        DeliveryError: something is missing, unpinned or outside the project, or `folder` holds
            something else.
        ReleaseError: nothing is released, or the document cannot be used.
        BundleRefusedError: a bundle cannot.
    """
    _check_place(folder)
    plan = _plan(workspace, wanted)
    project = plan.release.project
    wheel = own_wheel()
    own = Pin("loopline", wheel.name.split("-")[1], (f"sha256:{wheel.digest}",))
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}~", dir=folder.parent))
    try:
        _write(draft / "wheels" / wheel.name, wheel.content)
        _write(draft / "requirements-loopline.txt", own.lines().encode())
        for target, found in plan.needed.items():
            _write(draft / f"requirements-{target}.txt", found.text().encode())
            served = plan.release.serves if wanted.has_model else ()
            bill = sbom(project, target, found, wheel, served, now)
            _write(draft / f"sbom-{target}.json", bill.encode())
        folders = list(_write_parts(draft, folder, workspace, plan, wanted))
        text = dockerfile(
            base=wanted.base or default_base(plan.python),
            python=plan.python,
            version=f"{plan.name.replace(':', '-')}",
            targets=plan.targets,
            folders=folders,
            offline=wanted.offline,
        )
        _write(draft / "Dockerfile", text.encode())
        _write(draft / ".dockerignore", _ignore(draft).encode())
        if wanted.offline:
            _download(draft, plan)
        _swap(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    name = plan.name if wanted.has_model else project
    return Image(folder, name, plan.targets[-1], plan.targets, tuple(_notes(wheel)))


def _plan(workspace: Workspace, wanted: Wanted) -> _Plan:
    objects, keys = workspace.objects, workspace.keys
    project = project_name(workspace.root / "loopline.yaml")
    found = release.latest(objects, keys, project, wanted.environment)
    if found is None:
        raise DeliveryError(
            f"Nothing of {project} is released in {wanted.environment}, so there is nothing to "
            "pack. Train and release a version with: loopline run"
        )
    bundles = [open_bundle(objects, keys, one.bundle, one.bundle_digest) for one in found.serves]
    made_with = [_environment(bundle) for bundle in bundles]
    python = ".".join(made_with[0].get("python", platform.python_version()).split(".")[:2])
    plan = _Plan(found, bundles, python)
    if plan.originals:
        plan.targets = ("full",)  # nothing else could unpickle one
    if wanted.target is not None:
        plan.targets = (check_target(wanted.target, plan.targets),)
    pins = read(own_lock().read_text(encoding="utf-8"), "requirements.txt")
    own_pins = _own_pins(workspace.root, wanted.requirements)
    extras = {*wanted.extras}
    for bundle, packages in zip(bundles, made_with, strict=True):
        if bundle in plan.originals:
            extras |= {_EXTRAS[name] for name in packages if name in _EXTRAS}
    for target in plan.targets:
        roots = {"slim": SERVE, "batch": BATCH}.get(target)
        if roots is not None:
            plan.needed[target] = needed(roots, pins)
        else:
            plan.needed[target] = needed(roots_of_loopline(sorted(extras)), pins, own_pins)
    for bundle, packages in zip(bundles, made_with, strict=True):
        if bundle in plan.originals:
            _check_same(plan, packages)
    return plan


def check_target(target: str, targets: Sequence[str]) -> str:
    """Return `target` if it is one of `targets`.

    Raises:
        DeliveryError: it is not.
    """
    if target not in targets:
        known = ", ".join(reversed(targets))
        raise DeliveryError(f"This image has no target '{target:.40}'. Targets: {known}.")
    return target


def _environment(bundle: Bundle) -> dict[str, str]:
    if "environment.json" not in bundle.listed:
        return {}
    return msgspec.json.decode(bundle.file("environment.json"), type=dict[str, str])


def _check_same(plan: _Plan, made_with: dict[str, str]) -> None:
    """Refuse pins that differ from what the original was trained with: answers may hang on them."""
    pinned = {pin.name: pin.version for pin in plan.needed["full"].pins}
    differ = [
        f"{name} {version} (pinned here: {pinned.get(name, 'not at all')})"
        for name, version in made_with.items()
        if name not in _MEASURED_WITH and pinned.get(name) != version
    ]
    if differ:
        raise DeliveryError(
            f"{plan.name} answers by its original, which was trained with {', '.join(differ)}. "
            "Install what is pinned and train again, or pin what it was trained with, with hashes, "
            "in a file of the project and name it with --requirements."
        )


def _own_pins(root: Path, file: Path | None) -> list[Pin]:
    if file is None:
        return []
    inside = _inside(root, file)
    try:
        return read(inside.read_text(encoding="utf-8"), file.name)
    except (OSError, UnicodeDecodeError) as error:
        raise DeliveryError(f"{file} cannot be read: {error}.") from error


def _write_parts(
    draft: Path, folder: Path, workspace: Workspace, plan: _Plan, wanted: Wanted
) -> Iterator[str]:
    """Write what is copied beside the packages, and yield the folders' names."""
    for name, pem in workspace.keys.trusted_keys().items():
        _write(draft / "keys" / f"{name}.pem", pem)
    if (draft / "keys").is_dir():
        yield "keys"
    if wanted.has_model:
        write_model(draft / "model", workspace.objects, plan.release, plan.bundles)
        yield "model"
    if "full" in plan.targets:
        for path in _own_files(workspace.root, without=(folder, draft)):
            _write(draft / "project" / path.relative_to(workspace.root), path.read_bytes())
        yield "project"


def write_model(
    folder: Path, objects: Objects, released: Release, bundles: Sequence[Bundle]
) -> None:
    """Write a store into `folder` that holds one release, and of its bundles what answering reads.

    Training's own files (profile, report, contract) stay where they are: a server needs none.
    """
    key = release.document_key(released.project, released.environment, released.number)
    _write(folder / key, objects.get(key))
    for bundle in bundles:
        parts = ["plan.json", "plan.bin"] if "plan.json" in bundle.listed else ["original.pkl"]
        for name in (*READ, *parts):
            is_head = name.startswith("manifest.")
            at = f"{bundle.prefix}/{name}"
            _write(folder / at, objects.get(at) if is_head else bundle.file(name))


def _own_files(root: Path, without: Sequence[Path]) -> list[Path]:
    """Return the contract and the team's Python files, none of them outside the project.

    Raises:
        DeliveryError: one is a link that leads out, or has a name that no file should.
    """
    from loopline.training.provenance import own_code

    own = [path for path in own_code(root) if not any(map(path.is_relative_to, without))]
    found = [root / "loopline.yaml", *own]
    for path in found:
        _inside(root, path)
    return found


def _inside(root: Path, path: Path) -> Path:
    """Return where `path` really lies, when that is in the project."""
    real = path.resolve()
    if not real.is_relative_to(root.resolve()):
        raise DeliveryError(
            f"{str(path)!r:.200} lies outside the project, and an image packs nothing from there. "
            "Copy the file into the project, or remove the link."
        )
    if not str(path).isprintable():
        raise DeliveryError(
            f"{str(path)!r:.200} has control characters in its name. Give the file another name."
        )
    return real


def _check_place(folder: Path) -> None:
    """Refuse to write over what is not an image's folder."""
    mark = folder / "Dockerfile"
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not mark.is_file() or not _is_ours(mark):
        raise DeliveryError(
            f"{folder} holds something else, which would be lost. Name another folder with --out, "
            "or remove it."
        )


def _is_ours(mark: Path) -> bool:
    return mark.read_bytes().startswith(HEADER.encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file that everybody may read: a container's user is any user."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)


def _ignore(draft: Path) -> str:
    names = sorted(path.name for path in draft.iterdir() if path.name != "Dockerfile")
    return "".join(["*\n", *(f"!{name}\n" for name in names)])


def _download(draft: Path, plan: _Plan) -> None:
    """Put every wheel that a target installs into the folder, for Linux and the version's Python.

    Raises:
        DeliveryError: pip cannot.
    """
    from loopline.delivery.wheels import download

    for target, found in plan.needed.items():
        download(found, draft / "wheels", plan.python, draft / f".{target}.txt")


def _swap(draft: Path, folder: Path) -> None:
    for path in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
        path.chmod(0o755)
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f"{folder.name}~", dir=folder.parent))
        os.rename(folder, old / "old")  # noqa: PTH104 - Path.rename is the same and reads as a move
        os.rename(draft, folder)  # noqa: PTH104
        shutil.rmtree(old)
    else:
        os.rename(draft, folder)  # noqa: PTH104


def _notes(wheel: Wheel) -> Iterator[str]:
    if not wheel.has_kernels:
        yield (
            "The kernels are not compiled for Linux here, so the image answers with the slower "
            "numpy ones. Generate it on Linux, where a C compiler was found at installation."
        )
