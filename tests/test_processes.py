"""Children end with their parent, however it ends, and a group ends as one."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loopline import processes

SERVE = ["serve", "--port", "0"]


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def serving(log: Path) -> bool:
    return log.exists() and " at http://" in log.read_text()


def test_a_child_writes_to_its_log_and_ends_with_0_when_asked(credit_project: Path) -> None:
    log = credit_project / ".loopline" / "logs" / "serve.log"
    child = processes.start(SERVE, root=credit_project, environment=os.environ, log=log)
    wait_until(lambda: serving(log), "the server did not start")

    assert processes.stop(child) == 0
    assert processes.stop(child) == 0  # once more does no harm
    assert log.read_text().startswith("Serving credit:1 (dev, release 1) at http://127.0.0.1:")


def test_a_file_in_the_project_is_not_imported_in_place_of_a_library(credit_project: Path) -> None:
    (credit_project / "click.py").write_text("raise SystemExit('imported from the project')")
    log = credit_project / "serve.log"

    child = processes.start(["--version"], root=credit_project, environment=os.environ, log=log)

    assert child.wait(30) == 0, log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux's")
def test_a_child_ends_when_its_parent_is_killed(credit_project: Path) -> None:
    log = credit_project / "serve.log"
    script = (
        "import os, sys, time; from pathlib import Path; from loopline import processes\n"
        "child = processes.start(sys.argv[2:], root=Path(sys.argv[1]), environment=os.environ,"
        " log=Path(sys.argv[1]) / 'serve.log')\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(credit_project), *SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_until(lambda: serving(log), "the server did not start")
        parent.kill()

    try:
        wait_until(lambda: not is_running(child), "the child outlived its parent")
    finally:
        if is_running(child):
            os.kill(child, signal.SIGKILL)
    folder = credit_project / ".loopline" / "log" / "credit" / "dev"
    assert list(folder.glob("*.log")) == []  # it ended as asked: an empty log is cleared away


def test_one_that_does_not_end_when_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    command = [sys.executable, "-c", f"{script}; time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()

        assert processes.stop(deaf) == -signal.SIGKILL


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every child that is started, so that a test can see what became of it."""
    started: list[subprocess.Popen[bytes]] = []
    start = processes.start

    def remembering(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(start(*arguments, **options))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr(processes, "start", remembering)
    return started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_group_ends_cleanly_at_a_signal(
    credit_project: Path, children: list[subprocess.Popen[bytes]], number: int
) -> None:
    before = signal.getsignal(number)
    said: list[str] = []

    def ask() -> None:
        wait_until(lambda: len(children) == 2, "the group did not start")
        os.kill(os.getpid(), number)

    asking = threading.Thread(target=ask)
    asking.start()
    code = processes.run_together(
        {"one": ["serve", "--port", "0"], "two": ["serve", "--port", "0", "--log", "off"]},
        root=credit_project,
        environment=os.environ,
        say=said.append,
    )
    asking.join()

    assert (code, said) == (0, [])
    assert all(child.returncode is not None for child in children)
    assert signal.getsignal(number) is before


def test_a_group_ends_with_the_first_that_ends(
    credit_project: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    said: list[str] = []

    code = processes.run_together(
        {"stays": SERVE, "goes": ["serve", "--env", "nowhere", "--port", "0"]},
        root=credit_project,
        environment=os.environ,
        say=said.append,
    )

    assert code == 1
    assert said == ["goes ended with exit code 1; stopping the rest."]
    assert [child.returncode for child in children][1] == 1
    assert children[0].returncode in {0, -signal.SIGTERM}  # asked before or after it could heed it
