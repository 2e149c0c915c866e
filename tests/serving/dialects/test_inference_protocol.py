"""The Open Inference Protocol, against its own schema, Triton's client and hostile bodies."""

import copy
import json
import struct
from typing import Any

import pytest

INFER = "/v2/models/flight-delays/infer"


def _tensor(name, data, datatype="FP64", shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


@pytest.fixture
def body(late, tensors):
    return {"id": "case-1", "inputs": tensors(late, late.records[:2])}


def test_the_answer_has_the_protocols_form(serve, late, body):
    answer = serve(late).post(INFER, body).json

    assert answer["model_name"] == "flight-delays"
    assert answer["model_version"] == "3"
    assert answer["id"] == "case-1"
    assert [output["name"] for output in answer["outputs"]] == ["label", "probability"]
    assert [output["datatype"] for output in answer["outputs"]] == ["BYTES", "FP64"]
    assert [output["shape"] for output in answer["outputs"]] == [[2], [2]]
    for value in answer["parameters"].values():
        assert isinstance(value, str | int | float | bool)


def test_without_an_id_the_servers_own_comes_back(serve, late, body):
    del body["id"]
    answer = serve(late).post(INFER, body)

    assert answer.json["id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("client_id", ["", "ü☃", 'quo"te\\', "a" * 1000])
def test_an_id_comes_back_as_it_was(serve, late, body, client_id):
    assert serve(late).post(INFER, body | {"id": client_id}).json["id"] == client_id


def test_metadata_lists_what_a_caller_sends_and_gets(serve, late, origin):
    metadata = serve(late).get("/v2/models/flight-delays").json

    assert metadata["name"] == "flight-delays"
    assert metadata["versions"] == ["3"]
    assert {i["name"]: i["datatype"] for i in metadata["inputs"]} == {
        "flight_id": "BYTES",
        "scheduled": "BYTES",
        "tailnum": "BYTES",
        "carrier": "BYTES",
        "dest": "BYTES",
        "month": "BYTES",
        "distance": "FP64",
        "hour": "INT64",
        "weekend": "BOOL",
    }
    assert metadata["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probability", "datatype": "FP64", "shape": [-1]},
    ]


def test_flat_nested_and_two_dimensional_data_mean_the_same(serve, late, body):
    client = serve(late)
    expected = client.post(INFER, body).json["outputs"]
    nested, two = copy.deepcopy(body), copy.deepcopy(body)
    for tensor in nested["inputs"]:
        tensor["shape"] = [2, 1]
        tensor["data"] = [[value] for value in tensor["data"]]
    for tensor in two["inputs"]:
        tensor["shape"] = [2, 1]

    assert client.post(INFER, nested).json["outputs"] == expected
    assert client.post(INFER, two).json["outputs"] == expected


@pytest.mark.parametrize("rows", [1, 2])
def test_one_row_and_the_general_way_agree_on_odd_but_legal_tensors(serve, late, tensors, rows):
    client = serve(late)
    plain = tensors(late, late.records[:rows])
    expected = client.post(INFER, {"inputs": plain}).json["outputs"]
    as_text = [
        {**t, "datatype": "BYTES", "data": [None if v is None else f" {v} " for v in t["data"]]}
        for t in plain
    ]
    odd = [
        plain[::-1],
        as_text,
        [*plain, _tensor("unknown", [1.0] * 768, shape=[rows, 768])],
        [t for t in plain if t["name"] not in {"flight_id", "tailnum"}],
        [{**t, "parameters": {"content_type": "np"}} for t in plain],
    ]
    for inputs in odd:
        answer = client.post(INFER, {"inputs": inputs, "parameters": {"priority": 1}})
        assert answer.json["outputs"] == expected
    assert client.path.metrics.unknown_columns == 1


def test_outputs_are_selected_by_name(serve, late, body):
    client = serve(late)
    both = client.post(INFER, body).json["outputs"]

    one = client.post(INFER, body | {"outputs": [{"name": "probability"}]}).json["outputs"]
    turned = client.post(
        INFER, body | {"outputs": [{"name": "probability"}, {"name": "label"}]}
    ).json["outputs"]
    wrong = client.post(INFER, body | {"outputs": [{"name": "score"}]})

    assert one == both[1:]
    assert turned == both[::-1]
    assert wrong.status == 400
    assert wrong.json["error"] == "There is no output 'score'. The outputs: label, probability."


def test_a_version_can_be_asked_for(serve, late, body):
    client = serve(late)

    assert client.post("/v2/models/flight-delays/versions/3/infer", body).status == 200
    wrong = client.post("/v2/models/flight-delays/versions/2/infer", body)
    assert wrong.status == 404
    assert wrong.json["error"] == "Version 2 does not answer here. Versions: 3."


def test_an_absent_column_is_named(serve, late, tensors):
    inputs = [t for t in tensors(late, late.records[:1]) if t["name"] != "distance"]

    answer = serve(late).post(INFER, {"inputs": inputs})

    assert answer.status == 400
    assert answer.json["error"].startswith("The request has no 'distance', and the model needs it.")


def _one(late: Any, tensors: Any, **changes: Any) -> list[dict[str, Any]]:
    return [
        {**tensor, **changes.get(tensor["name"], {})} for tensor in tensors(late, late.records[:1])
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": ["far"]}, "distance[0] is 'far', but distance is a number"),
        ({"data": ["nan"]}, "distance[0] is 'nan'"),
        ({"data": ["1_000"]}, "distance[0] is '1_000'"),
        ({"data": [[[1.0]]]}, "distance[0] is [1.0]"),
        ({"data": [{"a": 1}]}, "distance[0] is {'a': 1}"),
        ({"data": [1.0, 2.0]}, "its data has 2 values"),
        ({"data": []}, "its data has 0 values"),
        ({"data": 1.0}, "Expected `array`, got `float`"),
        ({"data": None}, "Expected `array`, got `null`"),
        ({"shape": [2]}, "The shape of 'distance' is [2], but its data has 1 values"),
        ({"shape": [-1]}, "The shape of 'distance' is [-1]"),
        ({"shape": [0], "data": []}, "The shape of 'distance' is [0]"),
        ({"shape": []}, "The shape of 'distance' is []"),
        ({"shape": [1, 1, 1]}, "The shape of 'distance' is [1, 1, 1]"),
        ({"shape": [1, 2], "data": [1.0, 2.0]}, "The shape of 'distance' is [1, 2]"),
        ({"shape": [10**30]}, "The shape of 'distance' is [1000000"),
        ({"shape": [1.5]}, "Expected `int`, got `float`"),
        ({"shape": "1"}, "Expected `array`, got `str`"),
        ({"datatype": "FP128"}, "Invalid enum value 'FP128'"),
        ({"datatype": "x" * 100_000}, "Invalid enum value 'xxx"),
        ({"datatype": None}, "Expected `str`, got `null`"),
        ({"name": 7}, "Expected `str`, got `int`"),
        ({"name": "distanse"}, "The request has no 'distance'"),
        ({"name": "carrier"}, "The request has 'carrier' more than once"),
    ],
)
def test_a_malformed_tensor_gets_a_400_that_says_what_is_wrong(serve, late, tensors, change, words):
    client = serve(late)

    answer = client.post(INFER, {"inputs": _one(late, tensors, distance=change)})

    assert answer.status == 400
    assert words in answer.json["error"]
    assert len(answer.body) < 2000
    assert client.path.metrics.predictions == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"{}",
        b'{"inputs":{}}',
        b'{"inputs":[7]}',
        b'{"inputs":[]}',
        b'{"inputs":[{"name":"x"}]}',
        b'{"id":7,"inputs":[]}',
        b'{"inputs":[],"outputs":[{}]}',
        b"[" * 100_000,
        b'{"inputs":' + b"[" * 100_000,
        b'{"unknown":' + b'{"a":' * 100_000,
        b'{"inputs":[{"name":"distance","shape":[1],"datatype":"FP64","data":[NaN]}]}',
        b'{"inputs":[{"name":"distance","shape":[1],"datatype":"FP64","data":[1e999]}]}',
        b'{"inputs":[{"name":"distance","shape":[1],"datatype":"FP64","data":['
        + b"9" * 9000
        + b"]}]}",
        b'{"inputs":[{"name":"\xff\xfe","shape":[1],"datatype":"FP64","data":[1]}]}',
        b'{"inputs":[{"name":"\\ud800","shape":[1],"datatype":"FP64","data":[1]}]}',
        "\ufeff{}".encode(),
        b"\x80\x04\x95cos\nsystem\n(S'id'\ntR.",
    ],
)
def test_a_hostile_body_gets_a_400_in_the_protocols_form(serve, late, raw):
    answer = serve(late).post(INFER, raw, **{"content-type": "application/json"})

    assert answer.status == 400
    assert set(answer.json) == {"error"}
    assert len(answer.body) < 2000
    assert b"Traceback" not in answer.body


def test_a_value_of_400_digits_is_named_and_not_overflowed(serve, late, tensors):
    client = serve(late)
    for name in ("distance", "hour"):
        inputs = _one(late, tensors, **{name: {"data": [10**400]}})
        answer = client.post(INFER, {"inputs": inputs})
        assert answer.status == 400
        assert f"{name}[0] is" in answer.json["error"]


def _raw(tensors_: list[dict[str, Any]]) -> tuple[bytes, int]:
    """Return Triton's binary form."""
    head, tail = [], b""
    forms = {"FP64": "<d", "INT64": "<q", "BOOL": "?"}
    for tensor in tensors_:
        if tensor["datatype"] == "BYTES":
            texts = [str(value).encode() for value in tensor["data"]]
            content = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        else:
            values = [float("nan") if v is None else v for v in tensor["data"]]
            content = b"".join(struct.pack(forms[tensor["datatype"]], v) for v in values)
        plain = {key: value for key, value in tensor.items() if key != "data"}
        head.append({**plain, "parameters": {"binary_data_size": len(content)}})
        tail += content
    text = json.dumps({"inputs": head}).encode()
    return text + tail, len(text)


@pytest.mark.parametrize("rows", [1, 3])
def test_binary_tensors_answer_as_json_does(serve, late, tensors, rows):
    client = serve(late)
    records = [r for r in late.records if r["dest"] is not None][:rows]
    inputs = tensors(late, records)
    expected = client.post(INFER, {"inputs": inputs}).json["outputs"]
    body, length = _raw(inputs)

    answer = client.post(
        INFER,
        body,
        **{
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(length),
        },
    )

    assert answer.json["outputs"] == expected


@pytest.mark.parametrize(
    ("spoil", "length"),
    [
        (lambda body: body[:-3], None),
        (lambda body: body + b"\0", None),
        (lambda body: body, "7"),
        (lambda body: body, "99999999"),
        (lambda body: body, "-1"),
        (lambda body: body, "x"),
        (lambda body: body, ""),
        (lambda body: body.replace(b'_size": 8', b'_size": 7'), None),
        (lambda body: body.replace(b'_size": 8', b'_size": -8'), None),
    ],
)
def test_broken_binary_tensors_are_refused(serve, late, tensors, spoil, length):
    body, right = _raw(tensors(late, late.records[:1]))
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(right) if length is None else length,
    }

    answer = serve(late).post(INFER, spoil(body), **headers)

    assert answer.status == 400
    assert set(answer.json) == {"error"}


def _tensors_of(answer: Any) -> dict[str, Any]:
    """Return the outputs of an answer whose data may follow its JSON."""
    length = int(answer.headers["inference-header-content-length"])
    said, raw = json.loads(answer.body[:length]), answer.body[length:]
    found = {}
    for output in said["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = output["data"]
        elif output["datatype"] == "FP64":
            found[output["name"]] = list(struct.unpack(f"<{size // 8}d", raw[:size]))
            raw = raw[size:]
        else:
            texts, part = [], raw[:size]
            while part:
                [count] = struct.unpack_from("<I", part)
                texts.append(part[4 : 4 + count].decode())
                part = part[4 + count :]
            found[output["name"]] = texts
            raw = raw[size:]
    assert raw == b""
    return found


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("model", ["late", "origin"])
def test_outputs_are_binary_where_the_caller_wants_them_so(serve, request, tensors, model, rows):
    trained = request.getfixturevalue(model)
    client = serve(trained)
    body = {"inputs": tensors(trained, trained.records[:rows]), "id": "mine"}
    plain = {o["name"]: o["data"] for o in client.post(INFER, body).json["outputs"]}
    both = {"parameters": {"binary_data_output": True}}
    one = {"name": "probability", "parameters": {"binary_data": True}}
    other = {"name": "label", "parameters": {"binary_data": False}}

    for more, binary in (
        (both, {"label", "probability"}),
        ({"outputs": [one]}, {"probability"}),
        ({"outputs": [one, {"name": "label"}]}, {"probability"}),
        (both | {"outputs": [one, other]}, {"probability"}),
        (both | {"outputs": [{"name": "label"}]}, {"label"}),
    ):
        answer = client.post(INFER, body | more)
        assert answer.headers["content-type"] == "application/octet-stream"
        found = _tensors_of(answer)
        assert found == {name: plain[name] for name in found}
        length = int(answer.headers["inference-header-content-length"])
        said = json.loads(answer.body[:length])
        assert said["id"] == "mine"
        assert {o["name"] for o in said["outputs"] if "data" not in o} == binary
    for more in ({"parameters": {}}, {"outputs": [other]}, {"parameters": {"priority": 1}}):
        assert client.post(INFER, body | more).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"binary_data_output": 1}, "Expected `bool"), (7, "Expected `object")],
)
def test_parameters_that_are_none_are_refused(serve, late, body, parameters, words):
    answer = serve(late).post(INFER, body | {"parameters": parameters})

    assert answer.status == 400
    assert words in answer.json["error"]


def test_one_tensor_may_hold_all_inputs_in_their_order(serve, adding):
    client = serve(adding)

    def posted(shape, data, name="x"):
        return client.post(INFER, {"inputs": [_tensor(name, data, shape=shape)]})

    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        assert posted([2, 2], data).json["outputs"][0]["data"] == [3.0, 7.0]
    assert posted([1, 2], [1, 2]).json["outputs"][0]["data"] == [3.0]
    for shape, data in (
        ([2, 2], [1, 2, 3]), ([3, 2], [1, 2, 3, 4]), ([2, 2], [[1, 2], 3]), ([2, 2], [[1], [2]]),
        ([1, 3], [1, 2, 3]), ([0, 2], []), ([-1, 2], [1, 2]), ([2], [1, 2]),
    ):  # fmt: skip
        answer = posted(shape, data)
        assert answer.status == 400, (shape, data)
        assert set(answer.json) == {"error"}
    assert posted([1, 2], [1, 2], name="a").status == 400


def test_the_models_and_their_versions_are_listed(serve, late):
    client = serve(late)

    assert client.get("/v2/models").json == {"models": ["flight-delays"]}
    index = client.call("POST", "/v2/repository/index")
    assert index.json == [{"name": "flight-delays", "state": "READY", "reason": "", "version": "3"}]


def test_tensors_are_read_at_invocations_too(serve, late, tensors):
    client = serve(late)
    inputs = tensors(late, [r for r in late.records if r["dest"] is not None][:2])
    expected = client.post(INFER, {"inputs": inputs}).json["outputs"]
    raw, length = _raw(inputs)
    binary = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(length),
    }

    for path in ("/invocations", "/score", "/"):
        assert client.post(path, {"inputs": inputs}).json["outputs"] == expected
        assert client.post(path, raw, **binary).json["outputs"] == expected
    mixed = client.post("/invocations", {"inputs": [*inputs, {"name": "x", "datatype": "FP64"}]})
    assert mixed.status == 400
    assert set(mixed.json) == {"error_code", "message", "error"}
