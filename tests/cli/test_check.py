import json
import subprocess
import sys
from pathlib import Path

import pytest

from loopline.scaffold.create import create


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, german_credit_csv: Path) -> Path:
    parent = tmp_path_factory.mktemp("check")
    return create("credit", german_credit_csv, "credit_risk", parent=parent).folder


def check(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "loopline", "check", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_project_that_holds_gives_a_table_and_exit_0(root: Path) -> None:
    done = check(root)

    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.strip()]
    assert ["contract", "ok"] in rows
    assert ["tests", "ok"] in rows
    assert done.stdout.endswith("All holds. Next: loopline run\n")


def test_faults_are_listed_and_exit_1(root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "loopline.yaml"
    text = (root / "loopline.yaml").read_text()
    broken.write_text(
        text.replace("task: binary", "task: binry").replace("trials: 10", "trials: x")
    )

    done = check(root, "--project", str(tmp_path))
    told = check(root, "--project", str(tmp_path), "--json")

    assert (done.returncode, told.returncode) == (1, 1)
    assert "2 faults to put right. Nothing was changed." in done.stdout
    answer = json.loads(told.stdout)
    assert (answer["passed"], answer["faults"]) == (False, 2)
    assert answer["parts"][0]["part"] == "contract"
    assert all(text.startswith("loopline.yaml:") for text in answer["parts"][0]["said"])
    assert [path.name for path in tmp_path.iterdir()] == ["loopline.yaml"]


def test_no_project_is_one_clear_message(tmp_path: Path) -> None:
    done = check(tmp_path)

    assert done.returncode == 1
    assert "There is no loopline.yaml in" in done.stderr
