"""The Open Inference Protocol over gRPC: the same tensors, as Protocol Buffers.

Bytes come in and go out here; who listens is `serving/grpc.py`. There is no null in a tensor:
NaN is a missing number, and a text of the contract's `data.missing` a missing text. Data come back
raw where they came raw, as Triton's client needs it, and typed where they came typed.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from loopline.errors import RequestError
from loopline.extras import require
from loopline.model.signature import Signature
from loopline.serving.dialects.base import Call, Content, Encoded, Outputs
from loopline.serving.dialects.inference_protocol import (
    InferenceProtocol,
    Tensor,
    raw_output,
    raw_values,
)
from loopline.serving.messages import messages

__all__ = ["InferenceGrpc"]

_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents",
    "INT32": "int_contents", "INT64": "int64_contents", "UINT8": "uint_contents",
    "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


class _Options(msgspec.Struct, frozen=True):
    names: tuple[str, ...]
    is_raw: bool


class InferenceGrpc:
    """Reads and writes the protocol's messages for one model version."""

    home = None
    routes = ()

    def __init__(self, signature: Signature, version: int) -> None:
        self._tensors = InferenceProtocol(signature, version)
        self._project, self._version = signature.project, str(version)
        self._classes = len(signature.classes) if signature.task == "multiclass" else 0

    def read(self, body: bytes, content: Content) -> Call:
        """Return what a `ModelInferRequest` asks for.

        Raises:
            RequestError: the message is malformed, or a column that the model needs is absent.
        """
        request = parse("ModelInferRequest", body)
        raw = list(request.raw_input_contents)
        if raw and len(raw) != len(request.inputs):
            raise RequestError(
                f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs."
            )
        try:
            tensors = [
                _tensor(given, raw[place] if raw else None)
                for place, given in enumerate(request.inputs)
            ]
        except ValueError as error:
            raise RequestError(f"This is no inference request: {error!s:.300}.") from None
        if "explain" in request.parameters:
            raise RequestError("Reasons are told over HTTP alone. Ask there.")
        names = self._tensors.names_of([output.name for output in request.outputs])
        return self._tensors.call(tensors, request.id or None, _Options(names, bool(raw)))

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> Encoded:
        """Return a `ModelInferResponse`."""
        said = messages()["ModelInferResponse"](
            model_name=self._project,
            model_version=self._version,
            id=request_id if call.client_id is None else call.client_id,
        )
        ids = ",".join([f"{request_id}-{row}" for row in range(call.rows)])
        said.parameters["prediction_ids"].string_param = ids
        for name in call.options.names:
            is_wide = name == "probability" and self._classes
            shape = [call.rows, self._classes] if is_wide else [call.rows]
            datatype = "BYTES" if name == "label" else "FP64"
            tensor = said.outputs.add(name=name, datatype=datatype, shape=shape)
            if call.options.is_raw:
                said.raw_output_contents.append(raw_output(name, outputs))
            else:
                getattr(tensor.contents, _CONTENTS[datatype]).extend(_typed(name, outputs))
        return Encoded(said.SerializeToString(), ())

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return the message alone: gRPC has a place of its own for it."""
        return message.encode()


def parse(kind: str, body: bytes) -> Any:
    """Return the message in `body`.

    Raises:
        RequestError: it holds none of this kind.
    """
    failed = require("google.protobuf.message", extra="grpc").DecodeError
    try:
        return messages()[kind].FromString(body)
    except failed:
        raise RequestError(f"This is no {kind}.") from None


def _tensor(given: Any, raw: bytes | None) -> Tensor:
    name, datatype = given.name, given.datatype
    if datatype not in _CONTENTS and not (datatype == "FP16" and raw is not None):
        known = ", ".join(_CONTENTS)
        raise ValueError(f"'{name:.60}' has the datatype {datatype!r:.60}; there are {known}")
    if raw is not None:
        data = raw_values(name, datatype, memoryview(raw))
    else:
        data = list(getattr(given.contents, _CONTENTS[datatype]))
        if datatype == "BYTES":
            data = [str(text, "utf-8") for text in data]
    return Tensor(name, list(given.shape), datatype, data)


def _typed(name: str, outputs: Outputs) -> Sequence[Any]:
    if name == "label":
        return [label.encode() for label in outputs.labels or []]
    rows = zip(*outputs.scores, strict=True)
    return [float("nan") if score is None else score for row in rows for score in row]
