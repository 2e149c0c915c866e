"""Listens for the Open Inference Protocol over gRPC, in the event loop of the HTTP server.

The same path answers, so a prediction is read, scored, logged and counted once, whatever carried
it; and what is asked here counts in the same bounds (`limits.py`) as what is asked over HTTP. Needs
the extra `grpc`; without `--grpc-port` nothing of it is imported.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from loopline import __version__
from loopline.errors import OverloadedError, ServingError, UnknownVersionError
from loopline.extras import require
from loopline.serving.app import App, what_failed
from loopline.serving.dialects.base import Content
from loopline.serving.dialects.inference_grpc import parse
from loopline.serving.dialects.inference_protocol import EXTENSIONS, metadata
from loopline.serving.guard import Permission
from loopline.serving.limits import FullError, Intake
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
_COUNT_SECONDS, _QUIET_SECONDS = 0.02, 0.001
"""How long answers go on before those that wait are counted, and after how long none comes."""
_LONGEST_SECONDS = 0.05
"""How long nobody is answered at most."""
_FULL = "The server has as many requests as it can answer in time. Send it again a little later."


class Listener:
    """Answers on one port until it is stopped; belongs to one event loop."""

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        *,
        is_shared: bool = False,
        intake: Intake | None = None,
    ) -> None:
        """Take the port, or any free one for 0; `is_shared` with the other workers of a server.

        `intake` is what the process has taken on, over HTTP too.

        Raises:
            MissingExtraError: grpcio is not installed.
            ServingError: the port cannot be used.
        """
        aio = require("grpc.aio", extra="grpc")
        messages()
        self._app = app
        self._intake = Intake() if intake is None else intake
        self._queue = _Queue()
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
        app, label, intake = self._app, f"/{SERVICE}/{name}", self._intake
        queue = self._queue

        async def answer(body: bytes, context: Any) -> bytes:
            started, status, message = time.perf_counter_ns(), 200, ""
            again: str | None = None
            queue.arrived()
            try:
                with intake.let_in(len(body), is_spared=permission == "health"):
                    await queue.counted()
                    if name == "ServerReady" and intake.is_draining:
                        return _written("ServerReadyResponse", ready=False)
                    app.admit(permission, _headers(context), _client(context))
                    return await call(app, body, context)
            except FullError:  # before anything is decoded, and nothing for the log
                status, message, again = 429, _FULL, "1"
            except Exception as error:  # noqa: BLE001 - whatever it is, this caller gets an answer
                status, message = what_failed(error, label)
                again = _retry_after(error)
                if name == "ModelInfer":
                    app.count_failure(error, status, started)
            finally:
                app.count(label, status)
            code = getattr(codes, _CODES.get(status, "INTERNAL"))
            await context.abort(code, message, () if again is None else _when_again(again))
            raise AssertionError("abort has raised")

        return answer


class _Queue:
    """Counts what waits in the library, so that it is bounded too.

    The library hands over one request at a time, as soon as the one before lets it: how many wait
    behind cannot be asked. So now and then nobody is answered until no more come, for a while at
    most; who comes past the bound meanwhile is told to come back. Where nobody waits, this takes
    one request in a while a millisecond.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._last = self._began = self._counted = 0.0

    def arrived(self) -> None:
        """Notice a request, whether or not it is let in."""
        self._last = asyncio.get_running_loop().time()

    async def counted(self) -> None:
        """Wait, if it is time to, until all are here that have come."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            if self._last - self._counted < _COUNT_SECONDS:
                return
            self._began = self._last
            loop.call_later(_QUIET_SECONDS, self._look)
        waiting = loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        left = min(self._last + _QUIET_SECONDS, self._began + _LONGEST_SECONDS) - now
        if left > 0:
            loop.call_later(left, self._look)
            return
        self._counted = now
        for waiting in self._waiting:
            if not waiting.done():  # its caller may have gone
                waiting.set_result(None)
        self._waiting = []


def _retry_after(error: Exception) -> str | None:
    """Return after how many seconds to come back, where an error says so."""
    if isinstance(error, OverloadedError):
        return "1"
    headers = dict(error.headers) if isinstance(error, RefusedError) else {}
    return headers[b"retry-after"].decode() if b"retry-after" in headers else None


def _when_again(seconds: str) -> tuple[tuple[str, str], ...]:
    # The first is HTTP's, the second what gRPC's own clients wait by before they try again.
    return ("retry-after", seconds), ("grpc-retry-pushback-ms", str(int(seconds) * 1000))


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
