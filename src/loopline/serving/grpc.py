"""Listens for the Open Inference Protocol over gRPC, in the event loop of the HTTP server.

The same path answers, so a prediction is read, scored, logged and counted once, whatever carried
it. Needs the extra `grpc`; without `--grpc-port` nothing of it is imported.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from loopline import __version__
from loopline.errors import ServingError, UnknownVersionError
from loopline.extras import require
from loopline.serving.app import App, what_failed
from loopline.serving.dialects.base import Content
from loopline.serving.dialects.inference_grpc import parse
from loopline.serving.dialects.inference_protocol import EXTENSIONS, metadata
from loopline.serving.guard import Permission
from loopline.serving.messages import SERVICE, messages
from loopline.serving.reading import LARGEST_BODY, RefusedError, routing_key
from loopline.serving.routes import Host, version_number

_CODES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED", 415: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_CONTENT = Content("application/grpc")
_HEARD = ("authorization", "x-routing-key")
_DRAIN_SECONDS = 2


class Listener:
    """Answers on one port until it is stopped; belongs to one event loop."""

    def __init__(self, app: App, host: str, port: int, *, is_shared: bool = False) -> None:
        """Take the port, or any free one for 0; `is_shared` with the other workers of a server.

        Raises:
            MissingExtraError: grpcio is not installed.
            ServingError: the port cannot be used.
        """
        aio = require("grpc.aio", extra="grpc")
        messages()
        self._app = app
        limits = [(f"grpc.max_{way}_message_length", LARGEST_BODY) for way in ("receive", "send")]
        # Two servers on one port would share its callers unnoticed; workers are to.
        self._server = aio.server(options=[*limits, ("grpc.so_reuseport", int(is_shared))])
        self._server.add_generic_rpc_handlers((self._handlers(),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ServingError(
                f"Port {port} on {host} cannot be used for gRPC. Take another with --grpc-port."
            ) from error

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()

    async def stop(self) -> None:
        """Finish what is being answered."""
        await self._server.stop(_DRAIN_SECONDS)

    def _handlers(self) -> Any:
        grpc = require("grpc", extra="grpc")
        calls: dict[str, tuple[Permission, _Call]] = {
            "ServerLive": ("health", _server_live),
            "ServerReady": ("health", _server_ready),
            "ModelReady": ("health", _model_ready),
            "ServerMetadata": ("predict", _server_metadata),
            "ModelMetadata": ("predict", _model_metadata),
            "ModelInfer": ("predict", _model_infer),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(self._answering(name, permission, call))
                for name, (permission, call) in calls.items()
            },
        )

    def _answering(
        self, name: str, permission: Permission, call: "_Call"
    ) -> Callable[[bytes, Any], Awaitable[bytes]]:
        codes = require("grpc", extra="grpc").StatusCode
        app, label = self._app, f"/{SERVICE}/{name}"

        async def answer(body: bytes, context: Any) -> bytes:
            started, status, message = time.perf_counter_ns(), 200, ""
            try:
                app.admit(permission, _headers(context), {"client": _client(context)})
                return await call(app, body, context)
            except Exception as error:  # noqa: BLE001 - whatever it is, this caller gets an answer
                status, message = what_failed(error, label)
                if name == "ModelInfer":
                    app.count_failure(error, status, started)
            finally:
                app.count(label, status)
            await context.abort(getattr(codes, _CODES.get(status, "INTERNAL")), message)
            raise AssertionError("abort has raised")

        return answer


_Call = Callable[[App, bytes, Any], Awaitable[bytes]]


async def _server_live(app: App, body: bytes, context: Any) -> bytes:
    return _written("ServerLiveResponse", live=True)


async def _server_ready(app: App, body: bytes, context: Any) -> bytes:
    return _written("ServerReadyResponse", ready=True)


async def _model_ready(app: App, body: bytes, context: Any) -> bytes:
    request = parse("ModelReadyRequest", body)
    try:
        version = _version(app.host, request.name, request.version)
        if version is not None:
            app.host.path.router.named(version)
    except (RefusedError, UnknownVersionError):
        return _written("ModelReadyResponse", ready=False)
    return _written("ModelReadyResponse", ready=True)


async def _server_metadata(app: App, body: bytes, context: Any) -> bytes:
    return _written(
        "ServerMetadataResponse", name="loopline", version=__version__, extensions=EXTENSIONS
    )


async def _model_metadata(app: App, body: bytes, context: Any) -> bytes:
    request = parse("ModelMetadataRequest", body)
    version = _version(app.host, request.name, request.version)
    return _written("ModelMetadataResponse", **metadata(app.host, version))


async def _model_infer(app: App, body: bytes, context: Any) -> bytes:
    request = parse("ModelInferRequest", body)
    version = _version(app.host, request.model_name, request.model_version)
    answer = await app.host.path.predict(
        "inference_grpc",
        body,
        _CONTENT,
        version=version,
        caller=app.guard.caller,
        key=routing_key(_headers(context).get(b"x-routing-key")),
    )
    said = [("x-request-id", answer.request_id), ("x-model-version", str(answer.version))]
    if answer.arm:
        said.append(("x-model-arm", answer.arm))
    await context.send_initial_metadata(said)
    return answer.body


def _written(kind: str, **fields: Any) -> bytes:
    text: bytes = messages()[kind](**fields).SerializeToString()
    return text


def _version(host: Host, name: str, version: str) -> int | None:
    if name != host.project:
        raise RefusedError(404, f"There is no such model here. The model is '{host.project}'.")
    return version_number(version or None)


def _headers(context: Any) -> dict[bytes, bytes]:
    # No page in a browser speaks gRPC without TLS, so there is no Host to distrust.
    found = {b"host": b"localhost"}
    for name, value in context.invocation_metadata() or ():
        if name in _HEARD:
            found[name.encode()] = value.encode("latin-1") if isinstance(value, str) else value
    return found


def _client(context: Any) -> tuple[str]:
    kind, _, address = context.peer().partition(":")  # ipv4:127.0.0.1:5000, ipv6:[::1]:5000
    return (address.rpartition(":")[0] if kind.startswith("ip") else "",)
