"""Lambda: events as the service sends them, under our loop, the official client and emulator."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loopline.errors import ReleaseError, ServingError, SettingError
from loopline.governance.access import Access
from loopline.serving import aws_lambda
from loopline.serving.aws_lambda import InvocationError, handle, run, start
from loopline.serving.guard import Guard
from loopline.serving.inside import Inside, opened, plain_headers

EVENT = Path(__file__).parent / "golden" / "lambda_http_api.json"


def event(
    path: str, body: bytes | str, method: str = "POST", *, stage: str = "$default", **headers: str
) -> dict[str, Any]:
    """Return the recorded event, filled in."""
    text = EVENT.read_text(encoding="utf-8")
    for name, value in (("path", path.lstrip("/")), ("method", method), ("stage", stage)):
        text = text.replace(f"{{{{{{{name}}}}}}}", value)
    made: dict[str, Any] = json.loads(text)
    made["headers"] = {name.replace("_", "-"): value for name, value in headers.items()}
    made["isBase64Encoded"] = isinstance(body, bytes)
    made["body"] = base64.b64encode(body).decode() if isinstance(body, bytes) else body
    return made


@pytest.fixture
def inside(workspace: Any, adding: Any) -> Iterator[Inside]:
    workspace.release(workspace.bundle(adding, 3, with_reasons=True))
    settings = workspace.settings
    guard = Guard(Access(settings.home), needs_token=False)
    with opened("flight-delays", settings, environment="dev", log="durable", guard=guard) as found:
        yield found


def test_a_bare_event_is_a_prediction(inside: Inside) -> None:
    assert handle(inside, {"instances": [[1, 2], [3, 4]]})["predictions"] == [3.0, 7.0]
    said = handle(inside, {"dataframe_records": [{"a": 1, "b": 2}]})
    assert (said["predictions"], said["model_version"]) == ([3.0], "3")
    tensor = {"name": "a", "datatype": "FP64", "shape": [1], "data": [1]}
    outputs = handle(inside, {"inputs": [tensor, {**tensor, "name": "b"}]})["outputs"]
    assert outputs[0]["data"] == [2.0]


@pytest.mark.parametrize("bare", [{}, [], None, 7, {"instances": []}, {"instances": [[1]]}])
def test_a_bare_event_that_cannot_be_answered_says_why(inside: Inside, bare: Any) -> None:
    with pytest.raises(InvocationError) as failed:
        handle(inside, bare)

    assert failed.value.kind == "INVALID_PARAMETER_VALUE"


def test_an_event_from_the_web_is_a_request(inside: Inside) -> None:
    json_type = {"content_type": "application/json"}
    text = handle(inside, event("/invocations", '{"instances":[[1,2]]}', **json_type))
    coded = handle(inside, event("/invocations", b"1,2\n", content_type="text/csv"))
    staged = handle(inside, event("/prod/ping", "", "GET", stage="prod"))

    assert json.loads(text["body"])["predictions"] == [3.0]
    assert (text["statusCode"], text["isBase64Encoded"]) == (200, False)
    assert text["headers"]["x-model-version"] == "3"
    assert (coded["body"], coded["headers"]["content-type"]) == (
        "3.0\n",
        "text/csv; charset=utf-8",
    )
    assert staged["statusCode"] == 200


def test_the_query_of_an_event_asks_for_reasons(inside: Inside) -> None:
    body = '{"instances":[[1,2]]}'
    asked = event("/invocations", body, content_type="application/json")
    asked["rawQueryString"] = "explain=true"

    [told] = json.loads(handle(inside, asked)["body"])["explanations"]

    # The rows that say what is usual are (1, 2) and (3, 4): the means are 2 and 3.
    assert told["base"] == 5.0
    assert told["reasons"] == [{"column": "a", "adds": -1.0}, {"column": "b", "adds": -1.0}]


def test_binary_answers_are_coded(inside: Inside) -> None:
    pa = pytest.importorskip("pyarrow")
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [1.0], "b": [2.0]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    kind = "application/vnd.apache.arrow.stream"

    answer = handle(inside, event("/invocations", sink.getvalue().to_pybytes(), content_type=kind))

    assert answer["isBase64Encoded"]
    found = pa.ipc.open_stream(base64.b64decode(answer["body"])).read_all()
    assert found["prediction"].to_pylist() == [3.0]


def test_what_is_wrong_with_a_request_is_its_status(inside: Inside) -> None:
    missing = handle(inside, event("/nothing", "", "GET"))
    broken = handle(inside, event("/v2/models/flight-delays/infer", "{"))
    spoilt = event("/invocations", "")
    spoilt |= {"body": "%%%", "isBase64Encoded": True}

    assert missing["statusCode"] == 404
    assert (broken["statusCode"], set(json.loads(broken["body"]))) == (400, {"error"})
    assert handle(inside, spoilt)["statusCode"] == 400
    for part in ("rawPath", "requestContext"):
        less = {**event("/ping", "", "GET"), part: {}}
        assert handle(inside, less)["statusCode"] in {400, 404}


def test_an_event_that_nobody_authenticated_needs_the_token(inside: Inside, workspace: Any) -> None:
    anonymous = event("/invocations", '{"instances":[[1,2]]}', content_type="application/json")
    del anonymous["requestContext"]["authorizer"]

    refused = handle(inside, anonymous)
    access = Access(workspace.settings.home, "correct horse battery")
    with opened(
        "flight-delays",
        workspace.settings,
        environment="dev",
        log="off",
        guard=Guard(access, needs_token=True),
    ) as guarded:
        without = handle(guarded, anonymous)
        anonymous["headers"]["authorization"] = "Bearer correct horse battery"
        with_it = handle(guarded, anonymous)

    assert refused["statusCode"] == without["statusCode"] == 401
    assert with_it["statusCode"] == 200


def test_a_header_that_cannot_be_one_is_left_out() -> None:
    given = {"X-A": "1", "x-b": "1\r\nhost: evil", "x-\u2603": "1", "x-c": "\u2603", "X-D": "\xe9"}

    assert plain_headers(given) == [(b"x-a", b"1"), (b"x-d", b"\xe9")]


class Api(ThreadingHTTPServer):
    """The runtime API, as the service has it: hands out events, takes answers."""

    def __init__(self, events: list[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events = events
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.largest = 6 * 2**20
        self.empty = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def do_GET(self) -> None:
        if not self.server.events:
            self.server.empty.set()
            time.sleep(0.2)
            self._answer(500, b"")
            return
        number = len(self.server.events)
        deadline = str(int(time.time() * 1000) + 60_000)
        self._answer(
            200,
            self.server.events.pop(0),
            {
                "Lambda-Runtime-Aws-Request-Id": f"request-{number}",
                "Lambda-Runtime-Deadline-Ms": deadline,
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:x:1:function:churn",
                "Lambda-Runtime-Trace-Id": "Root=1",
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if len(body) > self.server.largest:
            self._answer(413, b"")
            return
        place = self.path.partition("/runtime/")[2]
        self.server.got.append((place, dict(self.headers), json.loads(body)))
        self._answer(202, b"{}")

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        usual = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in {**(headers or {}), **usual}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Callable[[list[bytes]], Api]]:
    opened_: list[Api] = []

    def make(events: list[bytes]) -> Api:
        opened_.append(Api(events))
        threading.Thread(target=opened_[-1].serve_forever, daemon=True).start()
        return opened_[-1]

    yield make
    for server in opened_:
        server.shutdown()
        server.server_close()


def test_the_loop_answers_one_event_after_another(
    inside: Inside, api: Callable[[list[bytes]], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    web = json.dumps(event("/ping", "", "GET")).encode()
    service = api([b'{"instances":[[1,2]]}', b"{", b'{"instances":[]}', web])

    run(inside, service.address, calls=4)

    first, broken, empty, ping = service.got
    assert (first[0], first[2]["predictions"]) == ("invocation/request-4/response", [3.0])
    assert broken[0] == "invocation/request-3/error"
    assert empty[2]["errorType"] == "INVALID_PARAMETER_VALUE"
    assert empty[1]["Lambda-Runtime-Function-Error-Type"] == "INVALID_PARAMETER_VALUE"
    assert set(empty[2]) == {"errorMessage", "errorType", "stackTrace"}
    assert ping[2]["statusCode"] == 200
    with pytest.raises(ServingError, match="answers 500 in place of an event"):
        run(inside, service.address)


def test_a_fault_of_ours_or_too_large_an_answer_fails_that_event_alone(
    inside: Inside,
    api: Callable[[list[bytes]], Api],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = api([b"1", b'{"instances":[[1,2]]}', b'{"instances":[[1,2]]}'])
    service.largest = 300
    real = aws_lambda.handle

    def sometimes(found: Inside, given: Any) -> Any:
        if given == 1:
            raise ZeroDivisionError("a secret")
        return {"long": "x" * 500} if len(service.events) == 1 else real(found, given)

    monkeypatch.setattr(aws_lambda, "handle", sometimes)
    run(inside, service.address, calls=3)

    fault, large, fine = service.got
    assert fault[2]["errorType"] == "InternalError"
    assert "secret" not in str(fault)
    assert "a secret" in caplog.text
    assert large[2]["errorType"] == "ResponseTooLarge"
    assert fine[2]["predictions"] == [3.0]


def test_what_keeps_a_function_from_starting_is_told_to_the_platform(
    workspace: Any, api: Callable[[list[bytes]], Api]
) -> None:
    service = api([])
    environment = {"AWS_LAMBDA_RUNTIME_API": service.address}
    settings = type(workspace.settings).read(workspace.settings.home.parent, environment)

    with pytest.raises(ReleaseError):
        start("flight-delays", settings, "dev")
    with pytest.raises(SettingError, match="AWS_LAMBDA_RUNTIME_API is not set"):
        start("flight-delays", workspace.settings, "dev")

    [(place, headers, body)] = service.got
    assert place == "init/error"
    assert headers["Lambda-Runtime-Function-Error-Type"] == "ReleaseError"
    assert "Nothing of flight-delays is released" in body["errorMessage"]


HANDLER = """
import atexit, contextlib, pathlib
from loopline.governance.access import Access
from loopline.serving.aws_lambda import handle
from loopline.serving.guard import Guard
from loopline.serving.inside import opened
from loopline.settings import Settings

settings = Settings.read(pathlib.Path({root!r}))
stack = contextlib.ExitStack()
guard = Guard(Access(settings.home), needs_token=False)
inside = stack.enter_context(
    opened("flight-delays", settings, environment="dev", log="off", guard=guard)
)

def handler(event, context):
    return handle(inside, event)
"""
STARTED = """
import pathlib
from loopline.serving.aws_lambda import start
from loopline.settings import Settings

start("flight-delays", Settings.read(pathlib.Path({root!r})), "dev")
"""


def test_amazons_own_client_can_call_the_same_handler(
    workspace: Any, adding: Any, api: Callable[[list[bytes]], Api], tmp_path: Path
) -> None:
    pytest.importorskip("awslambdaric")
    workspace.release(workspace.bundle(adding, 3))
    web = json.dumps(event("/ping", "", "GET")).encode()
    service = api([b'{"instances":[[1,2]]}', web])
    (tmp_path / "app.py").write_text(HANDLER.format(root=str(workspace.settings.home.parent)))
    process = subprocess.Popen(
        [sys.executable, "-m", "awslambdaric", "app.handler"],
        cwd=tmp_path,
        env={**os.environ, "AWS_LAMBDA_RUNTIME_API": service.address, "LOOPLINE_TOKEN": ""},
    )
    try:
        assert service.empty.wait(30), service.got
    finally:
        process.kill()
        process.wait()

    answered = [body for place, _, body in service.got if place.endswith("/response")]
    assert answered[0]["predictions"] == [3.0]
    assert answered[1]["statusCode"] == 200


def _emulator(folder: Path) -> Path:
    """Return the official emulator, out of a wheel of aws-sam-cli that somebody has put here."""
    wheels = sorted(Path(os.environ.get("LOOPLINE_TEST_WHEELS", "nowhere")).glob("aws_sam_cli-*"))
    if not wheels:
        pytest.skip(
            "needs aws-sam-cli's wheel: pip download --no-deps aws-sam-cli==1.170.0 -d FOLDER, "
            "and LOOPLINE_TEST_WHEELS=FOLDER"
        )
    with zipfile.ZipFile(wheels[-1]) as wheel:
        path = Path(wheel.extract("samcli/local/rapid/aws-lambda-rie-x86_64", folder))
    path.chmod(0o755)
    return path


def test_the_official_emulator_invokes_it(workspace: Any, adding: Any, tmp_path: Path) -> None:
    emulator = _emulator(tmp_path)
    workspace.release(workspace.bundle(adding, 3))
    (tmp_path / "start.py").write_text(STARTED.format(root=str(workspace.settings.home.parent)))
    front, back = _free_port(), _free_port()
    process = subprocess.Popen(
        [
            emulator,
            "--runtime-interface-emulator-address",
            f"127.0.0.1:{front}",
            "--runtime-api-address",
            f"127.0.0.1:{back}",
            sys.executable,
            str(tmp_path / "start.py"),
        ],
        cwd=tmp_path,
        env={**os.environ, "LOOPLINE_TOKEN": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        good = _invoked(front, b'{"instances":[[1,2]]}')
        wrong = _invoked(front, b'{"instances":[]}')
        ping = _invoked(front, json.dumps(event("/ping", "", "GET")).encode())
    finally:
        process.terminate()
        process.wait(10)

    assert good["predictions"] == [3.0]
    assert wrong["errorType"] == "INVALID_PARAMETER_VALUE"
    assert ping["statusCode"] == 200


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _invoked(port: int, body: bytes) -> Any:
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    for _ in range(100):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as answer:
                return json.load(answer)
        except urllib.error.URLError:  # it does not listen yet
            time.sleep(0.1)
    raise AssertionError("The emulator does not answer.")
