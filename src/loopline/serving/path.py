"""The one path every prediction takes: decode, features, model, encode, log.

It knows predictions and nothing of HTTP: a body comes in with the name of the dialect that reads
it, an answer goes out with its id. With a plan nothing on the way waits, but for the disk where
durable is promised.
"""

import os
import time
from contextvars import ContextVar

import msgspec

from loopline.data.columns import canonical_text
from loopline.errors import RequestError, StoreError
from loopline.model.signature import Signature
from loopline.serving.dialects.base import Content
from loopline.serving.feedback import read_outcomes
from loopline.serving.log import LOG_LOST, LogWriter
from loopline.serving.metrics import Metrics
from loopline.serving.reasons import told
from loopline.serving.router import Router
from loopline.serving.rows import Rows
from loopline.serving.shadows import Question, Shadows

_asked: ContextVar[int | None] = ContextVar("asked")
"""Which version a request was given to: what fails at once reads its own, and what has to wait goes
on in a task, which has a copy."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One request's predictions, encoded."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    request_id: str
    version: int
    arm: str = ""
    """What people call the version in an A/B test."""


class Path:
    """Answers with the models that the release names, and writes down what it said."""

    def __init__(
        self, router: Router, log: LogWriter, metrics: Metrics, *, replay: bool = False
    ) -> None:
        """With `replay`, predictions and outcomes count as arrived when they happened."""
        self.router = router
        self.log = log
        self.metrics = metrics
        self._replay = replay
        self._process = os.urandom(4).hex()
        self._shadows = Shadows(log, metrics)
        self._number = 0
        self._lost = 0
        """Of the log's lost frames, those that it says itself."""
        self._seen = 0
        """When replaying: the time of the last prediction, which errors are given too."""

    async def predict(
        self,
        dialect: str,
        body: bytes,
        content: Content,
        *,
        version: int | None,
        caller: str,
        key: str | None = None,
    ) -> Answer:
        """Score the rows in `body`, and log them.

        Where several versions answer, `key` says which one: the same for the same key. Without it
        the row's business key does, else the client's own id, else chance.

        Raises:
            RequestError: the body cannot be scored.
            UnknownVersionError: `version` is not among those released.
            RuntimeUnavailableError: the model's worker does not answer.
        """
        started = time.perf_counter_ns()
        arrival = time.time_ns() // 1000
        _asked.set(None)
        self._number = (self._number + 1) & 0xFFF  # two requests may share a microsecond
        request_id = f"{arrival:013x}{self._number:03x}{self._process}"
        try:
            if version is not None:
                model = self.router.named(version)
            elif key is None and len(self.router.models) > 1:
                model = self.router.choose(self._key(dialect, body, content) or request_id)
            else:
                model = self.router.choose(key or request_id)
            _asked.set(model.version)
            call = model.read(dialect, body, content)
            explain = call.explain or content.explain
            if explain:
                await model.prepare_reasons()
            outputs, rows = await model.answer(call)
            reasons = await model.reasons(call, rows, explain) if explain else None
        except RecursionError:  # deep enough to be read, too deep to be shown in a message
            raise RequestError("The body nests too deeply: a value is no list of lists.") from None
        encoded = model.dialects[dialect].answer(call, outputs, request_id)
        if reasons is not None:
            encoded = told(model.dialects[dialect], encoded, reasons)
        latency = (time.perf_counter_ns() - started) // 1000
        if self._replay:
            arrival = self._seen = _event_time(model.signature, rows) or arrival
        said = outputs.scores if outputs.labels is None else [outputs.labels, *outputs.scores]
        about = [request_id, call.client_id, arrival, model.version, False, latency, caller]
        self.log.append(["p", *about, call.rows, rows.logged, said])
        if self.log.lost != self._lost:
            self._tell_lost(arrival)
        if self.log.level == "durable":
            await self.log.committed()
        for shadow in self.router.shadows:
            question = Question(dialect, body, content, request_id, arrival, caller)
            self._shadows.ask(shadow, question)
        self.metrics.scored(model.version, call.rows, latency)
        self.metrics.unknown_columns += call.unknown
        arm = self.router.arm(model.version)
        return Answer(encoded.body, encoded.headers, request_id, model.version, arm)

    def _key(self, dialect: str, body: bytes, content: Content) -> str | None:
        """Return what keeps a caller on one version, as the first of those that answer reads it."""
        first = self.router.models[0]
        call = first.dialects[dialect].read(body, content)
        for column, value in zip(first.signature.inputs, call.values, strict=True):
            if column.name == first.signature.key:
                text = canonical_text(value if call.rows == 1 or value is None else value[0])
                return text or call.client_id
        return call.client_id

    async def shadowed(self) -> None:
        """Wait until every shadow was asked what it is to be asked."""
        await self._shadows.drained()

    def note(self, kind: str, number: int, text: str) -> None:
        """Log what people should hear of the server itself."""
        version = self.router.release.version
        self.log.append(["n", time.time_ns() // 1000, kind, number, version, text])

    def _tell_lost(self, arrival: int) -> None:
        """Say in the log, once it works again, how many frames it lost."""
        if self.log.failure is None:
            lost, self._lost = self.log.lost - self._lost, self.log.lost
            version = self.router.release.version
            self.log.append(["n", arrival, LOG_LOST, lost, version, ""])

    async def accept(self, body: bytes) -> int:
        """Keep the outcomes in `body`, on disk before this returns; return how many.

        Raises:
            RequestError: one of them cannot be; then none is kept.
            StoreError: they could not be written.
        """
        outcomes = read_outcomes(body, self.router.models[0].signature)
        if self.log.level == "off":
            raise StoreError("This server keeps no log (--log off), so feedback has no place.")
        arrival = time.time_ns() // 1000
        if self._replay:
            arrival = max((seen for *_, seen in outcomes if seen is not None), default=arrival)
        if not self.log.append(["f", arrival, outcomes]):
            raise StoreError("The feedback was not kept: too much waits for the disk already.")
        if not await self.log.committed():
            why = self.log.failure or "the disk failed, and works again"
            raise StoreError(f"The feedback could not be written: {why}. Send it again.")
        self.metrics.labels += len(outcomes)
        return len(outcomes)

    def failed(self, kind: str, status: int, latency: int) -> None:
        """Log a prediction request that got `status` after `latency` microseconds."""
        arrival = self._seen if self._replay and self._seen else time.time_ns() // 1000
        # What failed before a version was chosen goes by the one that answers most.
        version = _asked.get(None) or self.router.release.version
        self.log.append(["e", arrival, kind, status, latency, version])
        self.metrics.errors[kind] += 1


def _event_time(signature: Signature, rows: Rows) -> int | None:
    """Return when the last of `rows` happened, by the contract's time column."""
    logged = [column.name for column in signature.inputs if column.logged]
    if signature.time not in logged:
        return None
    columns = rows.logged
    if isinstance(columns, msgspec.Raw):
        columns = msgspec.msgpack.decode(columns)
    times = columns[logged.index(signature.time)]
    return max((moment for moment in times if moment is not None), default=None)
