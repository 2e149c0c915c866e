"""The same store in S3's own protocol, spoken by a server that keeps its objects in a dict."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import polars as pl
import pytest

from loopline.errors import AlreadyExistsError, StoreError
from loopline.store.objects import Objects
from loopline.store.tables import Tables


class Bucket(BaseHTTPRequestHandler):
    """Get, head, put (with If-None-Match), delete and list, for one bucket called `models`."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    lock: threading.Lock

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        key = unquote(address.path).removeprefix("/models").removeprefix("/")
        if not self._is_signed():
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif not key:
            self._answer(200, self._listing(parse_qs(address.query).get("prefix", [""])[0]))
        elif key in self.objects:
            self._send(self.objects[key])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        key = unquote(urlsplit(self.path).path).removeprefix("/models/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            taken = key in self.objects and self.headers.get("If-None-Match") == "*"
            if not taken:
                self.objects[key] = body
        self._answer(412 if taken else 200, b"")

    def do_DELETE(self) -> None:
        self.objects.pop(unquote(urlsplit(self.path).path).removeprefix("/models/"), None)
        self._answer(204, b"")

    def do_POST(self) -> None:
        """Delete several: the form that obstore uses."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        keys = [part.partition("</Key>")[0] for part in body.split("<Key>")[1:]]
        for key in keys:
            self.objects.pop(key, None)
        done = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{done}</DeleteResult>".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _is_signed(self) -> bool:
        return "Credential=loopline-key/" in self.headers.get("Authorization", "")

    def _send(self, content: bytes) -> None:
        first, last = 0, len(content) - 1
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if wanted:
            start, _, end = wanted.partition("-")
            first = int(start) if start else max(len(content) - int(end), 0)
            last = min(int(end), last) if start and end else last
        span = {"Content-Range": f"bytes {first}-{last}/{len(content)}"} if wanted else {}
        self._answer(206 if wanted else 200, content[first : last + 1], **span)

    def _listing(self, prefix: str) -> bytes:
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><ETag>x</ETag>"
            "<LastModified>2013-04-01T12:30:00.000Z</LastModified></Contents>"
            for key, content in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult>{entries}</ListBucketResult>".encode()

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        named = {"Content-Length": str(len(content)), "ETag": '"x"', **headers}
        for name, value in {"Last-Modified": "Mon, 01 Apr 2013 12:30:00 GMT", **named}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A bucket on loopback, and the environment that leads there."""
    kept: dict[str, bytes] = {}
    handler = type("Mine", (Bucket,), {"objects": kept, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "ap-southeast-2",
        "AWS_ACCESS_KEY_ID": "loopline-key",
        "AWS_SECRET_ACCESS_KEY": "loopline-secret",
    }.items():
        monkeypatch.setenv(name, value)
    yield kept
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_bytes_are_kept_below_the_urls_prefix(bucket):
    objects = Objects("s3://models/team/churn")

    objects.put("bundles/1/plan.bin", b"plan")

    assert bucket == {"team/churn/bundles/1/plan.bin": b"plan"}
    assert objects.get("bundles/1/plan.bin") == b"plan"
    assert objects.find("bundles/2/plan.bin") is None
    assert objects.list("bundles") == ["bundles/1/plan.bin"]
    assert objects.uri("bundles/1") == "s3://models/team/churn/bundles/1"
    objects.delete("bundles/1/plan.bin")
    objects.delete("bundles/1/plan.bin")
    assert objects.list() == []


def test_create_is_conditional_there_too(bucket):
    objects = Objects("s3://models/team")
    objects.create("releases/churn/dev/1.json", b"first")

    with pytest.raises(AlreadyExistsError, match="left as it is"):
        objects.create("releases/churn/dev/1.json", b"second")

    assert objects.get("releases/churn/dev/1.json") == b"first"


def test_wrong_credentials_are_one_clear_message(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")

    with pytest.raises(StoreError, match=r"Could not read a from s3://models/team"):
        Objects("s3://models/team").get("a")


def test_delta_tables_are_written_and_read_there(bucket):
    tables = Tables(Objects("s3://models/team"))

    tables.write("log", pl.DataFrame({"x": [1, 2]}), transaction=("fold", 1))
    tables.write("log", pl.DataFrame({"x": [3]}), transaction=("fold", 1))
    tables.write("log", pl.DataFrame({"x": [4]}), transaction=("fold", 2))

    assert sorted(tables.read("log")["x"]) == [1, 2, 4]
    assert tables.transaction("fold", "log") == 2
    assert any(key.startswith("team/log/_delta_log/") for key in bucket)
