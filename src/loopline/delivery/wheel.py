"""Loopline itself as a wheel, made of what is installed here.

Whether it was installed from a wheel or from a source tree, the image gets the same files that
generated it, kernels included, and needs neither a compiler nor a registry for them.
"""

import base64
import hashlib
import io
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import loopline

_KERNELS = "_kernels.so"
_LEFT_OUT = {".c", ".pyc"}
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Wheel:
    """A wheel."""

    name: str
    content: bytes
    has_kernels: bool
    """Without them the numpy twins answer: right, and slower."""

    @property
    def digest(self) -> str:
        """SHA-256, as a requirements file has it."""
        return hashlib.sha256(self.content).hexdigest()


def own_wheel() -> Wheel:
    """Return Loopline's wheel; the same installation gives the same bytes."""
    package = Path(loopline.__file__).parent
    files = {
        f"loopline/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in _LEFT_OUT
    }
    has_kernels = sys.platform == "linux" and f"loopline/kernels/{_KERNELS}" in files
    if not has_kernels:  # compiled for another system
        files.pop(f"loopline/kernels/{_KERNELS}", None)
    if "loopline/delivery/requirements.txt" not in files:
        lock = package.parents[1] / "requirements.txt"  # a source tree keeps it at its root
        if lock.is_file():
            files["loopline/delivery/requirements.txt"] = lock.read_bytes()
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    tag = f"py3-none-{platform}" if has_kernels else "py3-none-any"
    about = f"loopline-{loopline.__version__}.dist-info"
    files |= _about(about, tag, is_pure=not has_kernels)
    files = dict(sorted(files.items()))
    files[f"{about}/RECORD"] = _record(files, f"{about}/RECORD")
    return Wheel(f"loopline-{loopline.__version__}-{tag}.whl", _zipped(files), has_kernels)


def _about(folder: str, tag: str, *, is_pure: bool) -> dict[str, bytes]:
    installed = distribution("loopline")
    kept = {
        f"{folder}/{name}": text.encode()
        for name in ("METADATA", "entry_points.txt")
        if (text := installed.read_text(name)) is not None
    }
    pure = "true" if is_pure else "false"
    kept[f"{folder}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: loopline {loopline.__version__}\n"
        f"Root-Is-Purelib: {pure}\nTag: {tag}\n"
    ).encode()
    return kept


def _record(files: dict[str, bytes], itself: str) -> bytes:
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{itself},,", ""]).encode()


def _zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _FIRST_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()
