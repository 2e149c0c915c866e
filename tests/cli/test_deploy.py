"""`loopline deploy`: what it needs is said before anything is built."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loopline.cli.main import cli


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["deploy", *arguments, "--project", str(root)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "loopline.yaml").write_text("project: churn\n")
    return tmp_path


def test_an_unknown_platform_is_refused_with_those_there_are(root: Path) -> None:
    done = run(root, "--platform", "moon")

    assert done.exit_code == 1
    assert "There is no 'moon' among the platforms. There are: " in str(done.exception)
    assert "local_container" in str(done.exception)


def test_without_a_runner_nothing_is_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))

    done = run(root)

    assert done.exit_code == 1
    assert "Install podman or docker" in str(done.exception)
    assert not (root / ".loopline").exists()


def test_an_environment_s_name_reaches_no_tool_unchecked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    called = tmp_path / "called"
    (folder / "podman").write_text(f"#!/bin/sh\ntouch {called}\n")
    (folder / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))

    for hostile in ("x;id", "x --all", "../x", "x\ny"):
        done = run(root, "--remove", "--env", hostile)
        assert done.exit_code == 1
        assert "is no name of a deployment" in str(done.exception)

    assert not called.exists()
