"""How good the predictions were, once it is known what turned out true.

The figures are the gate's own (`evaluation/metrics.py`), on the rows of one window that have a
label, beside the share of rows that do. Rows without one are left out, never guessed. The baseline
answers the same rows, from what the log kept of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from loopline.contract.schema import Contract, Problem
from loopline.data.columns import Columns, canonical_text, from_frame
from loopline.evaluation.diagnosis import calibration
from loopline.evaluation.fairness import fairness
from loopline.evaluation.metrics import Answer, Scorecard
from loopline.model.signature import Signature
from loopline.monitoring import labels
from loopline.monitoring.fold import stored_name
from loopline.monitoring.labels import TRUTH
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
    return _figures(contract, reference, frame[known], truth[known], found, rows_there)


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
    baseline = _baseline(reference, columns)
    other = None if baseline is None else Scorecard(problem, signature.classes, truth, baseline)
    judged = contract.model_copy(
        update={"fairness": [rule for rule in contract.fairness if rule.by in columns]}
    )
    return Performance(
        window=window,
        rows=rows,
        labels=len(truth),
        metrics=card.whole(),
        baseline=None if baseline is None else baseline.name,
        baseline_metrics={} if other is None else other.whole(),
        fairness=fairness(judged, columns, card),
        calibration=calibration(problem.task, truth, scores),
    )


def _baseline(reference: Reference, columns: Columns) -> Answer | None:
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
