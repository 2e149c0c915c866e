"""Outcomes from a file, written to the log as the server writes those it is sent.

Everything is checked before anything is written. A row without a label is not known yet, and left
out. Reading the same file twice changes nothing: what is said again is the same last word.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from loopline.contract.schema import Contract
from loopline.data import row_sql
from loopline.data.columns import canonical_text, from_frame
from loopline.data.conforming import convert, infer_types
from loopline.data.sources.files import Files
from loopline.errors import FeedbackError, StoreError
from loopline.model.signature import Signature
from loopline.monitoring.labels import truth
from loopline.monitoring.reference import References
from loopline.monitoring.windows import microseconds
from loopline.registry.versions import Registry
from loopline.serving.log import LogWriter
from loopline.settings import Settings

_ROWS_A_FRAME = 5_000


@dataclass(frozen=True)
class Outcomes:
    """What a file says turned out."""

    rows: list[list[Any]]
    """`[prediction_id, key, label, observed_at]`, as frames of the log hold them."""
    pending: int
    """Rows without a label: left out."""


def signature(registry: Registry, environment: str) -> Signature:
    """Return the signature of what an environment serves: which classes outcomes can have.

    Raises:
        FeedbackError: nothing serves there.
    """
    serving = registry.serving(environment)
    if serving is None:
        raise FeedbackError(
            f"{environment} serves nothing, so there are no predictions these could be the "
            "outcomes of. Name another environment with --env, or start with: loopline run"
        )
    return References(registry)(serving.number).signature


def read(path: Path, contract: Contract, signature: Signature, settings: Settings) -> Outcomes:
    """Read and check a CSV, Parquet or JSON lines file of outcomes.

    Raises:
        SourceError: it cannot be read.
        FeedbackError: it lacks a column, or a value cannot be one; nothing is kept then.
    """
    frame = Files().read({"path": path.absolute()}, Path(), settings)
    place = path.name
    ids, keys = _names(frame, contract, place)
    told = texts(frame, contract, signature, place)
    known = truth(told, signature)
    _refuse(
        place,
        told.is_not_null().to_numpy() & ~np.isfinite(known),
        told,
        "a label",
        "a number" if signature.task == "regression" else " or ".join(signature.classes[:20]),
    )
    unnamed = ids.is_null() & keys.is_null() & told.is_not_null()
    _refuse(place, unnamed.to_numpy(), ids, "a prediction_id", "the id or key of a prediction")
    observed = _observed(frame, contract, place)
    kept = pl.DataFrame(
        {"id": ids, "key": keys.set(ids.is_not_null(), None), "label": told, "at": observed}
    ).filter(pl.col("label").is_not_null())
    return Outcomes([list(row) for row in kept.iter_rows()], len(frame) - len(kept))


def write(outcomes: Outcomes, log: Path, project: str, environment: str, now: datetime) -> None:
    """Append outcomes to the log of one environment, on disk before this returns.

    Raises:
        StoreError: they could not be written.
    """
    writer = LogWriter(log / project / environment, "durable")
    for begin in range(0, len(outcomes.rows), _ROWS_A_FRAME):
        part = outcomes.rows[begin : begin + _ROWS_A_FRAME]
        writer.append(["f", microseconds(now), part])
        while writer.frames + writer.lost <= begin // _ROWS_A_FRAME:
            time.sleep(0.002)  # what waits for the disk is bounded, and beyond that dropped
    writer.close()
    if writer.lost:
        raise StoreError(f"The outcomes could not be written: {writer.failure}.")


def _names(frame: pl.DataFrame, contract: Contract, place: str) -> tuple[pl.Series, pl.Series]:
    """Return prediction ids and keys as text; null where the file has none."""
    wanted = ["prediction_id", *filter(None, [contract.data.key]), "key"]
    there = [name for name in wanted if name in frame.columns]
    if not there:
        raise FeedbackError(
            f"{place} names no predictions: it needs a column "
            f"{' or '.join(dict.fromkeys(wanted))}. It has {', '.join(frame.columns[:12])}."
        )
    nothing = pl.Series("none", [None] * len(frame), dtype=pl.String)
    keys = [_text(frame, name, contract) for name in there if name != "prediction_id"]
    ids = _text(frame, "prediction_id", contract) if "prediction_id" in there else nothing
    return ids, keys[0] if keys else nothing


def _text(frame: pl.DataFrame, name: str, contract: Contract) -> pl.Series:
    typed = convert(frame, {name: "category"}, ["", *contract.data.missing])
    return typed.frame.get_column(name)


def texts(frame: pl.DataFrame, contract: Contract, signature: Signature, place: str) -> pl.Series:
    """Return labels as text: of the column `label`, of the target, or of what it is made of.

    Raises:
        FeedbackError: there is none of these.
    """
    target = contract.problem.target
    for name in ("label", target):
        if name in frame.columns:
            return _text(frame, name, contract)
    parts = list(row_sql.names(target))
    absent = [name for name in parts if name not in frame.columns]
    if absent or not parts:
        made = f", or {', '.join(parts)} to work out {target}" if parts != [target] else ""
        raise FeedbackError(
            f"{place} has no outcomes: it needs a column label or {target}{made}. "
            f"It has {', '.join(frame.columns[:12])}."
        )
    named = {
        name: contract.data.columns[name].type for name in parts if name in contract.data.columns
    }
    found = infer_types(frame.select(parts), contract.data.missing)
    types = {name: named.get(name) or found[name] for name in parts}
    columns = from_frame(convert(frame, types, ["", *contract.data.missing]).frame, types)
    expression = row_sql.parse(target, types)
    values = row_sql.evaluate(expression.steps, columns, len(frame))
    if expression.type == "boolean":
        values = np.array([None if value != value else bool(value) for value in values], object)  # noqa: PLR0124
    return pl.Series("label", [canonical_text(value) for value in values.tolist()], pl.String)


def _observed(frame: pl.DataFrame, contract: Contract, place: str) -> pl.Series:
    """Return when each outcome was observed in microseconds; null for when it arrived."""
    name = "observed_at"
    if name not in frame.columns:
        return pl.Series(name, [None] * len(frame), dtype=pl.Int64)
    typed = convert(frame, {name: "time"}, ["", *contract.data.missing])
    if name in typed.failures:
        bad = np.zeros(len(frame), dtype=bool)
        bad[typed.failures[name]["row"].to_numpy()] = True
        _refuse(place, bad, frame[name], name, "a time such as 2013-04-01T06:30:00Z")
    return typed.frame.get_column(name).dt.epoch("us")


def _refuse(place: str, bad: np.ndarray, values: pl.Series, what: str, wanted: str) -> None:
    rows = np.flatnonzero(bad)
    if not len(rows):
        return
    shown = ", ".join(f"{values[int(row)]!r:.40} in row {row + 1}" for row in rows[:3])
    raise FeedbackError(
        f"{place}: {len(rows):,} of {len(values):,} rows do not have {what} that is {wanted}: "
        f"{shown}. Nothing was kept; correct them and read the file again."
    )
