"""Alerts through Apprise, to a server on loopback that takes its JSON."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from loopline.errors import ChannelError, SettingError
from loopline.monitoring.channels.base import Alert
from loopline.monitoring.channels.chat import Chat
from loopline.monitoring.findings import Finding

pytest.importorskip("apprise")
# One of its plug-ins imports a module that Python will drop, and has a stand-in for it then.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.received.append(json.loads(body))  # type: ignore[attr-defined]
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server: Any = HTTPServer(("127.0.0.1", 0), Handler)
    server.received, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_message_says_what_was_found_and_how_urgent_it_is(
    server: Any, finding: Callable[..., Finding]
) -> None:
    alert = Alert("churn", "dev", 1, "drift", "it moved", (finding(message="a <b> *c*\\n"),))

    Chat((f"json://127.0.0.1:{server.server_port}/",)).send(alert)

    [received] = server.received
    assert received["title"] == "churn: found"
    assert received["message"] == "it moved\n- a <b> *c*\\n"
    assert received["type"] == "warning"


def test_a_place_that_refuses_is_an_error_without_its_address(server: Any) -> None:
    server.status = 500

    with pytest.raises(ChannelError, match=r"to URL 1 of 1\.") as refused:
        Chat((f"json://127.0.0.1:{server.server_port}/s3cret",)).send(
            Alert("churn", "dev", 1, "drift", "it moved", ())
        )
    assert "s3cret" not in str(refused.value)


def test_a_url_that_is_none_is_named_by_its_place_alone() -> None:
    with pytest.raises(SettingError, match=r"URL 2 of LOOPLINE_APPRISE \(nosuch://") as refused:
        Chat(("json://127.0.0.1/", "nosuch://s3cret@host"))
    assert "s3cret" not in str(refused.value)


def test_tried_again_it_goes_only_where_it_is_not_yet(server: Any) -> None:
    place = f"json://127.0.0.1:{server.server_port}"
    chat = Chat((f"{place}/here", "json://127.0.0.1:1/gone"))
    alert = Alert("churn", "dev", 1, "drift", "it moved", (), "m-1")

    for _ in range(2):
        with pytest.raises(ChannelError, match=r"to URL 2 of 2\."):
            chat.send(alert)

    assert len(server.received) == 1
