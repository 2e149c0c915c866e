"""The figures that guesses rest on, found in one pass over the data."""

from dataclasses import dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Facts:
    """A typed frame and what was counted in it."""

    frame: pl.DataFrame
    types: dict[str, str]
    """Column to contract type."""
    missing: dict[str, int]
    distinct: dict[str, int]
    """Different values, missing not counted."""
    lowest: dict[str, Any]
    """Of numbers."""
    highest: dict[str, Any]

    @classmethod
    def of(cls, frame: pl.DataFrame, types: dict[str, str]) -> "Facts":
        """Count."""
        numbers = [name for name, kind in types.items() if kind in {"number", "integer"}]
        counted = {
            "missing": frame.select(pl.col(name).null_count() for name in types),
            "distinct": frame.select(pl.col(name).drop_nulls().n_unique() for name in types),
            "lowest": frame.select(pl.col(name).min() for name in numbers),
            "highest": frame.select(pl.col(name).max() for name in numbers),
        }
        return cls(
            frame,
            types,
            **{
                what: found.row(0, named=True) if found.width else {}
                for what, found in counted.items()
            },
        )

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.frame.height

    def share_distinct(self, name: str) -> float:
        """Return the different values of a column as a share of those present."""
        return self.distinct[name] / max(1, self.rows - self.missing[name])

    def texts(self, name: str, most: int = 2000) -> pl.Series:
        """Return up to `most` values of a column as text, none missing."""
        return self.frame.get_column(name).drop_nulls().head(most).cast(pl.String)
