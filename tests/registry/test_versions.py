"""Versions are numbered once and found by name; what they are is what the ledger says."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.registry.conftest import NOW, open_registry, register

from loopline.errors import BundleRefusedError, RegistryError, UnknownVersionError
from loopline.registry.promotion import promote, release_to_dev
from loopline.store.database import runs
from loopline.store.tables import Tables


def test_versions_are_numbered_from_one_and_remember_what_they_came_from(registry):
    register(registry)
    version = register(registry, reasons=("roc_auc is 0.61, and must be at least 0.65",))

    assert version.name == "churn:2"
    assert version.run == "run-2"
    assert version.snapshot == "snap-0123456789ab"
    assert not version.gate_passed
    assert version.author == "ada"
    assert version.created_at == "2013-04-01T12:30:00Z"
    assert registry.get("churn:2") == version


@pytest.mark.parametrize("name", ["churn:2", "2", 2, "latest"])
def test_a_version_is_found_by_its_name_its_number_and_as_the_latest(registry, name):
    register(registry)
    second = register(registry)

    assert registry.get(name) == second


@pytest.mark.parametrize("name", ["churn:9", "0", "fraud:1", "two", "-1", "²", "", "1; DROP"])
def test_an_unknown_version_is_refused_with_those_there_are(registry, versions, name):
    with pytest.raises(UnknownVersionError, match=r"The last ones: churn:1, churn:2, churn:3\."):
        registry.get(name)


def test_an_empty_registry_says_how_to_make_a_version(registry):
    with pytest.raises(
        UnknownVersionError, match=r"There is none yet\. Make one with: loopline run"
    ):
        registry.get("latest")


def test_a_version_without_a_whole_bundle_is_refused(registry):
    with pytest.raises(BundleRefusedError, match="ffffffffffff was registered"):
        register(registry, bundle_digest="f" * 64)

    assert registry.all() == []


def test_the_stage_is_the_furthest_environment_that_serves_the_version(
    registry, versions, open_contract
):
    assert registry.get(1).stage == "none"

    release_to_dev(registry, 1, by="ada", why="first", now=NOW)
    assert registry.get(1).stage == "dev"

    promote(registry, 1, "production", by="ada", now=NOW, contract=open_contract)
    promote(registry, 1, "staging", by="ada", now=NOW, contract=open_contract)
    assert registry.get(1).stage == "production"
    assert [version.stage for version in registry.all()] == ["production", "none", "none"]


def test_what_serves_and_the_champion_are_read_from_the_releases(registry, versions, open_contract):
    assert registry.serving("dev") is None
    assert registry.champion() is None

    release_to_dev(registry, 2, by="ada", why="", now=NOW)
    promote(registry, 1, "production", by="ada", now=NOW, contract=open_contract)

    assert registry.serving("dev") == registry.get(2)
    assert registry.champion() == registry.get(1)


def test_another_process_sees_the_same(registry, versions, reopen):
    release_to_dev(registry, 2, by="ada", why="", now=NOW)

    assert reopen().all() == registry.all()


def test_the_key_that_signs_is_in_the_ledger_once(registry, versions):
    created = registry.ledger.events(("key.created",))

    assert [event.subject for event in created] == [registry.keys.id]
    assert created[0].payload["public_key"] == registry.keys.public_pem


def test_processes_that_register_at_once_get_different_numbers(tmp_path):
    script = """
import sys
from pathlib import Path
from tests.registry.conftest import open_registry, register
registry = open_registry(Path(sys.argv[1]))
for turn in range(8):
    register(registry, name=f"-{sys.argv[2]}-{turn}")
"""
    arguments = [sys.executable, "-c", script, str(tmp_path)]
    root = Path(__file__).parents[2]
    both = [subprocess.Popen([*arguments, who], cwd=root) for who in ("ada", "bob")]
    assert [process.wait(60) for process in both] == [0, 0]

    registry = open_registry(tmp_path)
    assert [version.number for version in registry.all()] == list(range(1, 17))
    assert registry.ledger.verify() == 17


class TestLineage:
    """From one prediction back to the rows that trained its model."""

    @pytest.fixture
    def tables(self, registry, versions):
        tables = Tables(registry.objects)
        ids = ["0193-abc-0", "0193-abc-1"]
        tables.write("predictions/churn", pl.DataFrame({"prediction_id": ids, "version": [1, 2]}))
        with registry.ledger.database.begin() as connection:
            row = {"id": "run-2", "project": "churn", "started_at": "", "payload": '{"seed":7}'}
            connection.execute(runs.insert().values(row))
        frozen = {"id": "snap-0123456789ab", "rows": 1000}
        registry.ledger.append("snapshot.frozen", "snap-0123456789ab", frozen, now=NOW)
        return tables

    def test_it_names_version_run_and_snapshot(self, registry, tables):
        lineage = registry.lineage("0193-abc-1", tables)

        assert lineage["prediction"]["version"] == 2
        assert lineage["version"]["run"] == "run-2"
        assert lineage["run"] == {"seed": 7}
        assert lineage["snapshot"] == {"id": "snap-0123456789ab", "rows": 1000}

    @pytest.mark.parametrize("name", ["0193-abc-2", "' OR 1=1 --", "../../etc/passwd", ""])
    def test_an_unknown_prediction_is_refused_with_the_next_step(self, registry, tables, name):
        with pytest.raises(RegistryError, match="run: loopline watch --once"):
            registry.lineage(name, tables)

    def test_before_the_first_fold_the_same_is_said(self, registry, tmp_path):
        with pytest.raises(RegistryError, match="run: loopline watch --once"):
            registry.lineage("0193-abc-1", Tables(registry.objects))
