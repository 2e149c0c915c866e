"""Real containers for the tests: buildah builds, podman and runc run, from a base of our own.

`.ci/containers` installs the tools and makes the base. Everything lies in the user's cache, under
constant paths, since podman remembers them; containers have names of their own.
"""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE = "localhost/loopline/base:bookworm"
_TOOLS = ("buildah", "podman", "runc")
_ASK = """
import json, sys, time, urllib.error, urllib.request as u
asked = json.load(sys.stdin)
until = time.monotonic() + asked["wait"]
while True:
    body = asked["body"]
    request = u.Request("http://127.0.0.1:%d%s" % (asked["port"], asked["path"]),
                        None if body is None else body.encode(), asked["headers"],
                        method=asked["method"])
    try:
        with u.urlopen(request, timeout=20) as got:
            status, headers, said = got.status, dict(got.headers), got.read()
    except urllib.error.HTTPError as error:
        status, headers, said = error.code, dict(error.headers), error.read()
    except OSError:
        status, headers, said = 0, {}, b""
    if status not in (0, 503) or time.monotonic() > until:
        break
    time.sleep(0.05)
print(json.dumps([status, headers, said.decode()]))
"""


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loopline"


def missing() -> str | None:
    """Return why no container can be run here, or None."""
    absent = [name for name in _TOOLS if shutil.which(name) is None]
    if os.geteuid() != 0:
        return "containers are tested as root alone"
    if absent:
        return f"needs {', '.join(absent)}: run .ci/containers"
    if not (cache() / "base-bookworm.tar").is_file():
        return "needs a base image: run .ci/containers"
    return None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Engine:
    """Builds and runs with settings that work inside another container too."""

    def __init__(self, folder: Path) -> None:
        place = cache() / "containers"
        place.mkdir(parents=True, exist_ok=True)
        (folder / "containers.conf").write_text(
            '[containers]\nnetns = "host"\n'
            'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'
        )
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{place}/root"\n'
            f'runroot = "{place}/runroot"\n'
        )
        self.variables = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    def call(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["podman", *words], env={**os.environ, **self.variables}, input=given,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def said(self, *words: str) -> str:
        done = self.call(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def open(self) -> str | None:
        """Bring the base in, once; return why that cannot be done, or None."""
        if self.call("image", "exists", BASE).returncode == 0:
            return None
        done = self.call("import", str(cache() / "base-bookworm.tar"), BASE)
        return None if done.returncode == 0 else f"podman does not work here: {done.stderr.strip()}"

    @contextmanager
    def running(
        self,
        image: str,
        *words: str,
        options: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
        port: int = 8080,
    ) -> "Iterator[Container]":
        """Run `image` with the arguments `words` until the block ends, then let it drain."""
        name = f"loopline-test-{secrets.token_hex(4)}"
        named = [f"--env={key}={value}" for key, value in (variables or {}).items()]
        network = () if any(one.startswith("--network") for one in options) else ("--network=none",)
        started = self.call("run", "--detach", "--name", name, *network, *options, *named,
                            image, *words)  # fmt: skip
        try:
            assert started.returncode == 0, started.stderr
            yield Container(self, name, port)
        finally:
            self.call("rm", "--force", "--time", "1", name)


@dataclass(frozen=True)
class Container:
    engine: Engine
    name: str
    port: int

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 60.0,
    ) -> Answer:
        """Ask from inside, over the loopback that nobody else has; wait until it is ready."""
        is_text = body is None or isinstance(body, str)
        usual = {} if body is None else {"Content-Type": "application/json"}
        asked = {
            "method": method,
            "path": path,
            "body": body if is_text else json.dumps(body),
            "headers": {**usual, **(headers or {})},
            "port": self.port,
            "wait": wait,
        }
        done = self.engine.call(
            "exec", "--interactive", self.name, "/app/bin/python", "-c", _ASK,
            given=json.dumps(asked),
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr}\n{self.log()}"
        return Answer(*json.loads(done.stdout))

    def log(self) -> str:
        done = self.engine.call("logs", self.name)
        return done.stdout + done.stderr

    def end(self) -> int:
        """Send SIGTERM, as every platform does; return the exit code, 137 when it was killed."""
        self.engine.said("stop", "--time", "12", self.name)
        return int(self.engine.said("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def wait(self) -> int:
        return int(self.engine.said("wait", self.name))
