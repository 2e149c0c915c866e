"""Why one prediction came out so: of a row as a caller would send it, or of one from the log.

The version that answered is opened as the server opens it, and asked for its answer and its
reasons, so nothing here can say other than the server would.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from loopline.errors import MonitoringError
from loopline.model.signature import Signature
from loopline.monitoring import fold
from loopline.monitoring.segments import DTYPES
from loopline.registry.release import Served
from loopline.registry.versions import ModelVersion, Registry
from loopline.serving.dialects.base import Outputs
from loopline.serving.models import Model, load
from loopline.serving.tabular import Tables as Rows
from loopline.settings import Settings
from loopline.store.tables import Tables


@dataclass(frozen=True)
class Explained:
    """One prediction and its reasons."""

    version: str
    prediction_id: str | None
    """None for a row that is from no log."""
    label: str | None
    scores: tuple[float | None, ...]
    inputs: dict[str, Any]
    explanation: dict[str, Any]
    """As the server tells it: method, unit, base, value, reasons and others."""


def explain_row(
    registry: Registry, settings: Settings, version: ModelVersion, row: dict[str, Any], count: int
) -> Explained:
    """Answer a row, and return its `count` largest reasons.

    Raises:
        RequestError: the version cannot score it, or was made without what reasons need.
    """
    with _opened(registry, settings, version) as model:
        return _explained(model, row, count, None)


def explain_prediction(
    registry: Registry, settings: Settings, tables: Tables, prediction_id: str, count: int
) -> Explained:
    """Explain a prediction of the log by the version that made it.

    Raises:
        MonitoringError: there is none of this id in the folded log.
    """
    key = fold.table(registry.project)
    found = pl.DataFrame()
    if tables.exists(key):
        found = tables.scan(key).filter(pl.col("prediction_id") == prediction_id).collect()
    if found.is_empty():
        raise MonitoringError(
            f"There is no prediction {prediction_id!r:.60} in the folded log. A prediction's id is "
            "in its answer; fold what is new with: loopline watch --once"
        )
    version = registry.get(int(found["version"][0]))
    with _opened(registry, settings, version) as model:
        row = _row(found.row(0, named=True), model.signature, found.schema)
        return _explained(model, row, count, prediction_id)


def _row(stored: dict[str, Any], signature: Signature, schema: pl.Schema) -> dict[str, Any]:
    """Return what the log kept of a row, as a caller would send it."""
    row: dict[str, Any] = {}
    for column in signature.inputs:
        value = None
        if column.logged:
            dtype = pl.Series([], dtype=DTYPES[column.type]).dtype
            value = stored.get(fold.stored_name(column.name, dtype, schema))
        if column.type == "integer" and value is not None:
            value = int(value)
        row[column.name] = value.isoformat() if isinstance(value, datetime) else value
    return row


def _opened(
    registry: Registry, settings: Settings, version: ModelVersion
) -> "contextlib.closing[Model]":
    served = Served(version.number, version.bundle, version.bundle_digest)
    return contextlib.closing(load(served, registry.objects, registry.keys, settings))


def _explained(
    model: Model, row: dict[str, Any], count: int, prediction_id: str | None
) -> Explained:
    call = Rows(model.signature).rows("The row", [row], None)

    async def ask() -> tuple[Outputs, list[dict[str, Any]]]:
        await model.prepare_reasons()
        outputs, rows = await model.answer(call)
        return outputs, await model.reasons(call, rows, count)

    outputs, [told] = asyncio.run(ask())
    label = None if outputs.labels is None else outputs.labels[0]
    scores = tuple(column[0] for column in outputs.scores)
    named = [column.name for column in model.signature.inputs]
    inputs = dict(zip(named, call.values, strict=True))
    return Explained(model.name, prediction_id, label, scores, inputs, told)
