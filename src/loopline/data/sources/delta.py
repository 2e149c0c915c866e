"""A Delta table, in a folder or in object storage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from loopline.data.sources.base import check_mapping, unread
from loopline.errors import SourceError
from loopline.settings import Settings

__all__ = ["Delta"]


class Delta:
    """Reads the newest version of a Delta table."""

    def read(self, where: Mapping[str, Any], root: Path, _settings: Settings) -> pl.DataFrame:
        """Return the table's rows.

        Raises:
            SourceError: there is no such table, it cannot be read, or has no rows.
        """
        place = where["path"] if "://" in where["path"] else str(root / where["path"])
        try:
            opened = DeltaTable(place)
            check_mapping(opened.metadata().configuration, place)
            table = pl.from_arrow(opened.to_pyarrow_table())
        except (TableNotFoundError, FileNotFoundError) as error:
            raise SourceError(f"There is no Delta table {place}.") from error
        except (DeltaError, OSError, ValueError) as error:
            raise unread(place, error) from error
        if not isinstance(table, pl.DataFrame) or table.is_empty():
            raise SourceError(f"The Delta table {place} has no rows.")
        return table
