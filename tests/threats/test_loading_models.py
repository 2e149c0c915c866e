"""THREATS, loading models: a request cannot choose what is loaded, and pickles are not read.

A canary is a pickle that leaves a folder behind when it is loaded. It is put wherever whoever can
write to the store, but has no trusted key, could put it; and every command is asked to use it.
"""

import ast
import contextlib
import gzip
import os
import pickle
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import loopline
from loopline.errors import BundleRefusedError, LooplineError, MonitoringError, ReleaseError
from loopline.governance.signing import Keys
from loopline.model import bundle as bundles
from loopline.model.runtimes.original import OriginalRuntime
from loopline.model.runtimes.worker import load_original
from loopline.monitoring.segments import gather
from loopline.registry import release
from loopline.registry.release import Release, Served
from loopline.serving.log import HEADER, frame

UNPICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "skops"}
MAY_UNPICKLE = {
    "model/runtimes/worker.py": "the worker process of an original, after its bundle was verified",
    "training/candidates/custom.py": "writes the pickle of a team's own estimator",
    "compute/spark.py": "between a driver and its own executors, as Spark itself does",
}
"""Which file may name a pickle, and why."""


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


def _prefix(typed) -> tuple[str, str]:
    version = typed.project().registry.get("latest")
    return version.bundle, version.bundle_digest


@pytest.mark.parametrize("packed", ["plain", "gzip"])
def test_a_canary_in_any_file_of_a_bundle_is_run_by_no_command(typed, tmp_path, packed):
    """Loading unpickles (CVE-2024-37052 to 37061, 2024-24590, 2026-96775, 2026-96804).

    Whatever a command says of a bundle that was changed, what was put there does not run; wrapped,
    it would pass a scanner that goes by suffix.
    """
    canary = tmp_path / "ran"
    payload = {"plain": bytes, "gzip": gzip.compress}[packed](pickle.dumps(Canary(canary)))
    prefix, _ = _prefix(typed)
    folder = typed.root / ".loopline" / "store" / prefix
    whole = {path: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    assert {"original.pkl", "plan.bin", "signature.json", "profile.bin", "report.json"} <= {
        path.name for path in whole
    }

    def used(*command: str) -> None:
        done = typed(*command)
        assert not canary.exists(), command
        assert done.exception is None or isinstance(done.exception, LooplineError | SystemExit)

    for path, content in whole.items():
        path.write_bytes(payload)
        used("model", "show", "latest")
        used("model", "promote", "1", "--to", "staging")
        path.write_bytes(content)
    for path in whole:
        path.write_bytes(payload)
    for command in (["check"], ["status"], ["watch", "--once"], ["serve", "--port", "0"],
                    ["model", "compare", "1", "1"], ["audit", "verify"]):  # fmt: skip
        used(*command)
    assert typed.project().registry.serving("staging") is None
    pickle.loads(pickle.dumps(Canary(canary)))  # a canary that cannot sing would prove nothing
    assert canary.exists()


def test_a_server_starts_on_no_canary(typed, serve, tmp_path):
    """The same through `loopline serve`, a process: its plan is refused, its pickle never read."""
    canary = tmp_path / "ran"
    prefix, _ = _prefix(typed)
    folder = typed.root / ".loopline" / "store" / prefix
    (folder / "original.pkl").write_bytes(pickle.dumps(Canary(canary)))

    with serve(typed, "--log", "off") as server:  # what answers is the plan, which is whole
        assert server.status(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == 200
    (folder / "plan.bin").write_bytes(pickle.dumps(Canary(canary)))
    refused = typed("serve", "--port", "0")

    assert isinstance(refused.exception, BundleRefusedError)
    assert not canary.exists()


def test_a_bundle_is_believed_for_its_signature_alone(typed, tmp_path):
    """Unsigned, signed by a stranger, swapped, extended: refused before anything is read."""
    canary = tmp_path / "ran"
    project = typed.project()
    prefix, digest = _prefix(typed)
    objects, keys = project.objects, project.keys
    bundle = bundles.open_bundle(objects, keys, prefix, digest)
    files = {name: bundle.file(name) for name in bundle.listed}
    files["original.pkl"] = pickle.dumps(Canary(canary))
    stranger = Keys(tmp_path / "stranger")
    theirs = bundles.write(objects, stranger, "bundles/hostile/theirs", files)
    ours = bundles.write(objects, keys, "bundles/hostile/ours", {**files, "original.pkl": b"x"})

    def refused(where: str, what: str) -> None:
        with pytest.raises(BundleRefusedError):
            load_original(objects, keys, where, what)
        assert not canary.exists()

    refused("bundles/hostile/theirs", theirs)
    refused("bundles/hostile/theirs", digest)
    refused(prefix, theirs)
    for name in ("manifest.json", "manifest.sig"):  # their manifest, or their signature, on ours
        kept = objects.get(f"bundles/hostile/ours/{name}")
        objects.put(f"bundles/hostile/ours/{name}", objects.get(f"bundles/hostile/theirs/{name}"))
        refused("bundles/hostile/ours", ours)
        refused("bundles/hostile/ours", theirs)
        objects.delete(f"bundles/hostile/ours/{name}")
        refused("bundles/hostile/ours", ours)
        objects.put(f"bundles/hostile/ours/{name}", kept)
    objects.put("bundles/hostile/ours/loader.py", b"import os")
    refused("bundles/hostile/ours", ours)
    objects.delete("bundles/hostile/ours/loader.py")
    objects.put("bundles/hostile/ours/original.pkl", files["original.pkl"])
    refused("bundles/hostile/ours", ours)


@pytest.mark.parametrize(
    "fields",
    [
        {"loader_module": "os"}, {"pickled_model": "../../x"}, {"files": {"../../x": [0, ""]}},
        {"files": {"/etc/passwd": [0, ""]}}, {"files": {"loader.py": [0, ""]}}, {"format": 2},
        {"files": {"original.pkl\n": [0, ""]}},
    ],
    ids=str,
)  # fmt: skip
def test_fields_of_a_manifest_reach_no_path_and_no_import(typed, fingerprint, fields):
    """`loader_module`, `pickled_model: ../`: read before the guard; unknown here, even signed."""
    project = typed.project()
    manifest = msgspec.json.encode({"format": 1, "files": {}} | fields)
    prefix = "bundles/hostile/fields"
    project.objects.put(f"{prefix}/manifest.json", manifest)
    project.objects.put(f"{prefix}/manifest.sig", project.keys.sign(manifest).encode())
    before = fingerprint(typed.root)
    imported = set(sys.modules)

    with pytest.raises(BundleRefusedError):
        load_original(project.objects, project.keys, prefix, bundles._sha256(manifest))

    assert fingerprint(typed.root) == before
    assert set(sys.modules) - imported <= {"cloudpickle", "cloudpickle.cloudpickle"}


# Releases


def test_an_old_release_is_not_served_again_under_another_number_or_name(typed):
    """Downgrade and replay: a document says where it belongs, under its signature."""
    project = typed.project()
    objects = project.objects
    old = objects.get("releases/hostile/dev/1.json")

    for place in ("hostile/dev/2", "hostile/production/1", "other/dev/1"):
        objects.put(f"releases/{place}.json", old)
        name, environment, number = place.split("/")
        with pytest.raises(ReleaseError, match="is a copy of release 1 of hostile in dev"):
            release.read(objects, project.keys, name, environment, int(number))
        if name == "hostile":
            assert typed("audit", "verify").exit_code == 1
            done = typed("serve", "--env", environment, "--port", "0")
            assert isinstance(done.exception, ReleaseError)
        objects.delete(f"releases/{place}.json")
    assert typed("audit", "verify").exit_code == 0


def test_a_release_that_was_taken_away_is_noticed(typed):
    """Downgrade by deletion: the ledger and the documents vouch for each other."""
    assert typed("model", "promote", "1", "--to", "staging").exit_code == 0
    typed.project().objects.delete("releases/hostile/staging/1.json")

    done = typed("audit", "verify")

    assert done.exit_code == 1
    assert "its document is not in the store" in str(done.exception)


def test_a_strangers_release_points_no_server_at_their_bundle(typed, tmp_path):
    """A release by whoever can write to the store, with a bundle of their own."""
    canary = tmp_path / "ran"
    project = typed.project()
    stranger = Keys(tmp_path / "stranger")
    prefix = "bundles/hostile/theirs"
    files = {"original.pkl": pickle.dumps(Canary(canary)), "signature.json": b"{}"}
    digest = bundles.write(project.objects, stranger, prefix, files)
    served = (Served(2, prefix, digest),)
    theirs = Release("hostile", "dev", 2, served, "mallory", "", "2013-04-01T00:00:00Z")
    release.write(project.objects, stranger, theirs)

    done = typed("serve", "--port", "0")

    assert isinstance(done.exception, ReleaseError)
    assert "not signed by a key that is trusted here" in str(done.exception)
    assert not canary.exists()


@pytest.mark.parametrize(
    "content",
    [
        b'{"release":' + b"[" * 100_000,
        b'{"release":{},"signature":"\xff\xfe"}',
        b'{"release":{},"signature":"ed25519:\\u0000:AA=="}',
        b'{"release":{},"signature":"' + b":" * 100_000 + b'"}',
        b"\x80\x04\x95", b"[]", b"",
    ],
    ids=range(7),
)  # fmt: skip
def test_a_document_that_is_none_is_refused_as_one(typed, content):
    """It ended the thread that follows releases, so that no rollback would arrive any more."""
    project = typed.project()
    project.objects.put("releases/hostile/dev/2.json", content)

    for after in (0, 1):
        with pytest.raises(ReleaseError):
            release.latest(project.objects, project.keys, "hostile", "dev", after=after)


# Child processes


def test_what_lies_in_the_current_folder_is_not_imported_by_the_worker(
    typed, tmp_path, monkeypatch
):
    """An import path that the client fills: files named like libraries where the server starts."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("msgspec", "numpy", "cloudpickle", "sklearn", "json", "secrets"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(folder)
    project = typed.project()
    bundle = bundles.open_bundle(project.objects, project.keys, *_prefix(typed))
    secret = {"LOOPLINE_TOKEN": "x" * 20, "PATH": os.environ["PATH"], **_python_path()}
    runtime = OriginalRuntime(bundle, project.settings.home, project.settings.store_url, secret)

    try:
        runtime._running()
        given = Path(f"/proc/{runtime.process_id}/environ")
        seen = given.read_bytes() if given.exists() else b""
    finally:
        runtime.close()

    assert not (tmp_path / "ran").exists()
    assert b"LOOPLINE_TOKEN" not in seen  # a model's own code has no business with it


def _python_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}


def test_every_python_that_is_started_is_told_to_import_nothing_from_here():
    """The same, for each place that starts one."""
    root = Path(loopline.__file__).parent
    lists = [
        [ast.unparse(one) for one in node.elts]
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.List)
    ]
    commands = [words for words in lists if "sys.executable" in words]

    assert len(commands) >= 3
    assert [words for words in commands if words[:2] != ["sys.executable", "'-P'"]] == []


# Log segments


def _segment(typed, content: bytes, name: str = "1-1-ab") -> None:
    folder = typed.root / ".loopline" / "log" / "hostile" / "dev"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.log").write_bytes(content)


def _framed(packed: bytes) -> bytes:
    return struct.pack("<II", len(packed), zlib.crc32(packed)) + packed


_ERROR = ["e", 1365000000000000, "RequestError", 400, 90, 1]
_PREDICTION = ["p", "r", None, 1365000000000000, 1, False, 9, "x"]


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<II", 0xFFFFFFFF, 0) + b"x",
        _framed(b"\xdd\xff\xff\xff\xff"),
        _framed(b"\x91" * 100_000),
        _framed(b"\xc1"),
        frame([]),
        frame(["p"]),
        frame(["e", "x", 1, 2, 3, 4]),
        frame([*_ERROR[:5], 2**63]),
        frame([*_ERROR[:3], "not a status", 90, 1]),
        frame([*_PREDICTION, 10**12, [], []]),
        frame([*_PREDICTION, 10**12, [[1.0]], [["a"], [0.5]]]),
        frame([*_PREDICTION, 1, [["x"]] * 11, [["no <b>"], ["x"]]]),
        frame([*_PREDICTION[:3], 2**63 - 1, *_PREDICTION[4:], 1, [[None]] * 11, [["a"], [0.5]]]),
        frame([*_PREDICTION[:3], -(2**63), *_PREDICTION[4:], 1, [[None]] * 11, [["a"], [0.5]]]),
        frame([*_PREDICTION[:4], 999, False, 9, "x", 1, [[None]], [["a"], [0.5]]]),
        frame(["f", 1, [[1, 2, 3, 4]]]),
        frame(["f", 1, [["a", None, "x", 2**63]]]),
        frame(["f", "x", "y"]),
        pickle.dumps({"a": 1}),
    ],
    ids=range(19),
)  # fmt: skip
def test_a_segment_that_no_server_wrote_stops_no_watching(typed, content):
    """Lengths and counts that are bombs, and other shapes: it waits, and the next one is folded."""
    _segment(typed, HEADER + content, "1-1-ab")
    _segment(typed, HEADER + frame(_ERROR), "2-1-ab")

    done = typed("watch", "--once", "--json")

    assert done.exit_code == 0, done.exception
    assert msgspec.json.decode(done.output)["folded"]["errors"] == 1


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**63)
            | st.text(max_size=5)
            | st.floats(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=6,
        ),
        max_size=11,
    ),
    st.sampled_from("pfe"),
)
def test_any_frame_is_gathered_or_refused(rest: list[Any], kind: str):
    """The same, by chance."""
    with contextlib.suppress(MonitoringError):
        gather([([kind, *rest], 9)], 0, None)


# What can be reached


def test_the_servers_modules_reach_no_unpickler():
    """The server never unpickles: nothing that it can import, now or later, names a pickle."""
    root = Path(loopline.__file__).parent
    seen: set[str] = set()
    waiting = ["loopline.cli.serve", "loopline.serving.server", "loopline.serving.models"]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        parts = root.parent.joinpath(*name.split("."))
        path = (
            parts.with_suffix(".py") if parts.with_suffix(".py").exists() else parts / "__init__.py"
        )
        waiting += [found for found in _imports(path) if found.startswith("loopline.")]

    assert "loopline.serving.dialects.base" in seen  # else nothing was walked
    reached = {name.removeprefix("loopline.").replace(".", "/") + ".py" for name in seen}
    assert reached.isdisjoint(MAY_UNPICKLE)


def _imports(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere, but for those only named for types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if _is_module(name)}


def _is_module(name: str) -> bool:
    base = Path(loopline.__file__).parent.parent.joinpath(*name.split("."))
    return base.with_suffix(".py").exists() or (base / "__init__.py").exists()


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

    assert found == set(MAY_UNPICKLE)


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
