"""What was changed behind Loopline's back is found, and named."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from loopline.pipeline.workspace import Workspace


def loopline(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "loopline", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return str(done.stderr)


def test_an_untouched_project_holds_and_lists_who_did_what(credit_project: Path) -> None:
    held = json.loads(loopline(credit_project, "audit", "verify", "--json").stdout)
    listed = json.loads(loopline(credit_project, "audit", "list", "--json").stdout)

    kinds = [row["kind"] for row in listed]
    assert held == {"holds": True, "events": len(listed), "releases": 1}
    assert kinds == [
        "snapshot.frozen", "data.checked", "run.finished", "key.created", "version.registered",
        "release.written",
    ]  # fmt: skip
    assert {row["actor"] for row in listed} == {"ada"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE events SET actor = 'eve' WHERE number = 2", "content of event 2 was changed"),
        (
            "UPDATE events SET payload = replace(payload, 'true', 'false') WHERE number = 5",
            "content of event 5 was changed: version.registered about credit:1 by ada",
        ),
        ("UPDATE events SET at = '2020-01-01T00:00:00Z' WHERE number = 1", "event 1 was changed"),
        ("DELETE FROM events WHERE number = 3", "Event 3 is missing"),
        ("DELETE FROM events WHERE number = 6", "Event 6 is missing"),
    ],
)
def test_one_event_changed_in_the_database_is_named(
    credit_project: Path, change: str, message: str
) -> None:
    database = sqlite3.connect(credit_project / ".loopline" / "loopline.db")
    with database:
        assert database.execute(change).rowcount == 1
    database.close()

    assert message in refused(loopline(credit_project, "audit", "verify"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["plan.bin", "signature.json", "manifest.json", "manifest.sig"])
def test_one_byte_changed_in_a_bundle_is_refused_when_serving_and_when_promoting(
    credit_project: Path, name: str
) -> None:
    version = Workspace.open(credit_project).registry.get(1)
    flip(credit_project / ".loopline" / "store" / version.bundle / name)

    served = refused(loopline(credit_project, "serve", "--port", "0"))
    promoted = refused(loopline(credit_project, "model", "promote", "1", "--to", "staging"))

    for said in (served, promoted):
        assert f"The bundle {version.bundle} is refused: " in said
    assert Workspace.open(credit_project).registry.serving("staging") is None


@pytest.mark.parametrize("name", ["original.pkl", "report.json", "profile.bin"])
def test_what_the_server_does_not_read_is_still_refused_when_promoting(
    credit_project: Path, name: str
) -> None:
    version = Workspace.open(credit_project).registry.get(1)
    flip(credit_project / ".loopline" / "store" / version.bundle / name)

    said = refused(loopline(credit_project, "model", "promote", "1", "--to", "staging"))

    assert f"is refused: {name} is not what was signed" in said


def test_a_changed_release_document_is_refused_by_the_server_and_named_by_the_audit(
    credit_project: Path,
) -> None:
    [document] = (credit_project / ".loopline" / "store" / "releases").rglob("*.json")
    document.write_text(document.read_text().replace("ada", "eve"))

    assert "release" in refused(loopline(credit_project, "audit", "verify")).lower()
    assert "release" in refused(loopline(credit_project, "serve", "--port", "0")).lower()
