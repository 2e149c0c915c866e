"""`loopline run`, as a person types it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loopline.pipeline.workspace import Workspace

RUN = [sys.executable, "-m", "loopline", "run"]


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*RUN, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_run_says_what_it_does_and_a_second_one_that_nothing_has_changed(
    credit_project: Path,
) -> None:
    first, second = run(credit_project), run(credit_project)

    assert (first.returncode, first.stderr) == (0, "")
    stages = [line.split()[0] for line in first.stdout.splitlines() if line[:1].isalpha()]
    assert stages[:9] == [
        "data", "check", "freeze", "split", "baseline", "train", "plan", "evaluate", "register",
    ]  # fmt: skip
    assert "  passed  roc_auc is " in first.stdout
    assert "credit:2 passed its gate; dev serves it." in first.stdout
    assert (second.returncode, second.stderr) == (0, "")
    lines = second.stdout.splitlines()
    assert lines[0] == "Nothing has changed since the last run; --fresh runs all the same."
    assert "credit:2 passed its gate. For what serves now: loopline status" in lines
    assert len(Workspace.open(credit_project).registry.all()) == 2


def test_json_is_the_same_from_a_run_and_from_memory(credit_project: Path) -> None:
    fresh, again = run(credit_project, "--fresh", "--json"), run(credit_project, "--json")

    found = json.loads(fresh.stdout)
    assert json.loads(again.stdout) == found
    assert (found["version"], found["gate_passed"], found["reasons"]) == ("credit:2", True, [])
    assert found["digest"] == Workspace.open(credit_project).registry.get(1).digest
    assert found["rows"] == 1000
    assert set(found["metrics"]) >= {"roc_auc", "cost_per_prediction"}
    assert Path(found["page"]).read_text().startswith("<!doctype html>")


def test_a_failed_gate_is_done_and_only_with_strict_an_error(credit_project: Path) -> None:
    contract = credit_project / "loopline.yaml"
    contract.write_text(contract.read_text().replace("at_least: 0.6}", "at_least: 0.999}"))

    usual, strict = run(credit_project), run(credit_project, "--strict")

    assert (usual.returncode, strict.returncode) == (0, 1)
    assert "  failed  roc_auc is " in usual.stdout
    assert "credit:2 did not pass its gate; dev serves it." in usual.stdout
    assert "Nothing has changed" in strict.stdout
    assert not Workspace.open(credit_project).registry.get(2).gate_passed


def test_data_that_is_gone_is_one_message_and_no_version(credit_project: Path) -> None:
    (credit_project / "credit.csv").unlink()

    done = run(credit_project)

    assert done.returncode == 1
    assert "credit.csv" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(Workspace.open(credit_project).registry.all()) == 1


@pytest.mark.parametrize("moment", ["trial 2 of 40", "fitting"])
def test_ctrl_c_stops_a_run_and_the_next_one_goes_on_where_it_was(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setenv("LOOPLINE_MLFLOW", "off")
    root = tmp_path / "credit"
    shutil.copytree(trained, root, ignore=shutil.ignore_patterns(".loopline"))
    contract = root / "loopline.yaml"
    contract.write_text(contract.read_text().replace("trials: 3", "trials: 40"))
    process = subprocess.Popen(
        RUN,
        cwd=root,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    while moment not in process.stdout.readline():
        assert time.monotonic() < deadline

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    again = run(root)

    assert (process.returncode, said) == (130, "\nStopped.\n")
    assert again.returncode == 0, again.stderr
    trials = [line.split() for line in again.stdout.splitlines() if "trial " in line]
    first = int(trials[0][trials[0].index("trial") + 1]) if trials else 41
    assert first >= 2
    assert [version.number for version in Workspace.open(root).registry.all()] == [1]
