"""Models of real flights, released as a workspace releases them, and a client without a network."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
import uvicorn
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from loopline.data.columns import Columns, from_frame
from loopline.data.row_sql import parse
from loopline.governance.access import Access
from loopline.governance.signing import Keys
from loopline.model.bundle import write
from loopline.model.compile.estimator import compile_plan
from loopline.model.explanation import KEPT, background
from loopline.model.original import Original
from loopline.model.runtimes.worker import dump_original
from loopline.model.signature import Feature, Input, Signature, matrix
from loopline.registry import release
from loopline.registry.release import Release, Served
from loopline.serving.app import App
from loopline.serving.grpc import Listener
from loopline.serving.guard import Guard
from loopline.serving.limits import Intake
from loopline.serving.log import Level, LogWriter, read_frames
from loopline.serving.metrics import Metrics
from loopline.serving.models import load
from loopline.serving.path import Path as PredictionPath
from loopline.serving.router import Router
from loopline.serving.transport import Connection
from loopline.settings import Settings
from loopline.store.objects import Objects

PROJECT = "flight-delays"
TYPES = {
    "flight_id": "text",
    "scheduled": "time",
    "tailnum": "text",
    "carrier": "category",
    "dest": "category",
    "month": "category",
    "distance": "number",
    "hour": "integer",
    "weekend": "boolean",
}


@dataclass(frozen=True)
class Trained:
    """An estimator fitted on real flights, and the rows it never saw."""

    original: Original
    columns: Columns
    """Held-out rows, as training sees them."""
    records: list[dict[str, Any]]
    """The same rows, as a caller sends them."""

    @property
    def signature(self) -> Signature:
        return self.original.signature


@dataclass
class Workspace:
    """A home and a store with released versions."""

    settings: Settings
    number: int = 0
    objects: Objects = field(init=False)
    keys: Keys = field(init=False)

    def __post_init__(self) -> None:
        self.objects = Objects(self.settings.store_url)
        self.keys = Keys(self.settings.home)

    def bundle(
        self, trained: Trained, version: int, *, with_plan: bool = True, with_reasons: bool = False
    ) -> Served:
        """Write a bundle."""
        files = {"signature.json": msgspec.json.encode(trained.signature)}
        plan = None
        if with_plan:
            plan = compile_plan(trained.original.estimator, trained.signature)
            files |= plan.to_files()
        if with_reasons:
            files[KEPT] = background(plan, trained.signature, trained.columns, 0)
        files["original.pkl"] = dump_original(trained.original)
        prefix = f"bundles/{PROJECT}/{version}"
        digest = write(self.objects, self.keys, prefix, files)
        return Served(version, prefix, digest)

    def release(self, *serves: Served, keys: Keys | None = None) -> Release:
        """Write the next release document."""
        self.number += 1
        document = Release(PROJECT, "dev", self.number, serves, "ada", "test", "2013-04-01T00:00Z")
        return release.write(self.objects, keys or self.keys, document)

    def router(self, metrics: Metrics | None = None) -> Router:
        """Follow this workspace's releases, as the server does."""
        counted = metrics or Metrics()

        def refused(_why: str) -> None:
            counted.releases_refused += 1

        return Router(
            lambda after: release.latest(self.objects, self.keys, PROJECT, "dev", after=after),
            lambda served: load(served, self.objects, self.keys, self.settings),
            on_refused=refused,
        )


@dataclass(frozen=True)
class Answer:
    """What a request got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@dataclass
class Client:
    """Calls the application as a server would, in one event loop."""

    app: App
    path: PredictionPath
    log_folder: Path
    runner: asyncio.Runner

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        pieces: int = 1,
    ) -> Answer:
        given = {"host": "localhost:8080", "content-length": str(len(body))}
        if body:
            given["content-type"] = "application/json"
        given |= headers or {}
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items() if v],
        }
        size = -(-len(body) // pieces) or 1
        parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        incoming = [
            {"type": "http.request", "body": part, "more_body": place < len(parts) - 1}
            for place, part in enumerate(parts)
        ]

        async def receive() -> Any:
            return incoming.pop(0)

        reply = self.runner.run(self.app.reply(scope, receive))
        assert reply is not None
        received = {name.decode(): value.decode("latin-1") for name, value in reply.headers}
        return Answer(reply.status, received, reply.body)

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", path, encoded, headers)

    def frames(self) -> list[list[Any]]:
        """Everything logged so far."""
        self.path.log.close()
        return [
            payload
            for segment in sorted(self.log_folder.glob("*.log"))
            for payload, _ in read_frames(segment)
        ]


@pytest.fixture(scope="session")
def sample(flights: pl.DataFrame) -> pl.DataFrame:
    """3,000 of the year's flights, with a key, a time and something missing."""
    day = pl.date("year", "month", "day")
    return (
        flights.drop_nulls("arr_delay")
        .gather_every(109)
        .with_columns(
            flight_id=pl.format("{}-{}-{}-{}", "carrier", "flight", "month", "day"),
            scheduled=pl.datetime(
                "year", "month", "day", pl.col("sched_dep_time") // 100, time_zone="UTC"
            ),
            weekend=day.dt.weekday() > 5,
            distance=pl.when(pl.col("day") == 3).then(None).otherwise(pl.col("distance")),
            month=pl.col("month").cast(pl.String),
            hour=pl.col("hour").cast(pl.Int64),
        )
        .with_columns(
            dest=pl.when(pl.col("day") == 7).then(None).otherwise(pl.col("dest")),
            distance=pl.col("distance").cast(pl.Float64),
        )
    )


def _signature(sample: pl.DataFrame, **parts: Any) -> Signature:
    hour = parse("extract(hour from scheduled)", TYPES)
    haul = parse("case when distance > 1000 then 'long' else 'short' end", TYPES)
    inputs = tuple(
        Input(
            name,
            kind,  # type: ignore[arg-type]
            required=name not in {"flight_id", "tailnum"},
            logged=name != "tailnum",
        )
        for name, kind in TYPES.items()
    )

    def levels(name: str) -> tuple[str, ...]:
        return tuple(sorted(sample[name].drop_nulls().unique())[1:])  # the first one is unseen

    features = (
        Feature("weekend", "number"),
        Feature("distance", "number"),
        Feature("carrier", "category", levels("carrier")),
        Feature("departure_hour", "number", sql=hour.sql, steps=hour.steps),
        Feature("dest", "category", levels("dest")),
        Feature("haul", "category", ("long", "short"), sql=haul.sql, steps=haul.steps),
        Feature("month", "category", levels("month")),
        Feature("hour", "number"),
    )
    return Signature(
        project=PROJECT,
        inputs=inputs,
        features=features,
        missing=("?", "", "-999"),
        key="flight_id",
        time="scheduled",
        **parts,
    )


def _trained(
    sample: pl.DataFrame, signature: Signature, truth: np.ndarray, estimator: Any
) -> Trained:
    frame = sample.select(*TYPES)
    columns = from_frame(frame, TYPES)
    estimator.fit(matrix(signature, columns)[::2], truth[::2])
    held_out = frame[1::2]
    return Trained(
        Original(estimator, "matrix", signature),
        from_frame(held_out, TYPES),
        [
            {name: v.isoformat() if hasattr(v, "isoformat") else v for name, v in row.items()}
            for row in held_out.iter_rows(named=True)
        ],
    )


@pytest.fixture(scope="session")
def late(sample: pl.DataFrame) -> Trained:
    """Binary: a linear model with imputing, scaling and one-hot, as people build it."""
    signature = _signature(sample, task="binary", classes=("false", "true"), threshold=0.23)
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1.0), OneHotEncoder(handle_unknown="ignore")
    )
    places = [place for place, f in enumerate(signature.features) if f.kind == "number"]
    others = [place for place, f in enumerate(signature.features) if f.kind == "category"]
    model = make_pipeline(
        make_column_transformer((numbers, places), (categories, others)),
        LogisticRegression(max_iter=500),
    )
    return _trained(sample, signature, (sample["arr_delay"] > 15).to_numpy(), model)


@pytest.fixture(scope="session")
def origin(sample: pl.DataFrame) -> Trained:
    """Multiclass: which of three airports."""
    signature = _signature(sample, task="multiclass", classes=("EWR", "JFK", "LGA"))
    truth = sample["origin"].replace_strict({"EWR": 0, "JFK": 1, "LGA": 2}).to_numpy()
    return _trained(sample, signature, truth, HistGradientBoostingClassifier(max_iter=12))


@pytest.fixture(scope="session")
def delay(sample: pl.DataFrame) -> Trained:
    """Regression: minutes of delay."""
    signature = _signature(sample, task="regression")
    truth = sample["arr_delay"].to_numpy()
    return _trained(sample, signature, truth, HistGradientBoostingRegressor(max_iter=20))


@pytest.fixture(scope="session")
def adding() -> Trained:
    """Regression: a + b, the model that other servers' answers were recorded with."""
    columns = {"a": np.array([1.0, 3.0]), "b": np.array([2.0, 4.0])}
    model = LinearRegression()
    model.coef_, model.intercept_, model.n_features_in_ = np.array([1.0, 1.0]), 0.0, 2
    signature = Signature(
        PROJECT,
        "regression",
        (Input("a", "number"), Input("b", "number")),
        (Feature("a", "number"), Feature("b", "number")),
    )
    records = [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]
    return Trained(Original(model, "matrix", signature), columns, records)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(Settings.read(tmp_path, {}))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def serve(workspace: Workspace, runner: asyncio.Runner) -> Iterator[Callable[..., Client]]:
    """`serve(trained, ...)`: release it as version 3 and answer for it."""
    opened: list[Client] = []

    def start(
        trained: Trained,
        *,
        level: Level = "async",
        with_plan: bool = True,
        with_reasons: bool = False,
        token: str | None = None,
        replay: bool = False,
        environment: dict[str, str] | None = None,
    ) -> Client:
        workspace.release(
            workspace.bundle(trained, 3, with_plan=with_plan, with_reasons=with_reasons)
        )
        metrics = Metrics()
        router = workspace.router(metrics)
        folder = workspace.settings.home / "log"
        path = PredictionPath(router, LogWriter(folder, level), metrics, replay=replay)
        guard = Guard(Access(workspace.settings.home, token), needs_token=token is not None)
        opened.append(Client(App(path, guard, environment), path, folder, runner))
        return opened[-1]

    yield start
    for client in opened:
        client.path.log.close()
        client.path.router.close()


@dataclass
class Live:
    """An application that listens on loopback."""

    port: int
    grpc_port: int
    client: Any
    intake: Intake

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def live(serve: Any) -> Iterator[Callable[..., Live]]:
    """`live(trained, ...)`: answer for it on two free ports, as one process does."""
    with ExitStack() as stack:

        def start(trained: Any, **options: Any) -> Live:
            client = serve(trained, **options)
            intake = Intake(app=client.app)
            config = uvicorn.Config(
                lambda scope, receive, send: None,  # never asked
                interface="asgi3",
                http=lambda server_state, **_: Connection(intake, server_state),
                port=0,
                lifespan="off",
                log_config=None,
                access_log=False,
                ws="none",
            )
            server = uvicorn.Server(config)
            ready, ports = threading.Event(), [0]

            async def main() -> None:
                listener = Listener(client.app, "127.0.0.1", 0, intake=intake)
                await listener.start()
                ports[0] = listener.port
                serving = asyncio.create_task(server._serve())  # its own way takes the signals
                while not server.started:
                    await asyncio.sleep(0.005)
                ready.set()
                await serving
                await listener.stop()

            thread = threading.Thread(target=lambda: asyncio.run(main()))
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join(20)
                assert not thread.is_alive()

            stack.callback(stop)
            assert ready.wait(20)
            port = server.servers[0].sockets[0].getsockname()[1]
            return Live(port, ports[0], client, intake)

        yield start


def tensors(trained: Trained, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `records` as the protocol's input tensors."""
    datatypes = {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}
    return [
        {
            "name": column.name,
            "datatype": datatypes.get(column.type, "BYTES"),
            "shape": [len(records)],
            "data": [record.get(column.name) for record in records],
        }
        for column in trained.signature.inputs
    ]


@pytest.fixture(scope="session", name="tensors")
def _tensors() -> Callable[[Trained, list[dict[str, Any]]], list[dict[str, Any]]]:
    return tensors


@pytest.fixture(scope="session")
def without() -> Callable[[Trained, str], Trained]:
    """`without(trained, "key")`: the same model whose contract names none."""
    return lambda trained, part: replace(
        trained, original=trained.original.signed(replace(trained.signature, **{part: None}))
    )
