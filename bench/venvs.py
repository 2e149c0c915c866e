"""Peers with requirements of their own live in virtual environments of their own, made once.

What they need would otherwise decide which versions Loopline itself is measured with. Each has its
pins in `requirements-NAME.txt` beside this file; a changed file makes a new environment.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.load import BenchError

_FOLDER = Path(__file__).parent
_SECONDS = 900.0
_READY = "loopline-ready"


def pins(name: str) -> Path:
    """Return the file of what `name` needs."""
    return _FOLDER / f"requirements-{name}.txt"


def pinned(name: str) -> str:
    """Return the version of `name` that its own pins say."""
    found = re.search(rf"^{name}==(\S+)", pins(name).read_text(), re.MULTILINE)
    if found is None:
        raise BenchError(f"{pins(name)} does not pin {name}.")
    return found[1]


def place(name: str) -> Path:
    """Return where the environment of `name` is, or would be: by its pins and this Python."""
    content = pins(name).read_bytes() + sys.version.encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "loopline-bench" / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"


def is_made(name: str) -> bool:
    """Return whether the environment of `name` is there, whole."""
    return (place(name) / _READY).exists()


def made(name: str) -> Path:
    """Return the folder of programs of an environment with what `name` needs; make it if absent.

    Raises:
        BenchError: it cannot be made; the text says why.
    """
    folder = place(name)
    programs = folder / "bin"
    if is_made(name):
        return programs
    print(f"Making an environment for {name}; a minute or more, once.", file=sys.stderr, flush=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(programs / "python"), *install, "--require-hashes", "-r", str(pins(name))],
    ):
        _run(name, command)
    (folder / _READY).touch()
    return programs


def main(names: Sequence[str]) -> int:
    """Make the environments of `names`; return the exit code."""
    try:
        for name in names:
            print(made(name))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(name: str, command: list[str]) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"No environment for {name}: {error}") from error
    if ran.returncode:
        said = (ran.stderr.strip() or ran.stdout.strip()).splitlines()
        raise BenchError(f"No environment for {name}: {said[-1] if said else 'pip failed'}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
