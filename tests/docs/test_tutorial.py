"""The tutorial's commands, run as they stand on the page, and their output as it is quoted there.

Numbers and hashes differ from one machine to the next, so both sides are compared without them,
but for the numbers of versions and releases. A line of the page may be cut with `...`, and a line
that is `...` alone stands for any number of lines.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
_BLOCK = re.compile(r"^```(console(?: refused)?|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = r"(?<!credit:)(?<!release )(?<!version=\")"
_VOLATILE = re.compile(rf"[0-9a-f]{{8,}}(?:-0)?|{_NAMED}\d[\d.,:e+-]*\d|{_NAMED}\d")


@dataclass
class Terminal:
    """A person's shell: it has a folder, and a server in the background."""

    folder: Path
    port: int
    environment: dict[str, str]
    server: "subprocess.Popen[bytes] | None" = None
    output: Path = field(init=False)

    def __post_init__(self) -> None:
        self.output = self.folder / "serve.log"

    def type(self, command: str) -> tuple[int, str]:
        """Run one line of the page."""
        command = command.replace("localhost:8080", f"localhost:{self.port}")
        if command == "loopline serve":
            return self._serve()
        script = f"{command}\ncode=$?; pwd > '{self.output}.pwd'; exit $code"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        self.folder = Path(Path(f"{self.output}.pwd").read_text().strip())
        return done.returncode, done.stdout

    def _serve(self) -> tuple[int, str]:
        with self.output.open("wb") as output:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "loopline", "serve", "--port", str(self.port)],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        for _ in range(600):
            if "  log " in self.output.read_text() or self.server.poll() is not None:
                break
            time.sleep(0.05)
        return self.server.poll() or 0, self.output.read_text()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("curl") is None:
        pytest.skip("the tutorial asks the server with curl, which is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOOPLINE")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    opened = Terminal(
        tmp_path, port, {**kept, "PATH": path, "LOOPLINE_MLFLOW": "off", "COLUMNS": "120"}
    )
    yield opened
    if opened.server is not None:
        opened.server.send_signal(signal.SIGTERM)
        assert opened.server.wait(20) == 0


def test_every_command_of_the_tutorial_does_what_the_page_shows(terminal: Terminal) -> None:
    typed = 0
    for kind, block in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "diff":
            _change(terminal.folder / "loopline.yaml", block)
            continue
        for command, shown in _commands(block):
            code, said = terminal.type(command)
            typed += 1
            assert code == (1 if kind == "console refused" else 0), f"$ {command}\n{said}"
            missing = _first_missing(shown, said)
            assert missing is None, f"$ {command}\nnever says: {missing}\nit says:\n{said}"
    assert typed > 20


def test_a_line_that_is_not_said_is_found() -> None:
    said = "credit:1 passed its gate; dev serves it.\nnext    loopline serve\n"

    assert _first_missing(["credit:1 passed ...", "...", "next loopline serve"], said) is None
    assert _first_missing(["credit:9 passed ..."], said) == "credit:9 passed ..."
    assert _first_missing(["next loopline serve", "credit:1 passed ..."], said) == (
        "credit:1 passed ..."
    )
    assert _first_missing(["credit:1 failed its gate; dev serves it."], said) is not None


def _commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a block with the lines shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield command, shown


def _change(file: Path, diff: str) -> None:
    """Make the page's changes: each line with a minus becomes the one with a plus below it."""
    lines = diff.splitlines()
    text = file.read_text(encoding="utf-8")
    for old, new in zip(lines[::2], lines[1::2], strict=True):
        assert (old[0], new[0]) == ("-", "+")
        assert text.count(old[1:]) == 1, old
        text = text.replace(old[1:], new[1:])
    file.write_text(text, encoding="utf-8")


def _first_missing(shown: list[str], said: str) -> str | None:
    """Return the first line of the page that does not follow in the output, or None."""
    left = iter([_steady(line) for line in said.splitlines()])
    for line in shown:
        if line.strip() in {"", "..."}:
            continue
        wanted = re.compile(".*".join(re.escape(_steady(part)) for part in line.split("...")))
        if not any(wanted.fullmatch(found) for found in left):
            return line
    return None


def _steady(line: str) -> str:
    return " ".join(_VOLATILE.sub("#", line).split())
