"""The clients that others publish, against the running application, over HTTP and gRPC."""

import asyncio
import http.client
import io
import json
import re
from contextlib import closing
from dataclasses import replace
from typing import Any

import botocore.session
import grpc
import numpy as np
import pytest
from botocore.awsrequest import AWSRequest, HeadersDict
from botocore.parsers import create_parser
from botocore.response import StreamingBody
from botocore.serialize import create_serializer

from loopline.serving.grpc import Listener
from loopline.serving.limits import Limits
from loopline.serving.messages import SERVICE, messages

DTYPES = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}
_CONTENTS = {"FP64": "fp64_contents", "INT64": "int64_contents", "BOOL": "bool_contents"}


def _filled(trained: Any, count: int) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return rows without gaps, and what the original says of them: tensors know no null."""
    places = [at for at, row in enumerate(trained.records) if None not in row.values()][:count]
    scores: np.ndarray = trained.original.scores(trained.columns)[places]
    return [trained.records[at] for at in places], scores


def _inputs(kind: Any, metadata: Any, records: list[dict[str, Any]], **options: Any) -> list[Any]:
    found = []
    for column in metadata:
        values = [record[column["name"]] for record in records]
        if column["datatype"] == "BYTES":
            values = [str(value).encode() for value in values]
        array = np.array(values, dtype=DTYPES[column["datatype"]])
        tensor = kind(column["name"], list(array.shape), column["datatype"])
        tensor.set_data_from_numpy(array, **options)
        found.append(tensor)
    return found


@pytest.mark.parametrize("model", ["late", "origin", "delay"])
def test_tritons_http_client_reads_json_and_binary_answers_alike(
    live: Any, request: Any, model: str
) -> None:
    triton = pytest.importorskip("tritonclient.http")
    trained = request.getfixturevalue(model)
    records, expected = _filled(trained, 12)
    score = "prediction" if model == "delay" else "probability"
    running = live(trained)

    with triton.InferenceServerClient(running.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("flight-delays", "3")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        [one] = client.get_model_repository_index()
        assert (one["name"], one["version"], one["state"]) == ("flight-delays", "3", "READY")
        metadata = client.get_model_metadata("flight-delays")["inputs"]
        for in_binary in (True, False):
            inputs = _inputs(triton.InferInput, metadata, records, binary_data=in_binary)
            for wanted in (
                None,  # all, which Triton's client asks for in binary
                [triton.InferRequestedOutput(score, binary_data=True)],
                [triton.InferRequestedOutput(score, binary_data=False)],
            ):
                answer = client.infer("flight-delays", inputs, outputs=wanted, request_id="mine")
                np.testing.assert_allclose(answer.as_numpy(score), expected, atol=1e-9)
                assert answer.get_response()["id"] == "mine"
                [tensor] = [t for t in answer.get_response()["outputs"] if t["name"] == score]
                is_json = wanted is not None and not wanted[0]._binary
                assert ("data" in tensor) is is_json
        if model != "delay":
            answer = client.infer("flight-delays", inputs)
            labels = [text.decode() for text in answer.as_numpy("label").tolist()]
            assert labels == _labels(trained, expected)
        with pytest.raises(Exception, match="The request has no"):
            client.infer("flight-delays", inputs[:3])


@pytest.mark.parametrize("model", ["late", "origin", "delay"])
def test_tritons_grpc_client_gets_the_originals_answers(
    live: Any, request: Any, model: str
) -> None:
    grpc = pytest.importorskip("tritonclient.grpc")
    trained = request.getfixturevalue(model)
    records, expected = _filled(trained, 12)
    score = "prediction" if model == "delay" else "probability"
    running = live(trained)

    with grpc.InferenceServerClient(f"127.0.0.1:{running.grpc_port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("flight-delays")
        assert client.is_model_ready("flight-delays", "3")
        assert not client.is_model_ready("flight-delays", "4")
        assert not client.is_model_ready("other")
        assert client.get_server_metadata().name == "loopline"
        described = client.get_model_metadata("flight-delays", as_json=True)["inputs"]
        inputs = _inputs(grpc.InferInput, described, records)
        answer = client.infer("flight-delays", inputs, request_id="mine")
        np.testing.assert_allclose(answer.as_numpy(score), expected, atol=1e-9)
        assert answer.get_response().id == "mine"
        assert answer.get_response().model_version == "3"
        ids = answer.get_response().parameters["prediction_ids"].string_param.split(",")
        assert len(ids) == 12
        one = client.infer("flight-delays", _inputs(grpc.InferInput, described, records[:1]))
        np.testing.assert_allclose(one.as_numpy(score), expected[:1], atol=1e-9)
        if model != "delay":
            labels = [text.decode() for text in answer.as_numpy("label").tolist()]
            assert labels == _labels(trained, expected)
            wanted = [grpc.InferRequestedOutput("label")]
            only = client.infer("flight-delays", inputs, outputs=wanted).get_response()
            assert [output.name for output in only.outputs] == ["label"]
        for name, given, version, words in (
            ("flight-delays", inputs[:3], "", r"INVALID_ARGUMENT.*The request has no"),
            ("other", inputs, "", r"NOT_FOUND.*There is no such model here"),
            ("flight-delays", inputs, "7", r"NOT_FOUND.*Version 7 does not answer"),
            ("flight-delays", inputs, "x", r"NOT_FOUND.*'x' is no version"),
        ):
            with pytest.raises(grpc.InferenceServerException, match=words):
                client.infer(name, given, model_version=version)
    counted = running.client.path.metrics.requests
    assert counted["/inference.GRPCInferenceService/ModelInfer", 400] == 1
    assert counted["/inference.GRPCInferenceService/ModelInfer", 404] == 3


def test_grpc_and_http_share_one_log_and_one_token(live: Any, late: Any) -> None:
    grpc = pytest.importorskip("tritonclient.grpc")
    running = live(late, token="correct horse battery")
    records, _ = _filled(late, 2)
    token = {"authorization": "Bearer correct horse battery"}

    with grpc.InferenceServerClient(f"127.0.0.1:{running.grpc_port}") as client:
        assert client.is_server_ready()
        with pytest.raises(grpc.InferenceServerException, match="UNAUTHENTICATED"):
            client.get_model_metadata("flight-delays")
        with pytest.raises(grpc.InferenceServerException, match="UNAUTHENTICATED"):
            client.get_model_metadata("flight-delays", headers={"authorization": "Bearer no"})
        described = client.get_model_metadata("flight-delays", headers=token, as_json=True)
        inputs = _inputs(grpc.InferInput, described["inputs"], records)
        client.infer("flight-delays", inputs, request_id="mine", headers=token)

    [frame] = [frame for frame in running.client.frames() if frame[0] == "p"]
    assert (frame[2], frame[8]) == ("mine", 2)


def test_two_servers_do_not_share_a_grpc_port(live: Any, serve: Any, late: Any) -> None:
    running = live(late)

    async def second() -> None:
        Listener(running.client.app, "127.0.0.1", running.grpc_port)

    with pytest.raises(Exception, match=r"cannot be used for gRPC"):
        asyncio.run(second())


def test_sagemakers_runtime_client_is_understood_and_understands(live: Any, adding: Any) -> None:
    """What boto3 would send and read, without an account: its serializer and its parser."""
    running = live(adding)
    service = botocore.session.Session().get_service_model("sagemaker-runtime")
    invoke = service.operation_model("InvokeEndpoint")
    serializer = create_serializer(service.metadata["protocol"])
    parser = create_parser(service.metadata["protocol"])

    def called(body: bytes, **parameters: str) -> Any:
        made = serializer.serialize_to_request(
            {"EndpointName": "churn", "Body": body, **parameters}, invoke
        )
        assert re.fullmatch(r"/endpoints/churn/invocations", made["url_path"])
        sent = AWSRequest(made["method"], running.url, made["headers"], made["body"]).prepare()
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        with closing(connection):
            # SageMaker calls the container's path, and passes these headers on.
            connection.request("POST", "/invocations", sent.body, dict(sent.headers))
            answer = connection.getresponse()
            content = answer.read()
        headers = HeadersDict(answer.getheaders())
        if answer.status != 200:
            return answer.status, json.loads(content)
        body = StreamingBody(io.BytesIO(content), len(content))
        found = {"status_code": answer.status, "headers": headers, "body": body, "context": {}}
        said = parser.parse(found, invoke.output_shape)
        return answer.status, {**said, "Body": said["Body"].read()}

    status, said = called(
        b"1,2\n3,4\n",
        ContentType="text/csv",
        Accept="text/csv",
        CustomAttributes="trace=7",
        InferenceId="mine",
    )
    assert status == 200
    assert said["Body"] == b"3.0\n7.0\n"
    assert said["ContentType"].startswith("text/csv")
    assert said["CustomAttributes"].endswith("model-version=3,trace=7")
    status, said = called(b'{"instances": [[1, 2]]}', ContentType="application/json")
    assert json.loads(said["Body"])["predictions"] == [3.0]
    status, said = called(b"x", ContentType="application/octet-stream")
    assert (status, set(said)) == (400, {"error_code", "message", "error"})
    [first, *_] = [frame for frame in running.client.frames() if frame[0] == "p"]
    assert first[2] == "mine"


def _labels(trained: Any, scores: np.ndarray) -> list[str]:
    if scores.ndim == 1:
        return ["true" if score >= 0.23 else "false" for score in scores]
    return [trained.signature.classes[place] for place in scores.argmax(axis=1)]


def _request(inputs: list[Any], record: dict[str, Any]) -> bytes:
    """Return the bytes of a request for one row, as a client writes them."""
    tensors = [
        {
            "name": tensor.name(),
            "datatype": tensor.datatype(),
            "shape": tensor.shape(),
            "contents": {"bytes_contents": [str(record[tensor.name()]).encode()]}
            if tensor.datatype() == "BYTES"
            else {_CONTENTS[tensor.datatype()]: [record[tensor.name()]]},
        }
        for tensor in inputs
    ]
    message = messages()["ModelInferRequest"](model_name="flight-delays", inputs=tensors)
    body: bytes = message.SerializeToString()
    return body


def test_over_grpc_a_routing_key_chooses_and_the_answer_says_who_it_was(
    live: Any, late: Any, workspace: Any
) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    running = live(late)
    router = running.client.path.router
    [old] = router.release.serves
    new = replace(workspace.bundle(late, 4), share=0.5, arm="bold")
    workspace.release(replace(old, share=0.5), new)
    router.look()
    records, _ = _filled(late, 8)
    address = f"127.0.0.1:{running.grpc_port}"
    with triton.InferenceServerClient(address) as client:
        described = client.get_model_metadata("flight-delays", as_json=True)["inputs"]
    bodies = [
        _request(_inputs(triton.InferInput, described, [record]), record) for record in records
    ]
    found: dict[str, set[tuple[str, str | None]]] = {}

    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        for key in ("ada", "bob", "grace", "eve"):
            for body in bodies:
                _, call = infer.with_call(body, metadata=(("x-routing-key", key),))
                said = dict(call.initial_metadata())
                assert len(said["x-request-id"]) == 24
                arm = said["x-model-version"], said.get("x-model-arm")
                found.setdefault(key, set()).add(arm)

    assert all(len(arms) == 1 for arms in found.values())
    assert set.union(*found.values()) == {("3", None), ("4", "bold")}


def test_past_the_bound_grpc_sheds_like_http_and_says_when_to_come_back(
    live: Any, late: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    for name in ("_QUIET_SECONDS", "_LONGEST_SECONDS"):  # however slow the machine
        monkeypatch.setattr(f"loopline.serving.grpc.{name}", 0.3)
    running = live(late)
    running.intake.limits = Limits(in_flight=4)
    records, _ = _filled(late, 1)
    address = f"127.0.0.1:{running.grpc_port}"
    with triton.InferenceServerClient(address) as client:
        described = client.get_model_metadata("flight-delays", as_json=True)["inputs"]
    body = _request(_inputs(triton.InferInput, described, records), records[0])
    ready = messages()["ServerReadyRequest"]().SerializeToString()

    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        calls = [infer.future(body) for _ in range(400)]
        probe = channel.unary_unary(f"/{SERVICE}/ServerReady")(ready)
        failed = [call for call in calls if call.exception() is not None]
        codes = {call.code() for call in failed}
        said = dict(failed[0].trailing_metadata())
        again = infer(body)

    frames = [frame for frame in running.client.frames() if frame[0] in {"p", "e"}]
    assert 0 < len(failed) < 400
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert (said["retry-after"], said["grpc-retry-pushback-ms"]) == ("1", "1000")
    assert running.intake.shed == len(failed)
    assert [frame[0] for frame in frames] == ["p"] * (401 - len(failed))
    assert probe
    assert again
    assert (running.intake.in_flight, running.intake.bodies_bytes) == (0, 0)


def test_grpc_counts_a_large_body_as_many_requests_and_says_that_the_server_ends(
    live: Any, late: Any
) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    running = live(late)
    running.intake.limits = Limits(bodies_bytes=10_000)
    records, _ = _filled(late, 1)
    address = f"127.0.0.1:{running.grpc_port}"

    with triton.InferenceServerClient(address) as client:
        described = client.get_model_metadata("flight-delays", as_json=True)["inputs"]
        few = _inputs(triton.InferInput, described, records)
        many = _inputs(triton.InferInput, described, records * 200)
        client.infer("flight-delays", few)
        with pytest.raises(triton.InferenceServerException, match="RESOURCE_EXHAUSTED"):
            client.infer("flight-delays", many)
        before = client.is_server_ready()
        running.intake.is_draining = True
        after = client.is_server_ready()

    assert (before, after) == (True, False)
