"""`loopline up`: server and watcher begin and end together."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def group(leader: int) -> list[int]:
    """Return the processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Up:
    """The command in a session of its own, as a terminal would start it."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.said = root / "said.txt"
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "loopline", "up", "--every", "1s", *arguments],
                cwd=root,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_for_both(self) -> str:
        """Wait until the server answers and the watcher is at work; return the server's URL."""
        wait_until(lambda: " at http://" in self.said.read_text(), "no server")
        wait_until(lambda: len(group(self.process.pid)) == 3, "no watcher")
        url = self.said.read_text().split(" at ")[1].split()[0]
        with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=10) as answer:
            assert answer.status == 200
        return url

    def wait_for_nothing(self) -> None:
        wait_until(lambda: group(self.process.pid) == [], "something was left running")


@pytest.fixture
def up(credit_project: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*arguments: str) -> Up:
        started.append(Up(credit_project, *arguments))
        return started[-1]

    yield start
    for each in started:
        for pid in group(each.process.pid):
            os.kill(pid, signal.SIGKILL)
        each.process.wait(10)


def test_ctrl_c_ends_both_with_0_and_leaves_nothing(up: Callable[..., Up]) -> None:
    running = up("--port", "0")
    running.wait_for_both()

    os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does

    assert running.process.wait(30) == 0
    running.wait_for_nothing()
    assert "Traceback" not in running.said.read_text()


def test_sigterm_to_the_command_alone_ends_both_with_0(up: Callable[..., Up]) -> None:
    running = up("--port", "0")
    running.wait_for_both()

    running.process.terminate()

    assert running.process.wait(30) == 0
    running.wait_for_nothing()


def test_killed_it_takes_both_with_it(up: Callable[..., Up]) -> None:
    running = up("--port", "0")
    url = running.wait_for_both()

    running.process.kill()

    running.wait_for_nothing()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)


def test_a_server_that_cannot_start_ends_the_watcher_too(up: Callable[..., Up]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        running = up("--port", port)

        assert running.process.wait(30) == 1
    running.wait_for_nothing()
    said = running.said.read_text()
    assert f"Port {port} on 127.0.0.1 cannot be used" in said
    assert "serve ended with exit code 1; stopping the rest." in said
    assert "Traceback" not in said


def test_a_kill_of_the_server_is_told_and_ends_the_watcher(up: Callable[..., Up]) -> None:
    running = up("--port", "0")
    running.wait_for_both()
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in group(running.process.pid)}
    [server] = [pid for pid, name in names.items() if b"\0serve\0" in name]

    os.kill(server, signal.SIGKILL)

    assert running.process.wait(30) == 1
    assert "serve ended with exit code -9; stopping the rest." in running.said.read_text()
    running.wait_for_nothing()
