"""One model of real flights, and the servers that answer with it.

Each peer stands as its own documentation sets it up for one worker; all serve the estimator that
Loopline trained, and all keep numerical libraries on one thread, for two that each want every core
measure nothing. The servers' processes import this module, so it imports nothing heavy itself.
"""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import venvs
from bench.load import BenchError, free_port

PROJECT = "flights"
TRAINED_ON = 100_000
HELD_OUT = 200
"""Flights that nobody trained on: what every server is asked, and checked with."""
INFER = f"/v2/models/{PROJECT}/infer"
_TARGET, _KEY = "late", "flight_id"
_MODEL = "BENCH_MODEL"
_TREES = 200
_BIN = Path(sys.executable).parent
_ROOT = Path(__file__).resolve().parents[1]

Row = Mapping[str, Any]

_BUILD = f'''"""Median imputing, scaling, one-hot, {_TREES} boosted trees."""

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def build(seed):
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (texts, make_column_selector(dtype_exclude="number")),
    )
    trees = HistGradientBoostingClassifier(
        max_iter={_TREES}, early_stopping=False, random_state=seed
    )
    return make_pipeline(columns, trees)
'''

_CONTRACT = """project: {project}
problem: {{task: binary, target: {target}, positive: true}}
goals:
  - {{metric: roc_auc, at_least: 0.6}}
data:
  source: flights.parquet
  key: {key}
  columns:
    {key}: {{type: text, feature: false}}
{columns}
  split: {{by: stratified, train: 80%, validation: 10%, test: 10%}}
model: {{train: "model.py:build", seed: 7}}
"""


@dataclass(frozen=True)
class Model:
    """The trained model, as every server gets it."""

    project: Path
    pickled: Path
    """The features' kinds and the estimator, as FastAPI's users keep them."""
    packed: Path
    """The same in MLflow's form."""
    kinds: Mapping[str, str]
    """Feature to `number` or `category`."""
    encoded: int
    """Columns that the trees see."""
    rows: tuple[Row, ...]
    """Held-out flights: the features and the key."""
    expected: tuple[float, ...]
    """What the estimator says of them."""


@dataclass(frozen=True)
class Peer:
    """One server: how it is started, asked and understood."""

    title: str
    command: Callable[[int], list[str]]
    """From a port to what starts it."""
    folder: Path
    path: str
    body: Callable[[Sequence[Row]], bytes]
    probabilities: Callable[[Any], list[float]] | None
    """From its JSON to the probabilities it says; None for the floor, which says nothing."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it finds in its environment besides."""


def make_project(folder: Path, trained_on: int) -> list[Row]:
    """Write a project that trains on so many real flights, run it, and return held-out rows.

    Raises:
        BenchError: the run failed.
    """
    import polars as pl

    from loopline.demo.flights import flights

    time = pl.col("scheduled_departure")
    parts = {"month": "%b", "day": "%d", "weekday": "%a", "hour": "%Hh", "minute": "%Mm"}
    known = flights().filter(pl.col("arr_delay").is_not_null())
    frame = (
        known.with_columns(pl.col("arr_delay").gt(15).alias(_TARGET))
        .with_columns(time.dt.strftime(form).alias(name) for name, form in parts.items())
        .drop("scheduled_departure", "dep_delay", "arr_delay")
        .sample(trained_on * 5 // 4 + HELD_OUT, seed=7, shuffle=True)
    )
    folder.mkdir(parents=True)
    frame[:-HELD_OUT].write_parquet(folder / "flights.parquet")
    columns = "\n".join(
        f"    {name}: {{type: {'category' if kind == pl.String else 'number'}}}"
        for name, kind in frame.schema.items()
        if name not in {_KEY, _TARGET}
    )
    contract = _CONTRACT.format(project=PROJECT, target=_TARGET, key=_KEY, columns=columns)
    (folder / "loopline.yaml").write_text(contract)
    (folder / "model.py").write_text(_BUILD)
    try:
        subprocess.run(
            loopline("run"),
            cwd=folder,
            env=environment(),
            stdout=sys.stderr,
            check=True,
            timeout=1800,
        )
    except subprocess.CalledProcessError as error:
        raise BenchError("loopline run failed; its message is above.") from error
    return list(frame[-HELD_OUT:].drop(_TARGET).iter_rows(named=True))


def make_model(folder: Path, trained_on: int = TRAINED_ON) -> Model:
    """Train in a project, take its estimator out of the bundle, and write it as the peers read it.

    Raises:
        BenchError: the run failed, or its version has no plan.
    """
    import pandas as pd
    from mlflow.models import infer_signature
    from mlflow.sklearn import save_model

    from loopline.model.runtimes.worker import load_original
    from loopline.project import Project

    rows = make_project(folder / PROJECT, trained_on)
    project = Project.open(folder / PROJECT)
    version = project.registry.get(1)
    original = load_original(project.objects, project.keys, version.bundle, version.bundle_digest)
    kinds = {feature.name: feature.kind for feature in original.signature.features}
    frame = pd.DataFrame([{name: row[name] for name in kinds} for row in rows])
    estimator = original.estimator
    probabilities = estimator.predict_proba(frame)
    (folder / "model.pkl").write_bytes(pickle.dumps((kinds, estimator)))
    save_model(
        estimator,
        folder / "mlflow",
        signature=infer_signature(frame, probabilities),
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
    )
    return Model(
        project=project.root,
        pickled=folder / "model.pkl",
        packed=folder / "mlflow",
        kinds=kinds,
        encoded=estimator[:-1].transform(frame[:1]).shape[1],
        rows=tuple(rows),
        expected=tuple(probabilities[:, 1].tolist()),
    )


def loopline(*arguments: str) -> list[str]:
    """Return the command `loopline` as people type it."""
    return [str(_BIN / "loopline"), *arguments]


def environment(model: Model | None = None) -> dict[str, str]:
    """Return what every server finds in its environment: one thread, no chatter."""
    single = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    chosen = {
        **dict.fromkeys(single, "1"),
        "PATH": os.pathsep.join([str(_BIN), os.environ.get("PATH", "")]),
        "LOOPLINE_MLFLOW": "off",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # MLflow starts uvicorn by its command, which writes a line for each request.
        "UVICORN_ACCESS_LOG": "false",
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith("LOOPLINE_")}
    return own | chosen | ({} if model is None else {_MODEL: str(model.pickled)})


def peers(model: Model) -> dict[str, Peer]:
    """Return every server by its name: Loopline at its three levels of logging first.

    Each peer with requirements of its own makes its environment only when it is started.
    """
    features = list(model.kinds)

    def serve(log: str) -> Callable[[int], list[str]]:
        return lambda port: loopline("serve", "--port", str(port), "--log", log)

    def mlflow(port: int) -> list[str]:
        chosen = ["-m", str(model.packed), "--env-manager", "local", "--workers", "1"]
        start = [sys.executable, "-m", "mlflow", "models", "serve"]
        return [*start, *chosen, "--host", "127.0.0.1", "--port", str(port)]

    def split(rows: Sequence[Row]) -> bytes:
        values = [[row[name] for name in features] for row in rows]
        return _json({"dataframe_split": {"columns": features, "data": values}})

    def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [{name: row[name] for name in features} for row in rows]

    servers = {
        f"loopline-{log}": Peer(
            f"Loopline, log {log}", serve(log), model.project, INFER, tensors, _of_tensors
        )
        for log in ("off", "async", "durable")
    }
    return servers | {
        "mlflow": Peer(
            "MLflow models serve",
            mlflow,
            model.packed.parent,
            "/invocations",
            split,
            lambda answer: [float(one[1]) for one in answer["predictions"]],
        ),
        "mlserver": _mlserver(model),
        "bentoml": Peer(
            "BentoML, adaptive batching",
            _bentoml,
            _ROOT,
            "/predict",
            lambda rows: _json({"flights": records(rows)}),
            list,
            {"BENTOML_DO_NOT_TRACK": "true"},
        ),
        "litserve": Peer(
            "LitServe, batches of 32",
            lambda port: _own("litserve", "python", "-m", "bench.litserve_app", str(port)),
            _ROOT,
            "/predict",
            lambda rows: _json({"flights": records(rows)}),
            lambda answer: list(answer["probabilities"]),
        ),
        "fastapi": Peer(
            "FastAPI + pandas + scikit-learn",
            _uvicorn("fastapi", "--factory"),
            _ROOT,
            "/predict",
            lambda rows: _json(records(rows)),
            list,
        ),
        "floor": Peer(
            "HTTP floor (uvicorn, no answer)",
            _uvicorn("floor", "--lifespan", "off"),
            _ROOT,
            "/",
            tensors,
            None,
        ),
    }


def _uvicorn(app: str, *options: str) -> Callable[[int], list[str]]:
    start = [sys.executable, "-m", "uvicorn", f"bench.peers:{app}", "--log-level", "warning"]
    faster = ["--loop", "uvloop", "--http", "httptools"]
    return lambda port: [*start, *faster, *options, "--port", str(port)]


def _own(name: str, program: str, *arguments: str) -> list[str]:
    """Return the command of a program in a peer's own environment."""
    return [str(venvs.made(name) / program), *arguments]


def _bentoml(port: int) -> list[str]:
    chosen = ["bench.bento_service:Flights", "--host", "127.0.0.1", "--port", str(port)]
    return _own("bentoml", "bentoml", "serve", *chosen)


def _mlserver(model: Model) -> Peer:
    """Its own runtime for scikit-learn, on dataframes, in one process, with adaptive batching.

    Where it batches, requests wait for company a hundredth of a second at most.
    """
    folder = model.packed.parent / "mlserver"

    def start(port: int) -> list[str]:
        folder.mkdir(exist_ok=True)
        _, estimator = pickle.loads(model.pickled.read_bytes())
        (folder / "model.pkl").write_bytes(pickle.dumps(estimator))
        settings = {
            "name": PROJECT,
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": "./model.pkl", "content_type": "pd"},
            "max_batch_size": 32,
            "max_batch_time": 0.01,
        }
        (folder / "model-settings.json").write_text(json.dumps(settings))
        ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
        about = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
        (folder / "settings.json").write_text(json.dumps(about))
        return _own("mlserver", "mlserver", "start", str(folder))

    def body(rows: Sequence[Row]) -> bytes:
        asked = json.loads(tensors([{name: row[name] for name in model.kinds} for row in rows]))
        for tensor in asked["inputs"]:
            if tensor["datatype"] == "BYTES":
                tensor["parameters"] = {"content_type": "str"}
        return _json({**asked, "outputs": [{"name": "predict_proba"}]})

    def probabilities(answer: Any) -> list[float]:
        [output] = answer["outputs"]
        return [float(value) for value in output["data"][1::2]]

    return Peer(
        "MLServer, adaptive batching",
        start,
        model.packed.parent,
        f"/v2/models/{PROJECT}/infer",
        body,
        probabilities,
    )


def tensors(rows: Sequence[Row]) -> bytes:
    """Return rows as the Open Inference Protocol has them."""
    inputs = [
        {
            "name": name,
            "datatype": "BYTES" if any(isinstance(row[name], str) for row in rows) else "FP64",
            "shape": [len(rows)],
            "data": [row[name] for row in rows],
        }
        for name in rows[0]
    ]
    return _json({"inputs": inputs})


def fastapi() -> Any:
    """Return the application that a data scientist writes with FastAPI, pandas and scikit-learn.

    The handler is `async`: on one thread that is the quicker one, without a hop to a pool's thread
    and without thirty-two of them waiting for one lock.
    """
    import pandas as pd
    from fastapi import FastAPI
    from pydantic import create_model

    kinds, model = pickle.loads(Path(os.environ[_MODEL]).read_bytes())
    typed: dict[str, Any] = {
        name: (float | None if kind == "number" else str | None, ...)
        for name, kind in kinds.items()
    }
    flight: Any = create_model("Flight", **typed)
    numbers = {name: float for name, kind in kinds.items() if kind == "number"}
    app = FastAPI()

    async def predict(flights: list[Any]) -> list[float]:
        columns = {name: [getattr(row, name) for row in flights] for name in kinds}
        frame = pd.DataFrame(columns).astype(numbers)
        probabilities: list[float] = model.predict_proba(frame)[:, 1].tolist()
        return probabilities

    predict.__annotations__["flights"] = list[flight]
    app.post("/predict")(predict)
    return app


async def floor(_scope: Any, receive: Any, send: Any) -> None:
    """Read a body and answer `{}`: what no server under uvicorn can go below."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


def _of_tensors(answer: Any) -> list[float]:
    by_name = {tensor["name"]: tensor["data"] for tensor in answer["outputs"]}
    return [float(value) for value in by_name["probability"]]


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
