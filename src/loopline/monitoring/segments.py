"""What log segments hold, gathered into columns.

Frames are read in their order; those of one version become one table whose columns carry the names
and types of that version's signature. The columns that Loopline adds come first.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from loopline.data.columns import NAT, Columns, canonical_text
from loopline.errors import MonitoringError
from loopline.model.signature import Input, Signature
from loopline.monitoring.windows import HOUR

FARTHEST = 400 * 24 * HOUR
"""An event farther from its arrival than this (microseconds) is implausible: a wrong clock, or a
wrong column."""
_LAST = 2**58
"""Microseconds since 1970 that no text of a time reaches: those end with the year 9999."""
OWN = (
    "prediction_id", "client_id", "key", "environment", "version", "shadow", "arrival",
    "event_time", "plausible", "latency_us", "caller", "label", "score", "probabilities",
    "threshold", "review", "reasons",
)  # fmt: skip
"""The columns that every prediction has, before its inputs."""
_MOMENT = pl.Datetime("us", "UTC")
DTYPES: dict[str, Any] = {
    "number": pl.Float64,
    "integer": pl.Float64,  # as number: what is whole in one version may not be in the next
    "boolean": pl.Boolean,
    "category": pl.String,
    "text": pl.String,
    "time": _MOMENT,
}
"""Contract type to that of the table's column."""


@dataclass
class Predictions:
    """The predictions of one version in one stretch of log, row by row."""

    version: int
    shadow: bool
    ids: list[str] = field(default_factory=list)
    client_ids: list[str | None] = field(default_factory=list)
    arrivals: list[int] = field(default_factory=list)
    latencies: list[int | None] = field(default_factory=list)
    callers: list[str | None] = field(default_factory=list)
    inputs: list[list[Any]] = field(default_factory=list)
    outputs: list[list[Any]] = field(default_factory=list)


@dataclass
class Stretch:
    """What one stretch of one segment holds."""

    end: int
    """Where it ends in the file."""
    predictions: dict[tuple[int, bool], Predictions] = field(default_factory=dict)
    """By version, and whether it was a shadow."""
    latencies: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    """Version and hour of arrival to the seconds each request took; shadows left out."""
    errors: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    """Version, hour of arrival and `STATUS KIND` to requests that got no prediction."""
    notes: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    """Version, hour of arrival and what a server noted of itself (`KIND TEXT`) to how often."""
    labels: list[tuple[str | None, str | None, str | None, int, int, int, int]] = field(
        default_factory=list
    )
    """Prediction id, key, label, when it was observed, when it arrived, and its place: where its
    frame ends and its row there."""


@contextmanager
def of_a_server() -> Iterator[None]:
    """Let a segment wait that holds what no server wrote, instead of stopping all watching.

    Raises:
        MonitoringError: the block failed on it.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise MonitoringError(
            f"A frame is none that a server wrote ({type(error).__name__}: {error!s:.100})."
        ) from error


@of_a_server()
def gather(frames: Iterable[tuple[list[Any], int]], start: int, until: int | None) -> Stretch:
    """Gather frames, up to the one that ends at `until` or as far as they go.

    Raises:
        MonitoringError: a frame is none that a server wrote.
    """
    stretch = Stretch(end=start)
    for payload, end in frames:
        if until is not None and end > until:
            break
        stretch.end = end
        kind = payload[0]
        if kind == "p":
            _add_prediction(stretch, payload)
        elif kind == "f":
            _add_labels(stretch, payload, end)
        elif kind == "e":
            _, arrival, error, status, _, version = payload
            hour = _version(version), _moment(arrival) // HOUR
            stretch.errors[*hour, f"{int(status)} {error}"] += 1
        elif kind == "n":
            _, arrival, noted, number, version, text = payload
            what = f"{noted} {text:.200}".strip()
            stretch.notes[_version(version), _moment(arrival) // HOUR, what] += int(number)
    return stretch


def _version(number: int) -> int:
    if not 0 < number < 2**31:
        raise ValueError("no version")
    return number


def _moment(microseconds: int) -> int:
    if not abs(microseconds) < _LAST:
        raise ValueError("no moment")
    return microseconds


def _add_prediction(stretch: Stretch, payload: list[Any]) -> None:
    _, request, client, arrival, version, shadow, latency, caller, rows, inputs, outputs = payload
    if not outputs or any(len(values) != rows for values in inputs + outputs):
        raise ValueError("columns of several lengths")  # and so many rows are never made up
    key = (_version(version), bool(shadow))
    _moment(arrival)
    found = stretch.predictions.get(key)
    if found is None:
        found = stretch.predictions[key] = Predictions(
            *key, inputs=[[] for _ in inputs], outputs=[[] for _ in outputs]
        )
    if not shadow and latency is not None:  # a batch has none: nobody waited for one row
        hour = (key[0], arrival // HOUR)
        stretch.latencies.setdefault(hour, []).append(latency / 1e6)
    found.ids += [f"{request}-{row}" for row in range(rows)]
    found.client_ids += [client] * rows
    found.arrivals += [arrival] * rows
    found.latencies += [latency] * rows
    found.callers += [caller] * rows
    for kept, values in zip(found.inputs + found.outputs, inputs + outputs, strict=True):
        kept.extend(values)


def _add_labels(stretch: Stretch, payload: list[Any], end: int) -> None:
    _, arrival, rows = payload
    _moment(arrival)
    for row, (prediction, key, label, said) in enumerate(rows):
        observed = _moment(arrival if said is None else said)
        stretch.labels.append(
            (prediction, canonical_text(key), canonical_text(label), observed, arrival, end, row)
        )


@dataclass(frozen=True)
class Typed:
    """The predictions of one version, as the table and the counts take them."""

    own: pl.DataFrame
    """The columns of `OWN`."""
    inputs: tuple[pl.Series, ...]
    """The logged inputs."""
    columns: Columns
    """The same, as the counts take them."""
    scores: np.ndarray
    hours: np.ndarray
    """Of the event, since 1970."""
    arrival_hours: np.ndarray
    is_plausible: np.ndarray


@of_a_server()
def typed(predictions: Predictions, signature: Signature, environment: str) -> Typed:
    """Give the rows of one version their names and types.

    Raises:
        MonitoringError: the log has other columns than the version's signature.
    """
    logged = [column for column in signature.inputs if column.logged]
    if len(logged) != len(predictions.inputs):
        raise MonitoringError(
            f"The log has {len(predictions.inputs)} columns for {signature.project}:"
            f"{predictions.version}, whose signature has {len(logged)}."
        )
    values = dict(zip(logged, predictions.inputs, strict=True))
    columns = {column.name: _array(found, column.type) for column, found in values.items()}
    arrivals = np.asarray(predictions.arrivals, dtype=np.int64)
    events = arrivals
    if signature.time in columns:
        said = columns[signature.time].view(np.int64)
        events = np.where(said == NAT, arrivals, said)
    is_plausible = np.abs(events - arrivals) <= FARTHEST
    outputs, scores = _outputs(predictions, signature)
    rows = len(arrivals)
    own = pl.DataFrame(
        {
            "prediction_id": pl.Series(predictions.ids, dtype=pl.String),
            "client_id": pl.Series(predictions.client_ids, dtype=pl.String),
            "key": _keys(values, signature, rows),
            "environment": pl.repeat(environment, rows, dtype=pl.String, eager=True),
            "version": pl.repeat(predictions.version, rows, dtype=pl.Int64, eager=True),
            "shadow": pl.repeat(predictions.shadow, rows, dtype=pl.Boolean, eager=True),
            "arrival": pl.Series(arrivals).cast(_MOMENT),
            "event_time": pl.Series(events).cast(_MOMENT),
            "plausible": pl.Series(is_plausible),
            "latency_us": pl.Series(predictions.latencies, dtype=pl.Int64),
            "caller": pl.Series(predictions.callers, dtype=pl.String),
            **outputs,
        }
    )
    inputs = tuple(_series(column.name, found, column.type) for column, found in values.items())
    return Typed(own, inputs, columns, scores, events // HOUR, arrivals // HOUR, is_plausible)


def _series(name: str, values: list[Any], kind: str) -> pl.Series:
    plain = {"boolean": pl.Float64, "time": pl.Int64}.get(kind, DTYPES[kind])
    return pl.Series(name, values, dtype=plain, strict=False).cast(DTYPES[kind])


def _array(values: list[Any], kind: str) -> np.ndarray:
    if kind == "time":
        moments = [NAT if value is None else value for value in values]
        return np.asarray(moments, dtype=np.int64).view("datetime64[us]")
    if kind in ("category", "text"):
        return np.asarray(values, dtype=object)
    return np.asarray(values, dtype=np.float64)  # None becomes NaN


def _keys(values: dict[Input, list[Any]], signature: Signature, rows: int) -> pl.Series:
    for column, found in values.items():
        if column.name == signature.key:
            return pl.Series([canonical_text(value) for value in found], dtype=pl.String)
    return pl.repeat(None, rows, dtype=pl.String, eager=True)


def _outputs(
    predictions: Predictions, signature: Signature
) -> tuple[dict[str, pl.Series], np.ndarray]:
    rows = len(predictions.ids)
    nothing = pl.repeat(None, rows, dtype=pl.String, eager=True)
    threshold = pl.repeat(signature.threshold, rows, dtype=pl.Float64, eager=True)
    no_classes = pl.repeat(None, rows, dtype=pl.List(pl.Float64), eager=True)
    if signature.task == "regression":
        scores = np.asarray(predictions.outputs[0], dtype=np.float64)
        labels, classes = nothing, no_classes
    elif signature.task == "binary":
        scores = np.asarray(predictions.outputs[1], dtype=np.float64)
        labels, classes = pl.Series(predictions.outputs[0], dtype=pl.String), no_classes
    else:
        scores = np.asarray(predictions.outputs[1:], dtype=np.float64).T
        labels = pl.Series(predictions.outputs[0], dtype=pl.String)
        classes = pl.Series(scores.tolist(), dtype=pl.List(pl.Float64))
    single = pl.Series(scores if scores.ndim == 1 else scores.max(axis=1), dtype=pl.Float64)
    return {
        "label": labels,
        "score": single,
        "probabilities": classes,
        "threshold": threshold,
    }, scores
