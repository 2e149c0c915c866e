"""The Open Inference Protocol, V2 over REST, as KServe, Triton and MLServer speak it.

Tensors are columns: one named tensor for each input, of shape [n] or [n, 1], flat or nested; or one
tensor of shape [n, inputs] with all of them in the signature's order. What a value means is decided
by the column's type, so a client that only knows text may send "39" for a number. Binary tensors
are read and written, since Triton's Python client does so by default.
"""

import struct
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np

from loopline import __version__
from loopline.errors import RequestError
from loopline.model.signature import Signature
from loopline.serving import openapi
from loopline.serving.dialects.base import JSON, Call, Content, Encoded, Inputs, Outputs
from loopline.serving.reasons import asking
from loopline.serving.routes import Host, Reply, Request, Route
from loopline.serving.tensors import Tensors

__all__ = ["InferenceProtocol"]

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
    "FP32", "FP64", "BYTES",
]  # fmt: skip
_RAW: dict[str, str] = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_MODEL, _VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
_TENSORS = ("application/json", "", "application/octet-stream")
EXTENSIONS = ["binary_tensor_data"]


class Tensor(msgspec.Struct, gc=False):
    """One named tensor of a request."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any]


class _Flags(msgspec.Struct, gc=False):
    binary_data: bool | None = None
    """Of one output: whether its data follow the JSON."""
    binary_data_output: bool | None = None
    """Of a request: the same for every output that does not say."""
    explain: bool | int | None = None
    """Of a request: whether to tell reasons, or how many."""


class _Wanted(msgspec.Struct, gc=False):
    name: str
    parameters: _Flags | None = None


class _Request(msgspec.Struct, gc=False):
    inputs: list[Tensor]
    id: str | None = None
    outputs: list[_Wanted] | None = None
    parameters: _Flags | None = None


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
    parameters: _Flags | None = None


class _Shape(msgspec.Struct):
    """What makes an entry of `inputs` a tensor, and no row of a table."""

    name: str
    datatype: str
    shape: list[Any]
    data: list[Any]


class _Tensors(msgspec.Struct):
    inputs: list[_Shape]


class _Raw(msgspec.Struct, frozen=True):
    """The outputs that a caller wants, where some of them are to follow the JSON."""

    names: tuple[str, ...]
    raw: frozenset[str]


_decode = msgspec.json.Decoder(_Request).decode
_decode_raw = msgspec.json.Decoder(_RawRequest).decode
_decode_tensors = msgspec.json.Decoder(_Tensors).decode
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
        ("parameters", _Flags | None, None),
    ]
    request = msgspec.defstruct("Request", fields, gc=False)
    return msgspec.json.Decoder(request).decode


async def _server(host: Host, request: Request) -> Reply:
    said = {"name": "loopline", "version": __version__, "extensions": EXTENSIONS}
    return Reply(200, _encode(said))


async def _live(host: Host, request: Request) -> Reply:
    return Reply(200, b'{"live":true}')


async def _ready(host: Host, request: Request) -> Reply:
    return Reply(200, b'{"live":true,"ready":true}')


async def _models(host: Host, request: Request) -> Reply:
    return Reply(200, _encode({"models": [host.project]}))


async def _index(host: Host, request: Request) -> Reply:
    """Say as Triton does which versions are loaded."""
    versions = [str(model.version) for model in host.path.router.models]
    one = {"name": host.project, "state": "READY", "reason": ""}
    return Reply(200, _encode([{**one, "version": version} for version in versions]))


async def _metadata(host: Host, request: Request) -> Reply:
    return Reply(200, _encode(metadata(host, request.version)))


async def _model_ready(host: Host, request: Request) -> Reply:
    if request.version is not None:
        host.path.router.named(request.version)
    return Reply(200, _encode({"name": host.project, "ready": True}))


def metadata(host: Host, version: int | None) -> dict[str, Any]:
    """Return the protocol's metadata of a model, or of one version of it.

    Raises:
        UnknownVersionError: it does not answer.
    """
    router = host.path.router
    model = router.models[0] if version is None else router.named(version)
    versions = [each.version for each in router.models]
    return openapi.metadata(model.signature, versions, model.runtime)


def _is_inference(body: bytes) -> bool:
    """Return whether a body's `inputs` are tensors, and not the rows or columns of a table."""
    if b'"datatype"' not in body:
        return False
    try:
        _decode_tensors(body)
    except (ValueError, RecursionError):
        return False
    return True


class InferenceProtocol:
    """Reads and writes the protocol for one model version."""

    home = "/v2"
    routes = (
        Route("GET", "/v2", "predict", "The server's name, version and extensions", _server),
        Route("GET", "/v2/health/live", "health", "Whether the server is up", _live, says="live"),
        Route("GET", "/v2/health/ready", "health", "Whether a model answers", _ready, says="ready"),
        Route("GET", "/v2/models", "predict", "The models, by name", _models),
        Route("POST", "/v2/repository/index", "predict", "The versions that answer", _index,
              takes=("application/json", "")),
        Route("GET", _MODEL, "predict", "The model's inputs and outputs", _metadata),
        Route("GET", f"{_MODEL}/ready", "health", "Whether the model answers", _model_ready),
        Route("POST", f"{_MODEL}/infer", "predict", "Predict", takes=_TENSORS,
              example=openapi.tensors_example),
        Route("GET", _VERSION, "predict", "One version's inputs and outputs", _metadata),
        Route("GET", f"{_VERSION}/ready", "health", "Whether that version answers", _model_ready),
        Route("POST", f"{_VERSION}/infer", "predict", "Predict", takes=_TENSORS,
              example=openapi.tensors_example),
        Route("POST", "/invocations", "predict", "Predict", takes=_TENSORS[:2],
              claims=_is_inference),
        Route("POST", "/invocations", "predict", "Predict", takes=_TENSORS[2:]),
    )  # fmt: skip

    def __init__(self, signature: Signature, version: int) -> None:
        self._inputs = Inputs(signature)
        self._classes = len(signature.classes)
        self._head = b'{"model_name":%b,"model_version":"%d","id":' % (
            _encode(signature.project),
            version,
        )
        self._names: tuple[str, ...] = (
            ("prediction",) if signature.task == "regression" else ("label", "probability")
        )
        self._decode_row = _row_decoder(tuple(self._inputs.names))
        self._is_multiclass = signature.task == "multiclass"
        self._signature = signature

    @cached_property
    def _tensors(self) -> Tensors | None:
        """What reads the usual body; made when it is first asked, by a model with a plan."""
        try:
            return Tensors(self._signature)
        except LookupError:
            return None

    def at_once(self, body: bytes, content: Content) -> Call | None:
        """Return what `read` would, with the rows read; None where `read` is to be asked."""
        tensors = self._tensors
        if tensors is None or content.json_bytes is not None or content.explain:
            return None
        found = tensors.read(body)
        if found is None:
            return None
        rows, client_id = found
        return Call(rows.count, (), 0, client_id, self._names, read=rows)

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
            wanted: tuple[str, ...] | _Raw = self._names
            if request.outputs is not None or request.parameters is not None:
                wanted = self._wanted(request)
            call = Call(1, layout.pick([*values, None]), 0, request.id, wanted)
            return call if request.parameters is None else _asking(call, request.parameters)
        return self._any(body, content)

    def _any(self, body: bytes, content: Content) -> Call:
        try:
            if content.json_bytes is None:
                request = _decode(body)
            else:
                request = _with_raw_tensors(body, content.json_bytes)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"This is no inference request: {error!s:.300}.") from None
        call = self.call(request.inputs, request.id, self._wanted(request))
        return call if request.parameters is None else _asking(call, request.parameters)

    def call(self, tensors: Sequence[Tensor], client_id: str | None, options: Any) -> Call:
        """Return a call of `tensors`.

        Raises:
            RequestError: their shapes do not fit, or one that the model needs is absent.
        """
        tensors = _columns_of(tensors, self._inputs.names)
        layout = self._inputs.layout(tuple([tensor.name for tensor in tensors]))
        picked: Sequence[Tensor | None] = layout.pick([*tensors, None])
        columns = [None if tensor is None else _column(tensor) for tensor in picked]
        rows = _same_length(self._inputs.names, columns)
        if rows == 1:
            columns = [None if column is None else column[0] for column in columns]
        return Call(rows, columns, layout.unknown, client_id, options)

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> Encoded:
        """Return the protocol's answer; `parameters.prediction_ids` joins the ids by commas."""
        if isinstance(call.options, _Raw):
            return self._with_raw(call, call.options, outputs, request_id)
        tensors = b",".join([self._tensor(name, call.rows, outputs) for name in call.options])
        return Encoded(self._document(call, request_id, tensors))

    def _document(self, call: Call, request_id: str, tensors: bytes) -> bytes:
        ids = _ids(request_id, call.rows)
        client_id = (
            b'"%b"' % request_id.encode() if call.client_id is None else _encode(call.client_id)
        )
        return b'%b%b,"parameters":{"prediction_ids":"%b"},"outputs":[%b]}' % (
            self._head,
            client_id,
            ids.encode(),
            tensors,
        )

    def _with_raw(self, call: Call, wanted: _Raw, outputs: Outputs, request_id: str) -> Encoded:
        """Return JSON, and after it the data of the outputs that are wanted so."""
        listed, tail = [], []
        for name in wanted.names:
            if name not in wanted.raw:
                listed.append(self._tensor(name, call.rows, outputs))
                continue
            raw = raw_output(name, outputs)
            shape = [call.rows, self._classes] if self._is_wide(name) else [call.rows]
            said = {
                "name": name,
                "datatype": "BYTES" if name == "label" else "FP64",
                "shape": shape,
                "parameters": {"binary_data_size": len(raw)},
            }
            listed.append(_encode(said))
            tail.append(raw)
        document = self._document(call, request_id, b",".join(listed))
        length = b"%d" % len(document)
        headers = (
            (JSON[0], b"application/octet-stream"),
            (b"inference-header-content-length", length),
        )
        return Encoded(b"".join([document, *tail]), headers)

    @staticmethod
    def explained(encoded: Encoded, reasons: Sequence[dict[str, Any]]) -> Encoded:
        """Return an answer with one more output: each row's reasons, as JSON in a text."""
        texts = _encode([_encode(row).decode() for row in reasons])
        output = b'{"name":"explanation","datatype":"BYTES","shape":[%d],"data":%b}'
        added = output % (len(reasons), texts)
        return Encoded(b"%b,%b]}" % (encoded.body[:-2], added), encoded.headers)

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return the protocol's error."""
        return _encode({"error": message})

    def _wanted(self, request: Any) -> "tuple[str, ...] | _Raw":
        """Return the names of the wanted outputs, and which are wanted as raw bytes."""
        listed: list[_Wanted] = request.outputs or [_Wanted(name) for name in self._names]
        names = self.names_of([output.name for output in listed])
        usual = request.parameters is not None and request.parameters.binary_data_output is True
        raw = frozenset(
            output.name
            for output in listed
            if (usual if output.parameters is None else _or(output.parameters.binary_data, usual))
        )
        return _Raw(names, raw) if raw else names

    def names_of(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Return the outputs that a caller asked for by name; all of them where it named none.

        Raises:
            RequestError: there is no such output.
        """
        names = tuple(dict.fromkeys(asked))
        for name in names:
            if name not in self._names:
                raise RequestError(
                    f"There is no output '{name:.60}'. The outputs: {', '.join(self._names)}."
                )
        return names or self._names

    def _is_wide(self, name: str) -> bool:
        return self._is_multiclass and name == "probability"

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


def _asking(call: Call, flags: _Flags) -> Call:
    return asking(call, {"explain": flags.explain}, "parameters")


def _ids(request_id: str, rows: int) -> str:
    if rows == 1:
        return f"{request_id}-0"
    return f"{request_id}-{f',{request_id}-'.join(map(str, range(rows)))}"


def _column(tensor: Tensor) -> list[Any]:
    """Return a tensor's values, checked against its shape and flattened."""
    shape, data = tensor.shape, tensor.data
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or shape[0] < 1:
        raise RequestError(
            f"The shape of '{tensor.name:.60}' is {shape!s:.60}, but every input is a column: [n] "
            "or [n, 1] for n rows, at least one."
        )
    if list in set(map(type, data)):  # a third of the time that asking each value takes
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
            data, raw = raw_values(tensor.name, tensor.datatype, raw[:size]), raw[size:]
        else:
            raise ValueError(f"'{tensor.name:.60}' says {size} bytes, and {len(raw)} are left")
        if data is None:
            raise ValueError(f"'{tensor.name:.60}' has neither data nor binary_data_size")
        tensors.append(Tensor(tensor.name, tensor.shape, tensor.datatype, data))
    if raw:
        raise ValueError(f"{len(raw)} bytes are left after the last tensor")
    return _Request(tensors, request.id, request.outputs, request.parameters)


def raw_values(name: str, datatype: str, raw: memoryview) -> list[Any]:
    """Return the values of a raw tensor.

    Raises:
        ValueError: it ends within one.
    """
    if datatype != "BYTES":
        values: list[Any] = np.frombuffer(raw, dtype=_RAW[datatype]).tolist()
        return values
    values = []
    while raw:
        [length] = struct.unpack_from("<I", raw) if len(raw) >= 4 else [len(raw)]
        if 4 + length > len(raw):
            raise ValueError(f"'{name:.60}' ends within a text")
        values.append(str(raw[4 : 4 + length], "utf-8"))
        raw = raw[4 + length :]
    return values


def raw_output(name: str, outputs: Outputs) -> bytes:
    """Return the data of one output as raw bytes, row by row; NaN where there is no number."""
    if name == "label":
        texts = [label.encode() for label in outputs.labels or []]
        return b"".join([struct.pack("<I", len(text)) + text for text in texts])
    return np.array(outputs.scores, "<f8").T.tobytes()


def _columns_of(tensors: Sequence[Tensor], names: Sequence[str]) -> Sequence[Tensor]:
    """Return `tensors`, or the columns of the one that holds all inputs in their order."""
    if len(tensors) != 1 or len(names) < 2 or tensors[0].name in names:
        return tensors
    [whole] = tensors
    if len(whole.shape) != 2 or whole.shape[1] != len(names):
        return tensors
    rows, width = whole.shape
    data = whole.data
    if list in set(map(type, data)):  # a third of the time that asking each value takes
        if not all(isinstance(value, list) and len(value) == width for value in data):
            raise RequestError(f"The data of '{whole.name:.60}' nests other than {whole.shape}.")
        data = [value for row in data for value in row]
    if len(data) != rows * width:
        raise RequestError(
            f"The shape of '{whole.name:.60}' is {whole.shape!s:.60}, but its data has "
            f"{len(data)} values."
        )
    return [Tensor(name, [rows], whole.datatype, data[at::width]) for at, name in enumerate(names)]


def _or(said: bool | None, usual: bool) -> bool:
    return usual if said is None else said
