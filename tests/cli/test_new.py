import subprocess
import sys
from pathlib import Path


def new(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "loopline", "new", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_project_is_made_and_what_was_guessed_is_said(
    tmp_path: Path, german_credit_csv: Path
) -> None:
    done = new(tmp_path, "credit", "--data", str(german_credit_csv), "--target", "credit_risk")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "Made credit from 1,000 rows of german_credit.csv."
    assert (
        "  task     binary: the target has two values, positive: 2" in lines
    )  # the rarer one: bad
    assert lines[-3:] == ["  cd credit", "  loopline check", "  loopline run"]
    assert sorted(path.name for path in (tmp_path / "credit").iterdir()) == [
        ".gitignore",
        ".loopline",
        "README.md",
        "loopline.yaml",
        "tests",
    ]
    assert ".loopline/" in (tmp_path / "credit/.gitignore").read_text().splitlines()


def test_a_project_can_be_made_elsewhere(tmp_path: Path, german_credit_csv: Path) -> None:
    place = tmp_path / "projects"
    arguments = ["--data", str(german_credit_csv), "--target", "credit_risk", "--dir", str(place)]

    assert new(tmp_path, "credit", *arguments).returncode == 0
    assert (place / "credit/loopline.yaml").is_file()


def test_what_cannot_be_done_is_one_message_and_leaves_nothing(
    tmp_path: Path, german_credit_csv: Path
) -> None:
    done = new(tmp_path, "credit", "--data", str(german_credit_csv), "--target", "credit_rsk")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("There is no column 'credit_rsk'. Did you mean 'credit_risk'?")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_option_is_a_misuse(tmp_path: Path) -> None:
    done = new(tmp_path, "credit", "--data", "x.csv")

    assert done.returncode == 2
    assert "Missing option '--target'" in done.stderr
