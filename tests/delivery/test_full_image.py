"""The target full, built for real: it serves what only an original answers, and it trains.

Slow, and skipped where no container can be run: `.ci/containers` makes what is missing.
"""

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.delivery import engine as engines

from loopline.delivery.build import build_image
from loopline.delivery.image import Image, Wanted, write_image
from loopline.delivery.requirements import Pin
from loopline.errors import DeliveryError
from loopline.model.runtimes.worker import load_original
from loopline.pipeline.run import run
from loopline.pipeline.workspace import Workspace
from loopline.registry import release
from loopline.settings import Settings
from loopline.training.provenance import ALSO

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
MODEL = """\
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer


def build(seed):
    numbers = make_column_selector(dtype_include="number")
    columns = make_column_transformer((SimpleImputer(strategy="median"), numbers))
    return make_pipeline(columns, KNeighborsClassifier(40))
"""
PLATFORM = {"LOOPLINE_ACCESS": "platform"}


@pytest.fixture(scope="module")
def neighbours(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project whose estimator has no plan."""
    root = tmp_path_factory.mktemp("neighbours") / "credit"
    root.mkdir()
    shutil.copy(trained / "credit.csv", root)
    contract = (trained / "loopline.yaml").read_text()
    chosen = 'model: {train: "model.py:build"}'
    contract = contract.replace("model: {candidates: [linear], trials: 3}", chosen)
    contract = contract.replace("at_least: 0.6}", "at_least: 0.5}")
    (root / "loopline.yaml").write_text(contract)
    (root / "model.py").write_text(MODEL)
    space = Workspace(root, Settings.read(root, {"LOOPLINE_ACTOR": "ada"}))
    with pytest.MonkeyPatch.context() as patch:
        for module in ALSO:  # what other tests have imported is not this model's
            patch.delitem(sys.modules, module, raising=False)
        run(space, now=NOW, progress=lambda *_: None)
    return space


def written(space: Workspace, folder: Path, **more: Any) -> Image:
    return write_image(space, Wanted(base=engines.BASE, **more), folder / "image", now=NOW)


def test_an_original_has_the_target_full_alone_with_its_own_packages(
    neighbours: Workspace, tmp_path: Path
) -> None:
    image = written(neighbours, tmp_path)

    assert image.targets == ("full",)
    names = {path.name for path in (image.folder / "model").rglob("*") if path.is_file()}
    assert "original.pkl" in names
    assert "\npandas==" in (image.folder / "requirements-full.txt").read_text()
    assert "another Python than 3." in (image.folder / "Dockerfile").read_text()


def test_pins_that_differ_from_what_an_original_was_trained_with_are_refused(
    neighbours: Workspace, tmp_path: Path
) -> None:
    own = neighbours.root / "requirements.txt"
    own.write_text(Pin("scikit-learn", "1.0.1", (f"sha256:{'a' * 64}",)).lines())

    with pytest.raises(DeliveryError, match=r"trained with scikit-learn .*pinned here: 1\.0\.1"):
        written(neighbours, tmp_path, requirements=own)


@pytest.fixture(scope="module")
def image(engine: Any, neighbours: Workspace, tmp_path_factory: pytest.TempPathFactory) -> str:
    made = written(neighbours, tmp_path_factory.mktemp("full"), offline=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in engine.variables.items():
            patch.setenv(name, value)
        return build_image(made, None, "localhost/loopline/test:full", say=print).reference


@pytest.mark.slow
def test_a_container_serves_what_the_original_says(
    engine: Any, image: str, neighbours: Workspace, german_credit_csv: Path
) -> None:
    from loopline.data.columns import from_frame

    found = release.latest(neighbours.objects, neighbours.keys, "credit", "dev")
    assert found is not None
    [served] = found.serves
    original = load_original(
        neighbours.objects, neighbours.keys, served.bundle, served.bundle_digest
    )
    types = {one.name: one.type for one in original.signature.inputs}
    frame = pl.read_csv(german_credit_csv, columns=list(types))[:3]
    expected = original.scores(from_frame(frame, types)).tolist()
    body = {"dataframe_records": frame.to_dicts(), "params": {"output": "probability"}}

    with engine.running(image, options=("--read-only", "--tmpfs=/tmp"), variables=PLATFORM) as one:
        answer = one.ask("POST", "/invocations", body)

        assert answer.status == 200, f"{answer.text}{one.log()}"
        assert answer.json["predictions"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_a_container_trains_on_what_is_mounted_and_hands_the_model_over(
    engine: Any, image: str, neighbours: Workspace, german_credit_csv: Path, tmp_path: Path
) -> None:
    """As SageMaker does: root, the word train, and its folders; the home brings the key."""
    for name in ("input/data/training", "model", "output"):
        (tmp_path / "ml" / name).mkdir(parents=True)
    shutil.copy(german_credit_csv, tmp_path / "ml" / "input" / "data" / "training" / "credit.csv")
    shutil.copytree(neighbours.settings.home / "keys", tmp_path / "home" / "keys")
    options = ("--user=0", f"--volume={tmp_path / 'ml'}:/opt/ml",
               f"--volume={tmp_path / 'home'}:/var/lib/loopline")  # fmt: skip
    variables = {"LOOPLINE_HOME": "/var/lib/loopline", "TRAINING_JOB_NAME": "credit-1"}

    with engine.running(image, "train", options=options, variables=variables) as running:
        code = running.wait()
        said = running.log()

    assert code == 0, said
    assert "  model   /opt/ml/model" in said
    assert not (tmp_path / "ml" / "output" / "failure").exists()
    names = {path.name for path in (tmp_path / "ml" / "model").rglob("*") if path.is_file()}
    assert {"1.json", "manifest.json", "original.pkl"} <= names
    mount = f"--volume={tmp_path / 'ml' / 'model'}:/mnt/models:ro"
    with engine.running(image, options=(mount,), variables=PLATFORM) as serving:
        assert serving.ask("GET", "/readyz").status == 200  # the image's key is the one that signed
