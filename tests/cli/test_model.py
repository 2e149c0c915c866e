"""`loopline model` and `loopline audit`: what they print, and that they refuse in words."""

import json
from pathlib import Path

import msgspec
import polars as pl
import pytest
from click.testing import CliRunner
from tests.registry.conftest import make_contract, open_registry, register

from loopline.cli.main import cli
from loopline.errors import GateFailedError, MoveRefusedError, StoreError
from loopline.evaluation.report import Estimate, GateResult, Report
from loopline.project import Project
from loopline.store.tables import Tables


def report(auc: float, *, passed: bool = True) -> Report:
    reason = f"roc_auc is {auc}, and must be at least 0.65"
    return Report(
        run="run-1",
        project="churn",
        task="binary",
        rows=150,
        classes=("0", "1"),
        threshold=0.5,
        metrics={"roc_auc": Estimate(auc, auc - 0.01, auc + 0.01)},
        baseline="majority",
        baseline_metrics={"roc_auc": Estimate(0.5, 0.5, 0.5)},
        champion=None,
        champion_metrics={},
        comparisons=(),
        gates=(GateResult("roc_auc at least 0.65", passed, auc, reason),),
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a command in a project of three versions, the third of which failed its gate."""
    (tmp_path / "loopline.yaml").write_text("project: churn\n")
    registry = open_registry(tmp_path)
    monkeypatch.setenv("LOOPLINE_HOME", str(tmp_path))
    monkeypatch.setattr(Project, "contract", make_contract(approvals=1))
    reasons = ((), (), ("roc_auc is 0.6 [bold]not enough[/bold]",))
    for auc, why in zip((0.7, 0.75, 0.6), reasons, strict=True):
        content = msgspec.json.encode(report(auc, passed=not why))
        register(registry, report=content, reasons=why)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, actor: str = "ada") -> str:
        monkeypatch.setenv("LOOPLINE_ACTOR", actor)
        command = [*arguments, "--project", str(tmp_path)]
        done = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_list_shows_stages_gates_and_what_waits(run):
    run("model", "promote", "1", "--to", "staging")
    run("model", "promote", "2", "--to", "production", "--why", "better")

    lines = run("model", "list").splitlines()

    assert lines[1].split()[:3] == ["churn:3", "none", "failed"]
    assert lines[3].split()[:3] == ["churn:1", "staging", "passed"]
    assert "staging serves churn:1." in lines
    assert "churn:2 waits for production: 0 of 1 approvals." in lines[-1]
    told = json.loads(run("model", "list", "--json"))
    assert [version["number"] for version in told["versions"]] == [3, 2, 1]
    assert told["serving"] == {"staging": 1}
    assert told["waiting"][0]["why"] == "better"


def test_list_without_a_version_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loopline.yaml").write_text("project: churn\n")
    monkeypatch.setattr(Project, "contract", make_contract(approvals=0))

    done = CliRunner().invoke(cli, ["model", "list", "--project", str(tmp_path)])

    assert done.output == "There is no version yet. Train, prove and register one: loopline run\n"


def test_show_prints_the_record_and_the_evaluation_and_no_markup_is_obeyed(run):
    shown = run("model", "show", "churn:3")

    assert "run-3" in shown
    [figures] = [line.split() for line in shown.splitlines() if line.startswith("roc_auc ")]
    assert figures == ["roc_auc", "0.6", "0.59", "to", "0.61", "0.5"]
    assert "fails" in shown
    told = json.loads(run("model", "show", "latest", "--json"))
    assert told["version"]["reasons"] == ["roc_auc is 0.6 [bold]not enough[/bold]"]
    assert told["report"]["metrics"]["roc_auc"]["value"] == 0.6


def test_show_writes_the_evaluation_as_a_page_or_says_why_it_cannot(run, tmp_path):
    file = tmp_path / "new" / "report.html"

    assert str(file) in run("model", "show", "churn:1", "--page", str(file))
    assert "The gate passed." in file.read_text(encoding="utf-8")
    with pytest.raises(StoreError, match=r"cannot be written to .*: File exists"):
        run("model", "show", "churn:1", "--page", str(file / "below.html"))


def test_compare_shows_both_and_the_difference(run):
    assert "+0.05" in run("model", "compare", "1", "2")

    told = json.loads(run("model", "compare", "1", "2", "--json"))
    assert told["metrics"]["roc_auc"]["b"]["value"] == 0.75
    assert told["same_snapshot"] is True


def test_promote_approve_and_rollback_say_what_serves_now(run):
    asked = run("model", "promote", "1", "--to", "production")
    approved = run("model", "approve", "churn:1", actor="bob")
    run("model", "promote", "2", "--to", "production", "--why", "better")
    run("model", "approve", "2", "--env", "production", actor="bob")
    back = run("model", "rollback", "production", "--why", "complaints")

    assert "churn:1 waits for 1 approval before production serves it" in asked or "made it" in asked
    assert approved.startswith("production serves churn:1 since release 1 by bob")
    assert back == "production serves churn:1 since release 3 by ada: complaints\n"


def test_refusals_are_our_errors_and_misuse_is_clicks(run):
    with pytest.raises(GateFailedError, match="churn:3 did not pass its gate"):
        run("model", "promote", "3", "--to", "staging")
    run("model", "promote", "1", "--to", "staging")
    with pytest.raises(MoveRefusedError, match="serves staging, so it cannot be retired"):
        run("model", "retire", "1")
    missing = CliRunner().invoke(cli, ["model", "rollback", "--why", "bad"])

    assert run("model", "retire", "3", "--why", "weak") == "churn:3 is retired.\n"
    assert missing.exit_code == 2
    assert "Name one environment" in missing.output


def test_lineage_walks_from_a_prediction_to_its_version(run, tmp_path):
    log = pl.DataFrame({"prediction_id": ["0193-a-0"], "version": [2]})
    Tables(open_registry(tmp_path).objects).write("predictions/churn", log)

    shown = run("model", "lineage", "0193-a-0")
    assert "not on record" in shown  # neither the run nor the snapshot was made here
    assert "churn" in shown
    told = json.loads(run("model", "lineage", "0193-a-0", "--json"))
    assert told["version"]["number"] == 2


def test_audit_lists_and_verifies(run):
    run("model", "promote", "1", "--to", "staging", "--why", "[red]first[/red]")

    listed = run("audit", "list", "--kind", "release.written")
    told = json.loads(run("audit", "list", "--limit", "2", "--json"))
    verified = run("audit", "verify")

    assert "[red]first[/red]" in listed
    assert [row["kind"] for row in told] == ["version.registered", "release.written"]
    assert verified.startswith(
        "5 events hold together, from the first to the last, and 1 signed release agrees"
    )
    assert json.loads(run("audit", "verify", "--json"))["events"] == 5


def test_a_rollout_says_where_it_is_and_people_hold_and_hurry_it(run, monkeypatch):
    contract = make_contract(approvals=0)
    production = contract.environments["production"].model_copy(update={"rollout": [0.05, 0.5, 1]})
    places = {**contract.environments, "production": production}
    monkeypatch.setattr(Project, "contract", contract.model_copy(update={"environments": places}))
    run("model", "promote", "1", "--to", "production")

    begun = run("model", "promote", "2", "--to", "production")
    paused = run("rollout", "pause", "production", "--why", "holidays", actor="bob")
    told = run("status")
    resumed = run("rollout", "resume", "production")
    skipped = run("rollout", "skip", "production", "--why", "sure")
    ended = run("rollout", "skip", "production", "--to-end", "--why", "surer")

    assert "production serves churn:1 (95%) and churn:2 (5%)" in begun
    assert "It is step 1 of 3 (5%) of a rollout." in begun
    assert "loopline rollout resume production" in paused
    assert "paused by bob, who says: holidays" in told
    assert "goes on, at step 1 of 3 (5%)" in resumed
    assert "churn:1 (50%) and churn:2 (50%) since release 3 by ada: sure" in skipped
    assert "production serves churn:2 since release 4" in ended
    with pytest.raises(MoveRefusedError, match="No rollout goes on in production"):
        run("rollout", "skip", "production", "--why", "again")


def test_a_share_of_everybody_by_hand_leaves_the_steps_out(run, monkeypatch):
    contract = make_contract(approvals=0)
    production = contract.environments["production"].model_copy(update={"rollout": [0.05, 1]})
    places = {**contract.environments, "production": production}
    monkeypatch.setattr(Project, "contract", contract.model_copy(update={"environments": places}))
    run("model", "promote", "1", "--to", "production")

    told = run("model", "promote", "2", "--to", "production", "--share", "100%")

    assert told.startswith("production serves churn:2 since release 2")
