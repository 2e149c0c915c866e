"""Start Loopline's own commands as child processes that end when their parent ends."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

STOP_SECONDS = 15.0
"""How long a child may take to drain before it is killed."""
_PR_SET_PDEATHSIG = 1


def start(
    arguments: Sequence[str], *, root: Path, environment: Mapping[str, str], log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start `loopline ARGUMENTS` in `root`, in the caller's process group.

    Its output goes to `log`, or where the caller's goes. On Linux it gets SIGTERM when the
    caller dies, however it dies.
    """
    # -P: a file in the project named like a library is not imported in its place.
    command = [sys.executable, "-P", "-m", "loopline", *arguments]
    with_us = partial(_end_with, os.getpid()) if sys.platform == "linux" else None
    output = None
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    try:
        return subprocess.Popen(
            command,
            cwd=root,
            env=dict(environment),
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            # Safe here: the function only makes system calls and starts no thread.
            preexec_fn=with_us,  # noqa: PLW1509
        )
    finally:
        if output is not None:
            output.close()


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ask `process` to end, wait, and kill it if it does not; return its exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def run_together(
    commands: Mapping[str, Sequence[str]],
    *,
    root: Path,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> int:
    """Run several commands as one group until a signal or until one of them ends.

    Returns:
        0 after SIGINT or SIGTERM, 1 when a command ended by itself.
    """
    asked: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: asked.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, arguments in commands.items():
            running[name] = start(arguments, root=root, environment=environment)
        ended = None
        while not asked and ended is None:
            time.sleep(0.1)
            ended = next((name for name in running if running[name].poll() is not None), None)
        if ended is not None and not asked:
            say(f"{ended} ended with exit code {running[ended].returncode}; stopping the rest.")
        return 0 if asked else 1
    finally:
        for child in running.values():
            stop(child)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)
