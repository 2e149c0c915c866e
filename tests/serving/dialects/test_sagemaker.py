"""SageMaker: batch transform's parameters, the header that survives, and multi-model endpoints."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loopline.governance.access import Access
from loopline.serving.dialects import sagemaker
from loopline.serving.guard import Guard

ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"


def test_batch_transform_is_told_how_to_send(serve: Any, late: Any) -> None:
    said = serve(late).get("/execution-parameters").json

    assert said["BatchStrategy"] == "MULTI_RECORD"
    assert said["MaxConcurrentTransforms"] * said["MaxPayloadInMB"] <= 100  # the service's limit


def test_the_ids_come_back_in_the_one_header_that_survives(serve: Any, adding: Any) -> None:
    client = serve(adding)

    plain = client.post("/invocations", {"instances": [[1, 2]]})
    asked = client.post("/invocations", {"instances": [[1, 2]]}, **{ATTRIBUTES: "trace=7"})
    long = client.post("/invocations", {"instances": [[1, 2]]}, **{ATTRIBUTES: "x" * 1024})

    assert ATTRIBUTES not in plain.headers
    ids = f"request-id={asked.headers['x-request-id']},model-version=3"
    assert asked.headers[ATTRIBUTES] == f"{ids},trace=7"
    assert long.headers[ATTRIBUTES].startswith("request-id=")
    assert len(long.headers[ATTRIBUTES]) < 100


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sagemaker, "_MODELS", tmp_path / "models")
    return tmp_path / "models"


def bundle(workspace: Any) -> Path:
    store = Path(workspace.settings.store_url.removeprefix("file://"))
    return store / "bundles" / "flight-delays" / "3"


def test_a_version_of_the_release_is_loaded_invoked_listed_and_unloaded(
    serve: Any, adding: Any, workspace: Any, unpacked: Path
) -> None:
    client = serve(adding, environment={"MMS": "1"})
    shutil.copytree(bundle(workspace), unpacked / "a1b2" / "model")
    load = {"model_name": "a1b2", "url": str(unpacked / "a1b2" / "model")}

    assert client.post("/models/a1b2/invoke", {"instances": [[1, 2]]}).status == 404
    assert client.get("/models").json == {"models": []}
    assert client.post("/models", load).status == 200
    assert client.post("/models", load).status == 409
    known = {"modelName": "a1b2", "modelUrl": load["url"]}
    assert client.get("/models").json == {"models": [known]}
    assert client.get("/models/a1b2").json == known
    answer = client.post("/models/a1b2/invoke", {"instances": [[1, 2]]})
    assert (answer.status, answer.json["predictions"]) == (200, [3.0])
    lines = client.post("/models/a1b2/invoke", b"1,2\n", **{"content-type": "text/csv"})
    assert lines.body == b"3.0\n"
    assert client.call("DELETE", "/models/a1b2").status == 200
    assert client.call("DELETE", "/models/a1b2").status == 404
    assert client.get("/models/a1b2").status == 404


def test_what_the_release_does_not_name_is_not_loaded(
    serve: Any, adding: Any, workspace: Any, unpacked: Path
) -> None:
    client = serve(adding, environment={"MMS": "1"})
    shutil.copytree(bundle(workspace), unpacked / "other" / "model")
    manifest = unpacked / "other" / "model" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")

    for name, url, words in (
        ("other", str(unpacked / "other" / "model"), "no version that the release names"),
        ("none", str(unpacked / "none" / "model"), "There is no bundle in"),
        ("other", "/etc", "A model is loaded from"),
        ("..", str(unpacked / ".." / "model"), "A model is loaded from"),
        ("a/b", str(unpacked / "a/b" / "model"), "A model is loaded from"),
    ):
        answer = client.post("/models", {"model_name": name, "url": url})
        assert answer.status == 400
        assert words in answer.json["message"]
    assert client.post("/models", b"{}").status == 400


def test_without_mms_there_are_no_multi_model_routes(serve: Any, adding: Any) -> None:
    client = serve(adding)

    assert client.get("/models").status == 404
    assert client.post("/models/x/invoke", {"instances": [[1, 2]]}).status == 404


def test_loading_and_unloading_take_the_scope_admin(
    serve: Any, adding: Any, tmp_path: Path
) -> None:
    client = serve(adding, environment={"MMS": "1"})
    access = Access(tmp_path / "tokens")
    asks = access.make("asks", ["predict"], made_at=datetime.now(UTC))
    loads = access.make("loads", ["admin"], made_at=datetime.now(UTC))
    client.app.guard = Guard(access, needs_token=True)

    def status(method: str, path: str, token: str, body: bytes = b"") -> Any:
        return client.call(method, path, body, {"authorization": f"Bearer {token}"}).status

    body = b'{"model_name": "mine", "url": "elsewhere"}'
    assert status("POST", "/models", asks, body) == 403
    assert status("POST", "/models", loads, body) == 400  # it may, and there is no such place
    assert status("DELETE", "/models/mine", asks) == 403
    assert status("DELETE", "/models/mine", loads) == 404
    assert status("GET", "/models", asks) == 200
