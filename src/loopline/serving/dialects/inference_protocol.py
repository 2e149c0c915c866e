"""The Open Inference Protocol, V2 over REST, as KServe, Triton and MLServer speak it.

Tensors are columns: one named tensor for each input, of shape [n] or [n, 1], flat or nested. What a
value means is decided by the column's type, so a client that only knows text may send "39" for a
number. Triton's binary tensors are read, since its Python client sends them by default; answers are
JSON.
"""

import struct
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from loopline.errors import RequestError
from loopline.model.signature import Signature
from loopline.serving.dialects.base import Call, Content, Inputs, Outputs

__all__ = ["InferenceProtocol"]

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
    "FP32", "FP64", "BYTES",
]  # fmt: skip
_RAW: dict[str, str] = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_ONE = [1]


class _Tensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any]


class _Wanted(msgspec.Struct, gc=False):
    name: str


class _Request(msgspec.Struct, gc=False):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Wanted] | None = None


class _Size(msgspec.Struct):
    binary_data_size: int | None = None


class _RawTensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any] | None = None
    parameters: _Size = msgspec.field(default_factory=_Size)


class _RawRequest(msgspec.Struct):
    inputs: list[_RawTensor]
    id: str | None = None
    outputs: list[_Wanted] | None = None


_decode = msgspec.json.Decoder(_Request).decode
_decode_raw = msgspec.json.Decoder(_RawRequest).decode
_encode = msgspec.json.Encoder().encode


def _row_decoder(names: tuple[str, ...]) -> Any:
    """Return a decoder of the usual request: one row, known columns, flat.

    The names and the only shape are part of the type, so msgspec checks them while it reads, and
    makes neither a text nor a list for them. What it refuses is read again, by the general decoder.
    """
    tensor: Any = msgspec.defstruct(
        "Tensor",
        [
            ("name", Literal[names]),
            ("shape", tuple[Literal[1]]),
            ("datatype", Datatype),
            ("data", tuple[str | int | float | bool | None]),
        ],
        gc=False,
    )
    fields: Any = [
        ("inputs", list[tensor]),
        ("id", str | None, None),
        ("outputs", list[_Wanted] | None, None),
    ]
    request = msgspec.defstruct("Request", fields, gc=False)
    return msgspec.json.Decoder(request).decode


class InferenceProtocol:
    """Reads and writes the protocol for one model version."""

    def __init__(self, signature: Signature, version: int) -> None:
        self._inputs = Inputs(signature)
        self._classes = len(signature.classes)
        self._head = b'{"model_name":%b,"model_version":"%d","id":' % (
            _encode(signature.project),
            version,
        )
        self._names = (
            ("prediction",) if signature.task == "regression" else ("label", "probability")
        )
        self._decode_row = _row_decoder(tuple(self._inputs.names))
        self._is_multiclass = signature.task == "multiclass"

    def read(self, body: bytes, content: Content) -> Call:
        """Return what `body` asks for.

        Raises:
            RequestError: the body is malformed, or a column that the model needs is absent.
        """
        if content.json_bytes is None:
            try:
                request = self._decode_row(body)
            except (ValueError, RecursionError):
                return self._any(body, content)
            layout = self._inputs.layout(tuple([tensor.name for tensor in request.inputs]))
            values = [tensor.data[0] for tensor in request.inputs]
            wanted = self._names if request.outputs is None else self._wanted(request.outputs)
            return Call(1, layout.pick([*values, None]), 0, request.id, wanted)
        return self._any(body, content)

    def _any(self, body: bytes, content: Content) -> Call:
        try:
            if content.json_bytes is None:
                request = _decode(body)
            else:
                request = _with_raw_tensors(body, content.json_bytes)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"This is no inference request: {error!s:.300}.") from None
        layout = self._inputs.layout(tuple([tensor.name for tensor in request.inputs]))
        wanted = self._names if request.outputs is None else self._wanted(request.outputs)
        picked: Sequence[_Tensor | None] = layout.pick([*request.inputs, None])
        columns = [None if tensor is None else _column(tensor) for tensor in picked]
        rows = _same_length(self._inputs.names, columns)
        if rows == 1:
            columns = [None if column is None else column[0] for column in columns]
        return Call(rows, columns, layout.unknown, request.id, wanted)

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> bytes:
        """Return the protocol's answer; `parameters.prediction_ids` joins the ids by commas."""
        ids = _ids(request_id, call.rows)
        tensors = b",".join([self._tensor(name, call.rows, outputs) for name in call.options])
        client_id = (
            b'"%b"' % request_id.encode() if call.client_id is None else _encode(call.client_id)
        )
        return b'%b%b,"parameters":{"prediction_ids":"%b"},"outputs":[%b]}' % (
            self._head,
            client_id,
            ids.encode(),
            tensors,
        )

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return the protocol's error."""
        return _encode({"error": message})

    def _wanted(self, wanted: list[_Wanted]) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(output.name for output in wanted))
        for name in names:
            if name not in self._names:
                raise RequestError(
                    f"There is no output '{name:.60}'. The outputs: {', '.join(self._names)}."
                )
        return names or self._names

    def _tensor(self, name: str, rows: int, outputs: Outputs) -> bytes:
        if name == "label":
            return b'{"name":"label","datatype":"BYTES","shape":[%d],"data":%b}' % (
                rows,
                _encode(outputs.labels),
            )
        if self._is_multiclass:
            flat = [score for row in zip(*outputs.scores, strict=True) for score in row]
            return b'{"name":"probability","datatype":"FP64","shape":[%d,%d],"data":%b}' % (
                rows,
                self._classes,
                _encode(flat),
            )
        return b'{"name":"%b","datatype":"FP64","shape":[%d],"data":%b}' % (
            name.encode(),
            rows,
            _encode(outputs.scores[0]),
        )


def _ids(request_id: str, rows: int) -> str:
    if rows == 1:
        return f"{request_id}-0"
    return ",".join([f"{request_id}-{row}" for row in range(rows)])


def _column(tensor: _Tensor) -> list[Any]:
    """Return a tensor's values, checked against its shape and flattened."""
    shape, data = tensor.shape, tensor.data
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or shape[0] < 1:
        raise RequestError(
            f"The shape of '{tensor.name:.60}' is {shape!s:.60}, but every input is a column: [n] "
            "or [n, 1] for n rows, at least one."
        )
    if any(isinstance(value, list) for value in data):
        if not all(isinstance(value, list) and len(value) == 1 for value in data):
            raise RequestError(f"The data of '{tensor.name:.60}' nests other than [n, 1].")
        data = [value[0] for value in data]
    if len(data) != shape[0]:
        raise RequestError(
            f"The shape of '{tensor.name:.60}' is {shape!s:.60}, but its data has {len(data)} "
            "values."
        )
    return data


def _same_length(names: Sequence[str], columns: Sequence[list[Any] | None]) -> int:
    lengths = {
        name: len(column) for name, column in zip(names, columns, strict=True) if column is not None
    }
    if not lengths:
        raise RequestError("The request has no column that the model knows, so no rows.")
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[shortest] != lengths[longest]:
        raise RequestError(
            f"'{shortest}' has {lengths[shortest]} rows and '{longest}' {lengths[longest]}; all "
            "inputs need the same number."
        )
    return lengths[longest]


def _with_raw_tensors(body: bytes, json_bytes: int) -> _Request:
    """Read JSON followed by raw tensors, which `binary_data_size` says the length of."""
    request = _decode_raw(body[:json_bytes])
    raw = memoryview(body)[json_bytes:]
    tensors = []
    for tensor in request.inputs:
        size = tensor.parameters.binary_data_size
        if size is None:
            data = tensor.data
        elif 0 <= size <= len(raw):
            data, raw = _raw_values(tensor, raw[:size]), raw[size:]
        else:
            raise ValueError(f"'{tensor.name:.60}' says {size} bytes, and {len(raw)} are left")
        if data is None:
            raise ValueError(f"'{tensor.name:.60}' has neither data nor binary_data_size")
        tensors.append(_Tensor(tensor.name, tensor.shape, tensor.datatype, data))
    if raw:
        raise ValueError(f"{len(raw)} bytes are left after the last tensor")
    return _Request(tensors, request.id, request.outputs)


def _raw_values(tensor: _RawTensor, raw: memoryview) -> list[Any]:
    if tensor.datatype != "BYTES":
        values: list[Any] = np.frombuffer(raw, dtype=_RAW[tensor.datatype]).tolist()
        return values
    values = []
    while raw:
        [length] = struct.unpack_from("<I", raw) if len(raw) >= 4 else [len(raw)]
        if 4 + length > len(raw):
            raise ValueError(f"'{tensor.name:.60}' ends within a text")
        values.append(str(raw[4 : 4 + length], "utf-8"))
        raw = raw[4 + length :]
    return values
