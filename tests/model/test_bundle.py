"""A bundle opens whole, signed and as registered, or not at all."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from loopline.errors import AlreadyExistsError, BundleRefusedError
from loopline.governance.signing import Keys
from loopline.model.bundle import FILES, open_bundle, version_digest, write
from loopline.model.compile.estimator import compile_plan
from loopline.model.original import Original
from loopline.model.runtimes.worker import dump_original, load_original
from loopline.model.signature import Feature, Input, Signature
from loopline.store.objects import Objects

INPUTS, TRUTH = load_iris(return_X_y=True)
PREFIX = "bundles/iris/run-1"
SIGNATURE = Signature(
    "iris",
    "multiclass",
    tuple(Input(name, "number") for name in "abcd"),
    tuple(Feature(name, "number") for name in "abcd"),
    ("0", "1", "2"),
)


@pytest.fixture
def objects(tmp_path) -> Objects:
    return Objects((tmp_path / "store").as_uri())


@pytest.fixture
def keys(tmp_path) -> Keys:
    return Keys(tmp_path / "home")


@pytest.fixture(scope="module")
def original() -> Original:
    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(INPUTS, TRUTH)
    return Original(model, "matrix", SIGNATURE)


@pytest.fixture(scope="module")
def files(original) -> dict[str, bytes]:
    import msgspec

    plan = compile_plan(original.estimator, SIGNATURE).to_files()
    kept = {
        "signature.json": msgspec.json.encode(SIGNATURE),
        "original.pkl": dump_original(original),
    }
    return {"card.md": b"# iris", "report.json": b"{}", **kept, **plan}


def test_a_bundle_gives_back_what_was_written(objects, keys, files, original):
    digest = write(objects, keys, PREFIX, files)

    bundle = open_bundle(objects, keys, PREFIX, digest)

    assert bundle.signature == SIGNATURE
    assert {name: bundle.file(name) for name in bundle.listed} == files
    expected = original.estimator.predict_proba(INPUTS)
    assert np.array_equal(bundle.plan.score(INPUTS), expected)
    columns = dict(zip("abcd", INPUTS.T, strict=True))
    unpickled = load_original(objects, keys, PREFIX, digest)
    assert np.array_equal(unpickled.scores(columns), expected)


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize(
    "name", ["signature.json", "plan.json", "plan.bin", "original.pkl", "card.md"]
)
def test_one_changed_byte_is_refused_before_it_is_read(objects, keys, files, name, place):
    digest = write(objects, keys, PREFIX, files)
    changed = bytearray(files[name])
    changed[place] ^= 1
    objects.put(f"{PREFIX}/{name}", bytes(changed))

    bundle = open_bundle(objects, keys, PREFIX, digest)

    with pytest.raises(BundleRefusedError, match=f"{name} is not what was signed"):
        bundle.file(name)
    if name.startswith("plan"):
        with pytest.raises(BundleRefusedError, match="Restore it from a backup"):
            _ = bundle.plan
    if name == "original.pkl":
        with pytest.raises(BundleRefusedError, match="is not what was signed"):
            load_original(objects, keys, PREFIX, digest)


def test_a_missing_and_an_extra_file_are_refused_by_name(objects, keys, files):
    digest = write(objects, keys, PREFIX, files)
    objects.delete(f"{PREFIX}/plan.bin")
    with pytest.raises(BundleRefusedError, match=r"plan\.bin is missing"):
        _ = open_bundle(objects, keys, PREFIX, digest).plan

    objects.put(f"{PREFIX}/plan.bin", files["plan.bin"])
    objects.put(f"{PREFIX}/sitecustomize.py", b"")
    with pytest.raises(BundleRefusedError, match=r"holds .*sitecustomize\.py, which its"):
        open_bundle(objects, keys, PREFIX, digest)


def test_a_changed_manifest_is_refused_and_so_is_an_older_one_put_back(objects, keys, files):
    older = write(objects, keys, "bundles/iris/run-0", files | {"card.md": b"older"})
    digest = write(objects, keys, PREFIX, files)
    manifest = objects.get(f"{PREFIX}/manifest.json")

    objects.put(f"{PREFIX}/manifest.json", manifest + b" ")
    with pytest.raises(BundleRefusedError, match=f"and {digest[:12]} was registered"):
        open_bundle(objects, keys, PREFIX, digest)

    for name in ("manifest.json", "manifest.sig", *files):
        objects.put(f"{PREFIX}/{name}", objects.get(f"bundles/iris/run-0/{name}"))
    with pytest.raises(BundleRefusedError, match=f"has digest {older[:12]}"):
        open_bundle(objects, keys, PREFIX, digest)


def test_who_signed_decides_not_what_the_bundle_says(objects, keys, files, tmp_path):
    stranger = Keys(tmp_path / "stranger")
    digest = write(objects, stranger, PREFIX, files)
    keys.sign(b"")  # so that this workspace has a key of its own

    with pytest.raises(BundleRefusedError, match="no key trusted here has signed it"):
        open_bundle(objects, keys, PREFIX, digest)

    objects.put(f"{PREFIX}/manifest.sig", b"")
    with pytest.raises(BundleRefusedError, match="no key trusted here has signed it"):
        open_bundle(objects, keys, PREFIX, digest)
    objects.delete(f"{PREFIX}/manifest.sig")
    with pytest.raises(BundleRefusedError, match="or only part of one"):
        open_bundle(objects, keys, PREFIX, digest)


def test_a_second_bundle_under_the_same_prefix_leaves_the_first_one_whole(objects, keys, files):
    digest = write(objects, keys, PREFIX, files)

    assert write(objects, keys, PREFIX, files) == digest
    with pytest.raises(AlreadyExistsError, match="it was left as it is"):
        write(objects, keys, PREFIX, files | {"card.md": b"another"})

    assert open_bundle(objects, keys, PREFIX, digest).file("card.md") == b"# iris"


def test_what_a_killed_write_left_is_cleared_away(objects, keys, files):
    objects.put(f"{PREFIX}/profile.bin", b"left behind")
    with pytest.raises(BundleRefusedError, match="only part of one"):
        open_bundle(objects, keys, PREFIX, "0" * 64)

    digest = write(objects, keys, PREFIX, files)

    assert "profile.bin" not in open_bundle(objects, keys, PREFIX, digest).listed


@pytest.mark.parametrize("name", ["../escape.pkl", "original.pkl.gz", "manifest.json", "loader.py"])
def test_a_bundle_holds_only_files_of_the_closed_list(objects, keys, files, name):
    with pytest.raises(BundleRefusedError, match="A bundle holds no"):
        write(objects, keys, PREFIX, files | {name: b""})

    assert objects.list(PREFIX) == []


def test_signed_names_outside_the_list_are_refused_too(objects, keys):
    import hashlib

    manifest = b'{"format": 1, "files": {"../../secret": [0, ""]}}'
    objects.put(f"{PREFIX}/manifest.json", manifest)
    objects.put(f"{PREFIX}/manifest.sig", keys.sign(manifest).encode())

    with pytest.raises(BundleRefusedError, match="files that this Loopline does not know"):
        open_bundle(objects, keys, PREFIX, hashlib.sha256(manifest).hexdigest())


class _Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_canary_in_every_file_never_runs(objects, keys, files, tmp_path):
    """CVE-2024-37052 to 37061: loading a model ran what was in it."""
    mark = tmp_path / "it ran"
    payload = pickle.dumps(_Canary(mark))
    digest = write(objects, keys, PREFIX, files)
    pickle.loads(payload)  # a canary that cannot sing would prove nothing
    assert mark.exists()
    mark.unlink()

    for name in (*sorted(FILES), "manifest.json", "manifest.sig"):
        before = objects.find(f"{PREFIX}/{name}")
        objects.put(f"{PREFIX}/{name}", payload)
        with pytest.raises(BundleRefusedError):
            _use_all_of_it(objects, keys, digest)
        if before is None:
            objects.delete(f"{PREFIX}/{name}")
        else:
            objects.put(f"{PREFIX}/{name}", before)

    assert not mark.exists()
    _use_all_of_it(objects, keys, digest)


def _use_all_of_it(objects, keys, digest):
    load_original(objects, keys, PREFIX, digest)
    bundle = open_bundle(objects, keys, PREFIX, digest)
    _ = bundle.signature, bundle.plan
    for name in bundle.listed:
        bundle.file(name)


def test_the_version_digest_is_of_what_is_answered_and_of_nothing_else(files):
    digest = version_digest(files)

    assert version_digest(files | {"original.pkl": b"other bytes", "card.md": b"other"}) == digest
    for name in ("signature.json", "plan.json", "plan.bin"):
        assert version_digest(files | {name: files[name] + b" "}) != digest
    alone = {name: files[name] for name in ("signature.json", "original.pkl")}
    assert version_digest(alone) != version_digest(alone | {"original.pkl": b"other"})


SERVING = """
import sys
from pathlib import Path
import numpy as np
from loopline.governance.signing import Keys
from loopline.model.bundle import open_bundle
from loopline.model.runtimes.original import OriginalRuntime
from loopline.model.signature import matrix
from loopline.store.objects import Objects
bundle = open_bundle(Objects(sys.argv[1]), Keys(Path(sys.argv[2])), sys.argv[3], sys.argv[4])
columns = dict(zip("abcd", np.zeros((4, 2))))
assert bundle.plan.score(matrix(bundle.signature, columns)).shape == (2, 3)
heavy = {"sklearn", "pandas", "polars", "pyarrow", "pydantic", "sqlalchemy", "scipy", "sqlglot",
         "cloudpickle", "joblib", "lightgbm", "mlflow", "deltalake"}
print(sorted(heavy & set(sys.modules)))
"""


def test_a_planned_bundle_is_served_without_any_library_of_training(objects, keys, files, tmp_path):
    digest = write(objects, keys, PREFIX, files)
    arguments = [objects.url, str(tmp_path / "home"), PREFIX, digest]

    done = subprocess.run(
        [sys.executable, "-c", SERVING, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout.strip(), done.stderr) == ("[]", "")
