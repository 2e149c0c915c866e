"""What a run remembers, so that the next one can tell that nothing has changed."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loopline.contract.schema import Contract
from loopline.pipeline import cache
from loopline.pipeline.run import run
from loopline.pipeline.workspace import Workspace
from loopline.settings import Settings

NOW = datetime(2013, 4, 1, tzinfo=UTC)
CONTRACT = """
project: credit
problem: {task: binary, target: credit_risk, positive: 2}
goals: [{metric: roc_auc, at_least: 0.5}]
data:
  source: credit.csv
  columns: {duration_in_month: {type: integer, maximum: 40}, purpose: {type: category}}
model: {candidates: [linear], trials: 1}
"""


@pytest.fixture
def space(tmp_path: Path, german_credit_csv: Path) -> Workspace:
    (tmp_path / "loopline.yaml").write_text(CONTRACT)
    (tmp_path / "credit.csv").write_bytes(german_credit_csv.read_bytes())
    return Workspace.open(tmp_path)


def test_only_a_run_that_dev_serves_stands_for_the_next_one(space: Workspace) -> None:
    challenger = run(space, now=NOW, progress=lambda *_: None, release=False)
    assert cache.find(space.root, space.settings) is None

    other = Contract.model_validate(space.contract.model_dump(mode="json", exclude_unset=True))
    run(space, now=NOW, progress=lambda *_: None, contract=other)
    assert cache.find(space.root, space.settings) is None

    first = run(space, now=NOW, progress=lambda *_: None)
    found = cache.find(space.root, space.settings)
    assert found == first.summary()
    assert challenger.version.digest == first.version.digest
    [finding] = found["findings"]
    assert finding.startswith(
        "duration_in_month: maximum 40: 81 rows (8.10%) warned, such as row 2"
    )

    (space.root / "loopline.yaml").write_text(CONTRACT.replace("trials: 1", "trials: 2"))
    assert cache.find(space.root, space.settings) is None


@pytest.fixture
def known(tmp_path: Path) -> Workspace:
    """A place where an earlier run is remembered, without what it made."""
    (tmp_path / "loopline.yaml").write_text(CONTRACT)
    (tmp_path / "credit.csv").write_text("a,b\n1,2\n")
    (tmp_path / "model.py").write_text("from features.encode import build\n")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "encode.py").write_text("build = 1\n")
    space = Workspace(tmp_path, Settings.read(tmp_path, {}))
    depends_on = cache.fingerprint(tmp_path, space.settings, "credit.csv")
    cache.keep(tmp_path, space.settings, depends_on, "credit.csv", {"version": "credit:1"})
    return space


def test_projects_that_share_a_home_each_remember_their_run(known: Workspace) -> None:
    other = known.root / "other"
    other.mkdir()
    (other / "loopline.yaml").write_text(CONTRACT.replace("project: credit", "project: loans"))
    (other / "credit.csv").write_text("a,b\n1,2\n")
    depends_on = cache.fingerprint(other, known.settings, "credit.csv")

    cache.keep(other, known.settings, depends_on, "credit.csv", {"version": "loans:1"})

    assert cache.find(known.root, known.settings) == {"version": "credit:1"}
    assert cache.find(other, known.settings) == {"version": "loans:1"}


def test_what_a_run_came_to_is_remembered_where_nothing_changed(known: Workspace) -> None:
    assert cache.find(known.root, known.settings) == {"version": "credit:1"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("loopline.yaml", CONTRACT + "\n# other\n"),
        ("credit.csv", "a,b\n1,2\n3,4\n"),
        ("model.py", "build = 2\n"),
        ("features/encode.py", "build = 2\n"),
        ("features/other.py", ""),
        ("tests/model/test_direction.py", ""),
    ],
)
def test_whatever_a_run_depends_on_is_seen_to_change(
    known: Workspace, file: str, text: str
) -> None:
    path = known.root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

    assert cache.find(known.root, known.settings) is None


@pytest.mark.parametrize("file", ["loopline.yaml", "credit.csv", ".loopline/cache/credit.json"])
def test_what_is_gone_is_no_reason_to_fail(known: Workspace, file: str) -> None:
    (known.root / file).unlink()

    assert cache.find(known.root, known.settings) is None


@pytest.mark.parametrize("name", ["LOOPLINE_DATABASE", "LOOPLINE_STORE"])
def test_another_place_has_no_version_yet(known: Workspace, name: str) -> None:
    url = "postgresql://ada:secret@db/loops" if name.endswith("BASE") else "s3://elsewhere"

    assert cache.find(known.root, Settings.read(known.root, {name: url})) is None
    elsewhere = Settings.read(known.root, {name: url})
    assert "secret" not in str(cache.fingerprint(known.root, elsewhere, "credit.csv"))


def test_an_environment_s_packages_are_not_the_team_s_code(known: Workspace) -> None:
    environment = known.root / "env"
    for folder in (environment / "lib", known.root / ".hidden", known.root / "x" / "site-packages"):
        folder.mkdir(parents=True)
        (folder / "installed.py").write_text("")
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\n")

    assert cache.find(known.root, known.settings) == {"version": "credit:1"}


def test_a_database_can_change_without_a_sign_and_so_is_read_each_time(known: Workspace) -> None:
    source = {"url": "postgresql://db/customers", "query": "select 1"}
    depends_on = cache.fingerprint(known.root, known.settings, source)

    cache.keep(known.root, known.settings, depends_on, source, {"version": "credit:2"})

    assert depends_on is None
    assert cache.find(known.root, known.settings) is None


def test_a_damaged_memory_is_as_good_as_none(known: Workspace) -> None:
    (known.settings.home / "cache" / "credit.json").write_text('{"depends_on": ')

    assert cache.find(known.root, known.settings) is None


def test_asking_imports_neither_tables_nor_a_database() -> None:
    code = (
        "import sys, loopline.pipeline.cache\n"
        "heavy = {'polars', 'numpy', 'pyarrow', 'pydantic', 'sqlalchemy', 'sklearn', 'optuna'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
