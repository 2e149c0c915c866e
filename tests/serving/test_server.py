"""`loopline serve` as a process: its start, its end, and what it never loads."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopline.serving.log import read_frames

HEAVY = (
    "polars", "pyarrow", "pydantic", "sqlalchemy", "sklearn", "scipy", "pandas", "deltalake",
    "optuna", "mlflow", "sqlglot", "loopline.training", "loopline.evaluation",
    "loopline.contract.schema", "loopline.store.database", "loopline.project",
)  # fmt: skip
"""What the server's process must not import."""

# Runs the command as its entry point does, and watches what it imports and unpickles.
_WATCHED = """
import sys
unpickled = []
sys.addaudithook(lambda event, _: unpickled.append(event) if event == "pickle.find_class" else None)
try:
    from loopline.cli.main import main
    main()
finally:
    import json
    print(json.dumps({"modules": sorted(sys.modules), "unpickled": unpickled}))
"""


@dataclass
class Running:
    """A server process."""

    process: subprocess.Popen[str]
    greeting: str
    root: Path

    @property
    def url(self) -> str:
        found = re.search(r" at (http\S+)", self.greeting)
        assert found is not None
        return found[1]

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return bytes(answer.read())

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Send a signal; return what the process still said."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=15)
        return rest


@pytest.fixture
def start(workspace) -> Iterator[Callable[..., Running]]:
    """`start("--log", "off", ...)` in the workspace's project."""
    root = workspace.settings.home.parent
    (root / "loopline.yaml").write_text("project: flight-delays\n")
    opened = []

    def run(*options: str, environment: dict[str, str] | None = None) -> Running:
        process = subprocess.Popen(
            [sys.executable, "-c", _WATCHED, "serve", "--port", "0", *options],
            cwd=root,
            env={**os.environ, "LOOPLINE_TOKEN": "", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        opened.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while " at http" in lines[0] and not lines[-1].startswith("  log"):
            lines.append(process.stdout.readline())
        return Running(process, "".join(lines), root)

    yield run
    for process in opened:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _refusal(start: Callable[..., Running], *options: str) -> str:
    running = start(*options)
    rest, _ = running.process.communicate(timeout=20)
    assert running.process.returncode == 1
    text = running.greeting + rest
    assert "Traceback" not in text
    return text.partition('{"modules"')[0].strip()


def test_a_server_says_where_it_is_and_ends_with_0_on_sigterm(start, workspace, late, tensors):
    workspace.release(workspace.bundle(late, 3))
    running = start()

    assert running.greeting.startswith(
        "Serving flight-delays:3 (dev, release 1) at http://127.0.0.1:"
    )
    folder = running.root / ".loopline" / "log" / "flight-delays" / "dev"
    assert str(folder) in running.greeting
    running.post("/v2/models/flight-delays/infer", {"inputs": tensors(late, late.records[:1])})
    started = time.monotonic()
    running.stop()

    assert running.process.returncode == 0
    assert time.monotonic() - started < 5
    [segment] = folder.glob("*.log")
    kinds = [payload[0] for payload, _ in read_frames(segment)]
    assert kinds == ["p", "s"]


def test_ctrl_c_ends_it_cleanly_even_with_a_connection_open(start, workspace, late):
    workspace.release(workspace.bundle(late, 3))
    running = start()
    host, port = running.url.removeprefix("http://").split(":")

    with socket.create_connection((host, int(port)), timeout=5):
        rest = running.stop(signal.SIGINT)

    assert running.process.returncode == 0
    assert "Traceback" not in rest


def test_the_process_imports_nothing_heavy_and_unpickles_nothing(start, workspace, late, tensors):
    workspace.release(workspace.bundle(late, 3))
    running = start()
    inputs = tensors(late, late.records[:1])
    running.post("/v2/models/flight-delays/infer", {"inputs": inputs})
    running.post("/v2/models/flight-delays/infer", {"inputs": tensors(late, late.records[:50])})
    running.post("/invocations", {"dataframe_records": late.records[:2]})
    running.post("/feedback", {"key": "a", "label": "true"})
    for path in ("/metrics", "/docs", "/openapi.json", "/v2/models/flight-delays"):
        running.get(path)
    workspace.release(workspace.bundle(late, 4))
    deadline = time.monotonic() + 5
    while b'version="4"' not in running.get("/metrics") and time.monotonic() < deadline:
        time.sleep(0.05)
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])  # type: ignore[index]

    seen = json.loads(running.stop().splitlines()[-1])

    loaded = {name for name in HEAVY if name in seen["modules"]}
    assert loaded == set()
    assert "_pickle" not in seen["modules"] or seen["unpickled"] == []
    assert seen["unpickled"] == []
    assert resident < 80 * 1024


def test_the_served_image_answers_health_from_the_moment_it_says_so(start, workspace, late):
    workspace.release(workspace.bundle(late, 3))
    running = start("--log", "off")

    assert json.loads(running.get("/v2/health/ready"))["ready"] is True
    assert not (running.root / ".loopline" / "log").exists()


def test_without_a_release_it_says_what_to_do(start):
    assert _refusal(start) == (
        "Nothing of flight-delays is released in dev. "
        "Train and release a version with: loopline run"
    )


def test_a_port_in_use_is_one_message(start, workspace, late):
    workspace.release(workspace.bundle(late, 3))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = _refusal(start, "--port", str(port))

    assert message == (
        f"Port {port} on 127.0.0.1 cannot be used: Address already in use. Take another, for "
        f"example: loopline serve --port {port + 1}"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_it_needs_a_token(start, workspace, late, host):
    workspace.release(workspace.bundle(late, 3))

    message = _refusal(start, "--host", host)

    assert f"--host {host} can be reached from other machines, and no token is set" in message
    assert "export LOOPLINE_TOKEN=" in message


def test_beyond_loopback_with_a_token_only_health_is_open(start, workspace, late):
    workspace.release(workspace.bundle(late, 3))
    token = "a token of some length"
    running = start("--host", "0.0.0.0", environment={"LOOPLINE_TOKEN": token})
    url = running.url.replace("0.0.0.0", "127.0.0.1")

    with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/v2", timeout=5)
    request = urllib.request.Request(f"{url}/v2", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert json.load(answer)["name"] == "loopline"


def test_an_unknown_host_is_one_message(start, workspace, late):
    workspace.release(workspace.bundle(late, 3))

    message = _refusal(start, "--host", "no-such-host.invalid")

    assert "--host no-such-host.invalid" in message


def test_a_changed_bundle_is_one_message(start, workspace, late):
    served = workspace.bundle(late, 3)
    workspace.release(served)
    workspace.objects.put(f"{served.bundle}/plan.bin", b"changed")

    assert "is refused: plan.bin is not what was signed" in _refusal(start)


def test_tritons_client_gets_the_originals_answers(start, workspace, late):
    http = pytest.importorskip("tritonclient.http")
    workspace.release(workspace.bundle(late, 3))
    running = start()
    records = [r for r in late.records if None not in r.values()][:20]
    kept = [place for place, r in enumerate(late.records) if None not in r.values()][:20]
    expected = late.original.scores(late.columns)[kept]
    dtypes = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}

    with http.InferenceServerClient(running.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("flight-delays")
        assert client.get_server_metadata()["name"] == "loopline"
        metadata = client.get_model_metadata("flight-delays")
        assert metadata["platform"] == "loopline_plan"
        for binary in (True, False):
            inputs = []
            for column in metadata["inputs"]:
                values = [record[column["name"]] for record in records]
                texts = [str(v).encode() for v in values]
                data = texts if column["datatype"] == "BYTES" else values
                array = np.array(data, dtype=dtypes[column["datatype"]])
                tensor = http.InferInput(column["name"], list(array.shape), column["datatype"])
                tensor.set_data_from_numpy(array, binary_data=binary)
                inputs.append(tensor)
            answer = client.infer("flight-delays", inputs, request_id="mine")
            assert answer.get_response()["id"] == "mine"
            np.testing.assert_allclose(answer.as_numpy("probability"), expected, atol=1e-12)
            labels = answer.as_numpy("label").tolist()
            assert labels == ["true" if p >= 0.23 else "false" for p in expected]
        with pytest.raises(Exception, match="The request has no"):
            client.infer("flight-delays", inputs[:3])


def test_mlflows_client_gets_the_originals_answers(start, workspace, late):
    pd = pytest.importorskip("pandas")
    client_module = pytest.importorskip("mlflow.pyfunc.scoring_server.client")
    workspace.release(workspace.bundle(late, 3))
    running = start()
    host, port = running.url.rsplit(":", 1)
    expected = late.original.scores(late.columns)[:50]
    client = client_module.ScoringServerClient(host.removeprefix("http://"), int(port))

    client.wait_server_ready(timeout=10)
    labels = client.invoke(pd.DataFrame(late.records[:50])).get_predictions()
    numbers = client.invoke(
        pd.DataFrame(late.records[:50]), params={"output": "probability"}
    ).get_predictions("ndarray")

    assert labels[0].tolist() == [bool(p >= 0.23) for p in expected]
    np.testing.assert_allclose(numbers, expected, atol=1e-12)
