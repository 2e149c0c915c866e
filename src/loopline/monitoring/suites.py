"""The contract's suites, asked of the log: of what callers sent, and of what turned out.

Suites are not counted while the log is folded, for what they ask of many rows at once does not add.
They are asked of the table when somebody wants to know, of the newest window and of the one before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from loopline.contract.schema import Contract
from loopline.data.quality import Stage, Tally, of_suites
from loopline.model.signature import Signature
from loopline.monitoring import fold, labels
from loopline.monitoring.quality import Point, Quality, quality_of
from loopline.monitoring.segments import DTYPES
from loopline.store.tables import Tables

ROWS = 1_000_000
"""Of a window, the newest that a suite is asked of."""


@dataclass(frozen=True)
class _Log:
    """A part of the log, as a suite sees it."""

    stage: Stage
    where: str
    rows: pl.LazyFrame
    columns: list[pl.Expr]
    at: str
    """The column by whose time its windows are."""


def asked_of_log(
    contract: Contract, tables: Tables, root: Path, signature: Signature, now: datetime
) -> list[Quality]:
    """Return what the suites of the folder `root` find in requests and outcomes."""
    if all(check.suite is None for check in contract.data.checks):
        return []
    parts = [*_served(contract, tables, signature), *_told(contract, tables, signature)]
    return [one for part in parts for one in _in_windows(part, contract, root, now)]


def _served(contract: Contract, tables: Tables, signature: Signature) -> Iterator[_Log]:
    """Yield what callers sent to each environment."""
    key = fold.table(contract.project)
    if not tables.exists(key):
        return
    rows = tables.scan(key).filter("plausible")
    schema = rows.collect_schema()
    inputs = []
    for each in signature.inputs:
        stored = fold.stored_name(each.name, DTYPES[each.type], schema)
        if each.logged and stored in schema:
            inputs.append(pl.col(stored).alias(each.name))
    places = rows.select(pl.col("environment").unique().sort()).collect()["environment"]
    for environment in places.to_list():
        mine = rows.filter(pl.col("environment") == environment)
        yield _Log("serving", environment, mine, inputs, "event_time")


def _told(contract: Contract, tables: Tables, signature: Signature) -> Iterator[_Log]:
    """Yield the outcomes: the target, the key, and when each was observed."""
    key = labels.table(contract.project)
    if not tables.exists(key):
        return
    truth = pl.col("label")
    if signature.task == "regression":
        truth = truth.cast(pl.Float64, strict=False)
    named = {contract.problem.target: truth, "observed_at": pl.col("observed_at")}
    if contract.data.key is not None:
        named[contract.data.key] = pl.col("key")
    columns = [column.alias(name) for name, column in named.items()]
    yield _Log("feedback", key, tables.scan(key), columns, "arrival")


def _in_windows(part: _Log, contract: Contract, root: Path, now: datetime) -> Iterator[Quality]:
    told: dict[tuple[str | None, str], list[tuple[Point, Tally]]] = {}
    length = contract.monitor.window
    for begin in (now - 2 * length, now - length):
        within = (pl.col(part.at) > begin) & (pl.col(part.at) <= begin + length)
        newest = part.rows.filter(within).sort(part.at).tail(ROWS)
        frame = newest.select(part.columns).collect()
        for one in of_suites(part.stage, frame, contract, root) if frame.height else ():
            point = Point(begin.isoformat().replace("+00:00", "Z"), one.rows, one.failed)
            told.setdefault((one.column, one.name), []).append((point, one))
    for points in told.values():
        history = tuple(point for point, _ in points)
        yield quality_of(part.stage, part.where, points[-1][1], 0.0, history)
