"""Where batch predictions go: parts that are written whole, and what is made of them at the end.

A folder gets its parts at once, and `_SUCCESS` when all are there, as Spark does. A file and a
Delta table get theirs in `OUT.loopline` beside them, and are made of them in one step at the end.
Either way `_loopline/` there holds the manifest, which says what run this is, and a receipt for
each part that is done. So whoever is killed anywhere goes on where it was, and whoever is not the
same run is refused. Nothing is ever written into a part twice: the same piece makes the same bytes.
"""

import contextlib
import gzip
import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import pyarrow as pa

from loopline.data.batches import PIECE_ROWS
from loopline.errors import AlreadyExistsError, OutputRefusedError, StoreError
from loopline.store.files import is_remote, is_there, publish, remove
from loopline.store.objects import Objects

Format = Literal["parquet", "csv", "jsonl", "delta"]
PREDICTION_ID = "prediction_id"

_SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".json": "jsonl",
}  # fmt: skip
_MANIFEST, _RECEIPTS = "_loopline/manifest.json", "_loopline/receipts"
_REJECTED, _LOGGED = "_loopline/rejected", "_loopline/log"
_ENDINGS = (".parquet", ".csv", ".jsonl", ".gz", ".crc")
_SUCCESS = "_SUCCESS"


@dataclass(frozen=True)
class Target:
    """What people want to have made."""

    place: str
    format: Format
    is_file: bool
    packed: bool = False

    @classmethod
    def of(cls, place: str, root: Path, wanted: Format | None) -> "Target":
        """Read it from its name: a suffix that is known is a file, anything else a folder."""
        if not is_remote(place):
            is_folder = place.endswith("/")
            path = (root / place).absolute()
            place = str(path)
            is_folder = is_folder or path.is_dir()
        else:
            is_folder, place = place.endswith("/"), place.rstrip("/")
        packed = place.endswith(".gz")
        known = _SUFFIXES.get(Path(place.removesuffix(".gz")).suffix.lower())
        if wanted == "delta" or (wanted is None and is_there(f"{place}/_delta_log")):
            return cls(place, "delta", is_file=False)
        found = wanted or known or "parquet"
        if packed and known == "parquet":
            raise OutputRefusedError(f"{place}: Parquet is packed inside. Leave out .gz.")
        is_file = known is not None and not is_folder
        return cls(place, found, is_file=is_file, packed=packed and is_file)

    @property
    def is_folder(self) -> bool:
        """Whether its parts are what people read."""
        return not self.is_file and self.format != "delta"

    @property
    def work(self) -> str:
        """The folder of its parts."""
        return self.place if self.is_folder else f"{self.place}.loopline"

    @property
    def rejected(self) -> str:
        """The file of rows that have no prediction."""
        return f"{self.place}.rejected.jsonl"


class Receipt(msgspec.Struct, frozen=True):
    """What was done with one piece."""

    number: int
    rows: int
    """Of the piece."""
    rejected: int
    seconds: float
    reasons: tuple[str, ...] = ()
    """Of the first rows that have no prediction."""


class About(msgspec.Struct, frozen=True):
    """What makes two calls the same run."""

    version: str
    bundle_digest: str
    stamp: str | None
    keep: tuple[str, ...]
    format: str
    logged: str | None
    """The environment whose log the predictions go to."""


class Manifest(msgspec.Struct, frozen=True):
    """Which run made, or makes, what lies here."""

    run: str
    source: str
    about: About
    is_complete: bool = False
    rows: int = 0
    rejected: int = 0
    parts: int = 0
    format: int = 1


class Parts:
    """The parts of one run, in a folder or in any cloud; may travel to other machines."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._objects = Objects(target.work)

    def __reduce__(self) -> tuple[Any, ...]:
        return Parts, (self.target,)

    def name(self, number: int) -> str:
        """Return the name of a part."""
        kind = "parquet" if self.target.format == "delta" else self.target.format
        return f"part-{number:05d}.{kind}{'.gz' if self.target.packed else ''}"

    def write(self, number: int, part: bytes, rejected: list[dict[str, Any]]) -> None:
        """Write a part and what was left out of it, each whole.

        Raises:
            StoreError: it cannot be written.
        """
        if rejected:
            lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rejected)
            self._objects.put(f"{_REJECTED}/{number:05d}.jsonl", lines)
        self._objects.put(self.name(number), part)

    def write_log(self, number: int, segment: bytes) -> None:
        """Keep a part's segment of the prediction log until the end."""
        self._objects.put(f"{_LOGGED}/{number:05d}.log", segment)

    def sign(self, receipt: Receipt) -> None:
        """Say that a part is done."""
        self._objects.put(f"{_RECEIPTS}/{receipt.number:05d}.json", msgspec.json.encode(receipt))

    def receipts(self) -> dict[int, Receipt]:
        """Return the receipts of what is done, by the number of the part."""
        found = [
            msgspec.json.decode(self._objects.get(key), type=Receipt)
            for key in self._objects.list(_RECEIPTS)
        ]
        return {receipt.number: receipt for receipt in found}

    def segments(self) -> Iterator[tuple[int, bytes]]:
        """Yield the segments of the log by the number of their part."""
        for key in self._objects.list(_LOGGED):
            yield int(Path(key).stem), self._objects.get(key)

    def begin(self, manifest: Manifest, *, replace: bool) -> Manifest:
        """Take the place for this run, or go on with it; return the manifest that holds.

        Raises:
            OutputRefusedError: something else is there.
        """
        found = self.manifest()
        is_same = (
            found is not None
            and found.about == manifest.about
            and (manifest.about.stamp is not None or found.is_complete)
        )
        if found is not None and is_same and not replace:
            if not found.is_complete or is_there(self.target.place):
                return found
        elif not replace:
            self._refuse_foreign(found, manifest)
        self._clear(found)
        try:
            self._objects.create(_MANIFEST, msgspec.json.encode(manifest))
        except AlreadyExistsError as error:
            raise OutputRefusedError(
                f"Another run has just begun to write {self.target.place}."
            ) from error
        return manifest

    def manifest(self) -> Manifest | None:
        """Return what says which run this is."""
        content = self._objects.find(_MANIFEST)
        try:
            return None if content is None else msgspec.json.decode(content, type=Manifest)
        except msgspec.DecodeError as error:
            raise OutputRefusedError(f"{self.target.work}/{_MANIFEST} cannot be read.") from error

    def finish(self, manifest: Manifest, schema: pa.Schema) -> None:
        """Make OUT of the parts, and say that it is complete.

        Raises:
            StoreError: something cannot be written; call again when it can.
        """
        with self._drafts() as folder:
            if manifest.rejected:
                keys = self._objects.list(_REJECTED)
                publish(self.target.rejected, self._joined(keys), folder / "rejected")
            else:
                remove(self.target.rejected)
            keys = [self.name(number) for number in range(manifest.parts)]
            if self.target.format == "delta":
                self._commit(manifest, keys, schema)
            elif self.target.is_file:
                whole = self._as_parquet(keys, schema)
                if self.target.format != "parquet":
                    whole = self._joined(keys, self._head(schema))
                publish(self.target.place, whole, folder / "whole")
            elif not keys:
                # A folder without a part would not say what columns it has.
                self._objects.put(self.name(0), Encoder(self.target, schema).close())
        if self.target.is_folder:
            self._objects.put(_SUCCESS, b"")
        self._objects.put(_MANIFEST, msgspec.json.encode(manifest))
        done = [key for key in self._objects.list() if key.startswith("_loopline/")]
        if not self.target.is_folder:
            done = self._objects.list()
        for key in done:
            if key != _MANIFEST and not key.endswith("/lock"):
                self._objects.delete(key)

    def forget(self) -> None:
        """Take away everything that this run wrote, as if it had not been."""
        self._clear(self.manifest())

    def check(self, manifest: Manifest, *, replace: bool) -> None:
        """Look whether `begin` would refuse, without touching anything.

        Raises:
            OutputRefusedError: something else is there.
        """
        found = self.manifest()
        if not replace and (found is None or found.about != manifest.about):
            self._refuse_foreign(found, manifest)

    def lock_file(self, home: Path) -> Path:
        """Return the file that one run at a time may hold."""
        if not is_remote(self.target.work):
            return Path(self.target.work) / "_loopline" / "lock"
        digest = hashlib.sha256(self.target.place.encode()).hexdigest()[:24]
        return home / "locks" / f"score-{digest}"

    def _refuse_foreign(self, found: Manifest | None, wanted: Manifest) -> None:
        place = self.target.place
        if found is not None:
            state = "holds" if found.is_complete else "is half written with"
            why = (
                f"the predictions of {found.about.version} for {found.source}, and this would be "
                f"{wanted.about.version} for {wanted.source}"
                if (found.about.version, found.source) != (wanted.about.version, wanted.source)
                else f"predictions for {found.source} as it was, or with other options"
            )
            raise OutputRefusedError(
                f"{place} {state} {why}. Name another place, or write over it with --replace."
            )
        if self.target.is_folder and not is_remote(place) and Path(place).is_file():
            raise OutputRefusedError(
                f"{place} is a file, and would be a folder of parts: its name has none of the "
                f"endings {', '.join(_SUFFIXES)}. Name another place."
            )
        keys = [key for key in self._objects.list() if not key.endswith("/lock")]
        if (self.target.is_folder and keys) or (not self.target.is_folder and is_there(place)):
            raise OutputRefusedError(
                f"{place} exists and was not written by this command. Name another place, or write "
                "over it with --replace."
            )

    def _clear(self, found: Manifest | None) -> None:
        keys = [key for key in self._objects.list() if not key.endswith("/lock")]
        ours = ("_loopline/", "part-", _SUCCESS)
        strange = [k for k in keys if not k.startswith(ours) and not k.endswith(_ENDINGS)]
        if strange:
            raise OutputRefusedError(
                f"{self.target.work} holds {strange[0]}, which is no prediction, so nothing there "
                "is written over. Name another place."
            )
        # Last what says whose this is: killed on the way, the next call clears the rest.
        for key in sorted(keys, key=lambda key: key == _MANIFEST):
            self._objects.delete(key)
        if self.target.is_folder and found is None and not is_remote(self.target.place):
            Path(self.target.place).mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _drafts(self) -> Iterator[Path]:
        """A folder for what is not whole yet, on the disk where it will lie."""
        if is_remote(self.target.place):
            with tempfile.TemporaryDirectory(prefix="loopline-") as made:
                yield Path(made)
            return
        folder = Path(self.target.work) / "_loopline" / "drafts"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def _joined(self, keys: list[str], head: bytes = b"") -> Callable[[BinaryIO], None]:
        def write(stream: BinaryIO) -> None:
            stream.write(head)
            stream.writelines(self._objects.get(key) for key in keys)

        return write

    def _as_parquet(self, keys: list[str], schema: pa.Schema) -> Callable[[BinaryIO], None]:
        import pyarrow.parquet as pq

        def write(stream: BinaryIO) -> None:
            with pq.ParquetWriter(stream, schema, **_encodings(schema)) as writer:
                for batch in self._tables(keys):
                    writer.write_table(batch)

        return write

    def _tables(self, keys: list[str]) -> Iterator[pa.Table]:
        import pyarrow.parquet as pq

        for key in keys:
            yield pq.read_table(pa.BufferReader(self._objects.get(key)))

    def _commit(self, manifest: Manifest, keys: list[str], schema: pa.Schema) -> None:
        """Write the Delta table in one commit, once."""
        from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
        from deltalake.exceptions import DeltaError

        place = self.target.place
        try:
            exists = DeltaTable.is_deltatable(place)
            if exists and DeltaTable(place).transaction_version(manifest.run) is not None:
                return  # killed after the commit, before the manifest
            batches = (batch for table in self._tables(keys) for batch in table.to_batches())
            write_deltalake(
                place,
                pa.RecordBatchReader.from_batches(schema, batches),
                mode="overwrite",
                schema_mode="overwrite" if exists else None,
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(manifest.run, 1)], max_commit_retries=0
                ),
            )
        except (DeltaError, OSError) as error:
            raise StoreError(f"The Delta table {place} cannot be written: {error}") from error

    def _head(self, schema: pa.Schema) -> bytes:
        if self.target.format != "csv":
            return b""
        from pyarrow import csv

        sink = io.BytesIO()
        csv.write_csv(schema.empty_table(), sink)
        return gzip.compress(sink.getvalue(), mtime=0) if self.target.packed else sink.getvalue()


class Encoder:
    """Makes the bytes of one part, a stretch of rows after the other: not all are held at once."""

    def __init__(self, target: Target, schema: pa.Schema) -> None:
        self._target = target
        self._schema = schema
        self._sink = io.BytesIO()
        self._held: list[pa.RecordBatch] = []
        self._rows = 0
        self._writer: Any = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Take some rows."""
        self._held.append(batch)
        self._rows += batch.num_rows
        if self._rows >= PIECE_ROWS:
            self._flush()

    def close(self) -> bytes:
        """Return the part."""
        if self._held or self._writer is None:
            self._flush()
        if self._target.format in {"csv", "parquet", "delta"}:
            self._writer.close()
        content = self._sink.getvalue()
        return gzip.compress(content, mtime=0) if self._target.packed else content

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._held, self._schema)
        self._held, self._rows = [], 0
        if self._target.format == "jsonl":
            import polars as pl

            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table is a frame
            self._writer = frame
            frame.write_ndjson(self._sink)
            return
        if self._writer is None:
            self._writer = self._opened()
        self._writer.write_table(table)

    def _opened(self) -> Any:
        if self._target.format == "csv":
            from pyarrow import csv

            # In one file the header stands once.
            options = csv.WriteOptions(include_header=self._target.is_folder)
            return csv.CSVWriter(self._sink, self._schema, write_options=options)
        import pyarrow.parquet as pq

        return pq.ParquetWriter(self._sink, self._schema, **_encodings(self._schema))


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    """Return how columns are written: ids share their beginnings, other texts repeat."""
    texts = [f.name for f in schema if pa.types.is_string(f.type) and f.name != PREDICTION_ID]
    return {
        "use_dictionary": texts,
        "column_encoding": {PREDICTION_ID: "DELTA_BYTE_ARRAY"},
        "compression": "zstd",
        "compression_level": 1,
    }
