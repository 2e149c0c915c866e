"""Alerts by webhook, against a real HTTP server on loopback and hostile addresses."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import pytest

from loopline.errors import ChannelError, SettingError
from loopline.monitoring.channels.base import Alert
from loopline.monitoring.channels.webhook import Webhook

ALERT = Alert("churn", "production", 7, "drift", "temp has drifted", ())


class _Answers(HTTPServer):
    status = 200
    location = ""
    received: list[dict[str, Any]]


class _Handler(BaseHTTPRequestHandler):
    server: _Answers

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append({"path": self.path, "body": json.loads(body)})
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        self.wfile.write(b"secret of the inner network")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Answers]:
    server = _Answers(("127.0.0.1", 0), _Handler)
    server.received = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _url(server: _Answers, path: str = "/hook?team=ml") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_an_alert_arrives_as_json_at_the_whole_url(server: _Answers) -> None:
    Webhook(_url(server), private=True).send(ALERT)

    [received] = server.received
    assert received["path"] == "/hook?team=ml"
    assert received["body"]["text"] == "temp has drifted"
    assert received["body"]["version"] == 7


def test_a_refusal_names_host_and_status_and_neither_path_nor_body(server: _Answers) -> None:
    server.status = 403

    with pytest.raises(ChannelError, match="status 403") as caught:
        Webhook(_url(server, "/secret-token"), private=True).send(ALERT)

    assert "secret" not in str(caught.value)


def test_a_redirect_is_not_followed(server: _Answers) -> None:
    server.status, server.location = 302, _url(server, "/elsewhere")

    with pytest.raises(ChannelError, match="Redirects are not followed"):
        Webhook(_url(server), private=True).send(ALERT)

    assert [request["path"] for request in server.received] == ["/hook?team=ml"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.8", "192.168.1.1", "172.16.0.1", "100.64.0.1", "0.0.0.0", "::1", "::",
        "169.254.169.254", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
        "2002:7f00:1::", "224.0.0.1", "240.0.0.1", "192.0.0.192", "192.88.99.1", "::7f00:1",
        "64:ff9b:1::7f00:1", "3fff::1", "::ffff:a00:8",
    ],
)  # fmt: skip
def test_a_name_that_leads_inwards_is_refused_before_connecting(address: str) -> None:
    def resolve(_host: str, port: int, **_: object) -> list[Any]:
        # The first address is fine: every one must be, or a retry would reach the second.
        return [(2, 1, 6, "", ("93.184.215.14", port)), (2, 1, 6, "", (address, port))]

    with pytest.raises(ChannelError, match="where alerts may not go"):
        Webhook("https://hooks.example.com/x", resolve=resolve).send(ALERT)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "[::ffff:7f00:1]",
        "[::]", "0300.0250.1.1", "3232235777",
    ],
)  # fmt: skip
def test_an_inner_address_is_one_however_it_is_written(host: str) -> None:
    """By the resolver of this machine, as a URL in the settings would be."""
    with pytest.raises(ChannelError, match="where alerts may not go"):
        Webhook(f"https://{host}/x").send(ALERT)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "0.0.0.0", "::ffff:169.254.169.254", "192.0.0.192"]
)
def test_not_even_the_setting_opens_metadata_addresses(address: str) -> None:
    def resolve(_host: str, port: int, **_: object) -> list[Any]:
        return [(2, 1, 6, "", (address, port))]

    with pytest.raises(ChannelError, match="where alerts may not go"):
        Webhook("https://hooks.example.com/x", private=True, resolve=resolve).send(ALERT)


def test_the_address_that_was_checked_is_the_one_connected_to(server: _Answers) -> None:
    asked = []

    def resolve(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    url = f"http://rebinding.invalid:{server.server_port}/hook"
    Webhook(url, private=True, resolve=resolve).send(ALERT)

    assert asked == ["rebinding.invalid"]
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://hooks.example.com/x", False),
        ("file:///etc/passwd", True),
        ("gopher://127.0.0.1/", True),
        ("https://", True),
        ("https://user:password@hooks.example.com/", False),
        ("https://hooks.example.com/\r\nHost: inner", False),
        ("https://hooks.example.com:x/", False),
    ],
)
def test_a_url_that_alerts_may_not_go_to_is_refused_at_once(url: str, private: bool) -> None:
    with pytest.raises(SettingError, match="LOOPLINE_WEBHOOK"):
        Webhook(url, private=private)


def test_a_server_that_trickles_is_hung_up_on() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            for _ in range(200):
                if stop.wait(0.05):
                    return
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    started = time.monotonic()

    with pytest.raises(ChannelError):
        Webhook(url, private=True, timeout_seconds=0.4).send(ALERT)

    assert time.monotonic() - started < 3
    stop.set()
    thread.join()
    listener.close()


def test_a_message_is_signed_over_its_id_its_time_and_its_body(server: _Answers) -> None:
    """As standardwebhooks.com describes it: what a receiver's library checks."""
    headers: list[Any] = []
    kept = _Handler.do_POST

    def remember(self: _Handler) -> None:
        headers.append(self.headers)
        kept(self)

    _Handler.do_POST = remember  # type: ignore[method-assign]
    try:
        alert = replace(ALERT, id="m-1")
        hook = Webhook(_url(server), private=True, secret="whisper", clock=lambda: 1700000000.9)
        hook.send(alert)
        Webhook(_url(server), private=True).send(alert)
    finally:
        _Handler.do_POST = kept  # type: ignore[method-assign]

    signed, plain = headers
    body = msgspec.json.encode(alert)
    digest = hmac.new(b"whisper", b"m-1.1700000000." + body, hashlib.sha256).digest()
    assert signed["webhook-id"] == "m-1"
    assert signed["webhook-timestamp"] == "1700000000"
    assert signed["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert plain["webhook-signature"] is None
