"""How good the predictions were, once it is known what turned out true.

The figures are the gate's own (`evaluation/metrics.py`), on the rows of one window that have a
label, beside the share of rows that do. Rows without one are left out, never guessed. The baseline
answers the same rows, from what the log kept of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from loopline.contract.money import cost_matrix, has_costs
from loopline.contract.schema import Contract, Problem
from loopline.data.columns import Columns, canonical_text, from_frame
from loopline.evaluation.diagnosis import calibration, slices
from loopline.evaluation.fairness import fairness
from loopline.evaluation.metrics import Answer, Scorecard, primary
from loopline.model.signature import Signature
from loopline.monitoring import labels
from loopline.monitoring.fold import stored_name
from loopline.monitoring.labels import TRUTH
from loopline.monitoring.onset import changes
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import DTYPES
from loopline.monitoring.windows import HOUR, Window, mature

_HOUR = "~hour"


@dataclass(frozen=True)
class Performance:
    """One version's figures in one window."""

    window: Window
    rows: int
    labels: int
    """Rows whose truth is known: what the figures rest on."""
    metrics: dict[str, float]
    baseline: str | None
    """Its name; None where the log does not hold what it needs."""
    baseline_metrics: dict[str, float]
    fairness: tuple[dict[str, Any], ...]
    """Per rule, as in the report of the evaluation."""
    calibration: tuple[dict[str, Any], ...]
    slices: tuple[dict[str, Any], ...] = ()
    """The worst values of category and boolean inputs: `column`, `value`, `rows` and `figure` of
    the metric that decides between two models."""
    worse_since: int | None = None
    """The hour at which the answers began to be worse, where they did so at one."""
    bounds: Mapping[str, float] = field(default_factory=dict)
    """How far a figure may be from that of the rows themselves, where it came out of cells."""
    margins: Mapping[str, float] = field(default_factory=dict)
    """How sure each promise is judged: `certainty.py`'s name of it to half of its interval."""

    @property
    def coverage(self) -> float:
        """The share of rows with a label."""
        return self.labels / self.rows if self.rows else 0.0


def misfit(problem: Problem, signature: Signature) -> str | None:
    """Return why a version cannot be judged by what the contract asks now, if it cannot."""
    if problem.task != signature.task:
        return f"it answers a {signature.task} question, and loopline.yaml has a {problem.task} one"
    positive = pl.Series([canonical_text(problem.positive)], dtype=pl.String)
    if signature.task == "binary" and labels.truth(positive, signature)[0] == 0:
        return (
            f"its probability is that of {signature.classes[1]}, and loopline.yaml says "
            f"positive: {problem.positive}"
        )
    return None


def measure(
    contract: Contract, reference: Reference, rows: pl.LazyFrame, windows: list[Window]
) -> Performance | None:
    """Judge the newest of `windows` that has the labels the contract asks for; None if none has.

    `rows` are one version's plausible predictions in one environment, joined with labels.
    """
    span, minimum = _span(windows), contract.monitor.minimum_labels
    hour = pl.col("event_time").dt.epoch("us") // HOUR
    inside = rows.filter(span).with_columns(hour.alias(_HOUR))
    hours = inside.group_by(_HOUR).agg(pl.col(TRUTH).count(), pl.len().alias("rows")).collect()
    found = mature(windows, dict(hours.select(_HOUR, TRUTH).iter_rows()), minimum)
    if found is None:
        return None
    within = pl.col(_HOUR).is_between(found.first, found.last - 1)
    rows_there = int(hours.filter(within)["rows"].sum())
    # In one order, so that the same rows give the same figures to the last bit; those without a
    # label, which may be most of millions, are not brought here.
    labelled = inside.filter(_span([found]) & pl.col(TRUTH).is_not_null())
    frame = labelled.sort("prediction_id").collect()
    truth = labels.truth(frame[TRUTH], reference.signature)
    known = np.flatnonzero(np.isfinite(truth))
    if len(known) < minimum:  # labels that are none of the classes
        return None
    figures = _figures(contract, reference, frame[known], truth[known], found, rows_there)
    return replace(figures, worse_since=_worse_since(contract, reference, inside, found))


def without_each(
    contract: Contract,
    reference: Reference,
    rows: pl.LazyFrame,
    window: Window,
    pieces: list[Window],
) -> list[Performance]:
    """Return the figures of a window without each of its pieces in turn, where any are left."""
    labelled = rows.filter(_span([window]) & pl.col(TRUTH).is_not_null())
    frame = labelled.sort("prediction_id").collect()
    truth = labels.truth(frame[TRUTH], reference.signature)
    hour = (frame["event_time"].dt.epoch("us") // HOUR).to_numpy()
    found = []
    for piece in pieces:
        left = np.flatnonzero(np.isfinite(truth) & ((hour < piece.first) | (hour >= piece.last)))
        if len(left):
            part = _figures(contract, reference, frame[left], truth[left], window, len(left))
            found.append(part)
    return found


def _worse_since(
    contract: Contract, reference: Reference, rows: pl.LazyFrame, window: Window
) -> int | None:
    """Return the newest hour of a window, or of the one before, from which on answers were worse.

    By the confusion of each hour: what errors cost, where they have a price, else how many there
    are. Of numbers it is not known.
    """
    signature = reference.signature
    if signature.task == "regression" or "label" not in rows.collect_schema():
        return None
    begin = 2 * window.first - window.last
    said = (
        rows.filter(pl.col(_HOUR).is_between(begin, window.last - 1), pl.col(TRUTH).is_not_null())
        .group_by(_HOUR, "label", TRUTH)
        .len()
        .collect()
    )
    answered, actual = (labels.truth(said[name], signature) for name in ("label", TRUTH))
    known = np.isfinite(answered) & np.isfinite(actual)
    hours, places = np.unique(said[_HOUR].to_numpy()[known], return_inverse=True)
    size = len(signature.classes)
    pairs = (actual[known] * size + answered[known]).astype(int)
    table = np.zeros((len(hours), size * size), dtype=np.int64)
    np.add.at(table, (places, pairs), said["len"].to_numpy()[known])
    return worse_since(contract, signature, hours, table)


def worse_since(
    contract: Contract, signature: Signature, hours: np.ndarray, table: np.ndarray
) -> int | None:
    """Return the newest hour from which on a table of hours and confusions got worse."""
    size = len(signature.classes)
    worth = np.ones((size, size)) - np.eye(size)
    if has_costs(contract.problem):
        worth = cost_matrix(contract.problem, signature.classes)
    starts = changes(table)
    parts = np.add.reduceat(table, starts, axis=0) if len(hours) else table
    worse = (parts @ worth.ravel()) / np.maximum(parts.sum(axis=1), 1)
    risen = [place for place in range(1, len(starts)) if worse[place] > worse[place - 1]]
    return int(hours[starts[risen[-1]]]) if risen else None


def _span(windows: list[Window]) -> pl.Expr:
    moment = pl.col("event_time")
    return (moment >= windows[-1].start) & (moment < windows[0].end)


def _figures(
    contract: Contract,
    reference: Reference,
    frame: pl.DataFrame,
    truth: np.ndarray,
    window: Window,
    rows: int,
) -> Performance:
    signature, problem = reference.signature, contract.problem
    scores = (
        np.array(frame["probabilities"].to_list(), dtype=np.float64)
        if problem.task == "multiclass"
        else frame["score"].to_numpy()
    )
    own = Answer("own", scores, signature.threshold)
    card = Scorecard(problem, signature.classes, truth, own)
    columns = inputs(frame, reference)
    simple = baseline(reference, columns)
    other = None if simple is None else Scorecard(problem, signature.classes, truth, simple)
    judged = contract.model_copy(
        update={"fairness": [rule for rule in contract.fairness if rule.by in columns]}
    )
    return Performance(
        window=window,
        rows=rows,
        labels=len(truth),
        metrics=card.whole(),
        baseline=None if simple is None else simple.name,
        baseline_metrics={} if other is None else other.whole(),
        fairness=fairness(judged, columns, card),
        calibration=calibration(problem.task, truth, scores),
        slices=slices(columns, signature, card, primary(contract)),
    )


def baseline(reference: Reference, columns: Columns) -> Answer | None:
    """Return the baseline's answers to the same rows, where the log kept what it reads."""
    if reference.baseline is None:
        return None
    try:
        scores = reference.baseline.scores(columns)
    except KeyError:  # a column that is personal, and so was not logged
        return None
    return Answer(reference.baseline.name, scores, reference.baseline.threshold)


def inputs(frame: pl.DataFrame, reference: Reference) -> Columns:
    """Return the inputs that the log kept, under the names and types of the signature."""
    types = {column.name: column.type for column in reference.signature.inputs if column.logged}
    stored = {name: stored_name(name, DTYPES[kind], frame.schema) for name, kind in types.items()}
    return from_frame(
        frame.select(pl.col(where).alias(name) for name, where in stored.items()), types
    )
