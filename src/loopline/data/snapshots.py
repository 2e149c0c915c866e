"""Freeze a dataset under its version and hash."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Snapshot:
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
    """Column to contract type, in order."""
    source: str
    quarantined: int
    """Rows kept apart because they failed a blocking check."""
    frozen_at: str
