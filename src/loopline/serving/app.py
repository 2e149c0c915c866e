"""Which path does what, who may, and what an error looks like: HTTP, and nothing else.

No framework, since one costs as much as all the rest of a prediction: what a request is comes in as
ASGI has it, and what it gets is returned. Most routes come from the dialects that speak there; here
are those that are Loopline's own.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from loopline import errors, plugins
from loopline.errors import LooplineError
from loopline.serving import dialects, metrics, openapi, reasons
from loopline.serving.dialects.base import JSON, Content
from loopline.serving.guard import Guard, Permission
from loopline.serving.path import Answer, Path
from loopline.serving.reading import (
    GoneError,
    NotAdmittedError,
    Receive,
    RefusedError,
    accepted,
    by_name,
    read_body,
    read_content,
    routing_key,
)
from loopline.serving.routes import Host, Place, Reply, Request, Route, Table

STATUS: dict[type[LooplineError], int] = {
    errors.RequestError: 400,
    errors.TooManyRowsError: 413,
    errors.OverloadedError: 429,
    errors.TooSlowError: 504,
    errors.UnknownVersionError: 404,
    errors.RuntimeUnavailableError: 503,
    errors.StoreError: 503,
    errors.ServingError: 500,
    errors.AccessError: 500,
    errors.ContractError: 500,
    errors.DataError: 500,
    errors.DeliveryError: 500,
    errors.MissingExtraError: 500,
    errors.ModelError: 500,
    errors.MonitoringError: 500,
    errors.RegistryError: 500,
    errors.ReleaseError: 500,
    errors.SettingError: 500,
    errors.TrainingError: 500,
}
"""What a caller gets for an error, or for the nearest one above it in the tree."""

_LONGEST_CARRIED = 1024
"""Characters of a header that a platform lets through; SageMaker's limit."""

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


async def _live(host: Host, request: Request) -> Reply:
    return Reply(200, b'{"live":true}')


async def _ready(host: Host, request: Request) -> Reply:
    return Reply(200, b'{"live":true,"ready":true}')


async def _feedback(host: Host, request: Request) -> Reply:
    return Reply(200, _encode({"accepted": await host.path.accept(request.body)}))


async def _figures(host: Host, request: Request) -> Reply:
    text = host.path.metrics.render(host.path.router, host.path.log)
    return Reply(200, text, ((b"content-type", metrics.CONTENT_TYPE),))


async def _openapi(host: Host, request: Request) -> Reply:
    return Reply(200, _encode(_description(host)))


async def _page(host: Host, request: Request) -> Reply:
    return Reply(200, openapi.page(_description(host)), openapi.PAGE_HEADERS)


async def _root(host: Host, request: Request) -> Reply:
    """Tell a browser what there is; KServe's V1 clients ask here whether the server is up."""
    if "text/html" in request.content.accept:
        return await _page(host, request)
    return Reply(200, b'{"status":"alive"}')


def _description(host: Host) -> dict[str, Any]:
    model = host.path.router.models[0]
    return openapi.document(model.signature, model.version, host.routes)


_OWN = (
    Route("GET", "/livez", "health", "Whether the server is up", _live, says="live"),
    Route("GET", "/readyz", "health", "Whether a model answers", _ready, says="ready"),
    Route(
        "POST",
        "/feedback",
        "feedback",
        "Say what turned out true",
        _feedback,
        takes=("application/json", ""),
        example=openapi.feedback_example,
    ),
    Route("GET", "/metrics", "metrics", "Counters, as Prometheus reads them", _figures),
    Route("GET", "/openapi.json", "predict", "This API as OpenAPI 3.1", _openapi),
    Route("GET", "/docs", "predict", "This API as a page", _page),
    Route("GET", "/", "predict", "This API as a page; to programs, that it is alive", _root),
)
_DIALECTS: Mapping[str, Any] = {
    name: plugins.find(dialects.__name__, name) for name in plugins.names(dialects.__name__)
}
ROUTES: tuple[Route, ...] = (
    *_OWN,
    *(route for kind in _DIALECTS.values() for route in kind.routes),
)
"""Every route that there may be; the environment decides about some of them."""

Scope = Mapping[str, Any]


Client = Sequence[Any] | None
"""Address and port of who asks, as far as they are known."""


class Asked(msgspec.Struct, frozen=True):
    """What a request asks for, as far as its head says it."""

    method: str
    path: str
    size: int
    """Bytes of the body, by the head."""
    headers: Mapping[bytes, bytes]
    place: Place
    version: int | None
    name: str | None
    """What stands in the path at `{name}`."""
    content: Content
    key: str | None
    """What keeps the caller on one version."""


class App:
    """Answers every request of one server."""

    def __init__(
        self, path: Path, guard: Guard, environment: Mapping[str, str] | None = None
    ) -> None:
        """Gather the routes; `environment` names some of them.

        Raises:
            SettingError: the environment names a path that is none.
        """
        project = path.router.release.project
        self.guard = guard
        self._path = path
        self._table = Table(project, _OWN, _DIALECTS, environment or {})
        self._carriers: tuple[bytes, ...] = tuple(
            kind.carries for kind in _DIALECTS.values() if hasattr(kind, "carries")
        )
        self.host = Host(project, path, self._table.routes)

    def error(self, path: str, status: int, message: str) -> bytes:
        """Return an error's body in the form of the protocol that `path` belongs to."""
        return self._table.form(path)(status, message)

    async def reply(self, scope: Scope, receive: Receive) -> Reply | None:
        """Return what one HTTP request gets; None when its caller has gone.

        `scope` and `receive` are ASGI's.
        """
        started = time.perf_counter_ns()
        place: Place | None = None
        try:
            headers = by_name(scope["headers"])
            place, version, name = self._place(scope, headers)
            self.admit(place.route.permission, headers, scope.get("client"))
            asked = _asked(scope, headers, place, version, name)
            body = await read_body(headers, receive) if place.takes else b""
            reply = await self._answered(asked, body)
        except GoneError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, this caller gets an answer
            reply = self._failed(error, place, scope["path"], started)
        self.count("other" if place is None else place.route.path, reply.status)
        return reply

    def asked(self, scope: Scope) -> Asked:
        """Return what a head asks for, whoever sends it; `reply` has answered it.

        Raises:
            RefusedError: nothing that there is.
        """
        headers = by_name(scope["headers"])
        return _asked(scope, headers, *self._place(scope, headers))

    async def again(self, asked: Asked, body: bytes, client: Client) -> Reply:
        """Return what `reply` would, for a head that is known, and its body.

        Who asks is looked at again: a token may be gone, or past its rate.
        """
        started = time.perf_counter_ns()
        place = asked.place
        try:
            self.admit(place.route.permission, asked.headers, client)
            reply = await self._answered(asked, body)
        except Exception as error:  # noqa: BLE001 - whatever it is, this caller gets an answer
            reply = self._failed(error, place, asked.path, started)
        self.count(place.route.path, reply.status)
        return reply

    async def _answered(self, asked: Asked, body: bytes) -> Reply:
        place, content, version = asked.place, asked.content, asked.version
        speaker = place.speaker(content.type, body) if place.takes else place.default
        does = speaker.route.does
        if does is not None:
            return await does(self.host, Request(body, content, version, asked.name))
        if place.route.version_of is not None:
            version = place.route.version_of(self.host, asked.name or "")
        answer = await self._path.predict(
            speaker.dialect,
            body,
            content,
            version=version,
            caller=self.guard.caller,
            key=asked.key,
        )
        return self._written(answer, asked.headers)

    def _written(self, answer: Answer, headers: Mapping[bytes, bytes]) -> Reply:
        request_id, number = answer.request_id.encode(), b"%d" % answer.version
        found = [*answer.headers, (b"x-request-id", request_id), (b"x-model-version", number)]
        if answer.arm:
            found.append((b"x-model-arm", answer.arm.encode()))
        for carrier in self._carriers:
            if carrier in headers:
                said = b"request-id=%b,model-version=%b" % (request_id, number)
                own = b"%b,%b" % (said, headers[carrier])
                found.append((carrier, own if len(own) <= _LONGEST_CARRIED else said))
        return Reply(200, answer.body, found)

    def admit(
        self, permission: Permission, headers: Mapping[bytes, bytes], client: Client = None
    ) -> None:
        """Let a request pass that may; `client` is ASGI's.

        Raises:
            NotAdmittedError: it may not.
        """
        # Only a wrong token is counted by where it came from.
        address = client[0] if client and self.guard.needs_token else ""
        refusal = self.guard.refusal(permission, headers, address)
        if refusal is not None:
            raise NotAdmittedError(refusal.status, refusal.message, *refusal.headers)

    def count(self, route: str, status: int) -> None:
        """Count a request that was answered."""
        self._path.metrics.requests[route, status] += 1

    def count_failure(self, error: Exception, status: int, started: int) -> None:
        """Log a prediction request that failed; `started` as `perf_counter_ns` had it."""
        if isinstance(error, NotAdmittedError):
            return
        latency = (time.perf_counter_ns() - started) // 1000
        self._path.failed(type(error).__name__, status, latency)

    def _place(
        self, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> tuple[Place, int | None, str | None]:
        """Find what answers, with the version and the name in the path; or say why nothing does."""
        method, path = scope["method"], scope["path"]
        place = self._table.exact(method, path)
        if place is not None:
            return place, None, None
        try:
            return self._table.search(method, path)
        except RefusedError:
            # What there is is nothing for a stranger either.
            self.admit("predict", headers, scope.get("client"))
            raise

    def _failed(self, error: Exception, place: Place | None, path: str, started: int) -> Reply:
        """Return an error's reply, in the form of the protocol that `path` belongs to."""
        status, message = what_failed(error, path)
        headers = error.headers if isinstance(error, RefusedError) else ()
        if isinstance(error, errors.OverloadedError):
            headers = ((b"retry-after", b"1"),)
        if place is not None and place.predicts:
            self.count_failure(error, status, started)
        form = self._table.form(path) if place is None else place.error
        return Reply(status, form(status, message), (JSON, *headers))


def _asked(
    scope: Scope,
    headers: Mapping[bytes, bytes],
    place: Place,
    version: int | None,
    name: str | None,
) -> Asked:
    """Return what a head asks for at a place.

    Raises:
        RefusedError: its body would be of a kind that is not read there.
        RequestError: it wants reasons in a way that is not understood.
    """
    explain = _explain(scope, headers)
    if not place.takes:
        content = accepted(headers)
    else:
        content = read_content(headers, place.takes)
        if explain:
            content = msgspec.structs.replace(content, explain=explain)
    return Asked(
        method=scope["method"],
        path=scope["path"],
        size=int(headers.get(b"content-length", b"0")),
        headers=headers,
        place=place,
        version=version,
        name=name,
        content=content,
        key=routing_key(headers.get(b"x-routing-key")),
    )


def _explain(scope: Scope, headers: Mapping[bytes, bytes]) -> int:
    """Return how many reasons a caller wants by its query, or by SageMaker's header."""
    query, header = scope.get("query_string"), headers.get(reasons.HEADER)
    if query and b"explain" in query:
        return reasons.by_query(query)
    return 0 if header is None else reasons.wanted(header.decode("latin-1"), "The header")


def what_failed(error: Exception, where: str) -> tuple[int, str]:
    """Return an error's status and what a caller may read; what it may not goes to the log."""
    if isinstance(error, RefusedError):
        return error.status, str(error)
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    if status < 500 or isinstance(error, errors.TooSlowError):
        return status, str(error)
    _log.error("%s: %s", where, error, exc_info=not isinstance(error, LooplineError))
    # Where things are kept here is nothing for a caller.
    return status, "The server cannot answer this now; its log says why."
