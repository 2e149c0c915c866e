"""The mirror process: what it copies, once, and what it does when the other tool fails."""

import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from sqlalchemy import select
from tests.registry.conftest import open_registry, register
from tests.training.finished import RUN

from loopline.evaluation.report import Estimate, Report
from loopline.registry import mirror as mirroring
from loopline.registry.mirror import mirror, start_mirror
from loopline.settings import Settings
from loopline.store.database import mirrored
from loopline.training.run import record

REPORT = Report(
    run="run-1",
    project="churn",
    task="binary",
    rows=100,
    threshold=0.5,
    metrics={"roc_auc": Estimate(0.75, 0.7, 0.8)},
    baseline="majority",
    baseline_metrics={"roc_auc": Estimate(0.5, 0.5, 0.5)},
    champion=None,
    champion_metrics={},
    comparisons=(),
    gates=(),
    primary="roc_auc",
    classes=("no", "yes"),
)


class Notebook:
    """A tracker that remembers, and fails for the runs it is told to."""

    def __init__(self, *broken):
        self.broken, self.copied = set(broken), []

    def mirror(self, exhibit):
        if exhibit.run.id in self.broken:
            raise ConnectionError("the other tool is away")
        self.copied.append(exhibit)
        return f"notebook:{exhibit.run.id}"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "loopline.yaml").write_text("project: churn\n")
    return tmp_path


@pytest.fixture
def settings(project):
    return Settings.read(project, {"LOOPLINE_HOME": str(project), "PATH": "/usr/bin:/bin"})


@pytest.fixture
def registry(project):
    registry = open_registry(project)
    yield registry
    registry.ledger.database.close()


@pytest.fixture
def notebook(monkeypatch):
    notebook = Notebook()
    monkeypatch.setattr(mirroring, "_trackers", lambda _: [notebook])
    monkeypatch.setattr(mirroring, "_backends", lambda _: [])
    return notebook


def places(database):
    with database.read() as connection:
        return {row.run: row.where for row in connection.execute(select(mirrored))}


def test_each_run_is_copied_once_with_the_report_of_its_version(
    project, settings, registry, notebook
):
    database = registry.ledger.database
    record(RUN, database)
    record(replace(RUN, id="run-0", started_at="2026-01-01T00:00:00Z"), database)
    register(registry, report=msgspec.json.encode(REPORT))

    first, second = mirror(project, settings), mirror(project, settings)

    without, with_report = notebook.copied
    assert (first, second) == (2, 0)
    assert without.run.id == "run-0"
    assert without.files == {}
    assert with_report.metrics == {
        "validation.log_loss": 0.5, "test.roc_auc": 0.75, "baseline.roc_auc": 0.5
    }  # fmt: skip
    assert with_report.labels["loopline.version"] == "churn:1"
    assert b"<h1>churn</h1>" in with_report.files["report.html"]
    assert places(database)["run-1"] == "notebook:run-1"


def test_what_fails_is_logged_stays_waiting_and_stops_nobody(
    project, settings, registry, notebook, capfd
):
    database = registry.ledger.database
    record(RUN, database)
    record(replace(RUN, id="run-2"), database)
    notebook.broken = {"run-1"}

    copied = mirror(project, settings)
    told = capfd.readouterr()
    notebook.broken = set()
    again = mirror(project, settings)

    assert (copied, again) == (1, 1)
    assert [exhibit.run.id for exhibit in notebook.copied] == ["run-2", "run-1"]
    assert "run-1 was not copied and will be tried again" in told.out
    assert "the other tool is away" in told.err


def test_while_one_is_at_it_another_leaves(project, settings, registry, notebook):
    database = registry.ledger.database
    record(RUN, database)
    now = datetime.now(UTC)
    database.take_lease("mirror", "somebody", now=now, seconds=60)

    held = mirror(project, settings)
    database.give_lease("mirror", "somebody")

    assert held == 0
    assert mirror(project, settings) == 1
    assert database.take_lease("mirror", "anybody", now=now, seconds=1)


def test_a_run_recorded_while_the_mirror_works_is_copied_too(
    project, settings, registry, notebook, monkeypatch
):
    database = registry.ledger.database
    record(RUN, database)
    late = replace(RUN, id="run-late")
    copy = notebook.mirror

    def meanwhile(exhibit):
        if exhibit.run.id == "run-1":
            record(late, database)
        return copy(exhibit)

    monkeypatch.setattr(notebook, "mirror", meanwhile)

    assert mirror(project, settings) == 2
    assert set(places(database)) == {"run-1", "run-late"}


def test_without_any_tracker_one_line_says_so(project, settings, monkeypatch):
    monkeypatch.setattr(mirroring.importlib.util, "find_spec", lambda _: None)

    assert 'pip install "loopline[mlflow,tensorboard]"' in start_mirror(project, settings)
    assert not (project / "logs").exists()


@pytest.mark.slow
def test_the_process_copies_runs_and_versions_to_mlflow(project, settings, registry):
    database = registry.ledger.database
    record(RUN, database)
    register(registry, report=msgspec.json.encode(REPORT))
    began = time.perf_counter()

    told = start_mirror(project, settings)

    assert time.perf_counter() - began < 5
    assert "MLflow" in told
    deadline = time.monotonic() + 120
    log = project / "logs" / "mirror.log"
    # Whoever has copied a run holds the lease until the versions are copied too.
    while not places(database) or not database.take_lease(
        "mirror", "test", now=datetime.now(UTC), seconds=mirroring.LEASE_SECONDS
    ):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    with sqlite3.connect(project / "mlflow.db") as theirs:
        ask = lambda sql: theirs.execute(sql).fetchall()  # noqa: E731
        assert ask("select name, status from runs") == [("run-1", "FINISHED")]
        assert ("regularisation", "2.0") in ask("select key, value from params")
        assert ask("select step, value from metrics where key = 'trial.log_loss'") == [
            (0, 0.5), (1, 0.6), (2, 0.7)
        ]  # fmt: skip
        assert ask("select value from metrics where key = 'test.roc_auc'") == [(0.75,)]
        assert ask("select name, version from model_versions") == [("churn", 1)]
    theirs.close()
    assert list((project / "mlflow").rglob("report.html"))
    assert (project / "tensorboard" / "run-1").is_dir()
