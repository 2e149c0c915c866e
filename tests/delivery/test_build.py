"""Building: by whatever builder is there, which is told the target and the name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loopline.delivery.build import build_image, find_builder
from loopline.delivery.image import Image
from loopline.errors import DeliveryError


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put tools on the PATH that write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(*names: str, code: int = 0) -> Path:
        for name in names:
            script = folder / name
            script.write_text(
                f'#!/bin/sh\nprintf "%s\\n" {name} "$@" > "{tmp_path}/called"\n'
                f"echo 'STEP 1: FROM nowhere'; echo 'no such base' >&2; exit {code}\n"
            )
            script.chmod(0o755)
        return tmp_path / "called"

    return make


def image(folder: Path) -> Image:
    return Image(folder, "credit:3", "slim", ("full", "batch", "slim"))


def test_the_first_builder_that_is_there_builds(tools) -> None:
    tools("docker")
    assert find_builder() == "docker"
    tools("podman")
    assert find_builder() == "podman"
    tools("buildah")
    assert find_builder() == "buildah"


def test_it_is_told_target_name_and_folder(tools, tmp_path: Path) -> None:
    called = tools("buildah")

    built = build_image(image(tmp_path), None, None, say=lambda _: None)

    assert (built.reference, built.target) == ("localhost/credit:3-slim", "slim")
    assert called.read_text().splitlines() == [
        "buildah", "bud", "--target", "slim", "--tag", "localhost/credit:3-slim", str(tmp_path),
    ]  # fmt: skip


def test_another_target_and_name_may_be_asked_for(tools, tmp_path: Path) -> None:
    called = tools("docker")

    build_image(image(tmp_path), "full", "team/credit:x", say=lambda _: None)

    assert called.read_text().splitlines()[1:6] == [
        "build", "--target", "full", "--tag", "team/credit:x",
    ]  # fmt: skip


def test_a_target_that_is_not_there_is_said_with_those_that_are(tools, tmp_path: Path) -> None:
    tools("docker")

    with pytest.raises(DeliveryError, match=r"no target 'tiny'\. Targets: slim, batch, full"):
        build_image(image(tmp_path), "tiny", None, say=lambda _: None)


def test_a_build_that_fails_shows_the_end_of_what_was_said(tools, tmp_path: Path) -> None:
    tools("podman", code=3)

    with pytest.raises(DeliveryError, match=r"(?s)no such base\npodman could not build"):
        build_image(image(tmp_path), None, None, say=lambda _: None)
