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


def test_data_of_any_size_is_checked_alone_and_what_must_not_be_used_exits_1(
    root: Path, tmp_path: Path, german_credit_csv: Path
) -> None:
    text = (root / "loopline.yaml").read_text()
    (tmp_path / "loopline.yaml").write_text(
        text.replace("  columns:\n", "  checks: [{rows_at_least: 1001}]\n  columns:\n", 1)
    )

    well = check(root, "--data", "--threads", "2", "--strict")
    few = check(tmp_path, "--data", "--json")
    named = check(root, "--data", str(german_credit_csv))

    assert (well.returncode, well.stderr) == (0, "")
    assert "1,000 rows, 1,000 to use\n" in well.stdout
    assert "on 2 threads" in well.stdout
    assert "with findings. Nothing was written.\n" in well.stdout
    told = json.loads(few.stdout)
    assert (few.returncode, told["passed"], told["rows"]) == (1, False, 1000)
    assert "at least 1,001 rows" in told["refusal"]
    assert named.returncode == 0
    assert named.stdout.startswith(f"{german_credit_csv}: 1,000 rows")


def test_what_is_for_the_data_alone_needs_it(root: Path) -> None:
    done = check(root, "--on", "spark")
    both = check(root, "--data", "--on", "spark", "--threads", "2")

    assert (done.returncode, both.returncode) == (2, 2)
    assert "are for the data alone: add --data." in done.stderr
    assert "--threads is for threads" in both.stderr
