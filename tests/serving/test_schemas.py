"""The protocol's own OpenAPI judges what goes in and out; ours is tried by a generator."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

PROTOCOL = YAML(typ="safe").load(Path(__file__).parent / "golden" / "open_inference_rest.yaml")
INFER = "/v2/models/flight-delays/infer"


def valid(name: str, document: Any) -> None:
    """Check `document` against a schema of the protocol, which is OpenAPI 3.0."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": PROTOCOL["components"]}
    jsonschema.Draft4Validator(schema).validate(document)


def test_the_schemas_refuse_what_they_should() -> None:
    with pytest.raises(jsonschema.ValidationError):
        valid("inference_response", {"model_name": 7, "outputs": []})
    with pytest.raises(jsonschema.ValidationError):
        valid("inference_request", {"inputs": [{"name": "a"}]})


@pytest.mark.parametrize("model", ["late", "origin", "delay"])
def test_what_is_asked_and_answered_is_the_protocols(
    serve: Any, request: Any, tensors: Any, model: str
) -> None:
    trained = request.getfixturevalue(model)
    client = serve(trained)
    full = [row for row in trained.records if None not in row.values()][:3]
    example = client.get("/openapi.json").json["paths"]["/v2/models/{model}/infer"]["post"]
    asked = example["requestBody"]["content"]["application/json"]["example"]

    for body in (asked, {"inputs": tensors(trained, full)}):
        valid("inference_request", body)
        answer = client.post(INFER, body)
        assert answer.status == 200
        valid("inference_response", answer.json)
    valid("metadata_server_response", client.get("/v2").json)
    valid("metadata_model_response", client.get("/v2/models/flight-delays").json)
    valid("metadata_model_response", client.get("/v2/models/flight-delays/versions/3").json)
    valid("inference_error_response", client.post(INFER, {}).json)
    valid("metadata_model_error_response", client.get("/v2/models/other").json)


def test_every_path_of_the_protocol_is_served(serve: Any, late: Any) -> None:
    client = serve(late)

    assert len(PROTOCOL["paths"]) > 8
    for path, operations in PROTOCOL["paths"].items():
        here = path.replace("{MODEL_NAME}", "flight-delays").replace("{MODEL_VERSION}", "3")
        method = "POST" if "post" in operations else "GET"
        assert client.call(method, here).status == (400 if method == "POST" else 200)


def test_no_call_that_our_own_description_allows_is_a_fault(serve: Any, adding: Any) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    import hypothesis

    client = serve(adding, environment={"MMS": "1", "AIP_PREDICT_ROUTE": "/vertex"})
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json)
    tried: set[tuple[str, str]] = set()

    for operation in schema.get_all_operations():
        strategy = operation.ok().as_strategy()

        @hypothesis.settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(strategy)
        def try_one(case: Any) -> None:
            named = {
                "model": "flight-delays", "version": "3", **(case.path_parameters or {})
            }  # fmt: skip
            path = case.path.format(**named)
            body = case.body if isinstance(case.body, bytes) else None
            headers = {"content-type": case.media_type or ""}
            if body is None and isinstance(case.body, str):
                body = case.body.encode("utf-8", "replace")
            if body is not None:
                answer = client.call(case.method.upper(), path, body, headers)
            else:
                sent = case.body if isinstance(case.body, dict | list) else {}
                answer = client.post(path, sent) if case.method == "POST" else client.get(path)
            assert answer.status < 500
            assert b"Traceback" not in answer.body
            tried.add((case.method.upper(), case.path))

        try_one()

    assert ("POST", "/invocations") in tried
    assert ("POST", "/vertex") in tried
    assert len(tried) > 25
