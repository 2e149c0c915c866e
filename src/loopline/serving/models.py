"""One released version, opened and ready to answer."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from loopline import plugins
from loopline.data.columns import Columns
from loopline.errors import RequestError, RuntimeUnavailableError, TooManyRowsError
from loopline.governance.signing import Keys
from loopline.model.bundle import open_bundle
from loopline.model.explanation import KEPT, Explainer
from loopline.model.plan import Plan
from loopline.model.runtimes.onnx import OnnxRuntime
from loopline.model.runtimes.original import OriginalRuntime
from loopline.model.signature import Signature
from loopline.registry.release import Served
from loopline.serving.batching import Batcher
from loopline.serving.dialects.base import AtOnce, Call, Content, Dialect, Outputs
from loopline.serving.reading import NO_CONTENT
from loopline.serving.reasons import EXPLAINED_ROWS, SAMPLED_ROWS
from loopline.serving.rows import Reader, Rows, without_nan
from loopline.settings import Settings
from loopline.store.objects import Objects

_DIALECTS = "loopline.serving.dialects"
MOST_ROWS = 100_000
"""Of one request: more would hold up everybody else for seconds."""


class Model:
    """A model version as the server uses it: what reads, scores and answers for it."""

    def __init__(
        self,
        served: Served,
        signature: Signature,
        *,
        plan: Plan | None,
        worker: OriginalRuntime | OnnxRuntime | None,
        seconds: float = 30.0,
        background: Callable[[], bytes] | None = None,
    ) -> None:
        """Take a plan, or the worker of an original, which callers wait for so many seconds.

        `background` reads what reasons are measured from, when the first caller asks for some.
        """
        self.version = served.version
        self.bundle_digest = served.bundle_digest
        self.signature = signature
        self.in_flight = 0
        """Requests that this version is scoring."""
        self.reader = Reader(signature, takes_columns=plan is None)
        kinds = {name: plugins.find(_DIALECTS, name) for name in plugins.names(_DIALECTS)}
        self.dialects: dict[str, Dialect] = {
            name: kind(signature, served.version)
            for name, kind in kinds.items()
            if hasattr(kind, "read")  # the others only have paths
        }
        self._plan = plan
        self._at_once: dict[str, Callable[[bytes, Content], Call | None]] = {}
        self._bound: dict[int, Callable[[], np.ndarray]] = {}
        """What scores one row, by the memory that it stands in: always the same for each reader."""
        if plan is not None:
            self._at_once = {
                name: dialect.at_once
                for name, dialect in self.dialects.items()
                if isinstance(dialect, AtOnce)
            }
        self._worker = worker
        self._background = background
        self._explainer: Explainer | None = None
        self.batcher = None if worker is None else Batcher(worker.score, seconds=seconds)
        """What gathers requests for an original; a plan has none."""
        self._threshold = 0.5 if signature.threshold is None else signature.threshold

    @property
    def name(self) -> str:
        """`project:number`."""
        return f"{self.signature.project}:{self.version}"

    @property
    def runtime(self) -> str:
        """What answers: `plan`, `onnx` or `original`."""
        if self._plan is not None:
            return "plan"
        return "onnx" if isinstance(self._worker, OnnxRuntime) else "original"

    def read(self, dialect: str, body: bytes, content: Content) -> Call:
        """Return what `body` asks for; at once with its rows, where the dialect can do that.

        Raises:
            RequestError: as the dialect's `read` raises it.
        """
        at_once = self._at_once.get(dialect)
        call = None if at_once is None else at_once(body, content)
        return self.dialects[dialect].read(body, content) if call is None else call

    async def answer(self, call: Call) -> tuple[Outputs, Rows]:
        """Read, score and decide the rows of one call.

        Raises:
            RequestError: a value cannot be what its column is.
            LooplineError: as `scores` raises it.
        """
        if call.read is not None:
            rows = call.read
        elif call.rows == 1:
            rows = self.reader.one(call.values)
        elif call.rows > MOST_ROWS:
            raise TooManyRowsError(
                f"The request has {call.rows} rows, and at most {MOST_ROWS} are scored at a time. "
                "Send them in parts."
            )
        else:
            rows = self.reader.many(call.values, call.rows)
        return self.outputs(await self.scores(rows)), rows

    async def scores(self, rows: Rows) -> np.ndarray:
        """Score `rows`; a plan does it at once, without letting another request in between.

        Raises:
            LooplineError: the original's worker does not answer, or refuses the rows.
        """
        if self._plan is not None and rows.matrix is not None:
            return (
                self._score_row(rows.matrix) if rows.count == 1 else self._plan.score(rows.matrix)
            )
        assert self.batcher is not None  # noqa: S101 - a model without a plan has a worker
        self.in_flight += 1
        try:
            return await self.batcher.score(rows.columns, rows.count)
        finally:
            self.in_flight -= 1

    def _score_row(self, row: np.ndarray) -> np.ndarray:
        score = self._bound.get(id(row))
        if score is None:
            assert self._plan is not None  # noqa: S101 - only a plan is asked so
            score = self._bound[id(row)] = self._plan.bind(row)
        return score()

    async def prepare_reasons(self) -> None:
        """Read what reasons need, once.

        Raises:
            RequestError: the version was made without it.
            BundleRefusedError: it is not what was signed.
        """
        if self._explainer is not None:
            return
        if self._background is None:
            raise RequestError(
                f"{self.name} was made without what reasons are measured from. Train it again, and "
                "ask the new version."
            )
        content = await asyncio.to_thread(self._background)
        worker = self._worker
        score = None if worker is None else worker.score
        self._explainer = Explainer(content, self.signature, self._plan, score)

    async def reasons(self, call: Call, rows: Rows, count: int) -> list[dict[str, Any]]:
        """Return the `count` largest reasons of each row that `call` was read as.

        Raises:
            RequestError: they are too many rows to explain at a time.
            LooplineError: the original's worker does not answer.
        """
        explainer = self._explainer
        assert explainer is not None  # noqa: S101 - prepared before
        most = EXPLAINED_ROWS if explainer.method == "exact" else SAMPLED_ROWS
        if rows.count > most:
            raise RequestError(
                f"Reasons are told of at most {most} rows at a time here, and the request has "
                f"{rows.count}. Send them in parts."
            )
        if explainer.method == "exact" and rows.matrix is not None:
            found = explainer.of_matrix(rows.matrix)
        else:
            columns = self._columns(call, rows)
            found = await asyncio.to_thread(explainer, columns)
        return [found.reasons(row, count) for row in range(rows.count)]

    def _columns(self, call: Call, rows: Rows) -> Columns:
        """Return every input of the rows, which a plan of one row has not read so."""
        if rows.columns:
            return rows.columns
        values = [[value] for value in call.values]
        return Reader(self.signature, takes_columns=True).many(values, 1).columns

    def outputs(self, scores: np.ndarray) -> Outputs:
        """Return what `scores` say: labels by the version's threshold or the likeliest class."""
        classes = self.signature.classes
        if self.signature.task == "multiclass":
            labels = [classes[place] for place in scores.argmax(axis=1).tolist()]
            return Outputs(labels, [without_nan(column) for column in scores.T.tolist()])
        values: list[float] = scores.tolist()
        if self.signature.task == "regression":
            return Outputs(None, [without_nan(values)])
        negative, positive = classes
        threshold = self._threshold
        labels = [positive if value >= threshold else negative for value in values]
        return Outputs(labels, [without_nan(values)])

    def close(self) -> None:
        """End the worker, if there is one."""
        if self.batcher is not None:
            self.batcher.close()
        if self._worker is not None:
            self._worker.close()

    def warm(self) -> None:
        """Score a row in which everything is missing, so that no caller waits for a first time.

        Raises:
            RuntimeUnavailableError: the original's worker does not start.
        """
        for at_once in self._at_once.values():
            at_once(b"", NO_CONTENT)  # which makes what reads, of thousands of categories maybe
        inputs = len(self.signature.inputs)
        rows = self.reader.one([None] * inputs)
        with contextlib.suppress(RequestError):  # a model that fills no gaps refuses such a row
            if self._worker is None:
                self.outputs(self._score_row(self.reader.row))
            else:
                self._worker.score(rows.columns)


def load(served: Served, objects: Objects, keys: Keys, settings: Settings) -> Model:
    """Open, verify and warm one version.

    Raises:
        BundleRefusedError: the bundle is changed, unsigned or missing.
        RuntimeUnavailableError: the original's worker does not start.
    """
    bundle = open_bundle(objects, keys, served.bundle, served.bundle_digest)
    plan, seconds = bundle.plan, settings.timeout_seconds
    worker: OriginalRuntime | OnnxRuntime | None = bundle.network
    if plan is None and worker is None:
        worker = OriginalRuntime(
            bundle, settings.home, settings.store_url, settings.environment, seconds=seconds
        )
    model = Model(
        served,
        bundle.signature,
        plan=plan,
        worker=worker,
        seconds=seconds,
        background=(lambda: bundle.file(KEPT)) if KEPT in bundle.listed else None,
    )
    try:
        model.warm()
    except RuntimeUnavailableError:
        model.close()
        raise
    return model
