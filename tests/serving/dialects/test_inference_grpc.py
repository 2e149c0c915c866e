"""The protocol's messages, as one model version reads and writes them."""

import struct
from typing import Any

import pytest

from loopline.errors import RequestError
from loopline.serving.dialects.base import Call, Content, Outputs
from loopline.serving.dialects.inference_grpc import InferenceGrpc
from loopline.serving.messages import messages

CONTENT = Content("application/grpc")


@pytest.fixture
def spoken(adding: Any) -> InferenceGrpc:
    return InferenceGrpc(adding.signature, 3)


def request(**tensors: tuple[str, list[int], list[Any]]) -> Any:
    made = messages()["ModelInferRequest"](model_name="flight-delays", id="mine")
    fields = {"FP64": "fp64", "INT32": "int", "UINT64": "uint64", "BYTES": "bytes", "BOOL": "bool"}
    for name, (datatype, shape, values) in tensors.items():
        tensor = made.inputs.add(name=name, datatype=datatype, shape=shape)
        getattr(tensor.contents, f"{fields.get(datatype, 'fp32')}_contents").extend(values)
    return made


def read(spoken: InferenceGrpc, made: Any) -> Call:
    return spoken.read(made.SerializeToString(), CONTENT)


def test_typed_contents_of_any_kind_are_columns(spoken: InferenceGrpc) -> None:
    one = read(spoken, request(b=("INT32", [1], [2]), a=("FP64", [1, 1], [1.5])))
    two = read(spoken, request(a=("BYTES", [2], [b"1", b"?"]), b=("UINT64", [2], [3, 4])))
    whole = read(spoken, request(x=("FP64", [2, 2], [1, 2, 3, 4])))

    assert (one.rows, list(one.values), one.client_id) == (1, [1.5, 2], "mine")
    assert (two.rows, list(two.values)) == (2, [["1", "?"], [3, 4]])
    assert (whole.rows, list(whole.values)) == (2, [[1, 3], [2, 4]])


@pytest.mark.parametrize("is_raw", [True, False])
def test_an_answer_is_raw_where_the_request_was(spoken: InferenceGrpc, is_raw: bool) -> None:
    made = request(a=("FP64", [2], []), b=("FP64", [2], []))
    for tensor in made.inputs:
        if is_raw:
            made.raw_input_contents.append(struct.pack("<2d", 1, 2))
        else:
            tensor.contents.fp64_contents.extend([1, 2])
    call = read(spoken, made)

    encoded = spoken.answer(call, Outputs(None, [[0.5, None]]), "r")

    said = messages()["ModelInferResponse"].FromString(encoded.body)
    assert (said.model_name, said.model_version, said.id) == ("flight-delays", "3", "mine")
    assert said.parameters["prediction_ids"].string_param == "r-0,r-1"
    [output] = said.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("prediction", "FP64", [2])
    numbers = (
        struct.unpack("<2d", said.raw_output_contents[0])
        if is_raw
        else list(output.contents.fp64_contents)
    )
    assert numbers[0] == 0.5
    assert numbers[1] != numbers[1]  # NaN: there is no null in a tensor
    assert bool(said.raw_output_contents) is is_raw


def test_a_multiclass_answer_is_row_by_row(origin: Any) -> None:
    spoken = InferenceGrpc(origin.signature, 3)
    columns = {column.name: ("BYTES", [2], [b"", b""]) for column in origin.signature.inputs}
    made = request(**columns)
    for name in ("probability", "label"):
        made.outputs.add(name=name)
    outputs = Outputs(["EWR", "LGA"], [[0.5, 0.1], [0.3, 0.2], [0.2, 0.7]])

    encoded = spoken.answer(read(spoken, made), outputs, "r")

    said = messages()["ModelInferResponse"].FromString(encoded.body)
    assert list(said.outputs[0].shape) == [2, 3]
    assert list(said.outputs[0].contents.fp64_contents) == [0.5, 0.3, 0.2, 0.1, 0.2, 0.7]
    assert list(said.outputs[1].contents.bytes_contents) == [b"EWR", b"LGA"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (request(), "The request has no 'a', 'b'"),
        (request(a=("FP64", [1], [1.0])), "The request has no 'b'"),
        (request(a=("FP64", [2], [1.0]), b=("FP64", [1], [1.0])), "its data has 1 values"),
        (request(a=("FP128", [1], [1.0]), b=("FP64", [1], [1.0])), "has the datatype 'FP128'"),
        (request(a=("FP16", [1], [1.0]), b=("FP64", [1], [1.0])), "has the datatype 'FP16'"),
        (request(a=("BYTES", [1], [b"\xff"]), b=("FP64", [1], [1.0])), "no inference request"),
        (request(a=("FP64", [10**18], [1.0]), b=("FP64", [1], [1.0])), "The shape of 'a'"),
    ],
)
def test_what_cannot_be_read_is_named(spoken: InferenceGrpc, made: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        read(spoken, made)


def test_raw_contents_are_for_all_inputs_and_whole(spoken: InferenceGrpc) -> None:
    made = request(a=("FP64", [1], []), b=("FP64", [1], []))
    made.raw_input_contents.append(struct.pack("<d", 1))
    with pytest.raises(RequestError, match="has 1 entries for 2 inputs"):
        read(spoken, made)
    made.raw_input_contents.append(b"1234567")
    with pytest.raises(RequestError, match="no inference request"):
        read(spoken, made)
    with pytest.raises(RequestError, match="This is no ModelInferRequest"):
        spoken.read(b"\xff\xff", CONTENT)
    named = request(a=("FP64", [1], [1.0]), b=("FP64", [1], [1.0]))
    named.outputs.add(name="score")
    with pytest.raises(RequestError, match="There is no output 'score'"):
        read(spoken, named)
