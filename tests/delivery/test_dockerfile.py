"""The Dockerfile: one base, two stages a target, and no value that could write a line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loopline.delivery.dockerfile import check_base, default_base, dockerfile
from loopline.errors import DeliveryError


def made(base: str = "docker.io/library/python:3.11", *, offline: bool = False) -> str:
    return dockerfile(
        base=base,
        python="3.11",
        version="credit-3",
        targets=("full", "batch", "slim"),
        folders=("keys", "model", "project"),
        offline=offline,
    )


@pytest.mark.parametrize(
    "base",
    [
        "python", "python:3.11", "docker.io/library/python:3.11-slim", "localhost/base/python:x",
        "registry.example:5000/team/base_one@sha256:" + "a" * 64, "gcr.io/distroless/a.b-c:nonroot",
        default_base("3.12"),
    ],
)  # fmt: skip
def test_a_reference_of_an_image_is_a_base(base: str) -> None:
    assert check_base(base) == base
    assert f"ARG BASE={base}\n" in made(base)


@pytest.mark.parametrize("offline", [True, False])
def test_hadolint_has_nothing_to_say(tmp_path: Path, offline: bool) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(made(offline=offline))
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
        "hadolint"
    )
    if linter is None:
        pytest.skip("hadolint is not installed; run make setup")

    done = subprocess.run(
        [linter, "--no-color", str(file)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


def stages(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.replace("\\\n", "").splitlines():
        if not line:
            continue
        if line.startswith("FROM "):
            lines = found.setdefault(line.split()[-1], [])
        lines.append(line)
    return found


@pytest.mark.parametrize("target", ["slim", "batch", "full"])
def test_a_target_starts_at_the_base_installs_nothing_and_runs_as_nobody(target: str) -> None:
    lines = stages(made())[target]

    assert lines[0] == f"FROM ${{BASE}} AS {target}"
    assert not [line for line in lines if line.startswith(("RUN", "ADD"))]
    assert f"COPY --from={target}-packages /app /app" in lines
    assert ("COPY project/ /app/project/" in lines) == (target == "full")
    assert lines[-3:] == [
        "USER ${RUN_USER}",
        'ENTRYPOINT ["/app/bin/python", "-P", "-m", "loopline.cli.entry"]',
        'CMD ["serve"]',
    ]


def test_packages_come_by_their_hashes_and_offline_from_the_folder_alone() -> None:
    for target in ("slim", "batch", "full"):
        for text, offline in ((made(), False), (made(offline=True), True)):
            lines = stages(text)[f"{target}-packages"]
            [step] = [line for line in lines if line.startswith("RUN")]
            packages, own, removed, _ = [part.split() for part in step.split("&&")][-4:]
            assert "--require-hashes" in packages
            assert ("--no-index" in packages) == offline
            assert {"--require-hashes", "--no-index", "--no-deps"} <= set(own)
            assert removed[-2:] == ["pip", "setuptools"]


def test_nothing_that_a_platform_decides_is_baked_in() -> None:
    """A port or an AIP variable in the image would hide what the platform says."""
    assert "ARG RUN_USER=10001" in made()
    assert " PORT=" not in made()
    assert "AIP_" not in made()
    assert "LOOPLINE_" not in made()


def test_the_last_target_is_what_a_build_makes() -> None:
    assert list(stages(made()))[-1] == "slim"


def test_an_unlikely_base_is_refused_with_an_example() -> None:
    with pytest.raises(DeliveryError, match=r"is no image\. A base is a reference such as docker"):
        check_base("Python 3")
