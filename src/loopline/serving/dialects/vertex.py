"""Vertex AI's prediction protocol, on the paths that its containers are told.

`AIP_PREDICT_ROUTE` and `AIP_HEALTH_ROUTE` name them. The answer holds `predictions` alone, one for
each instance: the service passes it on as it is, and its clients know nothing else. The ids are in
the header, from which a row's prediction id follows.
"""

from typing import Any

import msgspec

from loopline.model.signature import Signature
from loopline.serving import openapi
from loopline.serving.dialects.base import Call, Content, Encoded, Outputs
from loopline.serving.reasons import asking
from loopline.serving.routes import Host, Reply, Request, Route
from loopline.serving.tabular import Predictions, Tables, decoded, wanted_output

__all__ = ["Vertex"]


class _Body(msgspec.Struct):
    instances: list[Any]
    parameters: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder().encode


async def _ready(host: Host, request: Request) -> Reply:
    return Reply(200, b"{}")


class Vertex:
    """Reads and writes the protocol for one model version."""

    home = None
    routes = (
        Route(
            "POST",
            "$AIP_PREDICT_ROUTE",
            "predict",
            "Predict",
            takes=("application/json", ""),
            example=lambda signature: {"instances": [openapi.example(signature)]},
        ),
        Route(
            "GET", "$AIP_HEALTH_ROUTE", "health", "Whether a model answers", _ready, says="ready"
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
        wanted = wanted_output(request.parameters, "parameters")
        call = self._tables.rows("instances", request.instances, wanted)
        return asking(call, request.parameters, "parameters")

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> Encoded:
        """Return `predictions`, one for each instance."""
        return Encoded(_encode({"predictions": self._predictions.of(call.options, outputs)}))

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return the error as Vertex AI shows it to whoever called."""
        return _encode({"error": message})
