"""What a container serves: by what the platform brings, believed by the image's keys."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from loopline.errors import BundleRefusedError, ReleaseError, SettingError
from loopline.governance.signing import Keys
from loopline.registry import release
from loopline.serving.carried import carried
from loopline.store.objects import Objects


@pytest.fixture
def app(workspace: Any, adding: Any, tmp_path: Path) -> Path:
    """An image's folder: a store with one release, and the keys that it is believed by."""
    workspace.release(workspace.bundle(adding, 3))
    made = tmp_path / "app"
    shutil.copytree(workspace.settings.home / "store", made / "model")
    shutil.copytree(workspace.keys.trusted, made / "keys")
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a container's file system, where platforms mount."""
    made = tmp_path / "container"
    made.mkdir()
    return made


def uri(path: Path) -> str:
    return path.as_uri()


def test_what_is_baked_in_is_served_by_its_own_name(app: Path, root: Path) -> None:
    found = carried({}, app, root)

    assert (found.project, found.environment) == ("flight-delays", "dev")
    assert found.store == uri(app / "model")
    assert not found.keeps


@pytest.mark.parametrize("mount", ["mnt/models", "opt/ml/model"])
def test_what_a_platform_mounts_goes_before_what_is_baked_in(
    app: Path, root: Path, mount: str
) -> None:
    shutil.copytree(app / "model", root / mount)

    assert carried({}, app, root).store == uri(root / mount)


def test_azure_ml_mounts_the_folder_around_the_model_s_own(app: Path, root: Path) -> None:
    place = root / "var" / "azureml-app" / "azureml-models" / "credit" / "1"
    shutil.copytree(app / "model", place / "model")

    found = carried({"AZUREML_MODEL_DIR": str(place)}, app, root)

    assert found.store == uri(place / "model")


def test_a_place_in_a_cloud_is_followed_there(app: Path, root: Path) -> None:
    """The baked model's names say what of that place is meant."""
    place = "s3://models/credit"

    found = carried({"LOOPLINE_STORE": place}, app, root)

    assert (found.store, found.project) == (place, "flight-delays")


def test_a_model_that_is_fetched_names_itself(
    bucket: dict[str, bytes], app: Path, root: Path
) -> None:
    for path in (app / "model").rglob("*"):
        if path.is_file():
            key = path.relative_to(app / "model")
            bucket[f"fetched/{key}"] = path.read_bytes()
    shutil.rmtree(app / "model")

    found = carried({"AIP_STORAGE_URI": "s3://models/fetched"}, app, root)

    assert (found.project, found.environment) == ("flight-delays", "dev")
    assert found.store == "s3://models/fetched"


def test_of_several_releases_the_one_that_is_named_is_served(
    app: Path, root: Path, workspace: Any, adding: Any
) -> None:
    prefix = app / "model" / "releases" / "flight-delays"
    shutil.copytree(prefix / "dev", prefix / "production")

    with pytest.raises(SettingError, match="flight-delays in dev, flight-delays in production"):
        carried({}, app, root)
    found = carried({"LOOPLINE_ENVIRONMENT": "production"}, app, root)
    assert (found.project, found.environment) == ("flight-delays", "production")
    with pytest.raises(SettingError, match="nothing is released"):
        carried({"LOOPLINE_PROJECT": "churn"}, app, root)
    found = carried({"LOOPLINE_PROJECT": "a", "LOOPLINE_ENVIRONMENT": "b"}, app, root)
    assert (found.project, found.environment) == ("a", "b")


def test_without_a_model_it_is_said_how_one_gets_there(app: Path, root: Path) -> None:
    shutil.rmtree(app / "model")

    with pytest.raises(SettingError, match=r"no model in .*loopline generate image"):
        carried({}, app, root)


def test_the_home_is_new_and_unguessable_unless_it_is_named(app: Path, root: Path) -> None:
    first, second = carried({}, app, root).home, carried({}, app, root).home
    named = carried({"LOOPLINE_HOME": str(root / "kept")}, app, root)

    assert first != second
    assert first.stat().st_mode & 0o077 == 0
    assert named.home == root / "kept"
    assert named.keeps
    assert named.variables == {
        "LOOPLINE_HOME": str(root / "kept"), "LOOPLINE_STORE": uri(app / "model"),
    }  # fmt: skip


def test_where_nothing_can_be_written_a_volume_is_asked_for(app: Path, root: Path) -> None:
    (root / "file").touch()

    with pytest.raises(SettingError, match=r"no home: .*an empty volume at"):
        carried({"LOOPLINE_HOME": str(root / "file")}, app, root)


def test_a_mounted_model_is_believed_by_the_image_s_keys_alone(
    app: Path, root: Path, tmp_path: Path
) -> None:
    """Whoever can put a model into a volume cannot put the key that signs it there."""
    stranger = Keys(tmp_path / "stranger")
    stranger.sign(b"")
    mounted = root / "mnt" / "models"
    shutil.copytree(app / "model", mounted)
    shutil.copytree(stranger.trusted, mounted / "keys")
    (mounted / "keys" / "trusted").mkdir()
    objects, ours = Objects(str(mounted)), carried({}, app, root)
    [document] = mounted.glob("releases/*/*/1.json")
    content = objects.get(str(document.relative_to(mounted)))

    assert release.latest(objects, Keys(ours.home), "flight-delays", "dev") is not None

    document.write_bytes(content.replace(b'"why"', b'"Why"'))
    with pytest.raises(ReleaseError, match="changed, or is not signed"):
        release.latest(objects, Keys(carried({}, app, root).home), "flight-delays", "dev")


def test_an_image_without_keys_believes_nobody(app: Path, root: Path) -> None:
    shutil.rmtree(app / "keys")
    found = carried({}, app, root)

    with pytest.raises((ReleaseError, BundleRefusedError), match="not signed by a key"):
        release.latest(Objects(found.store), Keys(found.home), "flight-delays", "dev")
