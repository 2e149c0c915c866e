"""What a container runs: a verb is the ordinary command, told where everything is."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loopline.delivery.image import Image, Wanted, write_image
from loopline.pipeline.workspace import Workspace
from loopline.settings import Settings

ROW = {
    "status_of_existing_checking_account": "A11", "duration_in_month": 12, "credit_history": "A34",
    "credit_amount": 1000, "savings_account/bonds": "A61", "age_in_years": 33, "purpose": "A40",
}  # fmt: skip
_START = """
import sys
from pathlib import Path
from loopline.cli import entry, main
app, root, verb, *rest = sys.argv[1:]
main.ended(lambda: entry.start(verb, rest, dict(__import__("os").environ), Path(app), Path(root)))
"""


@pytest.fixture(scope="module")
def app(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies in an image, but for the packages."""
    from datetime import UTC, datetime

    folder = tmp_path_factory.mktemp("app") / "app"
    workspace = Workspace(trained, Settings.read(trained, {}))
    image: Image = write_image(workspace, Wanted(), folder, now=datetime(2026, 3, 2, tzinfo=UTC))
    return image.folder


def begin(app: Path, root: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LOOPLINE_", "AIP_", "AZUREML_", "PORT", "MODEL_"))
    }
    return subprocess.Popen(
        [sys.executable, "-c", _START, str(app), str(root), *words],
        cwd=root,
        env={**kept, "LOOPLINE_MLFLOW": "off", "TMPDIR": str(root), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_serve_listens_to_all_on_the_port_of_the_platform(app: Path, tmp_path: Path) -> None:
    server = begin(app, tmp_path, "serve", "--port", "0", LOOPLINE_TOKEN="x" * 32)
    try:
        assert server.stdout is not None
        first = server.stdout.readline()
        assert first.startswith("Serving credit:1 (dev, release 1) at http://0.0.0.0:"), (
            first + server.stdout.read()
        )
        port = first.strip().rpartition(":")[2]
        assert "try it" in server.stdout.readline()
        assert "off: nothing is kept" in server.stdout.readline()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"dataframe_records": [ROW]}).encode(),
            {"Content-Type": "application/json", "Authorization": "Bearer " + "x" * 32},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["predictions"] == [2]
    finally:
        server.send_signal(signal.SIGTERM)
        said, _ = server.communicate(timeout=20)
    assert server.returncode == 0, said


def test_serve_wants_a_token_or_a_platform_that_asks_for_it(app: Path, tmp_path: Path) -> None:
    server = begin(app, tmp_path, "serve", "--port", "0")
    said, _ = server.communicate(timeout=60)

    assert server.returncode == 1
    assert "LOOPLINE_ACCESS=platform" in said


def test_batch_scores_a_file_with_what_is_baked_in(
    app: Path, tmp_path: Path, german_credit_csv: Path
) -> None:
    out = tmp_path / "out.csv"

    done = begin(app, tmp_path, "batch", str(german_credit_csv), str(out))
    said, _ = done.communicate(timeout=120)

    assert done.returncode == 0, said
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1000
    assert {row["label"] for row in rows} == {"1", "2"}


class _Api(BaseHTTPRequestHandler):
    """Lambda's runtime API: one event, then a service that ends."""

    answers: list[bytes]
    events: list[bytes]

    def do_GET(self) -> None:
        if not self.events:
            self.send_error(500)
            return
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "one")
        self.end_headers()
        self.wfile.write(self.events.pop())

    def do_POST(self) -> None:
        self.answers.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def runtime_api() -> Iterator[tuple[str, list[bytes]]]:
    event = json.dumps({"dataframe_records": [ROW]}).encode()
    kind = type("Api", (_Api,), {"answers": [], "events": [event]})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}", kind.answers
    server.shutdown()
    server.server_close()


def test_lambda_answers_events(
    app: Path, tmp_path: Path, runtime_api: tuple[str, list[bytes]]
) -> None:
    api, answers = runtime_api

    done = begin(app, tmp_path, "lambda", AWS_LAMBDA_RUNTIME_API=api)
    said, _ = done.communicate(timeout=60)

    assert "answers 500 in place of an event" in said
    assert json.loads(answers[0])["predictions"] == [2]


def test_train_reads_the_channel_and_hands_over_a_model_that_is_served(
    app: Path, tmp_path: Path, german_credit_csv: Path
) -> None:
    mounts = tmp_path / "opt" / "ml"
    for name in ("input/data/training", "model", "output"):
        (mounts / name).mkdir(parents=True)
    shutil.copy(german_credit_csv, mounts / "input" / "data" / "training" / "credit.csv")
    home = tmp_path / "home"

    done = begin(app, tmp_path, "train", LOOPLINE_HOME=str(home))
    said, _ = done.communicate(timeout=240)

    assert done.returncode == 0, said
    assert "credit:1 passed its gate" in said
    assert not (mounts / "output" / "failure").exists()
    served = begin(app, tmp_path, "batch", str(german_credit_csv), str(tmp_path / "o.csv"),
                   LOOPLINE_HOME=str(home))  # fmt: skip
    told, _ = served.communicate(timeout=120)
    assert served.returncode == 0, told  # from the mount, and believed by the key that signed it
    assert "1,000 predictions of credit:1" in told


def test_a_training_that_fails_says_why_where_the_platform_shows_it(
    app: Path, tmp_path: Path
) -> None:
    (tmp_path / "opt" / "ml" / "output").mkdir(parents=True)

    done = begin(app, tmp_path, "train")
    said, _ = done.communicate(timeout=120)

    reason = (tmp_path / "opt" / "ml" / "output" / "failure").read_text()
    assert done.returncode == 1
    assert "credit.csv" in reason
    assert reason in said


def test_only_an_image_with_the_project_can_train(app: Path, tmp_path: Path) -> None:
    slim = tmp_path / "slim"
    shutil.copytree(app, slim, ignore=lambda folder, names: [n for n in names if n == "project"])

    done = begin(slim, tmp_path, "train")
    said, _ = done.communicate(timeout=60)

    assert done.returncode == 1
    assert "--target full" in said


def module(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "loopline.cli.entry", *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_an_unknown_verb_is_misuse_and_help_lists_the_verbs() -> None:
    wrong, helped = module("server"), module("--help")

    assert (wrong.returncode, helped.returncode) == (2, 0)
    assert "There is no verb 'server'." in wrong.stderr
    for verb in ("serve", "batch", "lambda", "train"):
        assert f"\n  {verb}" in helped.stdout


def test_what_a_target_lacks_is_named_with_the_target_that_has_it(monkeypatch) -> None:
    from loopline.cli import entry
    from loopline.errors import LooplineError

    def lacking(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'polars'", name="polars")

    monkeypatch.setattr(entry, "start", lacking)

    with pytest.raises(LooplineError, match=r"polars is not in this image, .*--target batch"):
        entry._start("batch", [])
