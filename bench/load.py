"""Start a server, load it, and measure it from outside: rate, latency, CPU, memory.

wrk makes the load where it is installed: in C, it leaves a whole core to the server, and the
floor is the server's. Without it a client in this process does, which asks less of the fast servers
than they can answer; the figures say which it was. Linux only: processes are read from /proc.
"""

import asyncio
import contextlib
import ctypes
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_ANSWER_SECONDS = 30
_PR_SET_PDEATHSIG = 1
_MARK = "figures:"

Tool = str
"""`wrk`, or `python` for the client here."""


class BenchError(Exception):
    """A figure that could not be measured; its text is written for people."""


@dataclass(frozen=True)
class Load:
    """What one closed loop of clients saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True)
class Usage:
    """What the processes of one server use."""

    cpu_seconds: float
    resident_mib: float


class Server:
    """One running server, with every process it starts: a session of its own."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        """Start `command`; its output goes to `log`."""
        self._log = log
        self.started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Safe here: the function only makes one system call and starts no thread.
                preexec_fn=_end_with_parent,  # noqa: PLW1509
            )

    @property
    def process(self) -> int:
        """The id of the process that was started."""
        return self._process.pid

    def usage(self) -> Usage:
        """Return CPU time since the start, and memory now."""
        return usage(self._process.pid)

    def first_answer(self, port: int, path: str, body: bytes) -> float:
        """Wait for the first right answer; return seconds since the start.

        Raises:
            BenchError: it ended, or does not answer in time.
        """
        while time.monotonic() < self.started + _START_SECONDS:
            if self._process.poll() is not None:
                break
            try:
                ask(port, path, [body])
            except (OSError, http.client.HTTPException, BenchError):
                time.sleep(0.005)
            else:
                return time.monotonic() - self.started
        last = self._log.read_text(errors="replace")[-2000:]
        raise BenchError(f"A server did not answer within {_START_SECONDS:.0f} s. It said:\n{last}")

    def settle(self) -> None:
        """Wait until it has answered what a load left behind: two tenths of a second without work.

        A slow server still has a row for each client when the clients have gone.
        """
        until = time.monotonic() + _ANSWER_SECONDS
        before = -1.0
        while time.monotonic() < until:
            now = self.usage().cpu_seconds
            if now - before < 0.02:
                return
            before = now
            time.sleep(0.2)

    def stop(self) -> None:
        """End every process of the server, by its id."""
        known = {(one.process, one.started) for one in self._own()}
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        until = time.monotonic() + _STOP_SECONDS
        while (left := _still(known)) and time.monotonic() < until:
            self._process.poll()  # a child that has ended stays listed until it is waited for
            time.sleep(0.02)
            known |= {(one.process, one.started) for one in self._own()}
        # One in a session of its own hears of the end from its parent, or not at all.
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()

    def _own(self) -> list["_Process"]:
        return _members(self._process.pid)


def usage(session: int) -> Usage:
    """Return what all processes of `session`, and those they started, use together."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    members = _members(session)
    ticks = sum(one.ticks for one in members)
    pages = sum(one.pages for one in members)
    return Usage(ticks / tick, pages * page / 2**20)


@dataclass(frozen=True)
class _Process:
    """One line of /proc/ID/stat, as proc(5) has it."""

    process: int
    parent: int
    session: int
    ticks: int
    """Of CPU time, by the process and in the kernel for it."""
    started: int
    pages: int


def _members(session: int) -> list[_Process]:
    """Return the processes of `session`, and all that they started in sessions of their own."""
    left = _processes()
    found = [one for one in left if one.session == session]
    while found:
        known = {one.process for one in found}
        left = [one for one in left if one.process not in known]
        more = [one for one in left if one.parent in known]
        if not more:
            break
        found += more
    return found


def _still(known: set[tuple[int, int]]) -> list[int]:
    """Return the ids of those that still run, each known by its id and its start."""
    return [one.process for one in _processes() if (one.process, one.started) in known]


def _processes() -> list[_Process]:
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:  # it has ended meanwhile
            continue
        fields = text.rpartition(")")[2].split()  # a command's name may hold spaces and brackets
        # The state is field 3 of proc(5), and the first one here.
        parent, session, started, pages = (int(fields[at]) for at in (1, 3, 19, 21))
        ticks = int(fields[11]) + int(fields[12])
        found.append(_Process(int(folder.name), parent, session, ticks, started, pages))
    return found


def _end_with_parent() -> None:
    """Have the server end with the benchmark, even where that is killed outright."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, path: str, bodies: Sequence[bytes]) -> list[bytes]:
    """Send each body over one connection, one after the other; return the answers.

    Raises:
        BenchError: an answer is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    answers = []
    try:
        for body in bodies:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise BenchError(f"{path} answered {answer.status}: {content[:500]!r}")
            answers.append(content)
    finally:
        connection.close()
    return answers


def tool() -> Tool:
    """Return what makes the load here."""
    return "wrk" if shutil.which("wrk") else "python"


def measure(
    port: int, path: str, bodies: Sequence[bytes], *, clients: int, seconds: float, by: Tool
) -> Load:
    """Load a server: each client sends its next request when it has the answer to the last.

    Raises:
        BenchError: an answer was not 200, or there was none.
    """
    if by == "wrk":
        return _by_wrk(port, path, bodies, clients=clients, seconds=seconds)
    return _by_python(port, path, bodies, clients=clients, seconds=seconds)


def script(path: str, bodies: Sequence[bytes]) -> str:
    """Return what wrk runs: the requests in turn, made before the first is sent; then figures."""
    texts = ",\n".join(f"[==[{body.decode()}]==]" for body in bodies)
    return f"""
local bodies = {{
{texts}
}}
local requests, at = {{}}, 0
function init(arguments)
  wrk.headers["Content-Type"] = "application/json"
  for number, body in ipairs(bodies) do
    requests[number] = wrk.format("POST", "{path}", nil, body)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency, requests)
  local wrong = summary.errors
  io.write(string.format("{_MARK} %d %d %d %d %d\\n", summary.requests, summary.duration,
    wrong.connect + wrong.read + wrong.write + wrong.status + wrong.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def read_figures(printed: str) -> Load:
    """Return what the script's last line says: counts and microseconds.

    Raises:
        BenchError: there is none, or a request failed.
    """
    line = next((line for line in printed.splitlines() if line.startswith(_MARK)), None)
    if line is None:
        raise BenchError(f"wrk printed no figures:\n{printed[-2000:]}")
    requests, duration, wrong, p50, p99 = map(int, line.removeprefix(_MARK).split())
    if wrong or not requests:
        raise BenchError(f"{wrong} of {requests} requests failed under load.")
    return Load(requests, duration / 1e6, p50 / 1e3, p99 / 1e3)


def _by_wrk(port: int, path: str, bodies: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:  # wrk reads it twice
        file.write(script(path, bodies))
        file.flush()
        shape = ["-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s", file.name]
        limit = ["--timeout", f"{_ANSWER_SECONDS}s"]
        ran = subprocess.run(
            ["wrk", *shape, *limit, f"http://127.0.0.1:{port}{path}"],
            capture_output=True,
            text=True,
            timeout=seconds + 2 * _ANSWER_SECONDS,
            check=False,
        )
    return read_figures(ran.stdout + ran.stderr)


def _by_python(
    port: int, path: str, bodies: Sequence[bytes], *, clients: int, seconds: float
) -> Load:
    requests = [
        (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        + body
        for body in bodies
    ]
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        taken, passed = runner.run(_closed_loop(port, requests, clients, seconds))
    if not taken:
        raise BenchError(f"No answer from port {port} in {seconds:.0f} s.")
    ordered = sorted(taken)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)]
    return Load(len(taken), passed, at[0] * 1e3, at[1] * 1e3)


async def _closed_loop(
    port: int, requests: Sequence[bytes], clients: int, seconds: float
) -> tuple[list[float], float]:
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    failed: asyncio.Future[None] = loop.create_future()
    callers = [_Caller(requests, first, taken, failed) for first in range(clients)]
    opened = [
        await loop.create_connection(partial(_same, caller), "127.0.0.1", port)
        for caller in callers
    ]
    start = time.perf_counter()
    for caller in callers:
        caller.send()
    try:
        await asyncio.wait_for(failed, seconds)
    except TimeoutError:  # the time is over, and nothing failed
        return taken, time.perf_counter() - start
    finally:
        for transport, _ in opened:
            transport.close()
    raise AssertionError("a failure carries an exception")


def _same(caller: "_Caller") -> "_Caller":
    return caller


class _Caller(asyncio.Protocol):
    """One client: knows as much of HTTP as these servers' answers need."""

    def __init__(
        self,
        requests: Sequence[bytes],
        first: int,
        taken: list[float],
        failed: "asyncio.Future[None]",
    ) -> None:
        self._requests, self._at, self._taken, self._failed = requests, first, taken, failed
        self._got = b""
        self._whole = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self) -> None:
        self._at = (self._at + 1) % len(self._requests)
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._at])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._whole:
            head, end, _ = self._got.partition(b"\r\n\r\n")
            if not end:
                return
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            if b" 200 " not in head[:16] or not length:
                self._fail(f"An answer under load was: {head[:200]!r}")
                return
            self._whole = len(head) + 4 + int(length)
        if len(self._got) >= self._whole:
            self._taken.append(time.perf_counter() - self._sent)
            self._got, self._whole = b"", 0
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("A server closed a connection under load.")

    def _fail(self, message: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(BenchError(message))
