"""`loopline serve` as a process: its start, its end, and what it never loads."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopline.governance.access import Access
from loopline.model.original import Original
from loopline.serving.log import read_frames

_JSON = {"Content-Type": "application/json"}

HEAVY = (
    "polars", "pyarrow", "pydantic", "sqlalchemy", "sklearn", "scipy", "pandas", "deltalake",
    "optuna", "mlflow", "sqlglot", "grpc", "google.protobuf", "loopline.training",
    "loopline.evaluation",
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
        return self.rest()

    def rest(self) -> str:
        """Wait for the end; return what the process still said."""
        self.process.wait(timeout=20)
        # Not communicate: it would leave out what was read ahead with the greeting.
        assert self.process.stdout is not None
        return self.process.stdout.read()


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
    text = running.greeting + running.rest()
    assert running.process.returncode == 1
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
    assert "loopline token make NAME --scope predict" in message
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
            # Binary, as Triton's client asks for answers when it names no output.
            labels = [text.decode() for text in answer.as_numpy("label").tolist()]
            assert labels == ["true" if p >= 0.23 else "false" for p in expected]
        with pytest.raises(Exception, match="The request has no"):
            client.infer("flight-delays", inputs[:3])


def test_grpc_is_spoken_beside_http_by_one_process(start, workspace, late):
    grpc = pytest.importorskip("tritonclient.grpc")
    workspace.release(workspace.bundle(late, 3))
    running = start("--grpc-port", "0")
    found = re.search(r"grpc +(\S+)", running.greeting)
    assert found is not None

    with grpc.InferenceServerClient(found[1]) as client:
        assert client.is_model_ready("flight-delays", "3")
    assert running.get("/v2/health/ready")
    taken = start("--grpc-port", found[1].rpartition(":")[2])
    said = taken.greeting + taken.rest()
    rest = running.stop()

    assert taken.process.returncode == 1
    assert "cannot be used for gRPC. Take another with --grpc-port." in said
    assert running.process.returncode == 0
    assert '"grpc"' in rest


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


class Sleepy:
    """An estimator that takes its time over so many rows."""

    def __init__(self, estimator: Any, seconds: float, rows: int) -> None:
        self.estimator, self.seconds, self.rows = estimator, seconds, rows

    def predict_proba(self, rows: Any) -> Any:
        import time

        if len(rows) == self.rows:
            time.sleep(self.seconds)
        return self.estimator.predict_proba(rows)


@pytest.fixture
def sleepy(late) -> Iterator[Callable[[float], Any]]:
    """`sleepy(0.5)`: the model of late flights, half a second slower for one row."""
    cloudpickle = pytest.importorskip("cloudpickle")
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)  # a worker does not find the tests

    def make(seconds: float, rows: int = 1) -> Any:
        slow = Sleepy(late.original.estimator, seconds, rows)
        return replace(late, original=Original(slow, late.original.takes, late.signature))

    yield make
    cloudpickle.unregister_pickle_by_value(module)


def _status(url: str, token: str | None = None, body: bytes | None = None) -> int:
    head = {"Content-Type": "application/json"}
    if token is not None:
        head["Authorization"] = f"Bearer {token}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, head), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_listens_at_once_and_is_ready_when_its_model_is(start, workspace, sleepy):
    workspace.release(workspace.bundle(sleepy(0.5), 3, with_plan=False))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    seen: set[tuple[int, ...]] = set()

    def watch() -> None:
        while (200, 200, 200) not in seen:
            try:
                paths = ("/livez", "/readyz", "/ping")
                seen.add(tuple(_status(url + path) for path in paths))
            except OSError:
                time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start("--port", str(port), "--log", "off")
    watcher.join(20)

    assert (200, 503, 503) in seen
    assert all(live == 200 for live, *_ in seen)


def test_sigterm_while_the_model_is_loaded_ends_it_with_0(start, workspace, sleepy):
    workspace.release(workspace.bundle(sleepy(30), 3, with_plan=False))
    root = workspace.settings.home.parent
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "loopline", "serve", "--port", "0", "--log", "off"],
        cwd=root,
        env={**os.environ, "LOOPLINE_TOKEN": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        _until(lambda: bool(_workers_of(process.pid)))
        worker = _workers_of(process.pid)[0]
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=15)
    finally:
        process.kill()

    assert (process.returncode, said) == (0, b"")
    _until(lambda: not Path(f"/proc/{worker}").exists())


def _workers_of(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_a_model_that_takes_too_long_is_504_and_the_next_request_is_answered(
    start, workspace, sleepy, late, tensors
):
    workspace.release(workspace.bundle(sleepy(30, rows=2), 3, with_plan=False))
    running = start("--log", "off", environment={"LOOPLINE_TIMEOUT": "1"})
    url = f"{running.url}/v2/models/flight-delays/infer"
    one, two = (
        json.dumps({"inputs": tensors(late, late.records[:rows])}).encode() for rows in (1, 2)
    )
    assert _status(url, body=one) == 200

    assert _status(url, body=two) == 504

    figures = running.get("/metrics").decode()
    assert 'loopline_errors_total{kind="TooSlowError"} 1\n' in figures
    _until(lambda: _status(url, body=one) == 200)  # by another worker


def test_a_request_with_too_many_rows_is_told_so(start, workspace, late):
    workspace.release(workspace.bundle(late, 3))
    running = start("--log", "off")
    record = late.records[0]
    columns = list(record)
    data = [[record[column] for column in columns]] * 100_001
    body = json.dumps({"dataframe_split": {"columns": columns, "data": data}}).encode()

    request = urllib.request.Request(
        f"{running.url}/invocations", body, {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)

    with refused.value as answer:
        assert answer.code == 413
        assert (
            "The request has 100001 rows, and at most 100000 are scored" in answer.read().decode()
        )


def test_tokens_made_and_revoked_count_in_a_running_server(start, workspace, late):
    workspace.release(workspace.bundle(late, 3))
    access = Access(workspace.settings.home)
    now = datetime.now(UTC)
    scoring = access.make("scoring", ["predict"], made_at=now)
    running = start("--host", "0.0.0.0", "--log", "off")
    url = running.url.replace("0.0.0.0", "127.0.0.1")

    assert _status(f"{url}/v2") == 401
    assert _status(f"{url}/v2", scoring) == 200
    assert _status(f"{url}/metrics", scoring) == 403
    prometheus = access.make("prometheus", ["metrics"], made_at=now)
    _until(lambda: _status(f"{url}/metrics", prometheus) == 200)
    access.revoke("scoring")
    revoked = time.monotonic()
    _until(lambda: _status(f"{url}/v2", scoring) == 401)
    assert time.monotonic() - revoked < 10  # half a second, but for a busy machine
    assert _status(f"{url}/metrics", prometheus) == 200
    assert _status(f"{url}/livez") == 200


def test_at_ten_times_what_it_can_answer_it_sheds_the_rest_and_stays_healthy(
    start, workspace, late, tensors
):
    workspace.release(workspace.bundle(late, 3))
    running = start("--log", "async", "--in-flight", "8")
    url = f"{running.url}/v2/models/flight-delays/infer"
    body = json.dumps({"inputs": tensors(late, late.records[:20])}).encode()  # 3 or more each
    host, port = running.url.removeprefix("http://").split(":")
    resident = []
    end = time.monotonic() + 3

    def ask(_: int) -> Counter[int]:
        found: Counter[int] = Counter()
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        while time.monotonic() < end:
            connection.request("POST", "/v2/models/flight-delays/infer", body, _JSON)
            answer = connection.getresponse()
            answer.read()
            found[answer.status] += 1
            if answer.status == 429:
                assert answer.headers["retry-after"] == "1"
        connection.close()
        return found

    with ThreadPoolExecutor(61) as pool:
        callers = [pool.submit(ask, number) for number in range(60)]
        while time.monotonic() < end:
            assert _status(f"{running.url}/readyz") == 200
            status = Path(f"/proc/{running.process.pid}/status").read_text()
            resident.append(int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]))  # type: ignore[index]
            time.sleep(0.05)
        statuses: Counter[int] = sum((caller.result() for caller in callers), Counter())

    assert set(statuses) == {200, 429}
    assert _status(url, body=body) == 200
    figures = running.get("/metrics").decode()
    assert f"loopline_shed_total {statuses[429]}\n" in figures
    assert "loopline_in_flight 1\n" in figures  # that request itself
    assert max(resident) < resident[0] + 20 * 1024


def test_sigterm_under_load_answers_what_was_accepted_and_seals_the_log(
    start, workspace, late, tensors
):
    workspace.release(workspace.bundle(late, 3))
    running = start("--log", "async")
    body = json.dumps({"inputs": tensors(late, late.records[:1])}).encode()
    host, port = running.url.removeprefix("http://").split(":")
    answered = Counter[str]()
    ready: list[int] = []

    def ask(_: int) -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        while True:
            try:
                connection.request("POST", "/v2/models/flight-delays/infer", body, _JSON)
                answer = connection.getresponse()
                answer.read()
                answered[str(answer.status)] += 1
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException) as error:
                answered[type(error).__name__] += 1
                return

    with ThreadPoolExecutor(6) as pool:
        callers = [pool.submit(ask, number) for number in range(5)]
        _until(lambda: answered["200"] > 200)
        running.process.send_signal(signal.SIGTERM)
        try:
            while not ready or ready[-1] == 200:
                ready.append(_status(f"{running.url}/readyz"))
        finally:
            for caller in callers:
                caller.result()
    running.rest()

    assert running.process.returncode == 0
    assert ready[-1] == 503  # it was not ready while it still answered
    assert set(answered) == {"200"}
    folder = running.root / ".loopline" / "log" / "flight-delays" / "dev"
    kinds = [p[0] for segment in folder.glob("*.log") for p, _ in read_frames(segment)]
    assert Counter(kinds) == {"p": answered["200"], "s": 1}


def test_segments_go_to_a_store_outside_the_home_at_the_end_and_after_a_kill(
    start, workspace, late, tensors, tmp_path_factory
):
    workspace.release(workspace.bundle(late, 3))
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "store"
    shutil.copytree(workspace.settings.home / "store", elsewhere)
    environment = {"LOOPLINE_STORE": str(elsewhere)}
    here = workspace.settings.home / "log" / "flight-delays" / "dev"
    there = elsewhere / "log" / "flight-delays" / "dev"
    body = {"inputs": tensors(late, late.records[:1])}

    killed = start("--log", "durable", environment=environment)
    killed.post("/v2/models/flight-delays/infer", body)
    killed.process.kill()
    killed.rest()
    left = [path.name for path in here.iterdir()]
    again = start("--workers", "2", environment=environment)
    again.post("/v2/models/flight-delays/infer", body)
    again.stop()

    found = {path.name: [p[0] for p, _ in read_frames(path)] for path in there.iterdir()}
    assert again.process.returncode == 0
    assert found.pop(left[0]) == ["p"]
    assert [kinds for kinds in found.values() if kinds != ["s"]] == [["p", "s"]]
    assert list(here.iterdir()) == []
