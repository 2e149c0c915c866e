"""A real S3 server on loopback: SeaweedFS, from the path or from an environment of its own."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import venvs
from bench.load import BenchError, Server, free_port

_BUCKET = "soak"
_SECRET = "a secret of this test alone"


def is_there() -> bool:
    """Return whether a server can be had without installing anything."""
    return shutil.which("weed") is not None or venvs.is_made("s3")


@contextmanager
def s3(folder: Path) -> Iterator[dict[str, str]]:
    """Run a real S3 server on loopback; yield what a process needs to reach a bucket of it.

    Raises:
        BenchError: it cannot be had, or does not start.
    """
    found = shutil.which("weed")
    program = found or str(venvs.made("s3") / "weed")
    identity = {
        "name": "soak",
        "credentials": [{"accessKey": "soak", "secretKey": _SECRET}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    folder.mkdir()
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "kept").mkdir()
    names = ("master", "volume", "filer")
    ports = [f"-{name}.port{kind}={free_port()}" for name in names for kind in ("", ".grpc")]
    port = free_port()
    server = Server(
        [
            program, "server", f"-dir={folder / 'kept'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-filer", *ports, "-s3", f"-s3.port={port}", f"-s3.port.grpc={free_port()}",
            f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=100",
            "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        ],
        folder=folder,
        environment=dict(os.environ),
        log=folder / "s3.log",
    )  # fmt: skip
    try:
        environ = {
            "LOOPLINE_STORE": f"s3://{_BUCKET}/loopline",
            "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "soak",
            "AWS_SECRET_ACCESS_KEY": _SECRET,
        }
        _make_bucket(port, folder / "s3.log")
        yield environ
    finally:
        server.stop()


def _make_bucket(port: int, log: Path) -> None:
    import botocore.session

    session = botocore.session.Session()
    session.set_credentials("soak", _SECRET)
    client = session.create_client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1"
    )
    until = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket=_BUCKET)
        except Exception as error:  # botocore makes its kinds at run time
            if time.monotonic() > until:
                last = log.read_text(errors="replace")[-1500:]
                raise BenchError(f"The S3 server does not start: {error}\n{last}") from error
            time.sleep(0.3)
        else:
            return
