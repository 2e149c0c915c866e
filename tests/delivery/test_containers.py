"""The image, built for real and started as each platform starts it; its answer is the model's own.

Slow, and skipped where no container can be run: `.ci/containers` makes what is missing.
"""

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.delivery import engine as engines

from loopline.delivery.build import build_image
from loopline.delivery.image import Wanted, write_image
from loopline.governance.signing import Keys
from loopline.model.runtimes.worker import load_original
from loopline.pipeline.workspace import Workspace
from loopline.registry import release
from loopline.settings import Settings
from loopline.store.objects import Objects

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOKEN = "a-token-of-some-length-for-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CLOSED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
"""As a cluster with the restricted profile runs it."""
PLATFORM = {"LOOPLINE_ACCESS": "platform"}


@pytest.fixture(scope="session")
def released(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project, with a release in staging too."""
    from loopline.registry.promotion import promote

    root = shutil.copytree(trained, tmp_path_factory.mktemp("shipped") / "credit")
    workspace = Workspace(root, Settings.read(root, {"LOOPLINE_ACTOR": "ada"}))
    promote(workspace.registry, "1", "staging", by="ada", now=NOW, contract=workspace.contract)
    return workspace


@pytest.fixture(scope="session")
def image(engine: Any, released: Workspace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The reference of the slim image, built once."""
    wanted = Wanted(target="slim", base=engines.BASE, offline=True)
    folder = tmp_path_factory.mktemp("slim") / "image"
    written = write_image(released, wanted, folder, now=NOW)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in engine.variables.items():
            patch.setenv(name, value)
        tag = "localhost/loopline/test:slim"
        return build_image(written, None, tag, say=lambda _: None).reference


@pytest.fixture(scope="session")
def mounted(released: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what staging serves, as a platform mounts a model."""
    folder = tmp_path_factory.mktemp("mounted") / "image"
    write_image(released, Wanted(environment="staging", target="slim"), folder, now=NOW)
    return folder / "model"


@pytest.fixture(scope="session")
def row(german_credit_csv: Path, trained: Path) -> dict[str, Any]:
    """One row of the data, as a caller sends it."""
    columns = ["status_of_existing_checking_account", "duration_in_month", "credit_history",
               "credit_amount", "savings_account/bonds", "age_in_years", "purpose"]  # fmt: skip
    frame = pl.read_csv(german_credit_csv, columns=columns)
    return dict(frame.row(7, named=True))


@pytest.fixture(scope="session")
def probability(released: Workspace, row: dict[str, Any]) -> float:
    """What the original estimator says of that row, in this process."""
    from loopline.data.columns import from_frame

    found = release.latest(released.objects, released.keys, "credit", "dev")
    assert found is not None
    [served] = found.serves
    original = load_original(
        Objects(released.settings.store_url),
        Keys(released.settings.home),
        served.bundle,
        served.bundle_digest,
    )
    types = {one.name: one.type for one in original.signature.inputs}
    frame = pl.DataFrame([row])
    return float(original.scores(from_frame(frame, types))[0])


def tensors(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": name, "shape": [1], "data": [value],
             "datatype": "BYTES" if isinstance(value, str) else "FP64"}
            for name, value in row.items()
        ]
    }  # fmt: skip


def output(answer: Any, name: str) -> Any:
    [found] = [each["data"][0] for each in answer.json["outputs"] if each["name"] == name]
    return found


def records(row: dict[str, Any]) -> dict[str, Any]:
    return {"dataframe_records": [row], "params": {"output": "probability"}}


def near(probability: float) -> Any:
    return pytest.approx(probability, abs=1e-12)


def test_kubernetes_with_the_restricted_profile(engine, image, row, probability) -> None:
    with engine.running(image, options=CLOSED, variables={"LOOPLINE_TOKEN": TOKEN}) as running:
        answer = running.ask("POST", "/v2/models/credit/infer", tensors(row), BEARER)

        assert answer.status == 200, answer.text
        assert output(answer, "probability") == near(probability)
        assert running.ask("GET", "/livez").status == 200
        assert running.ask("GET", "/readyz").status == 200
        assert running.ask("POST", "/v2/models/credit/infer", tensors(row)).status == 401
        assert "credit:1 (dev, release 1) at http://0.0.0.0:8080" in running.log()
        assert running.end() == 0


def test_a_user_that_nobody_has_heard_of(engine, image, row, probability) -> None:
    """OpenShift gives every namespace a range of its own, and group 0."""
    options = (*CLOSED, "--user=1000670000:0")
    with engine.running(image, options=options, variables=PLATFORM) as running:
        answer = running.ask("POST", "/invocations", records(row))

        assert answer.json["predictions"] == [near(probability)]


def test_kserve_mounts_the_model_it_was_told_of(engine, image, mounted, row, probability) -> None:
    options = (*CLOSED, f"--volume={mounted}:/mnt/models:ro")
    with engine.running(image, options=options, variables={"LOOPLINE_TOKEN": TOKEN}) as running:
        assert running.ask("GET", "/v2/health/ready").status == 200
        answer = running.ask("POST", "/v2/models/credit/infer", tensors(row), BEARER)
        first = running.ask("POST", "/v1/models/credit:predict", {"instances": [row]}, BEARER)

        assert output(answer, "probability") == near(probability)
        assert first.json["predictions"] == [int(output(answer, "label"))]
        assert "(staging, release 1)" in running.log()


def test_sagemaker_starts_it_as_root_with_the_word_serve(
    engine, image, mounted, row, probability
) -> None:
    options = ("--user=0", f"--volume={mounted}:/opt/ml/model")
    with engine.running(image, "serve", options=options, variables=PLATFORM) as running:
        ping = running.ask("GET", "/ping")
        answer = running.ask("POST", "/invocations", records(row))
        parameters = running.ask("GET", "/execution-parameters")
        line = ",".join(f'"{value}"' for value in row.values())
        table = f"{','.join(row)}\n{line}\n"
        csv = running.ask("POST", "/invocations", table, {"Content-Type": "text/csv"})

        assert (ping.status, ping.text.strip()) == (200, "")
        assert answer.json["predictions"] == [near(probability)]
        assert parameters.json["BatchStrategy"] == "MULTI_RECORD"
        assert csv.status == 200, csv.text
        assert "(staging, release 1)" in running.log()
        assert running.end() == 0


def test_sagemaker_may_name_another_port(engine, image, row, probability) -> None:
    variables = {**PLATFORM, "SAGEMAKER_BIND_TO_PORT": "8085", "PORT": "9"}
    with engine.running(image, "serve", variables=variables, port=8085) as running:
        answer = running.ask("POST", "/invocations", records(row))

        assert answer.json["predictions"] == [near(probability)]


def test_vertex_ai_names_port_and_routes(engine, image, row, probability) -> None:
    variables = {
        **PLATFORM,
        "AIP_ACCELERATOR_TYPE": "",
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_HEALTH_ROUTE": "/v1/endpoints/7/deployedModels/9",
        "AIP_HTTP_PORT": "8086",
        "AIP_MODE": "PREDICTION",
        "AIP_MODE_VERSION": "1.0.0",
        "AIP_PREDICT_ROUTE": "/v1/endpoints/7/deployedModels/9:predict",
        "AIP_PROJECT_NUMBER": "1234",
        "AIP_STORAGE_URI": "",
    }
    with engine.running(image, variables=variables, port=8086) as running:
        ready = running.ask("GET", variables["AIP_HEALTH_ROUTE"])
        body = {"instances": [row], "parameters": {"output": "probability"}}
        answer = running.ask("POST", variables["AIP_PREDICT_ROUTE"], body)

        assert ready.status == 200
        assert answer.json == {"predictions": [near(probability)]}


def test_azure_ml_mounts_the_model_in_a_folder_of_its_name(
    engine, image, mounted, row, probability
) -> None:
    place = "/var/azureml-app/azureml-models/credit/1"
    variables = {**PLATFORM, "AML_APP_ROOT": "/var/azureml-app", "AZUREML_MODEL_DIR": place}
    options = (*CLOSED, f"--volume={mounted}:{place}/model:ro")
    with engine.running(image, options=options, variables=variables) as running:
        answer = running.ask("POST", "/score", records(row))

        assert answer.json["predictions"] == [near(probability)]
        assert running.ask("GET", "/livez").status == 200
        assert running.ask("GET", "/readyz").status == 200
        assert "(staging, release 1)" in running.log()


def test_cloud_run_names_the_port(engine, image, row, probability) -> None:
    variables = {"LOOPLINE_TOKEN": TOKEN, "PORT": "8090", "K_SERVICE": "credit",
                 "K_REVISION": "credit-00001", "K_CONFIGURATION": "credit"}  # fmt: skip
    with engine.running(image, variables=variables, port=8090) as running:
        answer = running.ask("POST", "/", records(row), BEARER)

        assert answer.json["predictions"] == [near(probability)]
        assert running.end() == 0


class _Api(BaseHTTPRequestHandler):
    """Lambda's runtime API: hands out each event once, then waits as the service does."""

    events: list[bytes]
    answers: list[tuple[str, Any]]
    answered: threading.Event
    over: threading.Event

    def do_GET(self) -> None:
        if not self.events:
            self.over.wait(60)
            self.send_error(500)
            return
        event = self.events.pop()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "one")
        self.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(event)))
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answers.append((self.path, json.loads(body)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.answered.set()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def runtime_api(row: dict[str, Any]) -> Iterator[type[_Api]]:
    made = {
        "events": [json.dumps(records(row)).encode()],
        "answers": [],
        "answered": threading.Event(),
        "over": threading.Event(),
    }
    kind = type("Api", (_Api,), made)
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kind.port = server.server_address[1]
    yield kind
    kind.over.set()
    server.shutdown()
    server.server_close()


def test_lambda_replaces_the_command_and_asks_for_events(
    engine, image, runtime_api, probability
) -> None:
    """No port, a root that is read-only, a user that is not the image's."""
    variables = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime_api.port}",
        "AWS_LAMBDA_FUNCTION_NAME": "credit",
        "LAMBDA_TASK_ROOT": "/var/task",
    }
    options = ("--read-only", "--tmpfs=/tmp", "--user=993:990", "--network=host")
    with engine.running(image, "lambda", options=options, variables=variables) as running:
        assert runtime_api.answered.wait(60), running.log()

    [(path, said)] = runtime_api.answers
    assert path == "/2018-06-01/runtime/invocation/one/response"
    assert said["predictions"] == [near(probability)]


def test_a_key_that_the_image_does_not_have_signs_nothing_it_serves(
    engine, image, mounted, tmp_path: Path
) -> None:
    stranger = Keys(tmp_path / "stranger")
    objects = Objects(str(shutil.copytree(mounted, tmp_path / "model")))
    [place] = (tmp_path / "model" / "releases").rglob("1.json")
    signed = json.loads(place.read_bytes())
    content = json.dumps(signed["release"], separators=(",", ":")).encode()
    signed["signature"] = stranger.sign(b"loopline release\n" + content)
    objects.put(str(place.relative_to(tmp_path / "model")), json.dumps(signed).encode())
    options = (*CLOSED, f"--volume={tmp_path / 'model'}:/mnt/models:ro")

    with engine.running(image, options=options, variables=PLATFORM) as running:
        assert running.wait() == 1
        assert "not signed by a key that is trusted here" in running.log()


def test_without_a_place_to_write_it_says_what_it_needs(engine, image) -> None:
    options = ("--read-only", "--read-only-tmpfs=false", "--user=10001")
    with engine.running(image, options=options, variables=PLATFORM) as running:
        assert running.wait() == 1
        assert "an empty volume at /tmp" in running.log()


def test_slim_says_which_target_has_what_batch_needs(engine, image) -> None:
    with engine.running(image, "batch", "in.csv", "out.csv", variables=PLATFORM) as running:
        assert running.wait() == 1
        assert "is not in this image, and 'batch' needs it" in running.log()


def test_it_has_what_its_bill_says_and_no_compiler_installer_or_writable_file(
    engine, image
) -> None:
    look = (
        "import importlib.metadata as m, json, os, shutil\n"
        "bill = json.load(open('/app/sbom.json'))\n"
        "print(json.dumps({'found': sorted((d.name.lower().replace('_', '-').replace('.', '-'),"
        " d.version) for d in m.distributions()),"
        " 'bill': sorted((c['name'], c['version']) for c in bill['components']"
        " if c['type'] == 'library'),"
        " 'tools': [t for t in ('cc', 'gcc', 'clang', 'pip', 'ld') if shutil.which(t)],"
        " 'writable': [p for f, _, names in os.walk('/app') for p in"
        " (f, *(os.path.join(f, n) for n in names)) if os.access(p, os.W_OK)],"
        " 'kernels': __import__('loopline.kernels.library', fromlist=['x']).__name__,"
        " 'user': os.getuid()}))"
    )

    done = engine.call("run", "--rm", "--network=none", "--entrypoint", "/app/bin/python", image,
                       "-c", look)  # fmt: skip

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["found"] == said["bill"]
    assert said["tools"] == []
    assert said["writable"] == []
    assert said["user"] == 10001


def test_its_settings_leave_to_the_platform_what_a_platform_decides(engine, image) -> None:
    [about] = json.loads(engine.said("image", "inspect", image))

    config = about["Config"]
    assert config["User"] == "10001"
    assert config["Entrypoint"] == ["/app/bin/python", "-P", "-m", "loopline.cli.entry"]
    assert config["Cmd"] == ["serve"]
    names = {one.partition("=")[0] for one in config["Env"]}
    assert names <= {"PATH", "HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "TERM",
                     "container"}  # fmt: skip
    assert config["Labels"]["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"


def test_deploy_builds_and_runs_it_on_this_machine(
    engine, released, row, probability, monkeypatch, tmp_path: Path
) -> None:
    import http.client
    import socket

    from click.testing import CliRunner

    from loopline.cli.main import cli

    for name, value in {**engine.variables, "LOOPLINE_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = shutil.copytree(released.root, tmp_path / "credit")
    words = ["deploy", "--project", str(root), "--env", "staging"]
    how = ["--target", "slim", "--base", engines.BASE, "--offline", "--port", str(port)]
    try:
        done = CliRunner().invoke(cli, [*words, *how])
        assert done.exit_code == 0, f"{done.output}{done.exception}"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers = {**BEARER, "Content-Type": "application/json"}
        connection.request("POST", "/invocations", json.dumps(records(row)), headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
    finally:
        removed = CliRunner().invoke(cli, [*words, "--remove"])

    assert answer["predictions"] == [near(probability)]
    assert f"answers at http://127.0.0.1:{port} (credit-staging)" in done.output
    assert "Removed credit-staging" in removed.output
