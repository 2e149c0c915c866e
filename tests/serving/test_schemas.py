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


def tried(client: Any, document: Any, *, negative: bool = False) -> set[tuple[str, str, int]]:
    """Make calls from a description, or calls that break it; return what was asked and said."""
    schemathesis = pytest.importorskip("schemathesis")
    import hypothesis

    mode = schemathesis.GenerationMode
    said: set[tuple[str, str, int]] = set()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        if negative and operation.method.upper() != "POST":
            continue  # any text is a right name in a path, so nothing of it can be wrong

        @hypothesis.settings(
            max_examples=15,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(operation.as_strategy(mode.NEGATIVE if negative else mode.POSITIVE))
        def try_one(case: Any) -> None:
            path, answer = _sent(client, case)
            assert answer.status < 500, (path, case.body)
            assert b"Traceback" not in answer.body
            if path.startswith("/v2") and answer.status >= 400:
                valid("inference_error_response", answer.json)
            said.add((case.method.upper(), case.path, answer.status))

        try_one()
    return said


def _sent(client: Any, case: Any) -> tuple[str, Any]:
    known = {"model": "flight-delays", "version": "3"}
    known |= {"MODEL_NAME": "flight-delays", "MODEL_VERSION": "3"}
    # What was made up for a name is of no interest, but for one that is no name at all.
    path = case.path.format(**{**(case.path_parameters or {}), **known})
    headers = {"content-type": case.media_type or ""}
    if isinstance(case.body, bytes | str):
        raw = case.body if isinstance(case.body, bytes) else case.body.encode("utf-8", "replace")
        return path, client.call(case.method.upper(), path, raw, headers)
    if case.method == "POST":
        told = type(case.body).__name__ != "NotSet"
        return path, client.post(path, case.body if told else b"")
    return path, client.call(case.method.upper(), path)


def test_no_call_that_our_own_description_allows_is_a_fault(serve: Any, adding: Any) -> None:
    client = serve(adding, environment={"MMS": "1", "AIP_PREDICT_ROUTE": "/vertex"})

    said = tried(client, client.get("/openapi.json").json)

    asked = {(method, path) for method, path, _ in said}
    assert ("POST", "/invocations") in asked
    assert ("POST", "/vertex") in asked
    assert len(asked) > 25


def test_no_call_that_the_protocol_allows_is_a_fault(serve: Any, adding: Any) -> None:
    said = tried(serve(adding), PROTOCOL)

    operations = [on for path in PROTOCOL["paths"].values() for on in path if on in {"get", "post"}]
    assert len({(method, path) for method, path, _ in said}) == len(operations)
    # Tensors of other names are as right as any by the protocol; this model refuses them.
    assert {status for method, _, status in said if method == "POST"} <= {200, 400}
    assert {status for method, _, status in said if method == "GET"} == {200}


@pytest.mark.parametrize("whose", ["ours", "protocol"])
def test_no_call_that_breaks_a_description_is_a_fault(serve: Any, adding: Any, whose: str) -> None:
    client = serve(adding, environment={"MMS": "1", "AIP_PREDICT_ROUTE": "/vertex"})
    document = PROTOCOL if whose == "protocol" else client.get("/openapi.json").json

    said = tried(client, document, negative=True)

    refused = {(method, path) for method, path, status in said if status >= 400}
    assert {path for method, path in refused if method == "POST"} >= {
        path for path, on in document["paths"].items() if "post" in on and path.endswith("infer")
    }
