"""Environments of peers: made once from pins, and refused with a reason."""

import subprocess
import sys

import pytest
from bench.load import BenchError

from bench import venvs


@pytest.fixture
def pins(tmp_path, monkeypatch):
    """Write the pins of `toy`, and have environments made in a folder of the test."""
    monkeypatch.setattr(venvs, "_FOLDER", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(text: str) -> None:
        (tmp_path / "requirements-toy.txt").write_text(text)

    return write


def test_an_environment_is_made_once_for_the_same_pins(pins, monkeypatch):
    pins("# nothing is needed\n")

    programs = venvs.made("toy")
    said = subprocess.run(
        [programs / "python", "-c", "print(6 * 7)"], capture_output=True, text=True, check=True
    )
    monkeypatch.setattr(venvs, "_run", lambda *_: pytest.fail("made again"))

    assert said.stdout == "42\n"
    assert venvs.made("toy") == programs
    pins("# other pins\n")
    assert venvs.place("toy") != programs.parent


def test_what_cannot_be_installed_is_said_and_tried_again(pins, monkeypatch):
    pins("toy==1\n")
    failing = [sys.executable, "-c", "raise SystemExit('warning\\nERROR: there is no toy')"]
    real = venvs._run
    tried = []

    def run(name: str, command: list[str]) -> None:
        tried.append(command)
        real(name, failing)

    monkeypatch.setattr(venvs, "_run", run)

    assert venvs.main(["toy"]) == 1
    for _ in range(2):
        with pytest.raises(BenchError, match=r"^No environment for toy: ERROR: there is no toy$"):
            venvs.made("toy")
    assert len(tried) == 3
    assert not venvs.is_made("toy")


def test_the_version_of_a_peer_is_what_its_pins_say(pins):
    pins("other==3\ntoy==1.2.3 \\\n    --hash=sha256:00\n")

    assert venvs.pinned("toy") == "1.2.3"
    pins("other==3\n")
    with pytest.raises(BenchError, match="does not pin toy"):
        venvs.pinned("toy")


@pytest.mark.parametrize("name", ["mlserver", "bentoml", "litserve"])
def test_every_pin_of_a_peer_has_its_digest(name):
    text = venvs.pins(name).read_text().replace("\\\n", " ")

    lines = [line for line in text.splitlines() if line.strip()]
    assert venvs.pinned(name)
    assert [line for line in lines if "==" not in line or "--hash=sha256:" not in line] == []
