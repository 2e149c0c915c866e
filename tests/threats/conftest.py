"""One project trained on hostile data, and its server: what every door is tried with.

The data's names and values are shell, HTML, template, SQL, Markdown, YAML and terminal syntax. It
comes from a database whose path is a secret, so that one search finds a secret that leaked.
"""

import contextlib
import hashlib
import http.client
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from loopline.cli.main import cli
from loopline.project import Project
from loopline.registry import mirror
from loopline.serving.log import read_frames

PROJECT = "hostile"
SECRET = "s3cret-of-the-database"
TOKEN = "correct horse battery staple"
TARGET = "out<i>come"
CATEGORIES = [
    "<script>alert(1)</script>", "{{config}}", "$(touch pwned)", "'; DROP TABLE events;--",
    "line\nbreak", "\x1b[31mred\x1b]0;title\x07", "\u202etxet", "=1+1", "a|b`c", "](javascript:x)",
]  # fmt: skip
NAMES = {
    "number": "number",
    "html": "<img src=x onerror=alert(1)>",
    "template": "{{7*7}}{% raw %}",
    "shell": "$(touch pwned); `id` | &",
    "sql": "x'); DROP TABLE events;--",
    "quotes": "a\"b'c",
    "yaml": "a: b #c",
    "markdown": "[x](javascript:alert(1))|`",
    "path": "../../etc/passwd",
    "format": "%s{0}${HOME}",
    "newline": "two\nlines",
    "terminal": "\x1b[2Jgone",
}
OF_CATEGORIES = ("html", "template", "shell", "sql", "markdown", "path")


def _rows(count: int) -> list[dict[str, Any]]:
    chance = random.Random(3)
    rows = []
    for place in range(count):
        value, which = chance.gauss(0, 1), chance.randrange(len(CATEGORIES))
        row: dict[str, Any] = {
            name: CATEGORIES[(which + shift) % len(CATEGORIES)]
            if key in OF_CATEGORIES
            else round(chance.gauss(0, 1), 4)
            for shift, (key, name) in enumerate(NAMES.items())
        }
        row["number"] = round(value, 4)
        row["when <b>"] = f"2013-{1 + place // 28:02d}-{1 + place % 28:02d}T09:30:00Z"
        row[TARGET] = ["no <b>", "{{yes}}"][value + which / 5 - 1 > chance.gauss(0, 0.5)]
        rows.append(row)
    return rows


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Typed:
    """`loopline` as a person types it, in one folder; output with its colours, as on a terminal."""

    root: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, **environment: str) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            patch.setattr(mirror, "start_mirror", lambda *_: "Not mirrored.")
            given = {"LOOPLINE_ACTOR": "ada", **self.environment, **environment}
            return CliRunner().invoke(cli, arguments, env=given, color=True)

    def project(self) -> Project:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"LOOPLINE_ACTOR": "ada", **self.environment}.items():
                patch.setenv(name, value)
            return Project.open(self.root)


@dataclass(frozen=True)
class Trained:
    """The project, and what was said while it was made."""

    typed: Typed
    said: str
    data: Path
    names: tuple[str, ...] = tuple(NAMES.values())
    categories: tuple[str, ...] = tuple(CATEGORIES)
    target: str = TARGET
    secret: str = SECRET


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """`new`, `check`, `run` on the hostile data; never changed afterwards."""
    folder = tmp_path_factory.mktemp("threats")
    rows = _rows(330)
    names = list(rows[0])
    data = folder / "hostile.jsonl"
    import msgspec

    data.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    with contextlib.closing(sqlite3.connect(folder / f"{SECRET}.db")) as database:
        listed = ", ".join(map(_quoted, names))
        database.execute(f"create table visits ({listed})")
        marks = ", ".join("?" * len(names))
        database.executemany(
            f"insert into visits values ({marks})", [tuple(row.values()) for row in rows]
        )
        database.commit()
    environment = {"DB": str(folder / f"{SECRET}.db"), "LOOPLINE_TOKEN": ""}
    here = Typed(folder, environment)
    made = here("new", PROJECT, "--data", str(data), "--target", TARGET)
    assert made.exit_code == 0, made.output
    root = folder / PROJECT
    contract = (root / "loopline.yaml").read_text(encoding="utf-8")
    source = "source: {url: 'sqlite:///${DB}', query: select * from visits}"
    contract = re.sub(r"source: .*", lambda _: source, contract, count=1)
    contract = contract.replace("trials: 10", "trials: 1").replace(", boosted_trees]", "]")
    (root / "loopline.yaml").write_text(contract, encoding="utf-8")
    typed = Typed(root, environment)
    said = [made, typed("check"), typed("run")]
    assert [done.exit_code for done in said] == [0, 0, 0], said[-1].output
    return Trained(typed, "".join(done.output for done in said), data)


@pytest.fixture
def typed(trained: Trained, tmp_path: Path) -> Typed:
    """A copy of the project to change, and its command line."""
    root = tmp_path / PROJECT
    shutil.copytree(trained.typed.root, root)
    return Typed(root, trained.typed.environment)


@dataclass
class Server:
    """`loopline serve`, a process."""

    root: Path
    port: int
    process: subprocess.Popen[str]
    token: str = ""

    def raw(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes back until the server hangs up or rests."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            with contextlib.suppress(OSError):  # it may hang up before everything is sent
                connection.sendall(request)
            received = b""
            with contextlib.suppress(OSError):
                while piece := connection.recv(1 << 16):
                    received += piece
        return received

    def status(self, request: bytes) -> int:
        """Return the status of the first answer to raw bytes; 0 when there is none."""
        answer = self.raw(request)
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0

    def get(self, target: bytes, method: bytes = b"GET") -> bytes:
        """Ask for a target exactly as it is written."""
        return self.raw(
            method + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        """Post a body; return status and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request("POST", path, body, {"Content-Type": "application/json", **named})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def logged(self) -> list[list[Any]]:
        """Everything in the log: predictions, feedback, errors."""
        segments = sorted((self.root / ".loopline" / "log").rglob("*.log"))
        return [payload for segment in segments for payload, _ in read_frames(segment)]


@contextlib.contextmanager
def serving(typed: Typed, *options: str, **environment: str) -> Iterator[Server]:
    """Run `loopline serve` on 127.0.0.1 until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "loopline", "serve", "--port", "0", *options],
        cwd=typed.root,
        env={**os.environ, **typed.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        port = re.search(r":([0-9]+)$", line.strip())
        assert port is not None, line + process.stdout.read()
        yield Server(typed.root, int(port[1]), process, environment.get("LOOPLINE_TOKEN", ""))
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
        assert process.returncode == 0, said


@pytest.fixture(scope="session")
def serve() -> Callable[..., contextlib.AbstractContextManager[Server]]:
    """`with serve(typed, "--log", "off") as server`."""
    return serving


@pytest.fixture(scope="session")
def server(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server on loopback, open to this machine's own names."""
    root = tmp_path_factory.mktemp("open") / PROJECT
    shutil.copytree(trained.typed.root, root)
    (root / "secret.txt").write_text(SECRET)
    with serving(Typed(root, trained.typed.environment), "--log", "durable") as running:
        yield running


@pytest.fixture(scope="session")
def guarded(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server with a token: as it is beyond loopback, whichever address it listens on."""
    root = tmp_path_factory.mktemp("guarded") / PROJECT
    shutil.copytree(trained.typed.root, root)
    typed = Typed(root, trained.typed.environment)
    with serving(typed, "--log", "durable", LOOPLINE_TOKEN=TOKEN) as running:
        yield running


def fingerprint(root: Path) -> dict[str, str]:
    """Return every file with its digest, but for logs: whether anything changed."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
        if path.suffix not in {".log", ".db-wal", ".db-shm"}
    }


@pytest.fixture(scope="session", name="fingerprint")
def _fingerprint() -> Callable[[Path], dict[str, str]]:
    return fingerprint
