"""THREATS, loading models: a request cannot choose what is loaded, and pickles are not read.

What a bundle's files may do has its tests beside the bundle, and that the server's process has no
unpickler beside the server (tests/model/test_bundle.py, tests/serving/test_server.py). Here hostile
requests go through the door.
"""

import ast
import gzip
import os
import pickle
import zlib
from pathlib import Path

import pytest

import loopline

UNPICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "skops"}
MAY_UNPICKLE = {"model/runtimes/worker.py", "training/candidates/custom.py"}
"""The worker process of an original, after its bundle was verified; and what writes the pickle."""


class Canary:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "kind",
    ["application/python-pickle", "application/octet-stream", "application/x-pickle",
     "application/vnd.bentoml+pickle", "application/x-python-serialize", "application/x-npy"],
)  # fmt: skip
@pytest.mark.parametrize("packed", ["plain", "gzip", "zlib"])
def test_a_pickle_as_a_body_is_refused_and_never_runs(server, tmp_path, kind, packed):
    """A body unpickled by its header (CVE-2024-2912, 2024-9070, 2025-27520, 2025-32375)."""
    canary = tmp_path / "ran"
    body = pickle.dumps(Canary(canary))
    body = {"plain": bytes, "gzip": gzip.compress, "zlib": zlib.compress}[packed](body)

    for path in ("/invocations", "/feedback", "/v2/models/hostile/infer"):
        for headers in ({}, {"Payload_Container": "NdarrayContainer"}, {"X_Pickle": "1"}):
            status, _ = server.post(path, body, Content_Type=kind, **headers)
            assert status in {400, 415}, path
    assert not canary.exists()


def test_only_the_worker_of_an_original_can_unpickle():
    """A switch that was checked in some loaders and forgotten in others (CVE-2026-96775, 96804)."""
    root = Path(loopline.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] in UNPICKLERS for name in names):
                found.add(path.relative_to(root).as_posix())

    assert found == MAY_UNPICKLE


def test_no_module_is_imported_by_a_name_from_a_bundle_or_request():
    """`loader_module`: a manifest's field reached the import system."""
    root = Path(loopline.__file__).parent
    named = set()
    for folder in ("serving", "registry", "model"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    if called in {"__import__", "importlib.import_module", "import_module", "eval",
                                  "exec"}:  # fmt: skip
                        named.add(f"{path.relative_to(root).as_posix()}: {ast.unparse(node)}")

    assert not named
