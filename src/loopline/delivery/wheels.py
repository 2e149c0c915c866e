"""The wheels of an image, downloaded beside its Dockerfile: a build then needs no registry."""

import subprocess
import sys
from pathlib import Path

from loopline.delivery.requirements import Needed
from loopline.errors import DeliveryError


def download(needed: Needed, folder: Path, python: str, listing: Path) -> None:
    """Download what is pinned, hashes checked, as the image's Python takes it.

    Raises:
        DeliveryError: pip is missing, or refuses; its last line says why.
    """
    if sys.platform != "linux":
        raise DeliveryError(
            "An image's wheels are Linux's, and pip downloads those of this system. Generate it on "
            "Linux, or without --offline."
        )
    listing.write_text(needed.text(), encoding="utf-8")
    command = [
        sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--require-hashes", "--no-deps", "--only-binary", ":all:", "--python-version", python,
        "--dest", str(folder), "--requirement", str(listing),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        listing.unlink()
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it does not say why"]
        raise DeliveryError(f"The wheels cannot be downloaded. pip says: {said[-1][:300]}")
