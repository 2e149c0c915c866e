"""Build an image's folder with whatever builder this machine has."""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loopline.delivery.image import Image, check_target
from loopline.errors import DeliveryError

BUILDERS = ("buildah", "podman", "docker")
"""The first that is found builds; all read the same Dockerfile."""
_TAG = re.compile(r"[a-z0-9][a-z0-9._/:-]{0,254}")
_SHOWN = 15
"""Lines of a failed build that are repeated."""


@dataclass(frozen=True)
class Built:
    """An image in the store of this machine's builder."""

    reference: str
    target: str
    builder: str


def find_builder(builders: Sequence[str] = BUILDERS) -> str:
    """Return the first of `builders` that this machine has.

    Raises:
        DeliveryError: there is none.
    """
    for name in builders:
        if shutil.which(name):
            return name
    raise DeliveryError(
        f"No builder of images is installed here. Install {' or '.join(builders)}, for example: "
        f"apt-get install {builders[0]}"
    )


def build_image(
    image: Image,
    target: str | None,
    tag: str | None,
    say: Callable[[str], object],
    builders: Sequence[str] = BUILDERS,
) -> Built:
    """Build `target` of the image as `tag`; by default its smallest target, named by its version.

    Raises:
        DeliveryError: there is no builder, no such target, or the build fails.
    """
    target = check_target(target or image.target, image.targets)
    if tag is None:
        tag = f"localhost/{image.name}{'-' if ':' in image.name else ':'}{target}"
    if not _TAG.fullmatch(tag):
        raise DeliveryError(
            f"{tag!r:.80} is no name for an image: lower-case letters and digits, and . _ - / : in "
            "between, such as credit:3."
        )
    try:
        builder = find_builder(builders)
    except DeliveryError as error:
        raise DeliveryError(f"{image.folder} is written. {error}") from None
    say(f"Building {tag} ({target}) with {builder}")
    words = ["bud"] if builder == "buildah" else ["build"]
    command = [builder, *words, "--target", target, "--tag", tag, str(image.folder)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-_SHOWN:])
        raise DeliveryError(
            f"{last}\n{builder} could not build {image.folder}; above is the end of what it said."
        )
    return Built(tag, target, builder)
