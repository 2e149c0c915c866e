"""`loopline status`, as a person reads it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loopline.cli.main import cli
from loopline.pipeline.workspace import Workspace


@pytest.fixture
def status(credit_project: Path):
    def ask(*arguments: str) -> Any:
        return CliRunner().invoke(
            cli, ["status", *arguments, "--project", str(credit_project)], catch_exceptions=False
        )

    return ask


def test_it_shows_each_stage_and_what_is_next(status: Any) -> None:
    shown = status()

    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0] == "credit"
    facts = {line[2:14].strip(): line[14:] for line in lines[1 : lines.index("next")]}
    assert facts["data"].endswith(": 1,000 rows from credit.csv")
    assert facts["versions"] == "1; credit:1 is the newest: passed its gate"
    assert facts["dev"] == "serves credit:1"
    assert (facts["staging"], facts["production"]) == ("nothing", "nothing")
    assert facts["findings"] == "none open"
    assert lines[-2:] == [
        "  loopline model promote credit:1 --to staging",
        "  loopline up       serve and watch",
    ]


def test_json_says_the_same(status: Any) -> None:
    found = json.loads(status("--json").output)

    assert found["project"] == "credit"
    assert found["newest"]["number"] == 1
    assert found["serving"] == {"dev": 1, "staging": None, "production": None}


def test_findings_and_the_last_action_are_shown_without_control_characters(
    status: Any, credit_project: Path
) -> None:
    ledger = Workspace.open(credit_project).ledger
    action = {
        "kind": "rollback", "outcome": "done", "at": "2026-03-03T00:00:00Z", "why": "x\x1b[2Jy",
    }  # fmt: skip
    ledger.append("action.taken", "action-1", action, now=datetime(2026, 3, 3, tzinfo=UTC))

    shown = status().output

    assert "rollback, done (2026-03-03T00:00:00Z): x" in shown
    assert "\x1b" not in shown


def test_asking_changes_nothing(status: Any, credit_project: Path) -> None:
    ledger = Workspace.open(credit_project).ledger
    before = ledger.events()

    status()

    assert ledger.events() == before


def test_in_a_new_project_it_says_how_to_begin(credit_project: Path, tmp_path: Path) -> None:
    root = tmp_path / "new"
    root.mkdir()
    (root / "loopline.yaml").write_text((credit_project / "loopline.yaml").read_text())

    shown = CliRunner().invoke(cli, ["status", "--project", str(root)], catch_exceptions=False)

    assert "nothing frozen yet" in shown.output
    assert "  loopline run      train, prove and register a first version" in shown.output
