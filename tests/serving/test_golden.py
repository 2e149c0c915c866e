"""What other servers answered to the same requests, replayed; each difference has its reason.

The recordings were made with a model that adds two numbers, and `adding` is that model here.
"""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from loopline.serving.messages import messages

FOLDER = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs" / "reference" / "http.md"

MLFLOW_DIFFERENCES = {
    "instances_list": "Rows without names are read in the signature's order, as Vertex sends them",
    "params": "The model takes no parameters, and unknown ones are ignored as MLflow ignores them",
    "params_badtype": "The model takes no parameters, and unknown ones are ignored",
    "null_value": "NaN is no JSON: a model that fills no gaps refuses the row with a 400",
    "no_ct": "A body without a content type is JSON, where MLflow's server fails",
    "boom": "A large number is no reason to fail here; the recorded model raised an error for it",
    "GET /version": "Loopline's own version",
    "GET /": "What KServe's clients ask for here; a browser gets the page",
}
KSERVE_DIFFERENCES = {
    "v2": "This server's name, version and extensions",
    "ready": "`live` is said beside `ready`",
    "meta": "The model's columns, where the recorded server knew none",
    "versioned": "Versions are served",
    "infer_ver": "Versions are served; this one does not answer",
    "infer_noid": "The output has its own name, so another one is refused with a 400",
    "infer_bad_shape": "A caller's mistake is a 400",
    "infer_3feat": "Another text of the same 400",
    "infer_missing_inputs": "The protocol's error, where the recorded server answers 422",
    "infer_missing_data": "The protocol's error, where the recorded server answers 422",
    "infer_badjson": "The protocol's error, where the recorded server answers 422",
    "infer_bad_datatype": "Another text of the same 400",
    "v1bad": "A caller's mistake is a 400",
    "load": "What serves is decided by the release alone",
}


def recorded(name: str) -> list[Any]:
    cases: list[Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cases"]
    return cases


def called(client: Any, case: dict[str, Any]) -> Any:
    """Send what was sent, with the project's name in place of the recorded model's."""
    method, _, path = case["case"].partition(" ")
    if not path:
        method, path = "POST", "/invocations"
    body = (case.get("request_body") or "").encode()
    return client.call(method, path, body, {"content-type": case.get("content_type") or ""})


def test_mlflows_recorded_answers_are_given_here_too(serve: Any, adding: Any) -> None:
    client = serve(adding)
    cases = recorded("mlflow_scoring.json")

    assert len(cases) > 30
    for case in cases:
        answer, name = called(client, case), case["case"]
        if name in MLFLOW_DIFFERENCES:
            assert _said(answer) != (case["status"], case["response"]), name
        elif case["status"] == 200 and isinstance(case["response"], dict):
            assert answer.status == 200, name
            assert answer.json["predictions"] == case["response"]["predictions"], name
        else:
            assert answer.status == case["status"], name
        if answer.status >= 400:
            assert {"error_code", "message", "error"} == set(answer.json), name
            assert "Traceback" not in answer.json["message"], name


def test_where_mlflow_differs_these_are_the_answers(serve: Any, adding: Any) -> None:
    client = serve(adding)
    cases = {case["case"]: case for case in recorded("mlflow_scoring.json")}

    for name, predictions in {
        "instances_list": [3.0, 7.0],
        "params": [3.0],
        "params_badtype": [3.0],
        "no_ct": [3.0],
        "boom": [10_000_002.0],
    }.items():
        answer = called(client, cases[name])
        assert (answer.status, answer.json["predictions"]) == (200, predictions), name
    missing = called(client, cases["null_value"])
    assert missing.status == 400
    assert "a value is missing" in missing.json["message"]


def test_kserves_recorded_answers_are_given_here_too(serve: Any, adding: Any) -> None:
    client = serve(adding)
    cases = recorded("kserve_server.json")

    assert len(cases) > 25
    for case in cases:
        name, path = case["case"], case["path"].replace("/models/m", "/models/flight-delays")
        headers = {key.lower(): value for key, value in (case["request_headers"] or {}).items()}
        answer = client.call(case["method"], path, _body(case["request_body"]), headers)
        expected = _renamed(case["response"])
        assert answer.status < 500, name
        if name in KSERVE_DIFFERENCES:
            assert _said(answer) != (case["status"], expected), name
        elif case["status"] >= 400:
            assert answer.status == case["status"], name
        elif "outputs" in expected:
            # What is absent is left out, and not null as recorded: so the protocol has it.
            [found], [output] = answer.json["outputs"], expected["outputs"]
            assert (found["data"], found["shape"]) == (output["data"], output["shape"]), name
            assert None not in answer.json.values(), name
        else:
            assert (answer.status, answer.json) == (200, expected), name
        if answer.status >= 400 and path.startswith(("/v1", "/v2")):
            assert set(answer.json) == {"error"}, name


def test_kserves_own_clients_get_what_they_got_when_they_were_recorded(
    live: Any, adding: Any
) -> None:
    grpc = pytest.importorskip("grpc")
    running = live(adding)
    kept = json.loads((FOLDER / "kserve_client.json").read_text(encoding="utf-8"))

    assert len(kept["http"]) > 15
    for case in kept["http"]:
        body = base64.b64decode(case["body"])
        answer = running.client.call(case["method"], case["path"], body, case["headers"])
        assert answer.status == case["status"], case["case"]
        if "outputs" in case:
            assert _outputs(answer) == case["outputs"], case["case"]
            assert _head(answer)["id"] == case["id"], case["case"]
        if "predictions" in case:
            assert answer.json["predictions"] == case["predictions"], case["case"]
    assert running.client.get("/").json == {"status": "alive"}
    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for case in kept["grpc"]:
            message = base64.b64decode(case["message"])
            if "code" in case:
                with pytest.raises(grpc.RpcError, match=case["code"]):
                    infer(message, timeout=20)
                continue
            said = messages()["ModelInferResponse"].FromString(infer(message, timeout=20))
            [values] = case["outputs"].values()
            raw = b"".join(said.raw_output_contents)
            found = struct.unpack("<2d", raw) if raw else said.outputs[0].contents.fp64_contents
            assert list(found) == values, case["case"]
            assert said.id == case.get("id", said.id), case["case"]


def _head(answer: Any) -> Any:
    length = answer.headers.get("inference-header-content-length")
    return json.loads(answer.body[: int(length)] if length else answer.body)


def _outputs(answer: Any) -> dict[str, list[float]]:
    """Read an answer as the protocol's binary extension has it: raw tensors after the JSON."""
    length, found = answer.headers.get("inference-header-content-length"), {}
    raw = answer.body[int(length) :] if length else b""
    for tensor in _head(answer)["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size", 0)
        values = tensor.get("data") or struct.unpack(f"<{size // 8}d", raw[:size])
        found[tensor["name"]], raw = list(values), raw[size:]
    assert raw == b""
    return found


def test_a_browser_gets_the_page_where_programs_hear_that_the_server_is_alive(
    serve: Any, adding: Any
) -> None:
    client = serve(adding)

    page = client.get("/", accept="text/html,application/xhtml+xml,*/*;q=0.8")

    assert page.headers["content-type"].startswith("text/html")
    assert client.get("/", accept="*/*").json == client.get("/").json == {"status": "alive"}


@pytest.mark.parametrize("table", [MLFLOW_DIFFERENCES, KSERVE_DIFFERENCES])
def test_every_difference_is_told_in_the_reference(table: dict[str, str]) -> None:
    text = DOCS.read_text(encoding="utf-8")

    assert [name for name, why in table.items() if f"| `{name}` | {why}. |" not in text] == []


def _body(text: str | None) -> bytes:
    if text is None:
        return b""
    if text.startswith("b'"):  # bytes, as Python writes them
        return text[2:-1].encode().decode("unicode_escape").encode("latin-1")
    return text.encode()


def _said(answer: Any) -> tuple[int, Any]:
    try:
        return answer.status, json.loads(answer.body)
    except ValueError:
        return answer.status, answer.body.decode()


def _renamed(response: Any) -> Any:
    return json.loads(json.dumps(response).replace('"m"', '"flight-delays"'))
