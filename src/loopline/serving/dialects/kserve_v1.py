"""KServe's first protocol, which TensorFlow Serving began: `instances` in, `predictions` out.

KServe's own server reads `inputs` in place of `instances`, and so does this.
"""

from typing import Any

import msgspec

from loopline.errors import RequestError
from loopline.model.signature import Signature
from loopline.serving import openapi
from loopline.serving.dialects.base import Call, Content, Encoded, Outputs
from loopline.serving.reasons import asking
from loopline.serving.routes import Host, Reply, Request, Route
from loopline.serving.tabular import Predictions, Tables, decoded, wanted_output

__all__ = ["KserveV1"]


class _Body(msgspec.Struct):
    instances: list[Any] | None = None
    inputs: list[Any] | None = None
    parameters: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder().encode


async def _models(host: Host, request: Request) -> Reply:
    return Reply(200, _encode({"models": [host.project]}))


async def _ready(host: Host, request: Request) -> Reply:
    return Reply(200, _encode({"name": host.project, "ready": True}))


class KserveV1:
    """Reads and writes the protocol for one model version."""

    home = "/v1"
    routes = (
        Route("GET", "/v1/models", "predict", "The models, by name", _models),
        Route("GET", "/v1/models/{model}", "health", "Whether the model answers", _ready),
        Route(
            "POST",
            "/v1/models/{model}:predict",
            "predict",
            "Predict",
            takes=("application/json", ""),
            example=lambda signature: {"instances": [openapi.example(signature)]},
        ),
    )

    def __init__(self, signature: Signature, version: int) -> None:
        self._tables = Tables(signature)
        self._predictions = Predictions(signature)

    def read(self, body: bytes, content: Content) -> Call:
        """Return what `body` asks for.

        Raises:
            RequestError: the body is malformed, or a column that the model needs is absent.
        """
        request = decoded(_decode, body, "prediction request")
        if (request.instances is None) == (request.inputs is None):
            raise RequestError("The body must have instances: a list with an entry for each row.")
        wanted = wanted_output(request.parameters, "parameters")
        form = "inputs" if request.instances is None else "instances"
        call = self._tables.rows(form, request.instances or request.inputs or [], wanted)
        return asking(call, request.parameters, "parameters")

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> Encoded:
        """Return `predictions`, one for each instance."""
        return Encoded(_encode({"predictions": self._predictions.of(call.options, outputs)}))

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return the protocol's error."""
        return _encode({"error": message})
