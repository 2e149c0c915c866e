"""What an image weighs and how soon it answers: Loopline's beside MLflow's and BentoML's.

The same model on the same base, each peer's own pinned requirements installed the same way:
wheels, no compiler and no pip in the last stage. MLflow's own `build-docker` would start at another
base and add a web server; this is its requirements for the model alone, the least that it can be.
The start is counted from `podman run` to the first right answer.

Needs buildah and podman and a base: `.ci/containers` makes one as root.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import venvs
from bench.figures import Spread
from bench.load import BenchError, ask, free_port
from bench.peers import TRAINED_ON, Model, make_model, peers
from loopline.delivery.image import Wanted, write_image
from loopline.delivery.requirements import Needed, needed, own_lock, read
from loopline.delivery.wheels import download
from loopline.errors import LooplineError
from loopline.pipeline.workspace import Workspace

BASE = "localhost/loopline/base:bookworm"
_START_SECONDS = 180.0
_DOCKERFILE = """FROM {base} AS tools
WORKDIR /build
COPY wheels/ wheels/
COPY requirements.txt ./
RUN python3 -m venv /app \\
 && /app/bin/python -m pip install --no-cache-dir --no-index --find-links wheels \\
      --require-hashes -r requirements.txt \\
 && /app/bin/python -m pip uninstall --yes pip
FROM {base}
ENV HOME=/tmp PYTHONUNBUFFERED=1 PATH=/app/bin:/usr/bin:/bin OMP_NUM_THREADS=1
COPY --from=tools /app /app
COPY model/ /model/
WORKDIR /model
"""


@dataclass(frozen=True)
class Built:
    """An image, and how a container of it is started on a port."""

    name: str
    reference: str
    words: Callable[[int], list[str]]
    peer: str
    """Whose requests it answers, among `bench.peers`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.image", description=__doc__)
    parser.add_argument("--base", default=BASE, help="the image that all of them start at")
    parser.add_argument("--rows", type=int, default=TRAINED_ON, help="flights to train on")
    parser.add_argument("--starts", type=int, default=3, help="how often each is started")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="loopline-image-") as name:
            found = _measure(Path(name), options)
    except (BenchError, LooplineError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    print(f"base {found['base_mb']:.0f} MB")
    for image, figures in found["images"].items():
        starts = figures["first_answer_s"]
        started = f"{Spread.of(starts)} s to the first answer" if starts else ""
        print(f"{image:<16}{figures['mb']:>7.0f} MB over the base  {started}")
    return 0


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    model = make_model(folder / "model", options.rows)
    made = [
        _loopline(model, folder, "slim", options.base),
        _mlflow(model, folder, options.base),
        _bentoml(model, folder, options.base),
        _loopline(model, folder, "batch", options.base),
        _loopline(model, folder, "full", options.base),
    ]
    base = _size(options.base)
    images = {}
    for each in made:
        starts = [_first_answer(each, model) for _ in range(options.starts)] if each.peer else []
        images[each.name] = {
            "mb": _size(each.reference) - base,
            "first_answer_s": [round(one, 2) for one in starts],
        }
    return {"base_mb": base, "images": images}


def _loopline(model: Model, folder: Path, target: str, base: str) -> Built:
    place = folder / target
    wanted = Wanted(target=target, base=base, offline=True)
    write_image(Workspace.open(model.project), wanted, place, now=datetime.now(UTC))
    reference = _build(f"loopline-{target}", place)
    return Built(
        f"loopline {target}",
        reference,
        lambda port: ["--env=LOOPLINE_ACCESS=platform", f"--env=PORT={port}", "--read-only",
                      "--tmpfs=/tmp", reference],
        "loopline-off" if target == "slim" else "",
    )  # fmt: skip


def _mlflow(model: Model, folder: Path, base: str) -> Built:
    """MLflow, with the requirements that it wrote beside the model, as they are pinned here."""
    said = (model.packed / "requirements.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in said if line.strip()]
    pins = read(own_lock().read_text(encoding="utf-8"), "requirements.txt")
    reference = _peer(folder / "mlflow", model.packed, needed(names, pins), base)
    serve = ["mlflow", "models", "serve", "--model-uri", "/model", "--env-manager", "local",
             "--workers", "1", "--host", "127.0.0.1"]  # fmt: skip
    telemetry = "--env=MLFLOW_DISABLE_TELEMETRY=true"
    return Built(
        "mlflow", reference, lambda port: [telemetry, reference, *serve, f"--port={port}"], "mlflow"
    )


def _bentoml(model: Model, folder: Path, base: str) -> Built:
    kept = folder / "bento"
    kept.mkdir()
    shutil.copy(model.pickled, kept / "model.pkl")
    shutil.copy(Path(__file__).with_name("bento_service.py"), kept)
    pins = read(venvs.pins("bentoml").read_text(encoding="utf-8"), "requirements-bentoml.txt")
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    reference = _peer(folder / "bentoml", kept, Needed(tuple(here), {}), base)
    serve = ["bentoml", "serve", "bento_service:Flights", "--host", "127.0.0.1"]
    named = ["--env=BENCH_MODEL=/model/model.pkl", "--env=BENTOML_DO_NOT_TRACK=true"]
    return Built(
        "bentoml", reference, lambda port: [*named, reference, *serve, f"--port={port}"], "bentoml"
    )


def _peer(folder: Path, model: Path, pinned: Needed, base: str) -> str:
    (folder / "wheels").mkdir(parents=True)
    shutil.copytree(model, folder / "model")
    (folder / "requirements.txt").write_text(pinned.text(), encoding="utf-8")
    (folder / "Dockerfile").write_text(_DOCKERFILE.format(base=base), encoding="utf-8")
    python = ".".join(map(str, sys.version_info[:2]))
    download(pinned, folder / "wheels", python, folder / "list.txt")
    return _build(folder.name, folder)


def _build(name: str, folder: Path) -> str:
    reference = f"localhost/loopline/bench:{name}"
    print(f"Building {reference}", file=sys.stderr, flush=True)
    _run("buildah", "bud", "--tag", reference, str(folder))
    shutil.rmtree(folder)
    return reference


def _size(reference: str) -> float:
    """Return the size of an image in MB, as its layers lie unpacked."""
    return int(_run("podman", "image", "inspect", "--format", "{{.Size}}", reference)) / 1e6


def _first_answer(image: Built, model: Model) -> float:
    """Return the seconds from `podman run` to the first answer, which must be the model's."""
    port = free_port()
    peer = peers(model)[image.peer]
    body = peer.body(model.rows[:1])
    began = time.monotonic()
    name = _run("podman", "run", "--detach", "--network=host", *image.words(port)).strip()
    try:
        while True:
            try:
                [answer] = ask(port, peer.path, [body])
                taken = time.monotonic() - began
                break
            except (OSError, BenchError) as error:
                if time.monotonic() - began > _START_SECONDS:
                    said = _run("podman", "logs", name)
                    raise BenchError(f"{image.name} does not answer: {error}\n{said}") from error
                time.sleep(0.02)
        assert peer.probabilities is not None
        [found] = peer.probabilities(json.loads(answer))
        if abs(found - model.expected[0]) > 1e-9:
            raise BenchError(f"{image.name} says {found}, and the model {model.expected[0]}.")
        return taken
    finally:
        _run("podman", "rm", "--force", "--time", "1", name)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(words[:3])} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
