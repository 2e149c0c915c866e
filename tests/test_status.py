"""Where a loop stands, and what is next."""

from datetime import UTC, datetime
from pathlib import Path

from loopline.contract.schema import Environment
from loopline.monitoring.findings import Findings, Subject
from loopline.pipeline.workspace import Workspace
from loopline.registry.promotion import approve, promote
from loopline.status import status

NOW = datetime(2026, 3, 3, tzinfo=UTC)


def commands(found: dict) -> list[str]:
    return [" ".join(step.split()[:3]) for step in found["next"]]


def test_before_the_first_run_there_is_nothing_but_what_to_do(
    tmp_path: Path, credit_project: Path
) -> None:
    root = tmp_path / "new"
    root.mkdir()
    (root / "loopline.yaml").write_text((credit_project / "loopline.yaml").read_text())

    found = status(Workspace.open(root), NOW)

    assert (found["project"], found["at"]) == ("credit", "2026-03-03T00:00:00Z")
    assert (found["snapshot"], found["newest"], found["versions"]) == (None, None, 0)
    assert found["serving"] == {"dev": None, "staging": None, "production": None}
    assert commands(found) == ["loopline check look", "loopline run train,"]


def test_a_version_that_passed_is_offered_to_the_next_environment(credit_project: Path) -> None:
    space = Workspace.open(credit_project)

    first = status(space, NOW)
    promote(space.registry, 1, "staging", by="ada", now=NOW, contract=space.contract)
    second = status(space, NOW)
    promote(space.registry, 1, "production", by="ada", now=NOW, contract=space.contract)
    last = status(space, NOW)

    assert first["snapshot"]["rows"] == 1000
    assert first["next"][0] == "loopline model promote credit:1 --to staging"
    assert second["next"][0] == "loopline model promote credit:1 --to production"
    assert last["serving"] == {"dev": 1, "staging": 1, "production": 1}
    assert commands(last) == ["loopline up serve"]


def test_what_waits_for_approval_is_said_with_who_cannot_give_it(credit_project: Path) -> None:
    space = Workspace.open(credit_project)
    contract = space.contract
    contract.environments["production"] = Environment(approvals=1)
    promote(space.registry, 1, "production", by="ada", now=NOW, contract=contract)

    waits = status(space, NOW)
    approve(space.registry, 1, by="bob", now=NOW, contract=contract)

    [waiting] = waits["waiting"]
    assert (waiting["environment"], waiting["by"], waiting["version"]) == ("production", "ada", 1)
    assert "loopline model approve credit:1" in waits["next"][0]
    assert waits["next"][0].endswith("not for ada")
    assert status(space, NOW)["waiting"] == []


def test_a_failed_gate_is_looked_at_before_anything_is_promoted(credit_project: Path) -> None:
    space = Workspace.open(credit_project)
    good = space.registry.get(1)
    space.registry.register(
        digest="f" * 64, bundle=good.bundle, bundle_digest=good.bundle_digest, run="run-2",
        snapshot=good.snapshot, runtime="plan", reasons=("roc_auc is 0.5",), now=NOW,
    )  # fmt: skip

    found = status(space, NOW)

    assert commands(found)[0] == "loopline model show"
    assert "credit:2" in found["next"][0]
    assert found["newest"]["reasons"] == ("roc_auc is 0.5",)
    assert not any("promote" in step for step in found["next"])


def test_open_findings_and_the_last_action_are_told_and_closed_ones_are_not(
    credit_project: Path,
) -> None:
    space = Workspace.open(credit_project)
    subject = Subject("credit", "dev", 1, NOW)
    facts = {
        "metric": "psi", "value": 0.4, "limit": 0.2, "window": ("a", "b"), "rows": 900,
        "labels": None, "message": "psi of purpose is 0.4", "evidence": {},
    }  # fmt: skip
    open_one = subject.judge("drift", "purpose", holds=False, **facts)
    findings = Findings(space.ledger)
    findings.record([open_one], now=NOW)
    action = {"kind": "alert", "outcome": "done", "at": "2026-03-03T00:00:00Z", "why": "drift"}
    space.ledger.append("action.taken", "action-1", action, now=NOW)

    found = status(space, NOW)
    findings.record([subject.judge("drift", "purpose", holds=True, **facts)], now=NOW)

    assert found["findings"] == ["psi of purpose is 0.4"]
    assert found["last_action"] == action
    assert any(step.startswith("loopline watch --once") for step in found["next"])
    assert status(space, NOW)["findings"] == []
