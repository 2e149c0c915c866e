"""Signatures: made here, believed only from keys that are trusted here."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loopline.errors import LooplineError
from loopline.governance.signing import Keys


@pytest.fixture
def keys(tmp_path) -> Keys:
    return Keys(tmp_path)


def test_a_signature_holds_for_these_bytes_alone(keys):
    signature = keys.sign(b"churn:7")

    assert keys.verify(b"churn:7", signature)
    assert not keys.verify(b"churn:8", signature)
    assert not keys.verify(b"", signature)


def test_the_same_home_signs_with_the_same_key(keys, tmp_path):
    signature = keys.sign(b"x")

    assert Keys(tmp_path).verify(b"x", signature)
    assert Keys(tmp_path).id == keys.id
    assert f":{keys.id}:" in signature


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "ed25519",
        "ed25519::",
        "none:{id}:",
        "ed25519:{id}:",
        "ed25519:{id}:AAAA",
        "ed25519:{id}:{signature}=",
        "ed25519:{id}:!{signature}",
        "rsa:{id}:{signature}",
        "ed25519:../{id}:{signature}",
        "ed25519:/etc/passwd:{signature}",
        "ed25519:{id}.pem:{signature}",
        "ed25519:{other}:{signature}",
    ],
)
def test_a_text_that_is_no_signature_by_a_trusted_key_is_refused(keys, forged):
    scheme, name, signature = keys.sign(b"x").split(":")
    assert keys.verify(b"x", f"{scheme}:{name}:{signature}")

    assert not keys.verify(b"x", forged.format(id=name, signature=signature, other="0" * 16))


def test_a_stranger_is_believed_once_trusted_and_no_longer_when_not(keys, tmp_path):
    keys.sign(b"")
    stranger = Keys(tmp_path / "stranger")
    signature = stranger.sign(b"x")
    assert not keys.verify(b"x", signature)

    introduced = keys.trusted / "stranger.pem"
    introduced.write_text(stranger.public_pem)
    assert keys.verify(b"x", signature)

    introduced.unlink()
    assert not keys.verify(b"x", signature)


def test_verifying_makes_no_key(keys, tmp_path):
    assert not keys.verify(b"x", "ed25519:0000000000000000:AAAA")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_the_private_key_is_for_its_owner_alone(keys, tmp_path):
    keys.sign(b"x")
    private = tmp_path / "keys" / "signing.pem"

    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    private.chmod(0o644)
    with pytest.raises(LooplineError, match=r"can be read by others .*chmod 600"):
        Keys(tmp_path).sign(b"x")


def test_the_private_key_is_nowhere_but_in_its_file(keys, tmp_path):
    keys.sign(b"x")

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files if b"PRIVATE" in path.read_bytes()] == ["signing.pem"]


def test_a_damaged_key_is_refused_and_kept(keys, tmp_path):
    keys.sign(b"x")
    private = tmp_path / "keys" / "signing.pem"
    private.write_bytes(b"garbage")

    with pytest.raises(LooplineError, match="is not a private key"):
        Keys(tmp_path).sign(b"x")
    assert private.read_bytes() == b"garbage"


def test_a_public_key_that_was_lost_is_written_again(keys, tmp_path):
    signature = keys.sign(b"x")
    for file in keys.trusted.iterdir():
        file.unlink()
    assert not keys.verify(b"x", signature)

    Keys(tmp_path).sign(b"y")

    assert keys.verify(b"x", signature)


def test_a_key_that_another_process_makes_at_the_same_moment_is_kept(tmp_path, monkeypatch):
    generate = Ed25519PrivateKey.generate

    def generate_too_late():
        monkeypatch.setattr(Ed25519PrivateKey, "generate", generate)
        signatures.append(Keys(tmp_path).sign(b"x"))
        return generate()

    signatures: list[str] = []
    monkeypatch.setattr(Ed25519PrivateKey, "generate", generate_too_late)
    signatures.append(Keys(tmp_path).sign(b"x"))

    assert signatures[0] == signatures[1]


def test_processes_that_sign_first_at_once_use_one_key(tmp_path):
    script = """
import sys
from pathlib import Path
from loopline.governance.signing import Keys
print(Keys(Path(sys.argv[1])).sign(b"x"))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    signing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    signatures = [process.communicate(timeout=60)[0].strip() for process in signing]

    assert len({signature.split(":")[1] for signature in signatures}) == 1
    assert all(Keys(tmp_path).verify(b"x", signature) for signature in signatures)
    names = [path.name for path in Path(tmp_path / "keys").rglob("*") if path.is_file()]
    assert len(names) == 2
