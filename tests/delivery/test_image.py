"""The folder of an image: what a build copies, and nothing else."""

import json
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import loopline
from loopline.delivery import image as delivery
from loopline.delivery.image import Image, Wanted, write_image
from loopline.delivery.requirements import read
from loopline.delivery.wheels import download
from loopline.errors import DeliveryError
from loopline.governance.signing import Keys
from loopline.model.bundle import open_bundle
from loopline.pipeline.workspace import Workspace
from loopline.registry import release
from loopline.settings import Settings
from loopline.store.objects import Objects

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUSE = {
    "Dockerfile", ".dockerignore", "keys", "model", "project", "wheels",
    "requirements-loopline.txt",
    *(f"{kind}-{target}.{end}" for kind, end in (("requirements", "txt"), ("sbom", "json"))
      for target in ("slim", "batch", "full")),
}  # fmt: skip


def workspace(root: Path) -> Workspace:
    return Workspace(root, Settings.read(root, {}))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_it_has_what_the_dockerfile_copies_and_that_alone(image: Image) -> None:
    assert {path.name for path in image.folder.iterdir()} == HOUSE
    copied = [
        word.rstrip("/")
        for line in (image.folder / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert {*copied, "Dockerfile", ".dockerignore"} == HOUSE
    ignored = (image.folder / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {f"!{name}" for name in copied} <= set(ignored)


def test_everybody_may_read_it_since_a_container_s_user_is_any_user(image: Image) -> None:
    for path in (image.folder, *image.folder.rglob("*")):
        wanted = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_the_model_is_a_store_that_a_server_opens_with_the_keys_beside_it(
    image: Image, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(image.folder / "keys", tmp_path / "keys" / "trusted")
    objects, keys = Objects(str(image.folder / "model")), Keys(tmp_path)

    found = release.latest(objects, keys, "credit", "dev")

    assert found is not None
    [served] = found.serves
    bundle = open_bundle(objects, keys, served.bundle, served.bundle_digest)
    assert bundle.signature.project == "credit"
    assert bundle.plan is not None


def test_of_a_bundle_it_has_what_answering_reads_and_nothing_of_training(image: Image) -> None:
    names = {Path(name).name for name in files(image.folder / "model")}

    assert names == {
        "1.json", "manifest.json", "manifest.sig", "signature.json", "plan.json", "plan.bin",
    }  # fmt: skip


def test_of_the_project_it_has_the_contract_and_the_team_s_own_code(credit_project: Path) -> None:
    (credit_project / "model.py").write_text("x = 1\n")
    (credit_project / "parts").mkdir()
    (credit_project / "parts" / "steps.py").write_text("y = 2\n")
    (credit_project / ".hidden").mkdir()
    (credit_project / ".hidden" / "note.py").write_text("z = 3\n")
    folder = credit_project / "image"

    for _ in range(2):  # and its own folder is not packed into itself
        made = write_image(workspace(credit_project), Wanted(), folder, now=NOW)

    assert files(made.folder / "project") == {"loopline.yaml", "model.py", "parts/steps.py"}


def test_requirements_are_pins_with_hashes_and_loopline_s_own_wheel(image: Image) -> None:
    [wheel] = (image.folder / "wheels").iterdir()
    for target in ("slim", "batch", "full"):
        pins = read((image.folder / f"requirements-{target}.txt").read_text(), target)
        assert all(pin.hashes for pin in pins)
        assert pins
    [own] = read((image.folder / "requirements-loopline.txt").read_text(), "own")
    assert own.hashes == (f"sha256:{delivery.own_wheel().digest}",)
    assert wheel.name.startswith(f"loopline-{own.version}-")


@pytest.mark.parametrize("target", ["slim", "batch", "full"])
def test_the_bill_of_materials_names_every_package_and_the_model(image: Image, target: str) -> None:
    text = (image.folder / f"sbom-{target}.json").read_text()

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    pins = read((image.folder / f"requirements-{target}.txt").read_text(), target)
    listed = {(each["name"], each["version"]) for each in bill["components"]}
    own = ("loopline", loopline.__version__)
    assert listed == {*((pin.name, pin.version) for pin in pins), own, ("credit", "1")}
    [model] = [each for each in bill["components"] if each["type"] == "machine-learning-model"]
    [served] = release.read(
        Objects(str(image.folder / "model")), _trusting(image), "credit", "dev", 1
    ).serves
    assert model["hashes"] == [{"alg": "SHA-256", "content": served.bundle_digest}]
    below = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    [uvicorn] = [ref for ref in below if ref.startswith("uvicorn-")]
    assert [ref.rpartition("-")[0] for ref in below[uvicorn]] == ["click", "h11"]


def _trusting(image: Image) -> Keys:
    keys = Keys(image.folder.parent)
    keys.trusted.mkdir(parents=True, exist_ok=True)
    for path in (image.folder / "keys").iterdir():
        shutil.copy(path, keys.trusted)
    return keys


def test_without_a_model_there_is_none_and_the_keys_stay(credit_project: Path) -> None:
    made = write_image(
        workspace(credit_project), Wanted(has_model=False), credit_project / "x", now=NOW
    )

    assert not (made.folder / "model").exists()
    assert "COPY model/" not in (made.folder / "Dockerfile").read_text()
    assert files(made.folder / "keys")
    assert made.name == "credit"
    assert "machine-learning-model" not in (made.folder / "sbom-slim.json").read_text()


def test_an_earlier_image_is_replaced_and_anything_else_is_left_alone(credit_project: Path) -> None:
    folder = credit_project / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years")

    with pytest.raises(DeliveryError, match="holds something else"):
        write_image(workspace(credit_project), Wanted(), folder, now=NOW)
    assert files(folder) == {"thesis.txt"}

    (folder / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(DeliveryError, match="holds something else"):
        write_image(workspace(credit_project), Wanted(), folder, now=NOW)

    (folder / "thesis.txt").unlink()
    (folder / "Dockerfile").unlink()
    made = write_image(workspace(credit_project), Wanted(), folder, now=NOW)
    (made.folder / "old.txt").write_text("of the last time")
    write_image(workspace(credit_project), Wanted(), folder, now=NOW)
    assert not (folder / "old.txt").exists()
    assert not list(credit_project.glob("mine~*"))


def test_a_refusal_leaves_the_earlier_image_as_it_is(credit_project: Path, fingerprint) -> None:
    folder = credit_project / "mine"
    write_image(workspace(credit_project), Wanted(), folder, now=NOW)
    before = fingerprint(folder)

    with pytest.raises(DeliveryError):
        write_image(workspace(credit_project), Wanted(base="a b"), folder, now=NOW)

    assert fingerprint(folder) == before
    assert not list(credit_project.glob("mine~*"))


@pytest.fixture
def fingerprint():
    return lambda folder: {name: (folder / name).read_bytes() for name in files(folder)}


def test_one_target_may_be_all_that_is_wanted(credit_project: Path) -> None:
    made = write_image(
        workspace(credit_project), Wanted(target="batch"), credit_project / "x", now=NOW
    )

    assert made.targets == ("batch",)
    assert not (made.folder / "project").exists()
    assert not list(made.folder.glob("*slim*"))
    assert "AS slim" not in (made.folder / "Dockerfile").read_text()
    with pytest.raises(DeliveryError, match=r"no target 'tiny'\. Targets: slim, batch, full"):
        write_image(workspace(credit_project), Wanted(target="tiny"), credit_project / "y", now=NOW)


def test_nothing_released_is_said(credit_project: Path) -> None:
    with pytest.raises(DeliveryError, match="Nothing of credit is released in staging"):
        write_image(
            workspace(credit_project), Wanted(environment="staging"), credit_project / "x", now=NOW
        )


def test_wheels_that_cannot_be_had_are_said_in_pip_s_words(tmp_path: Path, monkeypatch) -> None:
    [pin] = read(f"no-such-package-of-loopline==1.0 --hash=sha256:{'a' * 64}", "r.txt")
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(DeliveryError, match=r"pip says: ERROR: .*no-such-package-of-loopline"):
        download(delivery.Needed((pin,), {}), tmp_path, "3.11", tmp_path / "list.txt")
    assert not (tmp_path / "list.txt").exists()
