"""`loopline findings`: listed, explained and acknowledged, by people and by programs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loopline.cli.main import cli
from loopline.monitoring.findings import Finding, Findings
from loopline.project import Project
from loopline.response.rules import Action
from loopline.store.ledger import iso

FOUND = Finding(
    "aa11bb22cc33dd44", "credit", "dev", 1, "drift", "purpose", "psi", 0.9, 0.2,
    ("2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"), 900, None, "purpose has drifted\x1b[2J.",
    {
        "drivers": [{"column": "purpose", "metric": "psi", "value": 0.9, "importance": 0.25}],
        "slices": [{"column": "housing", "value": "own", "share": 0.9}],
        "coincides": ["release 1 (credit:1) of 2026-03-01 12:00 UTC"],
    },
    "open", "2026-03-08T00:00:00Z", ("purpose",), "2026-03-05T09:00:00Z",
)  # fmt: skip


def loopline(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["findings", *arguments, "--project", str(project)])


@pytest.fixture
def found(credit_project: Path) -> Path:
    from datetime import UTC, datetime

    now = datetime(2026, 3, 8, tzinfo=UTC)
    ledger = Project.open(credit_project).ledger
    Findings(ledger).record([FOUND], now=now)
    action = Action(
        "a1", "alert", "drift", (FOUND.id,), "dev", 1, "done", {}, "Open: purpose.", iso(now)
    )
    ledger.append("action.taken", "a1", action, now=now)
    return credit_project


def test_without_a_finding_the_list_says_so(credit_project: Path) -> None:
    assert loopline(credit_project, "list").output == "No finding is open.\n"
    assert json.loads(loopline(credit_project, "list", "--json").output) == []


def test_a_finding_is_explained_from_beginning_to_end(found: Path) -> None:
    listed = loopline(found, "list").output
    shown = loopline(found, "show", "aa11").output

    assert "aa11bb22  open" in listed
    assert "\x1b" not in listed + shown
    for told in (
        "2026-03-05 09:00 UTC", "purpose: psi 0.9, importance 25%", "housing own", "release 1",
        "alert done", "Open: purpose.",
    ):  # fmt: skip
        assert told in shown, told
    story = json.loads(loopline(found, "show", "aa11", "--json").output)
    assert (story["finding"]["since"], story["events"][0][2]) == ("2026-03-05T09:00:00Z", "opened")
    assert [action["kind"] for action in story["actions"]] == ["alert"]


def test_an_acknowledged_finding_says_so_until_it_passes(found: Path) -> None:
    from datetime import UTC, datetime

    done = loopline(found, "ack", "aa11", "--why", "the new form")

    assert (done.exit_code, "aa11bb22 (purpose) is known of" in done.output) == (0, True)
    assert "acknowledged" in loopline(found, "list").output
    assert "ada acknowledged:   the new form" in loopline(found, "show", "aa11").output
    [listed] = json.loads(loopline(found, "list", "--json").output)
    assert listed["acknowledged"] == "ada: the new form"

    from dataclasses import replace

    ledger = Project.open(found).ledger
    Findings(ledger).record([replace(FOUND, status="resolved")], now=datetime.now(UTC))
    assert loopline(found, "list").output == "No finding is open.\n"
    assert "resolved" in loopline(found, "list", "--all").output


def test_what_is_not_there_is_refused_by_name(found: Path) -> None:
    from loopline.errors import UnknownFindingError

    for verb in (("show", "zz"), ("ack", "zz", "--why", "x")):
        done = loopline(found, *verb)
        assert isinstance(done.exception, UnknownFindingError)
        assert "'zz'" in str(done.exception)
    assert loopline(found, "ack", "aa11").exit_code == 2  # a reason is asked for
