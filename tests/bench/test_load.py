"""What measures a server from outside is itself measured against servers of known behaviour."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.load import BenchError, Server, ask, free_port, measure, read_figures, script, usage

from bench import load

_ANSWERS = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the body; 503 where that says `fail`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(body)  # type: ignore[attr-defined]
        self.send_response(503 if b"fail" in body else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def answering(tmp_path) -> Iterator[tuple[Server, int]]:
    port = free_port()
    command = [sys.executable, "-c", _ANSWERS, str(port)]
    log = tmp_path / "server.log"
    server = Server(command, folder=tmp_path, environment=dict(os.environ), log=log)
    yield server, port
    server.stop()


def test_figures_are_read_in_the_units_they_are_kept_in():
    load = read_figures("Running 1s test\nfigures: 5000 2000000 0 250 1750\n")

    assert (load.requests, load.seconds, load.p50_ms, load.p99_ms) == (5000, 2.0, 0.25, 1.75)
    assert load.rate == 2500


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ("unable to connect", "no figures:\nunable to connect"),
        ("figures: 10 1000000 3 1 1", "3 of 10 requests failed"),
        ("figures: 0 1000000 0 0 0", "0 of 0 requests failed"),
    ],
)
def test_a_load_without_right_answers_is_no_measurement(printed, message):
    with pytest.raises(BenchError, match=message):
        read_figures(printed)


def test_every_body_is_asked_and_every_answer_returned_in_order(echo):
    port = echo.server_address[1]

    assert ask(port, "/", [b"one", b"two"]) == [b"one", b"two"]
    with pytest.raises(BenchError, match="answered 503"):
        ask(port, "/", [b"fail"])


def test_the_client_here_counts_what_the_server_saw(echo):
    load = measure(echo.server_address[1], "/", [b"a", b"b"], clients=3, seconds=0.3, by="python")

    assert 0 <= len(echo.seen) - load.requests <= 3  # a request of each client may be on its way
    assert {b"a", b"b"} == set(echo.seen)
    assert 0 < load.p50_ms <= load.p99_ms


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_counts_what_the_server_saw(echo):
    bodies = [b'{"a": "]]"}', b"b"]

    load = measure(echo.server_address[1], "/", bodies, clients=2, seconds=1, by="wrk")

    assert set(echo.seen) == set(bodies)
    assert 0 <= len(echo.seen) - load.requests <= 4


@pytest.mark.parametrize("by", ["python", "wrk"])
def test_a_server_that_refuses_makes_no_figure(echo, by):
    if by == "wrk" and shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    with pytest.raises(BenchError):
        measure(echo.server_address[1], "/", [b"fail"], clients=2, seconds=1, by=by)


def test_what_wrk_runs_has_every_request():
    text = script("/infer", [json.dumps({"a": 1}).encode(), b"two"])

    assert '[==[{"a": 1}]==]' in text
    assert "[==[two]==]" in text
    assert 'wrk.format("POST", "/infer", nil, body)' in text


def test_a_server_is_started_measured_and_stopped_with_all_it_started(answering):
    server, port = answering

    assert 0 < server.first_answer(port, "/", b"{}") < 60
    measure(port, "/", [b"{}"], clients=2, seconds=0.3, by="python")
    used = server.usage()
    server.settle()
    server.stop()

    assert used.cpu_seconds > 0
    assert used.resident_mib > 5
    with pytest.raises(OSError, match="refused"):
        ask(port, "/", [b"{}"])


def test_a_server_that_ends_says_what_it_said(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no model here')"]
    log = tmp_path / "log"
    server = Server(command, folder=tmp_path, environment=dict(os.environ), log=log)

    with pytest.raises(BenchError, match="no model here"):
        server.first_answer(free_port(), "/", b"{}")
    server.stop()


def test_a_process_in_a_session_of_its_own_is_measured_and_stopped_too(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "_STOP_SECONDS", 0.3)
    child = "block = bytearray(64 << 20); block[::4096] = b'x' * (64 << 8); print(flush=True); "
    child += "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    command = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True,"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    server = Server(
        [sys.executable, "-c", command, child],
        folder=tmp_path,
        environment=dict(os.environ),
        log=log,
    )
    while not log.read_text().strip():
        time.sleep(0.02)
    started = int(log.read_text())
    used = server.usage()
    server.stop()

    assert used.resident_mib > 64
    until = time.monotonic() + 10
    while Path(f"/proc/{started}").exists():  # nobody waits for it but the system
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_memory_of_a_session_is_that_of_all_its_processes():
    command = "import subprocess,sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    child = (
        "block = bytearray(64 << 20); block[::4096] = b'x' * (64 << 8); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command, child],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = usage(process.pid)
        process.communicate(b"\n")

    assert used.resident_mib > 64
