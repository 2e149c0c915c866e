"""AWS Lambda: the runtime's loop, and events turned into calls.

An event of a function URL or of API Gateway's HTTP API (version 2.0) is a request; anything else is
the body of a prediction, as `aws lambda invoke` sends it, and its answer is JSON. Who may invoke a
function is decided by IAM; an event from the web that nobody authenticated needs the token.
"""

import base64
import binascii
import http.client
import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import unquote

import msgspec

from loopline.errors import LooplineError, ServingError, SettingError
from loopline.governance.access import Access
from loopline.serving.guard import Guard
from loopline.serving.inside import Answered, Inside, opened, plain_headers
from loopline.serving.log import Level
from loopline.settings import Settings

_API = "/2018-06-01/runtime"
_TEXTS = ("application/json", "application/x-ndjson", "text/", "application/jsonlines")
_OURS = [(b"host", b"localhost")]
"""What a call by a platform that has authenticated its caller is, to the guard of a loopback."""

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class InvocationError(Exception):
    """A bare event that could not be answered, as Lambda's callers see it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def handle(inside: Inside, event: Any) -> Any:
    """Return what the function answers to `event`.

    Raises:
        InvocationError: a bare event asks for what cannot be answered.
    """
    if isinstance(event, dict) and event.get("version") == "2.0" and "requestContext" in event:
        return _web(inside, event)
    headers = [*_OURS, (b"content-type", b"application/json")]
    # Not msgspec: what it cannot write (half a surrogate pair, 2**64) is for the reader to refuse.
    body = json.dumps(event, separators=(",", ":")).encode()
    answered = inside.call("POST", "/invocations", headers, body)
    said = _decode(answered.body)
    if answered.status != 200:
        raise InvocationError(said["error_code"], said["message"])
    return said


def _web(inside: Inside, event: Mapping[str, Any]) -> dict[str, Any]:
    try:
        context = event["requestContext"]
        method, path = str(context["http"]["method"]), unquote(str(event["rawPath"]))
        stage = context.get("stage", "$default")
        headers = plain_headers({str(n): str(v) for n, v in event.get("headers", {}).items()})
        body = _body(event)
        query = str(event.get("rawQueryString", "")).encode("latin-1", "replace")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return _refused(400, f"This is no event of version 2.0: {error!s:.100}.")
    if stage != "$default":  # a named stage stands before the path
        path = path.removeprefix(f"/{stage}") or "/"
    if not inside.guard.needs_token:
        if not context.get("authorizer"):
            return _refused(
                401,
                "Nobody authenticated this request. Use IAM or an authorizer, or set "
                "LOOPLINE_TOKEN for the function and send it.",
            )
        kept = [pair for pair in headers if pair[0] not in {b"host", b"origin"}]
        headers = [*kept, *_OURS]
    return _response(inside.call(method, path, headers, body, query))


def _body(event: Mapping[str, Any]) -> bytes:
    text = event.get("body") or ""
    if event.get("isBase64Encoded"):
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError("its body is no base64") from error
    return str(text).encode("utf-8", "surrogatepass")


def _response(answered: Answered) -> dict[str, Any]:
    headers = {name.decode(): value.decode("latin-1") for name, value in answered.headers}
    is_text = headers.get("content-type", "").startswith(_TEXTS)
    coded = answered.body if is_text else base64.b64encode(answered.body)
    return {
        "statusCode": answered.status,
        "headers": headers,
        "body": coded.decode("utf-8"),
        "isBase64Encoded": not is_text,
    }


def _refused(status: int, message: str) -> dict[str, Any]:
    body = _encode({"error": message})
    return _response(Answered(status, [(b"content-type", b"application/json")], body))


def start(project: str, settings: Settings, environment: str, *, log: Level = "durable") -> None:
    """Open what is released of `project` and answer events until the platform ends the process.

    Raises:
        SettingError: this is no Lambda function.
        LooplineError: the models cannot be opened; the platform has been told.
    """
    api = settings.environment.get("AWS_LAMBDA_RUNTIME_API")
    if not api:
        raise SettingError("AWS_LAMBDA_RUNTIME_API is not set: this runs as a Lambda function.")
    guard = Guard(Access(settings.home, settings.token), needs_token=settings.token is not None)
    with ExitStack() as stack:
        try:
            inside = stack.enter_context(
                opened(project, settings, environment=environment, log=log, guard=guard)
            )
        except LooplineError as error:
            fail_to_start(api, error)
            raise
        run(inside, api)


def run(inside: Inside, api: str, *, calls: int | None = None) -> None:
    """Ask the runtime API at `api` (host:port) for events and answer them; for ever, or `calls`.

    Raises:
        ServingError: the API does not answer as it should.
    """
    done = 0
    with closing(http.client.HTTPConnection(api)) as connection:
        while calls is None or done < calls:
            _answer_next(inside, connection)
            done += 1


def _answer_next(inside: Inside, connection: http.client.HTTPConnection) -> None:
    request_id, event = _next(connection)
    try:
        answer = _encode(handle(inside, event))
    except InvocationError as error:
        _post(connection, f"{request_id}/error", _failure(error.kind, str(error)), error.kind)
    except Exception:  # noqa: BLE001 - the next event must not pay for this one
        _log.exception("An event could not be answered.")
        failure = _failure("InternalError", "The function cannot answer; its log says why.")
        _post(connection, f"{request_id}/error", failure, "InternalError")
    else:
        _post(connection, f"{request_id}/response", answer)


def fail_to_start(api: str, error: Exception) -> None:
    """Tell the runtime API at `api` that the function cannot start."""
    kind = type(error).__name__
    headers = {"Lambda-Runtime-Function-Error-Type": kind}
    with closing(http.client.HTTPConnection(api)) as connection:
        connection.request("POST", f"{_API}/init/error", _failure(kind, str(error)), headers)
        connection.getresponse().read()


def _next(connection: http.client.HTTPConnection) -> tuple[str, Any]:
    connection.request("GET", f"{_API}/invocation/next")
    answer = connection.getresponse()
    body = answer.read()
    request_id = answer.headers.get("Lambda-Runtime-Aws-Request-Id")
    if answer.status != 200 or request_id is None:
        raise ServingError(f"The Lambda runtime API answers {answer.status} in place of an event.")
    try:
        return request_id, json.loads(body)
    except (ValueError, RecursionError):
        return request_id, None


def _post(
    connection: http.client.HTTPConnection, place: str, body: bytes, kind: str | None = None
) -> None:
    headers = {"Content-Type": "application/json"}
    if kind is not None:
        headers["Lambda-Runtime-Function-Error-Type"] = kind
    connection.request("POST", f"{_API}/invocation/{place}", body, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status == 413:  # the answer is larger than Lambda's 6 MiB
        failure = _failure("ResponseTooLarge", "The answer is too large. Send fewer rows.")
        request_id = place.partition("/")[0]
        _post(connection, f"{request_id}/error", failure, "ResponseTooLarge")


def _failure(kind: str, message: str) -> bytes:
    return _encode({"errorMessage": message, "errorType": kind, "stackTrace": []})
