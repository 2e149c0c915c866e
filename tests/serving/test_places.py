"""Ports and model folders, in the order in which platforms' words count."""

from pathlib import Path

import pytest

from loopline.errors import SettingError
from loopline.serving import places


@pytest.mark.parametrize(
    ("environ", "chosen", "expected"),
    [
        ({}, None, 8080),
        ({"PORT": "9000"}, None, 9000),
        ({"PORT": "9000", "AIP_HTTP_PORT": "9001"}, None, 9001),
        ({"PORT": "9000", "AIP_HTTP_PORT": "9001", "SAGEMAKER_BIND_TO_PORT": "9002"}, None, 9002),
        ({"PORT": "9000", "SAGEMAKER_BIND_TO_PORT": "9002"}, 7, 7),
        ({"PORT": "9000"}, 0, 0),
        ({"PORT": "", "AIP_HTTP_PORT": ""}, None, 8080),
    ],
)
def test_the_port_is_what_was_asked_for_or_what_the_platform_says(
    environ: dict[str, str], chosen: int | None, expected: int
) -> None:
    assert places.port(environ, chosen) == expected


@pytest.mark.parametrize("text", ["x", "0", "65536", "-1", "80 ", "٣", "9" * 5000, "8080.0"])
def test_a_port_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingError, match="PORT is"):
        places.port({"PORT": text})


def test_the_model_is_where_the_platform_put_it_or_in_the_image(tmp_path: Path) -> None:
    baked = tmp_path / "baked"
    (tmp_path / "mnt/models").mkdir(parents=True)
    (tmp_path / "opt/ml/model").mkdir(parents=True)
    urls = {"AIP_STORAGE_URI": "", "MODEL_URI": "s3://bucket/model"}

    assert places.model({}, baked, tmp_path) == baked
    assert places.model(urls, baked, tmp_path) == "s3://bucket/model"
    both = {**urls, "AIP_STORAGE_URI": "gs://bucket/model"}
    assert places.model(both, baked, tmp_path) == "gs://bucket/model"
    (tmp_path / "opt/ml/model/manifest.json").touch()
    assert places.model(both, baked, tmp_path) == tmp_path / "opt/ml/model"
    (tmp_path / "mnt/models/manifest.json").touch()
    assert places.model(both, baked, tmp_path) == tmp_path / "mnt/models"
    azure = {**both, "AZUREML_MODEL_DIR": "/var/azureml-app/azureml-models/churn/7"}
    assert places.model(azure, baked, tmp_path) == Path(azure["AZUREML_MODEL_DIR"])
    assert places.model({**azure, "MODEL_DIR": "/m"}, baked, tmp_path) == Path("/m")
