"""A container here: closed, replaced by name, and never one that somebody else started."""

import json
import socket
from pathlib import Path

import pytest

from loopline.errors import DeliveryError
from loopline.platforms.base import Deployment
from loopline.platforms.local_container import LocalContainer
from loopline.testing.platforms import PlatformConformance


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def deployment() -> Deployment:
    secrets = {"LOOPLINE_TOKEN": "s3cret"}
    return Deployment("credit-dev", "localhost/credit:1", free_port(), {"A": "b"}, secrets)


class TestLocalContainer(PlatformConformance):
    @pytest.fixture
    def platform(self, state: Path) -> LocalContainer:
        return LocalContainer()


def test_it_runs_closed_on_loopback_and_no_secret_is_among_the_words(
    state: Path, deployment: Deployment
) -> None:
    platform = LocalContainer()
    platform.deploy(deployment)

    words, token = json.loads((state / "called.json").read_text())

    port = deployment.port
    assert words == [
        "--detach", "--name=credit-dev", "--label=loopline.deployment=credit-dev", "--read-only",
        "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges",
        f"--publish=127.0.0.1:{port}:{port}", "--env=A=b", f"--env=PORT={port}",
        "--env=LOOPLINE_TOKEN", "localhost/credit:1",
    ]  # fmt: skip
    assert token == "s3cret"
    assert "s3cret" not in repr(deployment)
    platform.remove(deployment.name)


def test_a_container_of_somebody_else_keeps_its_name(state: Path, deployment: Deployment) -> None:
    theirs = state / "credit-dev.json"
    theirs.write_text(json.dumps({"pid": 0, "labels": {"theirs": "yes"}}))

    with pytest.raises(DeliveryError, match="'credit-dev' that Loopline did not start"):
        LocalContainer().deploy(deployment)
    with pytest.raises(DeliveryError, match="did not start"):
        LocalContainer().remove("credit-dev")

    assert theirs.exists()


def test_one_that_ends_is_removed_and_the_end_of_its_log_is_shown(state: Path) -> None:
    broken = Deployment("credit-dev", "broken", free_port())

    with pytest.raises(DeliveryError, match=r"no model\nThe container has ended"):
        LocalContainer().deploy(broken)

    assert not (state / "credit-dev.json").exists()


def test_one_that_is_not_ready_in_time_is_removed(state: Path, deployment: Deployment) -> None:
    with socket.socket() as silent:  # whoever connects hears nothing
        silent.bind(("127.0.0.1", deployment.port))

        with pytest.raises(DeliveryError, match=r"has ended|not ready in time"):
            LocalContainer(seconds=0.2).deploy(deployment)

    assert not (state / "credit-dev.json").exists()


def test_what_the_runner_refuses_is_said_in_its_words(state: Path) -> None:
    unknown = Deployment("credit-dev", "no-such-image", free_port())

    with pytest.raises(DeliveryError, match=r"podman cannot start no-such-image: .* not known"):
        LocalContainer().deploy(unknown)


def test_without_a_runner_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DeliveryError, match="Install podman or docker"):
        LocalContainer()


def test_docker_finds_its_own_images_alone_and_podman_those_of_buildah_too() -> None:
    assert list(LocalContainer("docker").builders) == ["docker"]
    assert list(LocalContainer("podman").builders) == ["buildah", "podman"]
