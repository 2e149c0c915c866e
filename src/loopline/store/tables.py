"""Delta tables: snapshots and the prediction log.

They lie in the same store as everything else, so that Spark and Databricks read them in place. An
append can name a transaction (who, how far): doing it again does nothing, which makes the fold of
the prediction log exactly once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from loopline.errors import StoreError
from loopline.store.objects import Objects

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from deltalake import DeltaTable


class Tables:
    """The Delta tables of one store, by key."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def write(
        self,
        key: str,
        table: "pa.Table | pl.DataFrame",
        *,
        mode: Literal["append", "overwrite"] = "append",
        transaction: tuple[str, int] | None = None,
    ) -> int:
        """Write `table` under `key` and return the Delta table's version.

        A column the Delta table lacks is added to it; one that `table` lacks is filled with nulls.
        With `transaction` (an application's name and how far it is), a table that is as far
        already is left alone.

        Raises:
            StoreError: the store refuses, or the types do not fit.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        properties = None
        if transaction is not None:
            if self._is_done(key, transaction):
                return self.version(key)
            properties = CommitProperties(app_transactions=[Transaction(*transaction)])
        uri = self._objects.uri(key)
        try:
            write_deltalake(
                uri, _writable(table), mode=mode, schema_mode="merge", commit_properties=properties
            )
        except CommitFailedError:
            # Lost against another writer: of the same transaction it did our work.
            if transaction is None or not self._is_done(key, transaction):
                raise
        except (DeltaError, OSError, ValueError) as error:
            raise StoreError(f"Could not write the table {key}: {error}") from error
        return self.version(key)

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
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(self._objects.uri(key))

    def version(self, key: str) -> int:
        """Return the present version of the table under `key`."""
        return self._open(key).version()

    def transaction(self, app_id: str, key: str) -> int | None:
        """Return how far the application `app_id` is in the table under `key`."""
        return self._open(key).transaction_version(app_id) if self.exists(key) else None

    def _is_done(self, key: str, transaction: tuple[str, int]) -> bool:
        app_id, wanted = transaction
        reached = self.transaction(app_id, key)
        return reached is not None and reached >= wanted

    def _open(self, key: str, version: int | None = None) -> "DeltaTable":
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            return DeltaTable(self._objects.uri(key), version=version)
        except (DeltaError, OSError) as error:
            at = "" if version is None else f" at version {version}"
            raise StoreError(f"There is no table {key}{at} in {self._objects.url}.") from error


def _writable(table: "pa.Table | pl.DataFrame") -> "pl.DataFrame":
    """Delta has neither categories nor columns of unknown type: both become text."""
    import polars as pl

    frame = table if isinstance(table, pl.DataFrame) else pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table never becomes a series
    texts = [
        name
        for name, kind in frame.schema.items()
        if kind == pl.Null or isinstance(kind, (pl.Categorical, pl.Enum))
    ]
    return frame.with_columns(pl.col(texts).cast(pl.String)) if texts else frame
