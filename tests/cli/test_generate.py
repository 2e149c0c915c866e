"""`loopline generate`: a kind is a file, and what it writes is said."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loopline.cli.main import cli


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["generate", *arguments])


def test_a_kind_is_a_file_of_the_folder() -> None:
    said = run("--help").output

    assert "image" in said
    assert run("imag").exit_code == 2


def test_an_image_is_written_to_the_home_and_its_targets_are_said(credit_project: Path) -> None:
    done = run("image", "--project", str(credit_project))

    folder = credit_project / ".loopline" / "image"
    assert done.exit_code == 0, done.output
    assert f"{folder}: an image for credit:1 (dev)" in done.output
    assert "slim, batch, full" in done.output
    assert json.loads((folder / "sbom-slim.json").read_text())["bomFormat"] == "CycloneDX"


def test_without_a_builder_the_files_are_written_and_the_error_is_one(
    credit_project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    done = run("image", "--build", "--project", str(credit_project))

    assert done.exit_code == 1
    assert str(done.exception).endswith(
        "is written. No builder of images is installed here. Install buildah or podman or "
        "docker, for example: apt-get install buildah"
    )
    assert (credit_project / ".loopline" / "image" / "Dockerfile").is_file()
