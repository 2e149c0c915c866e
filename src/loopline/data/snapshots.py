"""Freeze a dataset under its version and hash.

The hash is over rows and schema, column by column and independent of chunks and files, so the same
rows are the same snapshot wherever they come from, and freezing them again writes nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from loopline.data.columns import unused
from loopline.errors import StoreError
from loopline.notebooks import Shown
from loopline.store.ledger import Ledger
from loopline.store.tables import Tables

if TYPE_CHECKING:
    import polars as pl

    from loopline.data.validation import Validation

_ROW = "_row"
"""Keeps the order, which a Delta table of many files does not."""


@dataclass(frozen=True)
class Snapshot(Shown):
    """Data frozen under a hash: the second record of the chain."""

    id: str
    """`snap-` and the first twelve digits of `hash`."""
    hash: str
    """SHA-256 over rows and schema, not files: the same rows are the same snapshot."""
    table: str
    """Key of the Delta table in the store."""
    table_version: int
    rows: int
    columns: dict[str, str]
    """Column to contract type."""
    source: str
    quarantined: int
    """Rows kept apart because they failed a blocking check."""
    frozen_at: str


def freeze(
    validation: "Validation",
    types: Mapping[str, str],
    tables: Tables,
    ledger: Ledger,
    *,
    source: str,
    now: datetime,
) -> Snapshot:
    """Keep the good rows of `validation`, typed as `types`, and return their snapshot.

    The rows set apart go to a table of their own, once for each snapshot.
    """
    frame, quarantine = validation.good, validation.quarantine
    digest = content_hash(frame, types)
    snapshot = Snapshot(
        id=f"snap-{digest[:12]}",
        hash=digest,
        table=f"snapshots/{ledger.project}",
        table_version=0,
        rows=frame.height,
        columns=dict(types),
        source=source,
        quarantined=quarantine.height,
        frozen_at=now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    )
    _set_apart(quarantine, snapshot, tables, ledger, now)
    found = _frozen(snapshot, tables, ledger)
    if found is not None:
        # The ledger keeps no order of columns; a model's features follow the data's.
        return replace(found, columns=dict(types), quarantined=quarantine.height)
    rows = frame.select(list(types)).with_row_index(unused(_ROW, types))
    snapshot = replace(snapshot, table_version=tables.write(snapshot.table, rows, mode="overwrite"))
    ledger.append("snapshot.frozen", snapshot.id, asdict(snapshot), now=now)
    return snapshot


def load(snapshot: Snapshot, tables: Tables) -> "pl.DataFrame":
    """Return the rows of `snapshot` in their order.

    Raises:
        StoreError: the table is gone, or holds other rows than were frozen.
    """
    row = unused(_ROW, snapshot.columns)
    kept = tables.read(snapshot.table, snapshot.table_version, [row, *snapshot.columns])
    frame = kept.sort(row).drop(row)
    if content_hash(frame, snapshot.columns) != snapshot.hash:
        raise StoreError(
            f"Version {snapshot.table_version} of the table {snapshot.table} does not hold the "
            f"rows of {snapshot.id} any more. Freeze them again with: loopline run --fresh"
        )
    return frame


def content_hash(frame: "pl.DataFrame", types: Mapping[str, str]) -> str:
    """Return SHA-256 over the schema and every value, in the order of the columns' names.

    How the values lie in memory, and in which order the columns stand, makes no difference.
    """
    import polars as pl

    digest = hashlib.sha256(msgspec.json.encode([frame.height, sorted(types.items())]))
    for name in sorted(types):
        column = frame.get_column(name)
        digest.update(column.is_null().to_numpy().tobytes())
        if column.dtype == pl.String:
            full = column.fill_null("")
            digest.update(full.str.len_bytes().to_numpy().tobytes())
            digest.update(str(full.str.join("").item()).encode())
        else:
            full = column.to_physical().cast(pl.Float64 if column.dtype.is_float() else pl.Int64)
            # Adding zero makes -0.0 and 0.0, which are equal, one; polars would skip the addition.
            digest.update((full.fill_null(0).to_numpy() + 0).tobytes())
    return digest.hexdigest()


def _frozen(snapshot: Snapshot, tables: Tables, ledger: Ledger) -> Snapshot | None:
    if not tables.exists(snapshot.table):
        return None
    events = ledger.events(("snapshot.frozen",), subject=snapshot.id)
    found = [msgspec.convert(event.payload, Snapshot) for event in events]
    return next((one for one in found if one.hash == snapshot.hash), None)


def _set_apart(
    quarantine: "pl.DataFrame",
    snapshot: Snapshot,
    tables: Tables,
    ledger: Ledger,
    now: datetime,
) -> None:
    import polars as pl

    if quarantine.is_empty():
        return
    digest = content_hash(quarantine, dict.fromkeys(quarantine.columns, "text"))
    known = ledger.events(("data.quarantined",), subject=snapshot.id)
    if any(event.payload["hash"] == digest for event in known):
        return
    key = f"quarantine/{ledger.project}"
    which = pl.lit(snapshot.id).alias(unused("_snapshot", quarantine.columns))
    version = tables.write(key, quarantine.with_columns(which))
    payload = {
        "hash": digest, "table": key, "table_version": version, "rows": quarantine.height,
    }  # fmt: skip
    ledger.append("data.quarantined", snapshot.id, payload, now=now)
