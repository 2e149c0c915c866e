"""Where the rows of a name are: so that outcomes are joined with the files that can hold theirs.

A prediction's id begins with the time at which it was made, so the ranges of ids that a Delta table
keeps of its files say which of them can hold one. A business key says nothing of its time: in which
hours it occurs is noted in the database, in the transaction that counts it, and the files of these
hours are read. So what new outcomes cost goes by them and the hours they touch, and not by all that
was ever predicted.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import polars as pl
from sqlalchemy import Connection, delete, select

from loopline.monitoring import labels
from loopline.monitoring.fold import table
from loopline.monitoring.labels import NAMES
from loopline.monitoring.windows import HOUR, microseconds
from loopline.store.database import Database, keyed
from loopline.store.tables import Part, Tables

Kind = Literal["prediction", "outcome"]
_TIMES: dict[Kind, str] = {"prediction": "event_time", "outcome": "arrival"}
"""The column by whose hour a key is noted."""
_AT_ONCE = 1000


class Places:
    """Finds the predictions and the outcomes of names, in one project."""

    def __init__(self, project: str, tables: Tables, database: Database) -> None:
        self._project = project
        self._tables = tables
        self._database = database

    def rows(self, kind: Kind, named: pl.DataFrame, version: int) -> pl.DataFrame:
        """Return the rows of a table that have one of the ids or keys of `named`.

        Of keys, those that were noted; `named` has the columns `prediction_id` and `key`.
        """
        source = table(self._project) if kind == "prediction" else labels.table(self._project)
        ids, keys = (named[name].drop_nulls().unique().sort() for name in NAMES)
        places = self.keyed(kind, keys)
        wanted = {
            "prediction_id": ids.to_list(),
            _TIMES[kind]: places["hour"].unique().sort().to_list(),
        }
        frames = [self._tables.scan(source, version).head(0).collect()]
        for part in self._tables.parts(source, version):
            if can_hold(part, wanted):
                is_mine = pl.col("prediction_id").is_in(ids.implode()) | pl.col("key").is_in(
                    keys.implode()
                )
                frames.append(self._tables.scan_part(source, part.path).filter(is_mine).collect())
        return pl.concat(frames, how="diagonal_relaxed")

    def keyed(self, kind: Kind, keys: pl.Series) -> pl.DataFrame:
        """Return the hours in which rows have these keys: `key` and `hour`."""
        names = dict(zip(self._names(kind, keys), keys.to_list(), strict=True))
        asked = sorted(names)
        found: list[Any] = []
        with self._database.read() as connection:
            for begin in range(0, len(asked), _AT_ONCE):
                some = keyed.c.name.in_(asked[begin : begin + _AT_ONCE])
                found += connection.execute(select(keyed.c.name, keyed.c.hour).where(some)).all()
        return pl.DataFrame(
            [(names[name], hour) for name, hour in found],
            schema={"key": pl.String, "hour": pl.Int64},
            orient="row",
        )

    def note(self, connection: Connection, kind: Kind, rows: pl.DataFrame) -> None:
        """Note in which hours the keys of new rows are, in the write transaction given."""
        hour = pl.col(_TIMES[kind]).dt.epoch("us") // HOUR
        new = rows.select("key", hour.alias("hour")).drop_nulls().unique()
        if not len(new):
            return
        names = pl.Series("name", self._names(kind, new["key"]), dtype=pl.Int64)
        # In their order an index grows three times as fast, and the driver itself twice as fast.
        ordered = new.with_columns(names).sort("name", "hour").select("name", "hour")
        mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
        connection.exec_driver_sql(
            "INSERT INTO keyed (project, kind, name, hour) "  # noqa: S608 - marks alone
            f"VALUES ({', '.join([mark] * 4)})",
            [(self._project, kind, *row) for row in ordered.iter_rows()],
        )

    def forget(
        self,
        connection: Connection,
        before: datetime | None = None,
        kept: pl.Series | None = None,
    ) -> None:
        """Forget what was noted: all of it, or before a moment, but outcomes of `kept` keys."""
        gone = delete(keyed).where(keyed.c.project == self._project)
        if before is not None:
            hour = microseconds(before) // HOUR
            names = [] if kept is None else self._names("outcome", kept)
            gone = gone.where(keyed.c.hour < hour, keyed.c.name.not_in(names))
        connection.execute(gone)

    def _names(self, kind: Kind, keys: pl.Series) -> list[int]:
        """Return the hashes of keys: the same in every process, others in another project."""
        person = blake2b(f"{self._project}\0{kind}".encode(), digest_size=16).digest()
        found = [
            blake2b(key.encode(), digest_size=8, person=person).digest() for key in keys.to_list()
        ]
        hashes: list[int] = np.frombuffer(b"".join(found), ">i8").tolist()
        return hashes


def can_hold(part: Part, wanted: Mapping[str, Sequence[Any]]) -> bool:
    """Return whether a file can hold a row with a wanted value; times are wanted by their hours.

    Values are sorted.
    """
    for name, values in wanted.items():
        if not values:
            continue
        if name not in part.ranges:
            return True
        ends = part.ranges[name]
        if ends is None:
            continue
        if isinstance(ends[0], datetime):
            ends = (microseconds(ends[0]) // HOUR, microseconds(ends[1]) // HOUR)
        place = bisect_left(values, ends[0])
        if place < len(values) and values[place] <= ends[1]:
            return True
    return False
