"""Reads a request's body off the wire, as far as HTTP goes: its type, encoding and size."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from loopline.serving.dialects.base import Content

LARGEST_BODY = 32 * 2**20
NO_CONTENT = Content("")
_LONGEST_ACCEPT = 200
_LONGEST_ID = 200

_DECIDING = (
    b"host", b"origin", b"authorization", b"content-type", b"content-length", b"content-encoding",
    b"inference-header-content-length",
)  # fmt: skip

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class RefusedError(Exception):
    """HTTP's own reasons: no such route, too large, a type that is not read."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class NotAdmittedError(RefusedError):
    """Who asks may not. Nobody so refused writes to the log, or any stranger could fill it."""


class GoneError(Exception):
    """The caller went away while sending."""


def by_name(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    """Return the headers by name.

    Raises:
        RefusedError: one that decides something is there twice, and whoever stands before this
            server may go by the other one.
    """
    known = dict(headers)
    if len(known) < len(headers):
        for name in _DECIDING:
            if sum(name == other for other, _ in headers) > 1:
                raise RefusedError(400, f"The header {name.decode()} is there more than once.")
    return known


def read_content(headers: Mapping[bytes, bytes], takes: tuple[str, ...]) -> Content:
    """Return what the headers say of a body that may have the media types `takes`.

    Raises:
        RefusedError: it has another, or parameters or an encoding that are not read.
    """
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise RefusedError(415, "Compressed bodies are not read. Send it as it is.")
    content = _content(headers.get(b"content-type", b""), headers.get(b"accept", b""))
    kind = content.type
    if kind not in takes:
        known = ", ".join(name for name in takes if name)
        raise RefusedError(
            415, f"The content type is '{kind:.60}'; this route reads {known}, in UTF-8."
        )
    length = headers.get(b"inference-header-content-length")
    client_id = headers.get(b"x-amzn-sagemaker-inference-id")
    if client_id is not None:
        content = replace(content, client_id=client_id.decode("latin-1")[:_LONGEST_ID])
    if length is None and kind != "application/octet-stream":
        return content
    if length is None or not length.isdigit() or len(length) > 9:
        raise RefusedError(400, "Inference-Header-Content-Length must be a number of bytes.")
    return replace(content, json_bytes=int(length))


def accepted(headers: Mapping[bytes, bytes]) -> Content:
    """Return what a caller without a body wants back."""
    accept = headers.get(b"accept")
    return NO_CONTENT if accept is None else _content(b"", accept)


@lru_cache(maxsize=256)
def _content(header: bytes, accept: bytes) -> Content:
    kind, *parameters = header.decode("latin-1").lower().split(";")
    has_header = None
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        said = (name, value.strip('"'))
        if kind.strip() == "text/csv" and said in {("header", "present"), ("header", "absent")}:
            has_header = said[1] == "present"
        elif said not in {("charset", "utf-8"), ("charset", "utf8"), ("", "")}:
            raise RefusedError(
                415, f"Content type parameter '{parameter.strip():.60}' is not understood."
            )
    wanted = accept.decode("latin-1").lower()[:_LONGEST_ACCEPT]
    return Content(kind.strip(), accept=wanted, has_header=has_header)


def routing_key(said: bytes | None) -> str | None:
    """Return what keeps a caller on one version, as it says it itself."""
    return said.decode("utf-8", "surrogateescape") if said else None


async def read_body(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """Return the whole body.

    Raises:
        RefusedError: it is larger than `LARGEST_BODY`; what follows is not read.
    """
    if int(headers.get(b"content-length", b"0")) > LARGEST_BODY:
        raise _too_large()
    message = await receive()
    body: bytes = message.get("body", b"")
    parts = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            raise _too_large()
    if message["type"] == "http.disconnect":
        raise GoneError
    return body if len(parts) == 1 else b"".join(parts)


def _too_large() -> RefusedError:
    message = f"The body is larger than {LARGEST_BODY} bytes. Send fewer rows at a time."
    return RefusedError(413, message, (b"connection", b"close"))
