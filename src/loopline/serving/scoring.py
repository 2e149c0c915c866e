"""From a record batch to what a model says of its rows: one function, wherever it runs.

It answers as the server does, bit for bit: the same meaning of values, the same kernel, the same
threshold. What the server would refuse is left out here with the reason, and counted.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from loopline.data.columns import Columns
from loopline.errors import RequestError
from loopline.model.plan import Plan
from loopline.model.runtimes.onnx import OnnxRuntime
from loopline.model.runtimes.original import OriginalRuntime
from loopline.model.signature import Signature, decide_places
from loopline.serving.arrow_rows import ArrowReader, Batch, whole

AT_ONCE = 4096
"""Rows that an original gets at a time: its worker must answer within the caller's patience."""
_UNANSWERED = (
    "A value is missing, infinite or a category never seen, and the model takes none there."
)


@dataclass(frozen=True)
class Scored:
    """What a model said about one batch."""

    chosen: np.ndarray | None
    """Which rows have an answer, as a mask; None where all have."""
    labels: pa.Array | None
    """Of the rows with an answer; None for a regression."""
    scores: np.ndarray
    read: Batch
    refused: list[tuple[int, list[str]]]
    """Row and reasons."""


@dataclass(frozen=True)
class Recipe:
    """Everything that scoring needs, as bytes that were verified; opened once for each thread."""

    signature: Signature
    version: int
    plan: dict[str, bytes] | None
    worker: Callable[[], OriginalRuntime] | None = field(default=None, compare=False)
    """Starts the process that answers where there is neither plan nor network; cannot travel."""
    network: bytes | None = None

    @contextlib.contextmanager
    def open(self, *, reads_all: bool = False) -> Iterator["Scoring"]:
        """Make ready to score; with `reads_all` every input is read, as the log wants it."""
        if self.plan is not None:
            yield Scoring(self.signature, Plan.from_files(self.plan), None, reads_all=reads_all)
            return
        if self.network is not None:
            network = OnnxRuntime(self.network, self.signature)
            yield Scoring(self.signature, None, network, reads_all=reads_all)
            return
        assert self.worker is not None  # noqa: S101 - a version without either has a worker
        with contextlib.closing(self.worker()) as worker:
            yield Scoring(self.signature, None, worker, reads_all=reads_all)


class Scoring:
    """Scores batches; for one thread."""

    def __init__(
        self,
        signature: Signature,
        plan: Plan | None,
        worker: OriginalRuntime | OnnxRuntime | None,
        *,
        reads_all: bool,
    ) -> None:
        self.signature = signature
        self._plan = plan
        self._worker = worker
        self._names = [column.name for column in signature.inputs]
        self._reader = ArrowReader(signature, takes_columns=plan is None, reads_all=reads_all)
        self._classes = pa.array(signature.classes, pa.string())

    def __call__(self, batch: pa.RecordBatch) -> Scored:
        """Score a batch.

        Raises:
            RuntimeUnavailableError: the original's worker does not answer.
        """
        read = self._reader.read(batch)
        refused: list[tuple[int, list[str]]] = []
        chosen = None
        if read.refused is not None:
            chosen = ~read.refused
            refused += [
                (row, self._reader.reasons(batch, read, row))
                for row in np.flatnonzero(read.refused).tolist()
            ]
        said: dict[int, str] = {}
        if self._plan is not None:
            scores, answered = self._by_plan(self._plan, read, chosen)
        elif isinstance(self._worker, OnnxRuntime):
            scores, answered = self._by_network(self._worker, read, chosen)
        else:
            scores, answered, said = self._by_worker(read, chosen, batch.num_rows)
        if answered is not None:
            rows = np.arange(batch.num_rows) if chosen is None else np.flatnonzero(chosen)
            refused += [
                (int(rows[place]), [said.get(place, _UNANSWERED)])
                for place in np.flatnonzero(~answered).tolist()
            ]
            chosen = np.zeros(batch.num_rows, dtype=bool)
            chosen[rows[answered]] = True
            scores = scores[answered]
        return Scored(chosen, self._labels(scores), scores, read, sorted(refused))

    def _by_plan(
        self, plan: Plan, read: Batch, chosen: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        assert read.matrix is not None  # noqa: S101 - the reader makes one for a plan
        return _answered(
            plan.score_what_can_be(read.matrix if chosen is None else read.matrix[chosen])
        )

    def _by_network(
        self, network: OnnxRuntime, read: Batch, chosen: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        columns = whole(read.columns, self._names, chosen)
        rows = len(next(iter(columns.values())))
        parts = [
            network.score_columns(
                {name: columns[name][start : start + AT_ONCE] for name in columns}
            )
            for start in range(0, rows, AT_ONCE)
        ]
        wide = (len(self.signature.classes),) if self.signature.task == "multiclass" else ()
        return _answered(np.concatenate([np.empty((0, *wide)), *parts]))

    def _by_worker(
        self, read: Batch, chosen: np.ndarray | None, rows: int
    ) -> tuple[np.ndarray, np.ndarray | None, dict[int, str]]:
        assert self._worker is not None  # noqa: S101 - a model without a plan has a worker
        columns = whole(read.columns, self._names, chosen)
        rows = rows if chosen is None else int(chosen.sum())
        said: dict[int, str] = {}
        parts = [
            self._ask({name: values[start : start + AT_ONCE] for name, values in columns.items()},
                      start, min(AT_ONCE, rows - start), said)
            for start in range(0, rows, AT_ONCE)
        ]  # fmt: skip
        found = [part for part in parts if part is not None]
        classes = len(self.signature.classes)
        wide = (0, classes) if self.signature.task == "multiclass" else (0,)
        scores = np.concatenate(found) if found else np.empty(wide)
        if not said:
            return scores, None, said
        answered = np.ones(rows, dtype=bool)
        answered[list(said)] = False
        spread = np.full((rows, *scores.shape[1:]), np.nan)
        spread[answered] = scores
        return spread, answered, said

    def _ask(
        self, columns: Columns, start: int, rows: int, said: dict[int, str]
    ) -> np.ndarray | None:
        """Score rows; of those that the model refuses together, each half on its own."""
        assert self._worker is not None  # noqa: S101
        try:
            return np.asarray(self._worker.score(columns))
        except RequestError as error:
            if rows == 1:
                said[start] = str(error)
                return None
        half = rows // 2
        first = {name: values[:half] for name, values in columns.items()}
        second = {name: values[half:] for name, values in columns.items()}
        parts = [
            self._ask(first, start, half, said),
            self._ask(second, start + half, rows - half, said),
        ]
        found = [part for part in parts if part is not None]
        return np.concatenate(found) if found else None

    def _labels(self, scores: np.ndarray) -> pa.Array | None:
        if self.signature.task == "regression":
            return None
        return self._classes.take(pa.array(decide_places(self.signature, scores)))


def _answered(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the scores, and which rows have some; None where all have."""
    unanswered = np.isnan(scores) if scores.ndim == 1 else np.isnan(scores).any(axis=1)
    return scores, ~unanswered if unanswered.any() else None
