"""The same verbs in Python as on the command line."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import loopline
from loopline import Project
from loopline.errors import ContractError, UnknownVersionError
from loopline.project import Project as TheProject

NOW = datetime(2026, 3, 3, tzinfo=UTC)


def test_the_package_exports_what_it_lists_and_nothing_else() -> None:
    assert loopline.__all__ == ["Project", "__version__", "profile"]
    assert Project is TheProject
    assert all(getattr(loopline, name) for name in loopline.__all__)
    with pytest.raises(AttributeError, match="module 'loopline' has no attribute 'Projekt'"):
        _ = loopline.Projekt


def test_importing_the_package_imports_nothing_of_it() -> None:
    code = (
        "import sys; before = set(sys.modules); import loopline\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print([name for name in sys.modules if name.startswith('loopline')])\n"
        "print(sorted(new - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "['loopline']\n['loopline']\n"


def test_a_project_runs_reports_watches_and_says_where_it_stands(credit_project: Path) -> None:
    project = Project.open(str(credit_project))
    said: list[tuple[str, str]] = []

    outcome = project.run(now=NOW, progress=lambda *words: said.append(words))
    report = project.report("credit:2")
    seen = project.watch(now=NOW)
    status = project.status(now=NOW)

    assert outcome.version.name == "credit:2"
    assert said[-1][0] == "mirror"
    assert report == outcome.report
    assert project.report(1).metrics == report.metrics  # the same run again
    assert (seen.project, seen.at, len(seen.watched)) == ("credit", "2026-03-03T00:00:00Z", 1)
    assert (status["versions"], status["serving"]["dev"]) == (2, 2)
    checks = project.quality(now=NOW)
    assert checks.places == ("source", "features")
    assert not checks.failing
    shown = project._repr_html_()
    assert shown.startswith("<h4>credit</h4><table>")
    assert ">open findings</th>" in shown


def test_a_project_is_opened_without_touching_anything(tmp_path: Path) -> None:
    project = Project.open(tmp_path)

    with pytest.raises(ContractError, match=r"loopline\.yaml"):
        _ = project.contract
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_no_version_says_which_there_are(credit_project: Path) -> None:
    with pytest.raises(UnknownVersionError, match=r"no version '7'.*credit:1"):
        Project.open(credit_project).report(7)


def test_a_watcher_of_a_project_may_retrain_and_releases_nothing_by_it(
    credit_project: Path,
) -> None:
    project = Project.open(credit_project)

    challenger = project.watcher()._acting._retrain  # what its rules would call
    assert challenger is not None
    version = challenger(NOW)

    assert version.number == 2
    assert project.registry.serving("dev") == project.registry.get(1)
