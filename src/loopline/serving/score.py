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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loopline.compute.base import Compute
from loopline.data.batches import Incoming
from loopline.errors import OutputRefusedError, RequestError, ServingError
from loopline.governance.signing import Keys
from loopline.model.bundle import Bundle, open_bundle
from loopline.model.runtimes.original import OriginalRuntime
from loopline.registry.release import Served
from loopline.serving.output import check_columns, kept_of, schema_of
from loopline.serving.parts import About, Manifest, Parts, Receipt, Target
from loopline.serving.scoring import Recipe
from loopline.serving.upload import Uploader
from loopline.serving.work import SHOWN, Item, Work
from loopline.settings import Settings
from loopline.store.objects import Objects

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
    check_columns(incoming, signature, name)
    kept = kept_of(incoming, signature, wanted.keep)
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
        schema = schema_of(signature, kept)
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

    work: Work
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
        return tuple(reasons[:SHOWN])

    def _left(self) -> Iterator[Item]:
        for number, piece in enumerate(self.incoming.pieces(self.columns)):
            if number not in self.receipts:
                yield Item(number, piece, self.columns)

    def _tell(self) -> None:
        done = self.receipts.values()
        rejected = sum(receipt.rejected for receipt in done)
        self.progress(sum(receipt.rows for receipt in done), self.incoming.rows, rejected)


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
