"""The routes, and nothing else: which path does what, who may, and what an error looks like.

A raw ASGI application, since a framework costs as much as all the rest of a prediction. A route
says which permission it takes; one that does not cannot be made, so nothing is open by accident.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from loopline import __version__, errors, plugins
from loopline.errors import LooplineError, ServingError
from loopline.serving import dialects, metrics, openapi
from loopline.serving.dialects.base import Content
from loopline.serving.guard import Guard, Permission
from loopline.serving.path import Path
from loopline.serving.reading import (
    NO_CONTENT,
    GoneError,
    Receive,
    RefusedError,
    by_name,
    read_body,
    read_content,
)

STATUS: dict[type[LooplineError], int] = {
    errors.RequestError: 400,
    errors.UnknownVersionError: 404,
    errors.RuntimeUnavailableError: 503,
    errors.StoreError: 503,
    errors.ServingError: 500,
    errors.ContractError: 500,
    errors.DataError: 500,
    errors.MissingExtraError: 500,
    errors.ModelError: 500,
    errors.MonitoringError: 500,
    errors.RegistryError: 500,
    errors.ReleaseError: 500,
    errors.SettingError: 500,
    errors.TrainingError: 500,
}
"""What a caller gets for an error, or for the nearest one above it in the tree."""

_JSON = (b"content-type", b"application/json")
_JSON_TYPES = ("application/json", "")
_TENSOR_TYPES = (*_JSON_TYPES, "application/octet-stream")

_PREDICTIONS = frozenset({"infer", "invoke"})

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Route:
    """One path and method, and who may call it."""

    method: str
    path: str
    permission: Permission
    does: str
    """The method of `App` that answers."""
    summary: str
    takes: tuple[str, ...] = ()
    """Media types of a body; the empty one is a request that names none."""

    def __post_init__(self) -> None:
        if self.permission not in get_args(Permission):
            raise ServingError(
                f"The route {self.method} {self.path} declares no permission. Give it one of "
                f"{', '.join(get_args(Permission))}."
            )


_MODEL, _VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
ROUTES: tuple[Route, ...] = (
    Route("GET", "/v2", "predict", "server", "The server's name and version"),
    Route("GET", "/v2/health/live", "health", "live", "Whether the server is up"),
    Route("GET", "/v2/health/ready", "health", "ready", "Whether a model answers"),
    Route("GET", _MODEL, "predict", "metadata", "The model's inputs and outputs"),
    Route("GET", f"{_MODEL}/ready", "health", "model_ready", "Whether the model answers"),
    Route("POST", f"{_MODEL}/infer", "predict", "infer", "Predict", _TENSOR_TYPES),
    Route("GET", _VERSION, "predict", "metadata", "One version's inputs and outputs"),
    Route("GET", f"{_VERSION}/ready", "health", "model_ready", "Whether that version answers"),
    Route("POST", f"{_VERSION}/infer", "predict", "infer", "Predict", _TENSOR_TYPES),
    Route("POST", "/invocations", "predict", "invoke", "Predict", (*_JSON_TYPES, "text/csv")),
    Route("GET", "/ping", "health", "ping", "Whether a model answers"),
    Route("GET", "/health", "health", "ping", "Whether a model answers"),
    Route("GET", "/version", "health", "version", "Loopline's version"),
    Route("POST", "/feedback", "predict", "feedback", "Say what turned out true", _JSON_TYPES),
    Route("GET", "/metrics", "metrics", "figures", "Counters, as Prometheus reads them"),
    Route("GET", "/openapi.json", "predict", "openapi", "This API as OpenAPI 3.1"),
    Route("GET", "/docs", "predict", "page", "This API as a page"),
    Route("GET", "/", "predict", "page", "This API as a page"),
)


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a route sees of a request."""

    body: bytes
    content: Content
    version: int | None
    """The model version in the path, if it names one."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What goes back."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = (_JSON,)


Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Answer = Callable[[Request], Awaitable[Reply]]


class App:
    """The ASGI application of one server."""

    def __init__(self, path: Path, guard: Guard, routes: Sequence[Route] = ROUTES) -> None:
        self._path = path
        self._guard = guard
        self._project = path.router.release.project
        self._routes = routes
        self._exact: dict[tuple[str, str], tuple[Route, _Answer]] = {}
        self._patterns: list[tuple[re.Pattern[str], tuple[Route, _Answer]]] = []
        for route in routes:
            answer: _Answer = getattr(self, f"_{route.does}")
            here = route.path.replace("{model}", self._project)
            self._exact[route.method, here] = route, answer
            pattern = route.path.replace("{model}", "(?P<model>[^/]+)")
            pattern = pattern.replace("{version}", "(?P<version>[^/]+)")
            self._patterns.append((re.compile(pattern), (route, answer)))
        family = dialects.__name__
        self._errors = {name: plugins.find(family, name).error for name in plugins.names(family)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        started = time.perf_counter_ns()
        method, path = scope["method"], scope["path"]
        headers: Mapping[bytes, bytes] = {}
        route: Route | None = None
        try:
            headers = by_name(scope["headers"])
            found, version = self._exact.get((method, path)), None
            if found is None:
                found, version = self._search(method, path, headers)
            route, answer = found
            self._admit(route.permission, headers)
            body, content = b"", NO_CONTENT
            if route.takes:
                content = read_content(headers, route.takes)
                body = await read_body(headers, receive)
            reply = await answer(Request(body, content, version))
        except GoneError:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, this caller gets an answer
            reply = self._failed(error, route, path)
            if route is not None and route.does in _PREDICTIONS and reply.status not in {401, 403}:
                latency = (time.perf_counter_ns() - started) // 1000
                self._path.failed(type(error).__name__, reply.status, latency)
        self._path.metrics.requests["other" if route is None else route.path, reply.status] += 1
        size = (b"content-length", b"%d" % len(reply.body))
        start = {"type": "http.response.start", "status": reply.status}
        await send({**start, "headers": [*reply.headers, size]})
        await send({"type": "http.response.body", "body": reply.body})

    def _admit(self, permission: Permission, headers: Mapping[bytes, bytes]) -> None:
        refusal = self._guard.refusal(permission, headers)
        if refusal is not None:
            ask = [(b"www-authenticate", b"Bearer")] if refusal.status == 401 else []
            raise RefusedError(refusal.status, refusal.message, *ask)

    def _search(
        self, method: str, path: str, headers: Mapping[bytes, bytes]
    ) -> tuple[tuple[Route, _Answer], int | None]:
        """Find what is not simply there: a version in the path, a HEAD, or why there is nothing."""
        if method == "HEAD":  # answered like a GET; the transport leaves the body out
            method = "GET"
        methods = []
        refusal = RefusedError(404, "There is nothing under this path. What there is: GET /docs.")
        for pattern, found in self._patterns:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if match.groupdict().get("model", self._project) != self._project:
                message = f"There is no such model here. The model is '{self._project}'."
                refusal = RefusedError(404, message)
            elif found[0].method == method:
                return found, _number(match.groupdict().get("version"))
            else:
                methods.append(found[0].method)
        if methods:
            allow = ", ".join(methods)
            message = f"{method:.20} is not answered here; {allow} is."
            refusal = RefusedError(405, message, (b"allow", allow.encode()))
        self._admit("predict", headers)
        raise refusal

    def _failed(self, error: Exception, route: Route | None, path: str) -> Reply:
        """Return an error's reply, in the form of the protocol that `path` belongs to."""
        if isinstance(error, RefusedError):
            status, message, headers = error.status, str(error), error.headers
        else:
            known = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
            status, message, headers = known, str(error), ()
            if status >= 500:
                _log.error("%s: %s", path, error, exc_info=not isinstance(error, LooplineError))
                # Where things are kept here is nothing for a caller.
                message = "The server cannot answer this now; its log says why."
        form = "inference_protocol" if path.startswith("/v2") else "mlflow"
        return Reply(status, self._errors[form](status, message), (_JSON, *headers))

    async def _infer(self, request: Request) -> Reply:
        return await self._predict("inference_protocol", request)

    async def _invoke(self, request: Request) -> Reply:
        return await self._predict("mlflow", request)

    async def _predict(self, dialect: str, request: Request) -> Reply:
        answer = await self._path.predict(
            dialect,
            request.body,
            request.content,
            version=request.version,
            caller=self._guard.caller,
        )
        headers = (
            _JSON,
            (b"x-request-id", answer.request_id.encode()),
            (b"x-model-version", b"%d" % answer.version),
        )
        return Reply(200, answer.body, headers)

    async def _feedback(self, request: Request) -> Reply:
        return _reply({"accepted": await self._path.accept(request.body)})

    async def _server(self, request: Request) -> Reply:
        return _reply({"name": "loopline", "version": __version__, "extensions": []})

    async def _live(self, request: Request) -> Reply:
        return _reply({"live": True})

    async def _ready(self, request: Request) -> Reply:
        return _reply({"live": True, "ready": True})

    async def _metadata(self, request: Request) -> Reply:
        router = self._path.router
        versions = [model.version for model in router.models]
        model = router.models[0] if request.version is None else router.named(request.version)
        return _reply(openapi.metadata(model.signature, versions, model.runtime))

    async def _model_ready(self, request: Request) -> Reply:
        if request.version is not None:
            self._path.router.named(request.version)
        return _reply({"name": self._project, "ready": True})

    async def _ping(self, request: Request) -> Reply:
        return Reply(200, b"\n")

    async def _version(self, request: Request) -> Reply:
        return Reply(200, __version__.encode(), ((b"content-type", b"text/plain"),))

    async def _figures(self, request: Request) -> Reply:
        router, log = self._path.router, self._path.log
        text = self._path.metrics.render(
            release=router.release.number,
            serving=[model.version for model in router.models],
            log={"frames": log.frames, "lost": log.lost, "failing": int(log.failure is not None)},
        )
        return Reply(200, text, ((b"content-type", metrics.CONTENT_TYPE),))

    async def _openapi(self, request: Request) -> Reply:
        return _reply(self._description())

    async def _page(self, request: Request) -> Reply:
        return Reply(200, openapi.page(self._description()), openapi.PAGE_HEADERS)

    def _description(self) -> dict[str, Any]:
        model = self._path.router.models[0]
        routes = [(route.method, route.path, route.summary) for route in self._routes]
        return openapi.document(model.signature, model.version, routes)


def _reply(answer: dict[str, Any]) -> Reply:
    return Reply(200, _encode(answer))


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise RefusedError(404, f"'{text:.20}' is no version; a version is a number such as 3.")
    return int(text)
