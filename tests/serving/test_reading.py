"""A body off the wire: its type, its encoding, its size, and a caller that goes away."""

import asyncio
from typing import Any

import pytest

from loopline.serving import reading
from loopline.serving.dialects.base import Content
from loopline.serving.reading import GoneError, RefusedError, by_name, read_body, read_content

JSON = ("application/json", "")
TENSOR = (*JSON, "application/octet-stream")


def content(takes: tuple[str, ...] = JSON, **headers: str) -> Content:
    given = {k.replace("_", "-").encode(): v.encode("latin-1") for k, v in headers.items()}
    return read_content(given, takes)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json;",
        "",
    ],
)
def test_json_is_read_however_its_type_is_written(kind: str) -> None:
    assert content(content_type=kind).type == kind.lower().partition(";")[0]
    assert content().type == ""


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"content_type": "text/html"}, "'text/html'; this route reads application/json, in UTF-8"),
        ({"content_type": "application/json; charset=latin-1"}, "'charset=latin-1' is not underst"),
        ({"content_type": "application/json; boundary=x"}, "'boundary=x' is not understood"),
        ({"content_encoding": "gzip"}, "Compressed bodies are not read"),
        ({"content_type": "x" * 5000}, "'" + "x" * 60 + "'; this route"),
    ],
)
def test_what_is_not_read_is_415_and_named(headers: dict[str, str], message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refused:
        content(**headers)

    assert refused.value.status == 415


def test_identity_is_no_compression() -> None:
    assert content(content_encoding="Identity").type == ""


@pytest.mark.parametrize("length", [None, "", "-1", "1e3", "٣", "9" * 10])
def test_binary_tensors_need_the_length_of_their_header(length: str | None) -> None:
    given = {b"content-type": b"application/octet-stream"}
    if length is not None:
        given[b"inference-header-content-length"] = length.encode()

    with pytest.raises(RefusedError, match="must be a number of bytes") as refused:
        read_content(given, TENSOR)

    assert refused.value.status == 400


def test_the_length_of_a_tensor_s_header_is_read() -> None:
    found = content(
        TENSOR, content_type="application/octet-stream", inference_header_content_length="120"
    )

    assert found == Content("application/octet-stream", 120)


def test_a_header_that_decides_may_not_be_there_twice() -> None:
    with pytest.raises(RefusedError, match="content-length is there more than once") as refused:
        by_name([(b"content-length", b"1"), (b"accept", b"*/*"), (b"content-length", b"2")])

    assert refused.value.status == 400
    assert by_name([(b"accept", b"a"), (b"accept", b"b"), (b"host", b"h")])[b"host"] == b"h"


def body(*messages: Any, length: int | None = None) -> bytes:
    incoming = list(messages)

    async def receive() -> Any:
        return incoming.pop(0)

    headers = {} if length is None else {b"content-length": str(length).encode()}
    found = asyncio.run(read_body(headers, receive))
    assert incoming == []
    return found


def part(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


def test_a_body_in_pieces_is_put_together() -> None:
    assert body(part(b"abc")) == b"abc"
    assert body(part(b"a", more=True), part(b"", more=True), part(b"bc")) == b"abc"
    assert body({"type": "http.request"}) == b""


def test_a_caller_that_goes_away_is_no_request() -> None:
    with pytest.raises(GoneError):
        body(part(b'{"a":', more=True), {"type": "http.disconnect"})
    with pytest.raises(GoneError):
        body({"type": "http.disconnect"})


def test_a_body_that_is_too_large_is_refused_by_what_it_says_and_by_what_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "LARGEST_BODY", 4)
    assert body(part(b"abcd"), length=4) == b"abcd"

    for messages, length in (
        ([], 5),
        ([part(b"abc", more=True), part(b"de")], None),
        ([part(b"abc", more=True), part(b"de", more=True)], 4),
    ):
        with pytest.raises(RefusedError, match="larger than 4 bytes") as refused:
            body(*messages, length=length)
        assert refused.value.status == 413
        assert (b"connection", b"close") in refused.value.headers


def test_what_a_caller_accepts_and_calls_itself_is_part_of_what_is_known_of_a_body() -> None:
    said = content(
        ("text/csv",),
        content_type="text/csv; header=Absent",
        accept='Text/CSV; output="probability", */*',
        x_amzn_sagemaker_inference_id="mine" * 100,
    )

    assert said.has_header is False
    assert said.wants() == ("text/csv", {"output": "probability"})
    assert said.client_id == ("mine" * 100)[:200]
    plain = content(("text/csv",), content_type="text/csv")
    assert (plain.has_header, plain.wants(), plain.client_id) == (None, ("", {}), None)
    assert content(("text/csv",), content_type="text/csv;header=present").has_header is True
