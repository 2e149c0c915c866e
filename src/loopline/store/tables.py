"""Delta tables: snapshots and the prediction log.

They lie in the same store as everything else, so that Spark and Databricks read them in place. An
append can name a transaction (who, how far): doing it again does nothing, which makes the fold of
the prediction log exactly once.
"""

import io
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from loopline.errors import StoreError
from loopline.store.objects import Objects

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from deltalake import DeltaTable


_ATTEMPTS = 40
_LONGEST_PAUSE = 0.5
_FULL_BYTES = 32 * 2**20
"""A file of this size is left alone when small ones are gathered: to write it again costs more than
it helps."""
_REMEMBER = "delta.logRetentionDuration"
_FOR_EVER, _A_DAY = "interval 36500 days", "interval 1 days"
"""A snapshot is read by its version years later, and Delta would forget that after a month; of a
log that is compacted nobody asks for yesterday's version."""


class OvertakenError(Exception):
    """Another process is on the way that this append would go: look where it is, and go on."""


@dataclass(frozen=True)
class Part:
    """One file of a table, and what the table says of it."""

    path: str
    ranges: Mapping[str, tuple[Any, Any] | None]
    """Column to its least and greatest value, None where no row has one; absent where unknown."""


class Tables:
    """The Delta tables of one store, by key."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    @property
    def url(self) -> str:
        """Where they lie: another process opens them there."""
        return self._objects.url

    def write(
        self,
        key: str,
        table: "pa.Table | pl.DataFrame",
        *,
        mode: Literal["append", "overwrite"] = "append",
        transaction: tuple[str, int] | None = None,
        after: int | None = None,
    ) -> int:
        """Write `table` under `key` and return the Delta table's version.

        A column the Delta table lacks is added to it; one that `table` lacks is filled with nulls.
        With `transaction` (an application's name and how far it is), a table that is as far
        already is left alone.

        Raises:
            StoreError: the store refuses, or the types do not fit.
            OvertakenError: the application is beyond `after`, so this holds what is there already.
        """
        from deltalake.exceptions import CommitFailedError, DeltaError

        for attempt in range(_ATTEMPTS):
            if attempt:  # so that many writers do not meet again and again
                time.sleep(random.uniform(0, min(0.01 * 2**attempt, _LONGEST_PAUSE)))  # noqa: S311
            existing = self._find(key)
            if transaction is not None and existing is not None:
                reached = existing.transaction_version(transaction[0])
                if reached is not None and reached >= transaction[1]:
                    return existing.version()
                if reached is not None and after is not None and reached > after:
                    raise OvertakenError(transaction[0])
            try:
                return self._commit(key, existing, table, mode, transaction)
            except CommitFailedError:
                continue  # lost against another writer: look again at what is there now
            except (DeltaError, OSError) as error:
                if existing is None and self.exists(key):
                    continue  # another writer made the table meanwhile
                raise StoreError(f"Could not write the table {key}: {error}") from error
        raise StoreError(
            f"Could not write the table {key}: other writers were faster {_ATTEMPTS} times. "
            "Try again when they are done."
        )

    def _commit(
        self,
        key: str,
        existing: "DeltaTable | None",
        table: "pa.Table | pl.DataFrame",
        mode: Literal["append", "overwrite"],
        transaction: tuple[str, int] | None,
    ) -> int:
        """Add the version that follows `existing`, or fail if another writer was faster.

        delta-rs would retry by itself on top of the other's version, without looking whether that
        holds the same transaction; and it would append to a table that was made meanwhile.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake

        done = [] if transaction is None else [Transaction(*transaction)]
        commit = CommitProperties(app_transactions=done, max_commit_retries=0)
        if existing is None:
            uri = self._objects.uri(key)
            write_deltalake(
                uri,
                _fitting(key, table, None),
                mode="error",
                configuration={_REMEMBER: _FOR_EVER},
                commit_properties=commit,
            )
            return 0
        # Without schema_mode, an overwrite would keep columns that are gone.
        frame = _fitting(key, table, None if mode == "overwrite" else existing)
        write_deltalake(
            existing,
            frame,
            mode=mode,
            schema_mode="overwrite" if mode == "overwrite" else "merge",
            commit_properties=commit,
        )
        return existing.version()

    def read(
        self, key: str, version: int | None = None, columns: Sequence[str] | None = None
    ) -> "pl.DataFrame":
        """Return the table under `key`, at `version` or as it is now."""
        lazy = self.scan(key, version)
        return (lazy if columns is None else lazy.select(columns)).collect()

    def scan(self, key: str, version: int | None = None) -> "pl.LazyFrame":
        """Return the table under `key` lazily: what is filtered away is not read."""
        import polars as pl

        return pl.scan_delta(self._open(key, version))

    def exists(self, key: str) -> bool:
        """Return whether there is a table under `key`."""
        return self._find(key) is not None

    def version(self, key: str) -> int:
        """Return the present version of the table under `key`."""
        return self._open(key).version()

    def parts(self, key: str, version: int | None = None) -> list[Part]:
        """Return the files of the table under `key`, from its log alone."""
        import polars as pl

        found = pl.DataFrame(self._open(key, version).get_add_actions(flatten=True))
        names = [name.removeprefix("min.") for name in found.columns if name.startswith("min.")]
        parts = []
        for row in found.iter_rows(named=True):
            ranges: dict[str, tuple[Any, Any] | None] = {}
            for name in names:
                low, high = row[f"min.{name}"], row[f"max.{name}"]
                if low is not None and high is not None:
                    ranges[name] = (low, high)
                elif row[f"null_count.{name}"] == row["num_records"]:
                    ranges[name] = None
            parts.append(Part(row["path"], ranges))
        return parts

    def scan_part(self, key: str, path: str) -> "pl.LazyFrame":
        """Return one file of the table under `key` lazily.

        Raises:
            StoreError: it is gone.
        """
        import polars as pl

        content = self._objects.find(f"{key}/{unquote(path)}")
        if content is None:
            raise StoreError(f"A file of the table {key} is gone: {path}. Look at it again.")
        return pl.scan_parquet(io.BytesIO(content))

    def added(self, key: str, before: int, now: int) -> "pl.DataFrame | None":
        """Return the rows that were added between two versions; None where that is not known.

        From the table's own log, in which a compaction says that it changed no data. What is
        deleted leaves rows that are not new.
        """
        import polars as pl

        frames = [self.scan(key, now).head(0).collect()]
        for version in range(before + 1, now + 1):
            commit = self._objects.find(f"{key}/_delta_log/{version:020}.json")
            if commit is None:
                return None
            actions = [json.loads(line) for line in commit.decode("utf-8").splitlines()]
            if any(each.get("commitInfo", {}).get("operation") == "DELETE" for each in actions):
                continue
            for action in actions:
                added = action.get("add")
                if added is None or not added.get("dataChange", True):
                    continue
                content = self._objects.find(f"{key}/{unquote(added['path'])}")
                if content is None:
                    return None
                frames.append(pl.read_parquet(io.BytesIO(content)))
        return pl.concat(frames, how="diagonal_relaxed")

    def transaction(self, app_id: str, key: str) -> int | None:
        """Return how far the application `app_id` is in the table under `key`."""
        table = self._find(key)
        return None if table is None else table.transaction_version(app_id)

    def compact(self, key: str, *, files: int = 200, readers_hours: int = 24) -> bool:
        """Gather the rows of many small files in few, once there are more than `files`.

        Other writers may append meanwhile; transactions and rows stay as they are. The small files
        are removed once no reader can have begun before they were gathered; older versions of the
        table go with them. False where there is nothing to do, or another process compacts.
        """
        from deltalake.exceptions import CommitFailedError, DeltaError

        table = self._find(key)
        if table is None or _small_files(table) <= files:
            return False
        try:
            table.optimize.compact(target_size=_FULL_BYTES)
            if table.metadata().configuration.get(_REMEMBER) != _A_DAY:
                table.alter.set_table_properties({_REMEMBER: _A_DAY})
            # Delta would keep them: seven times the table after 1,400 small appends.
            table.vacuum(readers_hours, dry_run=False, enforce_retention_duration=False)
        except CommitFailedError:
            return False
        except (DeltaError, OSError) as error:
            raise StoreError(f"Could not compact the table {key}: {error}") from error
        return True

    def delete(self, key: str, predicate: str, *, readers_hours: int = 24) -> int:
        """Delete the rows for which `predicate` (SQL) holds, and return how many.

        Their files follow once no reader can have begun before. 0 too where another process was
        faster: call again.
        """
        from deltalake.exceptions import CommitFailedError, DeltaError

        table = self._find(key)
        if table is None:
            return 0
        try:
            done = table.delete(predicate)
            if table.metadata().configuration.get(_REMEMBER) != _A_DAY:
                table.alter.set_table_properties({_REMEMBER: _A_DAY})
            table.vacuum(readers_hours, dry_run=False, enforce_retention_duration=False)
        except CommitFailedError:
            return 0
        except (DeltaError, OSError) as error:
            raise StoreError(f"Rows of the table {key} stay: {error}") from error
        return int(done.get("num_deleted_rows") or 0)

    def _open(self, key: str, version: int | None = None) -> "DeltaTable":
        table = self._find(key, version)
        if table is None:
            raise StoreError(f"There is no table {key} in {self._objects.url}.")
        return table

    def _find(self, key: str, version: int | None = None) -> "DeltaTable | None":
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        uri = self._objects.uri(key)
        try:
            # Not DeltaTable.is_deltatable: that keeps every other thread waiting for the network.
            return DeltaTable(uri, version=version)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            at = "" if version is None else f" at version {version}"
            raise StoreError(f"Could not read the table {key}{at}: {error}") from error


def _small_files(table: "DeltaTable") -> int:
    import polars as pl

    sizes = pl.DataFrame(table.get_add_actions(flatten=True))["size_bytes"]
    return int((sizes < _FULL_BYTES // 2).sum())


def _fitting(
    key: str, table: "pa.Table | pl.DataFrame", existing: "DeltaTable | None"
) -> "pl.DataFrame":
    """Return `table` in types that Delta has and that `existing` has already.

    A column without any value takes the type that is there, or text; categories become text.
    """
    import polars as pl

    frame = table if isinstance(table, pl.DataFrame) else pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table never becomes a series
    there = {} if existing is None else dict(pl.scan_delta(existing).collect_schema())
    types: dict[str, pl.DataType] = {}
    for name, kind in frame.schema.items():
        if kind == pl.Null:
            types[name] = there.get(name, pl.String())
        elif isinstance(kind, (pl.Categorical, pl.Enum)):
            types[name] = pl.String()
        elif kind.is_unsigned_integer():
            types[name] = pl.Int64()
        elif isinstance(kind, pl.Datetime):
            types[name] = pl.Datetime("us", kind.time_zone)
    frame = frame.with_columns(pl.col(name).cast(kind) for name, kind in types.items())
    clashes = [
        f"{name} is {kind}, but {there[name]} there"
        for name, kind in frame.schema.items()
        if name in there and there[name] != kind
    ]
    if clashes:
        raise StoreError(f"Could not write the table {key}: {'; '.join(clashes)}.")
    return frame
