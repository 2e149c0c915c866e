"""Versions as MLflow's own client sees them."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from dataclasses import replace
from mlflow import MlflowClient
from loopline.registry.backends.mlflow import Mlflow
from loopline.registry.versions import ModelVersion

first = ModelVersion(
    project="churn", number=1, digest="a" * 64, bundle="bundles/churn/1", bundle_digest="b" * 64,
    run="run-1", snapshot="snap-1", runtime="plan", gate_passed=True, reasons=(), author="ada",
    created_at="2013-04-01T12:30:00Z", stage="production",
)
second = replace(first, number=2, gate_passed=False, reasons=("roc_auc is 0.6",), stage="dev")
client = MlflowClient(sys.argv[1], sys.argv[1])
experiment = client.create_experiment("churn")
run = client.create_run(experiment, tags={"loopline.run": "run-1"})
backend = Mlflow(sys.argv[1])
locate = "/store/{}".format

copied = [
    backend.mirror([first], {"dev": 1, "production": 1}, locate),
    backend.mirror([first, second], {"dev": 2, "production": 1}, locate),
    backend.mirror([replace(first, stage="retired"), second], {"dev": 2, "production": 2}, locate),
]
found = {each.version: each for each in client.search_model_versions("name = 'churn'")}
print(json.dumps({
    "copied": copied,
    "numbers": sorted(str(number) for number in found),
    "tags": client.get_model_version("churn", "2").tags,
    "stage of 1": client.get_model_version("churn", "1").tags["loopline.stage"],
    "description": client.get_model_version("churn", "2").description,
    "source": client.get_model_version("churn", "2").source,
    "linked": client.get_model_version("churn", "1").run_id == run.info.run_id,
    "aliases": client.get_registered_model("churn").aliases,
}))
"""


@pytest.mark.slow
def test_versions_get_their_tags_and_environments_their_aliases_once(tmp_path: Path):
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed")
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"sqlite:///{tmp_path / 'mlflow.db'}"],
        cwd=tmp_path,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["copied"] == [1, 1, 0]
    assert seen["numbers"] == ["1", "2"]
    assert {str(name): str(value) for name, value in seen["aliases"].items()} == {
        "dev": "2",
        "production": "2",
    }
    assert seen["tags"]["loopline.version"] == "churn:2"
    assert seen["tags"]["loopline.gate"] == "failed"
    assert seen["stage of 1"] == "retired"
    assert seen["description"] == "roc_auc is 0.6"
    assert seen["source"] == "/store/bundles/churn/1"
    assert seen["linked"]
