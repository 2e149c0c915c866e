"""MLflow's scoring protocol, as the clients of `mlflow models serve` speak it.

Four JSON forms; a CSV is read by `lines` and Parquet by `columnar`, with the same answer. A
classifier's predictions are its labels, as `predict` gives them; whoever wants more says
`"params": {"output": "probability"}` or `"all"`. Where MLflow answers NaN, which is no JSON, this
answers null; where it refuses rows without names, the signature's order holds.
"""

from typing import Any

import msgspec

from loopline import __version__
from loopline.errors import RequestError
from loopline.model.signature import Signature
from loopline.serving import openapi
from loopline.serving.dialects.base import Call, Content, Encoded, Outputs
from loopline.serving.reasons import asking
from loopline.serving.routes import Host, Reply, Request, Route
from loopline.serving.tabular import Predictions, Tables, decoded, wanted_output

__all__ = ["Mlflow"]

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_ERROR_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class _Split(msgspec.Struct):
    columns: list[Any]
    data: list[list[Any]]


class _Body(msgspec.Struct):
    dataframe_split: _Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | None = None
    inputs: dict[str, Any] | list[Any] | None = None
    params: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder().encode


async def _ready(host: Host, request: Request) -> Reply:
    return Reply(200, b"\n")


async def _version(host: Host, request: Request) -> Reply:
    return Reply(200, __version__.encode(), ((b"content-type", b"text/plain"),))


class Mlflow:
    """Reads and writes the protocol for one model version."""

    home = ""
    routes = (
        Route(
            "POST",
            "/invocations",
            "predict",
            "Predict",
            takes=("application/json", ""),
            example=lambda signature: {"dataframe_records": [openapi.example(signature)]},
        ),
        Route("GET", "/ping", "health", "Whether a model answers", _ready, says="ready"),
        Route("GET", "/health", "health", "Whether a model answers", _ready, says="ready"),
        Route("GET", "/version", "health", "Loopline's version", _version),
    )

    def __init__(self, signature: Signature, version: int) -> None:
        self._tables = Tables(signature)
        self._predictions = Predictions(signature)
        self._tail = b'],"model_version":"%d"}' % version

    def read(self, body: bytes, content: Content) -> Call:
        """Return what `body` asks for.

        Raises:
            RequestError: the body is malformed, or a column that the model needs is absent.
        """
        request = decoded(_decode, body, "scoring request")
        given = [form for form in _FORMS if getattr(request, form) is not None]
        if len(given) != 1:
            raise RequestError(
                f"The body must have exactly one of {', '.join(_FORMS)}, and has "
                f"{' and '.join(given) or 'none of them'}."
            )
        params = _params(request)
        return asking(self._call(request, given[0], wanted_output(params)), params, "params")

    def _call(self, request: _Body, form: str, wanted: str) -> Call:
        if request.dataframe_split is not None:
            split = request.dataframe_split
            return self._tables.lists([str(name) for name in split.columns], split.data, wanted)
        rows = request.dataframe_records or request.instances or request.inputs
        if isinstance(rows, dict):
            columns = {
                name: values if isinstance(values, list) else [values]
                for name, values in rows.items()
            }
            return self._tables.columns("inputs", columns, wanted)
        return self._tables.rows(form, rows or [], wanted)

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> Encoded:
        """Return `predictions`, the prediction ids and the version."""
        ids = ",".join([f'"{request_id}-{row}"' for row in range(call.rows)])
        return Encoded(
            b'{"predictions":%b,"prediction_ids":[%b%b'
            % (_encode(self._predictions.of(call.options, outputs)), ids.encode(), self._tail)
        )

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return MLflow's error, with the one field that other clients of the path look for."""
        code = _ERROR_CODES.get(status, "BAD_REQUEST")
        return _encode({"error_code": code, "message": message, "error": message})


def _params(request: _Body) -> dict[str, Any] | None:
    if request.params is not None and request.parameters is not None:
        raise RequestError("The body has params and parameters, which are two names of one thing.")
    return request.params if request.parameters is None else request.parameters
