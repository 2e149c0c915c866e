"""Malformed bodies by the thousand, for every dialect: refused, and nothing is left of them.

`LOOPLINE_FUZZ=10000` makes it as many for each; the seed is fixed, so a find can be had again.
"""

import gc
import json
import os
import random
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loopline.governance.access import Access
from loopline.serving.aws_lambda import InvocationError, handle
from loopline.serving.dialects.base import Content
from loopline.serving.dialects.inference_grpc import InferenceGrpc
from loopline.serving.guard import Guard
from loopline.serving.inside import opened
from loopline.serving.messages import messages

TIMES = int(os.environ.get("LOOPLINE_FUZZ", "2000"))
_GROWTH_MIB = 40
"""What numpy, pyarrow and the caches may take once; a leak of a body each would be far more."""

_HOSTILE = [
    b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"[]", b"{}", b'""', b'"\\ud800"', b"\xff",
    b"\x00", b"[" * 60, b'{"a":' * 40, b"true", b"-0", b'"' + b"A" * 300 + b'"', b",", b":", b'"',
    b"\xef\xbb\xbf", b"\r\n", b"0x10", b"1_000", b"'", b"\\", b"\xed\xa0\x80",
]  # fmt: skip


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """Return `seed` with one to six things done to it that a broken or hostile client would do."""
    body = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(body) + 1)
        end = min(len(body), at + chance.randint(0, 12))
        kind = chance.randrange(7)
        if kind == 0:
            del body[at:end]
        elif kind == 1:
            body[at:end] = chance.choice(_HOSTILE)
        elif kind == 2 and body:
            body[at % len(body)] ^= 1 << chance.randrange(8)
        elif kind == 3:
            body = body[:at]
        elif kind == 4:
            body[at:at] = body[at:end] * chance.randint(1, 30)
        elif kind == 5:
            body[at:end] = chance.randbytes(chance.randint(0, 20))
        else:
            body[at:at] = struct.pack("<I", chance.choice([0, 1, 2**31, 2**32 - 1]))
    return bytes(body)


_WRONG: list[Any] = [
    None, True, -1, 1e308, 2**64, 10**400, float("nan"), "", "x" * 300, "\ud800", "\0",
    "\r\nhost: evil", "%ff%00", [], {}, [[]], {"a": []}, "\u2603", "AP==", "[" * 2000,
]  # fmt: skip


def changed(event: Any, chance: random.Random) -> Any:
    """Return a copy of JSON in which one or two places are gone, or something else."""
    made = json.loads(json.dumps(event))
    for _ in range(chance.randint(1, 2)):
        at: Any = made
        while True:
            names = list(at) if isinstance(at, dict) else range(len(at))
            if not names:
                break
            name = chance.choice(list(names))
            if isinstance(at[name], dict | list) and at[name] and chance.random() < 0.6:
                at = at[name]
                continue
            if chance.random() < 0.3:
                del at[name]
            else:
                at[name] = chance.choice(_WRONG)
            break
    return made


def _tensors(rows: int) -> dict[str, Any]:
    about = {"datatype": "FP64", "shape": [rows], "data": [1.5] * rows}
    return {"inputs": [{"name": name, **about} for name in ("a", "b")]}


def _raw() -> tuple[bytes, dict[str, str]]:
    inputs = [
        {"name": name, "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}
        for name in ("a", "b")
    ]
    head = json.dumps({"inputs": inputs}).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    return head + struct.pack("<2d", 1, 2), headers


def _stream() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [1.0], "b": pa.array(["2"]).dictionary_encode()})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _parquet() -> bytes:
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"a": [1.0], "b": [2.0]}), sink)
    return bytes(sink.getvalue().to_pybytes())


JSON = {"content-type": "application/json"}
V2 = "/v2/models/flight-delays/infer"
SEEDS: dict[str, tuple[str, Callable[[], tuple[bytes, dict[str, str]]]]] = {
    "inference": (V2, lambda: (json.dumps({"id": "x", **_tensors(1)}).encode(), JSON)),
    "inference_many": (V2, lambda: (json.dumps(_tensors(3)).encode(), JSON)),
    "inference_raw": (V2, _raw),
    "mlflow_records": ("/invocations", lambda: (b'{"dataframe_records":[{"a":1,"b":2}]}', JSON)),
    "mlflow_split": (
        "/invocations",
        lambda: (b'{"dataframe_split":{"columns":["a","b"],"data":[[1,2],[3,4]]}}', JSON),
    ),
    "mlflow_inputs": ("/score", lambda: (b'{"inputs":{"a":[1],"b":[2]},"params":{"k":1}}', JSON)),
    "tensors_at_invocations": ("/", lambda: (json.dumps(_tensors(1)).encode(), JSON)),
    "csv": ("/invocations", lambda: (b'a,b\n1,2\n"3",4\n', {"content-type": "text/csv"})),
    "csv_plain": ("/invocations", lambda: (b"1,2\n3,4\n", {"content-type": "text/csv"})),
    "jsonlines": (
        "/invocations",
        lambda: (b'{"a":1,"b":2}\n[3,4]\n', {"content-type": "application/jsonlines"}),
    ),
    "arrow": (
        "/invocations",
        lambda: (_stream(), {"content-type": "application/vnd.apache.arrow.stream"}),
    ),
    "parquet": (
        "/invocations",
        lambda: (_parquet(), {"content-type": "application/vnd.apache.parquet"}),
    ),
    "vertex": ("/vertex", lambda: (b'{"instances":[[1,2]],"parameters":{"output":"label"}}', JSON)),
    "kserve_v1": (
        "/v1/models/flight-delays:predict",
        lambda: (b'{"instances":[{"a":1,"b":2}]}', JSON),
    ),
    "load": ("/models", lambda: (b'{"model_name":"x","url":"/opt/ml/models/x/model"}', JSON)),
    "feedback": ("/feedback", lambda: (b'{"prediction_id":"x-0","label":1.5}', JSON)),
}  # fmt: skip


def _resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.parametrize("dialect", SEEDS)
def test_malformed_bodies_get_4xx_and_leave_nothing(serve: Any, adding: Any, dialect: str) -> None:
    client = serve(adding, environment={"MMS": "1", "AIP_PREDICT_ROUTE": "/vertex"})
    path, make = SEEDS[dialect]
    body, headers = make()
    chance = random.Random(f"{dialect} 20130401")
    good = client.call("POST", path, body, headers)
    assert good.status in {200, 400}  # a bundle to load is not there
    answered: dict[int, int] = {}
    before = 0.0

    for number in range(TIMES):
        spoilt = mutated(body, chance)
        answer = client.call("POST", path, spoilt, headers)
        answered[answer.status] = answered.get(answer.status, 0) + 1
        # Some are still right: a changed number, a column more.
        assert answer.status == 200 or 400 <= answer.status < 500, (number, spoilt)
        assert b"Traceback" not in answer.body
        if number == TIMES // 3:
            before = _resident_mib()

    assert sum(count for status, count in answered.items() if status >= 400) > TIMES / 4
    assert _resident_mib() - before < _GROWTH_MIB
    again = client.call("POST", path, body, headers)
    assert _without_ids(again) == _without_ids(good)


def test_malformed_messages_get_errors_of_ours_and_nothing_else(adding: Any) -> None:
    from loopline.errors import RequestError

    kind = messages()["ModelInferRequest"]
    raw = kind(model_name="flight-delays", id="x")
    typed = kind(model_name="flight-delays")
    for name, number in (("a", 1.0), ("b", 2.0)):
        raw.inputs.add(name=name, datatype="FP64", shape=[1])
        raw.raw_input_contents.append(struct.pack("<d", number))
        typed.inputs.add(name=name, datatype="FP64", shape=[1]).contents.fp64_contents.append(
            number
        )
    spoken = InferenceGrpc(adding.signature, 3)
    chance = random.Random("grpc 20130401")
    refused = 0

    for message in (raw, typed):
        body = message.SerializeToString()
        assert spoken.read(body, Content("")).values == [1.0, 2.0]
        for _ in range(TIMES):
            try:
                spoken.read(mutated(body, chance), Content(""))
            except RequestError:
                refused += 1
        assert spoken.read(body, Content("")).values == [1.0, 2.0]

    assert refused > TIMES


def test_malformed_messages_over_the_wire_are_the_callers_mistake(live: Any, adding: Any) -> None:
    grpc = pytest.importorskip("grpc")
    running = live(adding)
    kind = messages()["ModelInferRequest"]
    good = kind(model_name="flight-delays", id="x")
    for name, number in (("a", 1.0), ("b", 2.0)):
        good.inputs.add(name=name, datatype="FP64", shape=[1])
        good.raw_input_contents.append(struct.pack("<d", number))
    body = good.SerializeToString()
    allowed = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    chance = random.Random("wire 20130401")
    refused: dict[Any, int] = {}
    said: list[str] = []

    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        for method in ("ModelInfer", "ModelMetadata", "ModelReady"):
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            for _ in range(TIMES // 4):
                try:
                    call(mutated(body, chance), timeout=20)
                except grpc.RpcError as error:
                    refused[error.code()] = refused.get(error.code(), 0) + 1
                    said.append(error.details())
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = messages()["ModelInferResponse"].FromString(infer(body, timeout=20))

    assert set(refused) <= allowed, {text for text in said if "log says why" in text}
    assert not [text for text in said if "Traceback" in text]
    assert refused[grpc.StatusCode.INVALID_ARGUMENT] > TIMES / 8
    assert answer.raw_output_contents[0] == struct.pack("<d", 3.0)


def test_malformed_events_get_4xx_and_the_next_one_its_answer(workspace: Any, adding: Any) -> None:
    workspace.release(workspace.bundle(adding, 3))
    recorded = (Path(__file__).parent / "golden" / "lambda_http_api.json").read_text("utf-8")
    for name, value in (("path", "invocations"), ("method", "POST"), ("stage", "$default")):
        recorded = recorded.replace(f"{{{{{{{name}}}}}}}", value)
    web = json.loads(recorded)
    web |= {"body": '{"instances":[[1,2]]}', "isBase64Encoded": False}
    bare = {"instances": [[1, 2]]}
    guard = Guard(Access(workspace.settings.home), needs_token=False)
    chance = random.Random("events 20130401")
    seen: dict[int, int] = {}
    with opened(
        "flight-delays", workspace.settings, environment="dev", log="off", guard=guard
    ) as inside:
        for good in (web, bare):
            for _ in range(TIMES // 2):
                spoilt = changed(good, chance)
                try:
                    status = _status(handle(inside, spoilt))
                except InvocationError:
                    status = 400
                assert status == 200 or 400 <= status < 500, spoilt
                seen[status] = seen.get(status, 0) + 1
        assert handle(inside, bare)["predictions"] == [3.0]

    assert sum(count for status, count in seen.items() if status >= 400) > TIMES / 10


def _status(answer: Any) -> int:
    return int(answer.get("statusCode", 200)) if isinstance(answer, dict) else 200


def _without_ids(answer: Any) -> Any:
    if answer.headers["content-type"] != "application/json":
        kind = answer.headers["content-type"]
        if kind.startswith("application/vnd"):
            return pa.ipc.open_stream(answer.body).read_all().drop(["prediction_id"]).to_pydict()
        return [line.partition(b'"prediction_id"')[0] for line in answer.body.splitlines()]
    told = dict(answer.json)
    for name in ("prediction_ids", "parameters", "id"):
        told.pop(name, None)
    return answer.status, told
