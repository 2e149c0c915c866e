"""Several processes behind one address: restarted when they die, and gone when they should be."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loopline.serving.log import read_frames
from loopline.serving.metrics import Family, Sample
from loopline.serving.workers import Board


def counted(number: float) -> list[Family]:
    return [
        Family("loopline_shed", "counter", "Shed.", [Sample(number)]),
        Family("loopline_workers", "gauge", "Workers.", [Sample(1)]),
    ]


def shed(processes: list[list[Family]]) -> float:
    return sum(
        sample.value
        for families in processes
        for family in families
        if family.name == "loopline_shed"
        for sample in family.samples
    )


def in_a_child(act: Callable[[], None]) -> None:
    """Have another process act: what is posted is told apart by the process that posted it."""
    child = os.fork()
    if not child:
        try:
            act()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def test_what_one_process_posts_the_others_read() -> None:
    board = Board(3)
    assert board.others(0) == [[]]
    in_a_child(lambda: board.post(1, counted(5)))

    assert shed(board.others(0)) == 5
    assert shed(board.others(1)) == 0
    assert (board.is_ready(0), board.is_ready(1)) == (False, True)


def test_one_that_has_ended_is_counted_once_and_its_successor_beside_it() -> None:
    board = Board(2)
    in_a_child(lambda: board.post(0, counted(5)))
    in_a_child(lambda: board.post(1, counted(70)))
    assert not board.has_ended

    board.end(0)
    assert shed(board.others(-1)) == 75
    assert board.has_ended
    assert not board.is_ready(0)

    in_a_child(lambda: board.post(0, counted(100)))
    assert shed(board.others(-1)) == 175
    board.end(0)
    board.end(1)
    assert shed(board.others(-1)) == 175
    workers = [f for families in board.others(-1) for f in families if f.kind == "gauge"]
    assert workers == []


def test_what_is_half_written_does_not_count_and_what_was_there_before_does() -> None:
    board = Board(1)
    in_a_child(lambda: board.post(0, counted(5)))
    assert shed(board.others(-1)) == 5

    board._memory[100] ^= 0xFF

    assert shed(board.others(-1)) == 5


def test_figures_that_are_too_large_are_left_out_and_said(caplog) -> None:
    board = Board(1)
    board.post(0, [Family("a", "counter", "x" * 300_000, [])])

    assert board.others(-1) == [[]]
    assert "take too much room" in caplog.text


class Server:
    """`loopline serve --workers N`, in a process group of its own."""

    def __init__(self, root: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "loopline", "serve", "--port", "0", *options],
            cwd=root,
            env={**os.environ, "LOOPLINE_TOKEN": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.said = [self.process.stdout.readline()]
        while self.said[-1] and not self.said[-1].startswith("  log"):
            self.said.append(self.process.stdout.readline())
        found = re.search(r" at (http://127\.0\.0\.1:\d+)", "".join(self.said))
        self.url = "" if found is None else found[1]

    def workers(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(child) for child in path.read_text().split()]

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def figure(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics"), re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def wait_for(self, count: int) -> None:
        """Wait until so many workers answer."""
        until(lambda: self.figure("loopline_workers") == count)

    def rest(self) -> str:
        self.process.wait(20)
        assert self.process.stdout is not None
        return self.process.stdout.read()


def until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def start(workspace, late) -> Iterator[Callable[..., Server]]:
    if sys.platform != "linux":
        pytest.skip("processes are read from /proc")
    root = workspace.settings.home.parent
    (root / "loopline.yaml").write_text("project: flight-delays\n")
    workspace.release(workspace.bundle(late, 3))
    opened: list[Server] = []

    def run(*options: str) -> Server:
        opened.append(Server(root, *options))
        return opened[-1]

    yield run
    for server in opened:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        server.process.stdout.close()


class Callers:
    """Threads that ask one thing again and again, each on connections of its own."""

    def __init__(self, url: str, body: bytes, count: int = 6) -> None:
        self.statuses: dict[str, int] = {}
        self.is_over = threading.Event()
        self._lock = threading.Lock()
        arguments = (f"{url}/v2/models/flight-delays/infer", body)
        self._threads = [threading.Thread(target=self._ask, args=arguments) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def count(self, kind: str) -> int:
        return self.statuses.get(kind, 0)

    def stop(self) -> dict[str, int]:
        self.is_over.set()
        for thread in self._threads:
            thread.join()
        return self.statuses

    def _ask(self, url: str, body: bytes) -> None:
        while not self.is_over.is_set():
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    kind = str(answer.status)
                    answer.read()
            except urllib.error.HTTPError as error:
                kind = str(error.code)
                error.close()
            except urllib.error.URLError as error:
                kind = type(error.reason).__name__
            except (OSError, http.client.HTTPException) as error:  # also: cut off in its answer
                kind = type(error).__name__
            with self._lock:
                self.statuses[kind] = self.statuses.get(kind, 0) + 1


@pytest.fixture
def body(late, tensors) -> bytes:
    return json.dumps({"inputs": tensors(late, late.records[:1])}).encode()


def test_workers_share_one_address_and_their_figures_add_up(start, body) -> None:
    server = start("--workers", "3", "--log", "off")
    server.wait_for(3)
    assert "  workers 3\n" in server.said

    callers = Callers(server.url, body)
    until(lambda: callers.count("200") >= 300)
    answered = callers.stop()

    assert set(answered) == {"200"}
    name = r'loopline_requests_total\{route="/v2/models/\{model\}/infer",status="200"\}'
    until(lambda: server.figure(name) == answered["200"])
    assert server.figure("loopline_release") == 1
    assert server.figure("loopline_in_flight_limit") == 3 * 512


def test_a_killed_worker_is_replaced_and_fails_only_what_it_was_answering(start, body) -> None:
    server = start("--workers", "2", "--log", "durable")
    server.wait_for(2)
    callers = Callers(server.url, body, count=4)
    until(lambda: callers.count("200") >= 100)
    before = callers.count("200")
    victims = []
    for _ in range(2):
        victims.append(server.workers()[0])
        os.kill(victims[-1], signal.SIGKILL)
        until(lambda: not is_running(victims[-1]) and len(server.workers()) == 2)
        server.wait_for(2)
        time.sleep(1.1)  # one that dies at once is not started again at once

    until(lambda: callers.count("200") >= before + 200)
    statuses = callers.stop()

    assert not set(victims) & set(server.workers())
    failed = sum(count for kind, count in statuses.items() if kind != "200")
    assert failed <= 2 * 4  # each caller has one request at a time
    assert {kind for kind in statuses if kind.isdigit()} == {"200"}
    name = r'loopline_requests_total\{route="/v2/models/\{model\}/infer",status="200"\}'
    assert server.figure(name) > 0  # what the killed ones counted until their last second is there


def test_sigterm_drains_every_worker_and_seals_every_segment(start, body) -> None:
    server = start("--workers", "2", "--log", "async")
    server.wait_for(2)
    callers = Callers(server.url, body)
    until(lambda: callers.count("200") >= 200)

    workers = server.workers()
    server.process.send_signal(signal.SIGTERM)
    rest = server.rest()
    statuses = callers.stop()

    assert server.process.returncode == 0
    assert "Traceback" not in rest
    assert not any(is_running(worker) for worker in workers)
    # Past its end there is nobody: a new connection is refused. One that the kernel took in the
    # moment in which the address was closed is reset, and nobody has read its request.
    unread = {"ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError"}
    assert set(statuses) <= {"200", *unread}
    assert sum(statuses.get(kind, 0) for kind in unread - {"ConnectionRefusedError"}) <= 6
    folder = Path(server.said[-1].rpartition(": ")[2].strip())
    segments = [[payload for payload, _ in read_frames(path)] for path in folder.glob("*.log")]
    assert all(frames[-1] == ["s"] for frames in segments)
    logged = sum(frame[0] == "p" for frames in segments for frame in frames)
    assert logged == statuses["200"]


def test_ctrl_c_is_said_once_and_ends_all(start) -> None:
    server = start("--workers", "2", "--log", "off")
    server.wait_for(2)
    workers = server.workers()

    os.killpg(server.process.pid, signal.SIGINT)  # a terminal tells every process
    rest = server.rest()

    assert server.process.returncode == 0
    assert "Traceback" not in rest
    assert not any(is_running(worker) for worker in workers)


def test_workers_end_when_their_parent_is_killed(start) -> None:
    server = start("--workers", "2", "--log", "off")
    server.wait_for(2)
    workers = server.workers()

    server.process.kill()
    server.process.wait()

    until(lambda: not any(is_running(worker) for worker in workers))


def test_what_keeps_a_first_worker_from_starting_is_said_once(start, workspace) -> None:
    workspace.objects.put("bundles/flight-delays/3/plan.bin", b"changed")

    server = start("--workers", "3", "--log", "off")
    text = "".join(server.said) + server.rest()

    assert server.process.returncode == 1
    assert text.count("is refused: plan.bin is not what was signed") == 1
    assert "Traceback" not in text


def test_figures_are_said_as_json_where_nothing_can_scrape(start, body) -> None:
    server = start("--workers", "2", "--log", "off", "--figures", "json")
    server.wait_for(2)
    callers = Callers(server.url, body)
    until(lambda: callers.count("200") >= 50)
    answered = callers.stop()["200"]

    server.process.send_signal(signal.SIGTERM)
    [said] = [line for line in server.rest().splitlines() if line.startswith("{")]

    figures = json.loads(said)
    counts = {(e["route"], e["status"]): e["value"] for e in figures["loopline_requests_total"]}
    assert counts["/v2/models/{model}/infer", "200"] == answered
    assert "loopline_in_flight" not in figures  # nobody is left
