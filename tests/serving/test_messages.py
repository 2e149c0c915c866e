"""The protocol's messages: what is compiled is what the definition says, and Triton reads it."""

import re
from importlib import resources

import pytest

from loopline.serving.messages import SERVICE, messages

DEFINITION = (resources.files("loopline.serving") / "open_inference_grpc.proto").read_text()
_NUMBERS = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9,
    "message": 11, "bytes": 12, "uint32": 13,
}  # fmt: skip
"""Protocol Buffers' own numbers of the types in use."""


def test_what_is_compiled_is_what_the_definition_says() -> None:
    plain = re.sub(r"map<[^>]*>", "map", re.sub(r"//[^\n]*", "", DEFINITION))
    told = re.findall(r"(\w+) (\w+) = (\d+);", plain)
    compiled = {
        (field.name, field.number): field.type
        for kind in messages().values()
        for field in (
            *kind.DESCRIPTOR.fields,
            *(f for inner in kind.DESCRIPTOR.nested_types for f in inner.fields),
        )
    }

    assert len(told) > 40
    for kind, name, number in told:
        assert compiled[name, int(number)] == _NUMBERS.get(kind, _NUMBERS["message"]), name
    assert set(re.findall(r"^message (\w+)", plain, re.MULTILINE)) == set(messages())
    assert f"service {SERVICE.partition('.')[2]}" in plain


def test_a_process_may_have_tritons_messages_too() -> None:
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2")
    request = messages()["ModelInferRequest"](model_name="churn", id="x")
    tensor = request.inputs.add(name="a", datatype="FP64", shape=[2])
    tensor.contents.fp64_contents.extend([1.0, 2.0])

    read = theirs.ModelInferRequest.FromString(request.SerializeToString())

    assert (read.model_name, read.id, list(read.inputs[0].shape)) == ("churn", "x", [2])
    assert list(read.inputs[0].contents.fp64_contents) == [1.0, 2.0]
    back = messages()["ModelInferRequest"].FromString(read.SerializeToString())
    assert back.inputs[0].name == "a"
