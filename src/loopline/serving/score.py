"""Batch scoring with the same path: many rows, in pieces, to a place where they stay.

Each piece is read, scored and written as one, by whatever thread or machine takes it, and is done
when its receipt is there. Pieces depend on nothing but the source, the version and the run's id, so
one thread, many and Spark write the same bytes, and a run that was killed is continued.
"""

import contextlib
import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.compute.base import Compute
from loopline.data.batches import Incoming, Piece
from loopline.data.columns import SPACE
from loopline.data.streams import AS_JSON
from loopline.errors import DataError, OutputRefusedError, RequestError, ServingError
from loopline.governance.signing import Keys
from loopline.model.bundle import Bundle, open_bundle
from loopline.model.runtimes.original import OriginalRuntime
from loopline.model.signature import Signature, outputs
from loopline.registry.release import Served
from loopline.serving.log import HEADER, SEALED, frame
from loopline.serving.parts import PREDICTION_ID, About, Encoder, Manifest, Parts, Receipt, Target
from loopline.serving.rows import plain, without_nan
from loopline.serving.scoring import Recipe, Scored, Scoring
from loopline.serving.upload import Uploader
from loopline.settings import Settings
from loopline.store.objects import Objects

ALL = "all"
CALLER = "batch"
"""Who asked, as the prediction log has it."""
_SHOWN = 3
"""Reasons that are shown of rows without a prediction."""

Progress = Callable[[int, int | None, int], None]
"""Rows done, rows in all where that is known, rows without a prediction."""


@dataclass(frozen=True)
class Wanted:
    """What one call asks for."""

    source: str
    """As people wrote it."""
    target: Target
    keep: tuple[str, ...] = ()
    """Columns of the input to carry along; `("all",)` for every one."""
    environment: str = "dev"
    log: bool = False
    """Whether the predictions go to the log of `environment` too."""
    strict: bool = False
    replace: bool = False


@dataclass(frozen=True)
class Summary:
    """What came of it."""

    version: str
    place: str
    rows: int
    predictions: int
    rejected: int
    rejected_to: str | None
    reasons: tuple[str, ...]
    resumed_rows: int
    """Rows that an earlier call had done."""
    seconds: float
    rows_per_second: float
    on: str


def score(
    served: Served,
    incoming: Incoming,
    wanted: Wanted,
    settings: Settings,
    compute: Compute,
    progress: Progress = lambda *_: None,
) -> Summary:
    """Score everything that comes in with one version.

    Raises:
        BundleRefusedError: the version is changed, unsigned or missing.
        DataError: a source lacks a column that the model needs, or cannot be read.
        OutputRefusedError: something else is where the predictions would go, or goes there now.
        RequestError: with `strict`, a row cannot be scored.
        StoreError: something cannot be written.
    """
    began = time.monotonic()
    bundle = open_bundle(Objects(settings.store_url), Keys(settings.home), served.bundle,
                         served.bundle_digest)  # fmt: skip
    recipe = _recipe(bundle, served, settings, compute)
    signature = recipe.signature
    name = f"{signature.project}:{served.version}"
    _check_columns(incoming, signature, name)
    kept = _kept(incoming, signature, wanted.keep)
    parts = Parts(wanted.target)
    about = About(
        name,
        served.bundle_digest,
        incoming.stamp,
        tuple(kept.names),
        wanted.target.format,
        wanted.environment if wanted.log else None,
    )
    new = Manifest(_run_id(), wanted.source, about)
    parts.check(new, replace=wanted.replace)
    with _alone(parts.lock_file(settings.home), wanted.target.place):
        manifest = parts.begin(new, replace=wanted.replace)
        if manifest.is_complete:
            return _summary(manifest, wanted, compute, (), manifest.rows, began)
        schema = _schema(signature, kept)
        work = Work(recipe, parts, manifest.run, schema, logs=wanted.log)
        columns = [column.name for column in signature.inputs]
        columns += [name for name in kept.names if name not in columns]
        receipts = parts.receipts()
        before = sum(receipt.rows for receipt in receipts.values())
        job = _Job(work, tuple(columns), incoming, receipts, wanted, progress)
        reasons = job.run(compute)
        manifest = msgspec.structs.replace(
            manifest,
            is_complete=True,
            rows=sum(receipt.rows for receipt in receipts.values()),
            rejected=sum(receipt.rejected for receipt in receipts.values()),
            parts=len(receipts),
        )
        if wanted.log:
            folder = settings.home / "log" / signature.project / wanted.environment
            for number, segment in parts.segments():
                _to_log(folder, manifest.run, number, segment)
            Uploader(folder, Objects(settings.store_url)).once()
        parts.finish(manifest, schema)
        return _summary(manifest, wanted, compute, reasons, before, began)


@dataclass
class _Job:
    """The pieces that are left, on their way."""

    work: "Work"
    columns: tuple[str, ...]
    incoming: Incoming
    receipts: dict[int, Receipt]
    wanted: Wanted
    progress: Progress

    def run(self, compute: Compute) -> tuple[str, ...]:
        """Do what is left; return the first reasons why rows have no prediction."""
        self._tell()
        reasons = [why for done in self.receipts.values() for why in done.reasons]
        for receipt in compute.map(self.work, self._left()):
            self.receipts[receipt.number] = receipt
            reasons += receipt.reasons
            if receipt.rejected and self.wanted.strict:
                self.work.parts.forget()
                raise RequestError(
                    f"{receipt.reasons[0]} With --strict nothing is kept where a row cannot be "
                    "scored; without it such rows are set aside and counted."
                )
            self._tell()
        return tuple(reasons[:_SHOWN])

    def _left(self) -> Iterator["Item"]:
        for number, piece in enumerate(self.incoming.pieces(self.columns)):
            if number not in self.receipts:
                yield Item(number, piece, self.columns)

    def _tell(self) -> None:
        done = self.receipts.values()
        rejected = sum(receipt.rejected for receipt in done)
        self.progress(sum(receipt.rows for receipt in done), self.incoming.rows, rejected)


@dataclass(frozen=True)
class Item:
    """One piece, and its number among all."""

    number: int
    piece: Piece
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """Scores pieces and writes their parts, wherever it is opened."""

    recipe: Recipe
    parts: Parts
    run: str
    schema: pa.Schema
    logs: bool

    @contextlib.contextmanager
    def open(self) -> Iterator[Callable[[Item], Receipt]]:
        """Open the model for one thread."""
        with self.recipe.open(reads_all=self.logs) as scoring:
            yield partial(self._do, scoring)

    def _do(self, scoring: Scoring, item: Item) -> Receipt:
        began = time.monotonic()
        piece = item.piece
        part = Encoder(self.parts.target, self.schema)
        rejected: list[dict[str, Any]] = []
        frames: list[bytes] = []
        row = piece.first_row
        for place, batch in enumerate(piece.batches(item.columns)):
            scored = scoring(batch)
            request = f"{self.run}-{item.number}-{place}"
            answer = self._answer(scoring.signature, batch, scored, request)
            part.add(answer)
            for at, reasons in scored.refused:
                rejected.append(_rejected(scoring.signature, piece, row + at, batch, at, reasons))
            if self.logs and answer.num_rows:
                frames.append(frame(self._logged(scoring.signature, scored, request)))
            row += batch.num_rows
        if frames:
            segment = HEADER + b"".join(frames) + frame(SEALED)
            self.parts.write_log(item.number, segment)
        self.parts.write(item.number, part.close(), rejected)
        receipt = Receipt(
            item.number,
            row - piece.first_row,
            len(rejected),
            round(time.monotonic() - began, 3),
            tuple(_told(each) for each in rejected[:_SHOWN]),
        )
        self.parts.sign(receipt)
        return receipt

    def _answer(
        self, signature: Signature, batch: pa.RecordBatch, scored: Scored, request: str
    ) -> pa.RecordBatch:
        """Return the batch's rows of OUT."""
        if scored.chosen is not None:
            batch = batch.filter(pa.array(scored.chosen))
        rows = len(scored.scores)
        numbers = pa.array(np.arange(rows)).cast(pa.string())
        said = {
            PREDICTION_ID: pc.binary_join_element_wise(pa.scalar(request), numbers, "-"),
            **({} if scored.labels is None else {"label": scored.labels}),
            **{
                name: pc.if_else(pc.is_nan(values), None, values)
                for name, column in outputs(signature, scored.scores).items()
                if (values := pa.array(np.ascontiguousarray(column))) is not None
            },
            "version": pa.repeat(pa.scalar(self.recipe.version, pa.int64()), rows),
        }
        arrays = []
        for field in self.schema:
            if field.name in said:
                arrays.append(said[field.name])
            else:
                source = (field.metadata or {}).get(b"from", field.name.encode()).decode()
                arrays.append(_as(batch, source, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _logged(self, signature: Signature, scored: Scored, request: str) -> list[Any]:
        """Return the frame that the server would have logged, but for a latency."""
        kept = [column.name for column in signature.inputs if column.logged]
        full = [scored.read.columns[name].whole() for name in kept]
        if scored.chosen is not None:
            full = [values[scored.chosen] for values in full]
        scores = scored.scores
        said: list[Any] = [] if scored.labels is None else [scored.labels.to_pylist()]
        columns = scores.T if scores.ndim == 2 else [scores]
        said += [without_nan(column.tolist()) for column in columns]
        arrival = int(self.run[:13], 16)
        about = [request, None, arrival, self.recipe.version, False, None, CALLER]
        return ["p", *about, len(scores), [plain(values) for values in full], said]


def _recipe(bundle: Bundle, served: Served, settings: Settings, compute: Compute) -> Recipe:
    if bundle.plan is not None:
        files = {name: bundle.file(name) for name in ("plan.json", "plan.bin")}
        return Recipe(bundle.signature, served.version, files)
    if bundle.network is not None:
        return Recipe(bundle.signature, served.version, None, network=bundle.network.content)
    if compute.name.startswith("Spark"):
        raise ServingError(
            f"{bundle.signature.project}:{served.version} is answered by its original, in a worker "
            "that needs this workspace's store and keys, which executors have not. Score it "
            "without --on spark."
        )

    def worker() -> OriginalRuntime:
        return OriginalRuntime(
            bundle,
            settings.home,
            settings.store_url,
            settings.environment,
            seconds=max(settings.timeout_seconds, 60.0),
        )

    return Recipe(bundle.signature, served.version, None, worker)


def _check_columns(incoming: Incoming, signature: Signature, name: str) -> None:
    """Refuse what lacks a column that the model needs, before a row is scored."""
    needed = [column.name for column in signature.inputs if column.required]
    for source in incoming.sources:
        there = {column.strip(SPACE) for column in source.schema.names}
        absent = [column for column in needed if column not in there]
        if absent and (source.rows != 0 or there):
            raise DataError(
                f"{source.name} has no column {_listed(absent)}, and {name} needs it. It has "
                f"{_listed(source.schema.names)}. Write the column, with no value where it is not "
                "known."
            )


def _kept(incoming: Incoming, signature: Signature, keep: Sequence[str]) -> pa.Schema:
    """Return the input columns that are carried along, the key always among them."""
    known: dict[str, pa.Field] = {}
    for source in incoming.sources:
        for field in source.schema:
            if field.name not in known or pa.types.is_null(known[field.name].type):
                known[field.name] = pa.field(field.name, _written(field.type))
    if keep == (ALL,):
        return pa.schema(list(known.values()))
    absent = [name for name in keep if name not in known]
    if absent:
        raise DataError(f"--keep {absent[0]}: there is no such column. There are {_listed(known)}.")
    names = [signature.key] if signature.key in known else []
    return pa.schema([known[name] for name in dict.fromkeys([*names, *keep]) if name is not None])


def _written(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a column is carried along."""
    if pa.types.is_dictionary(kind):
        return _written(kind.value_type)
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text or pa.types.is_null(kind) else kind


def _schema(signature: Signature, kept: pa.Schema) -> pa.Schema:
    said = [(PREDICTION_ID, pa.string())]
    if signature.task != "regression":
        said.append(("label", pa.string()))
    classes = max(1, len(signature.classes))
    some = np.zeros((0, classes)) if signature.task == "multiclass" else np.zeros(0)
    said += [(name, pa.float64()) for name in outputs(signature, some)]
    said.append(("version", pa.int64()))
    own = {name.lower() for name, _ in said}
    # Delta tells no case apart, and a column that is called as ours would hide it.
    carried = [
        pa.field(f"input_{f.name}", f.type, metadata={"from": f.name}) if f.name.lower() in own
        else f
        for f in kept
    ]  # fmt: skip
    first, *rest = [pa.field(*each) for each in said]
    return pa.schema([first, *carried, *rest])


def _as(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    """Return a column of the batch as it is carried along."""
    place = batch.schema.get_field_index(name)
    if place < 0:
        return pa.nulls(batch.num_rows, kind)
    values = batch.column(place)
    if batch.schema.field(place).metadata == AS_JSON:
        read = [None if text is None else msgspec.json.decode(text) for text in values.to_pylist()]
        texts = zip(values.to_pylist(), read, strict=True)
        values = pa.array([v if isinstance(v, str) else text for text, v in texts], pa.string())
    if values.type == kind:
        return values
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"The column {name} is {kind} in the first rows, and further on there is what is none: "
            f"{str(error).splitlines()[0]}. Leave it out of --keep."
        ) from error


def _rejected(
    signature: Signature,
    piece: Piece,
    row: int,
    batch: pa.RecordBatch,
    at: int,
    reasons: list[str],
) -> dict[str, Any]:
    """Return what is written of a row that has no prediction."""
    found: dict[str, Any] = {"source": piece.source, "row": row}
    place = -1 if signature.key is None else batch.schema.get_field_index(signature.key)
    if place >= 0:
        key = batch.column(place)[at].as_py()
        found["key"] = key if isinstance(key, str | int | float | None) else str(key)
    return {**found, "reasons": reasons}


def _told(rejected: dict[str, Any]) -> str:
    return f"{rejected['source']}, row {rejected['row']}: {' '.join(rejected['reasons'])}"


def _run_id() -> str:
    return f"{time.time_ns() // 1000:013x}000{secrets.token_hex(4)}"


def _to_log(folder: Path, run: str, number: int, segment: bytes) -> None:
    """Put a sealed segment into the prediction log, unless it is there already.

    Its name is the run's and the part's, and the log is folded by name: however often a run is
    killed and called again, each prediction is counted once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{int(run[:13], 16)}-{number}-{run[-8:]}.log"
    handle, name = tempfile.mkstemp(prefix="batch~", dir=folder)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(segment)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            place.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(lock: Path, place: str) -> Iterator[None]:
    """Hold `lock`, which a process that dies lets go.

    Raises:
        OutputRefusedError: another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputRefusedError(
                f"Another process writes {place} just now. Wait for it, or name another place."
            ) from None
        yield


def _summary(
    manifest: Manifest,
    wanted: Wanted,
    compute: Compute,
    reasons: tuple[str, ...],
    before: int,
    began: float,
) -> Summary:
    seconds = time.monotonic() - began
    return Summary(
        version=manifest.about.version,
        place=wanted.target.place,
        rows=manifest.rows,
        predictions=manifest.rows - manifest.rejected,
        rejected=manifest.rejected,
        rejected_to=wanted.target.rejected if manifest.rejected else None,
        reasons=reasons,
        resumed_rows=before,
        seconds=round(seconds, 3),
        rows_per_second=round((manifest.rows - before) / seconds, 1),
        on=compute.name,
    )


def _listed(names: Any) -> str:
    shown = list(names)
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return ", ".join(f"'{name:.60}'" for name in shown[:20]) + more
