"""What drives a model where it serves: reasons of some predictions, and what they add up to.

While the log is folded, the predictions that the contract's `review` chooses get their reasons, and
so does a small share of all, chosen by the prediction's id: whoever folds, in whatever pieces,
chooses the same and counts the same. A version without a plan is asked for the reasons of what is
reviewed, here and never in a request. What each column adds, without its sign, is summed up by the
hour in whole millionths, which add. A model that is driven by other columns than at its training
is a finding, though neither its inputs nor its answers need have drifted far.
"""

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from loopline.contract.schema import Monitor, Review
from loopline.data.columns import Columns
from loopline.data.row_sql import Expression, evaluate, parse
from loopline.errors import (
    MissingExtraError,
    RequestError,
    RowSqlError,
    RuntimeUnavailableError,
)
from loopline.model.explanation import Contributions
from loopline.model.signature import Signature
from loopline.monitoring.findings import Finding, Subject
from loopline.monitoring.hours import IMPORTANCE, Cell, Counts
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import Typed
from loopline.monitoring.windows import Window

SHARE = 1 / 256
"""Of all predictions, explained where that is exact, whatever the contract reviews."""
MOST_ASKED = 500
"""Of one stretch of the log, so many are explained where the model is asked for each."""
_MILLION = 1_000_000
_TOLD = 10


@dataclass(frozen=True)
class Reasoned:
    """What was explained of one table's rows."""

    review: pl.Series
    """Why a row is to be reviewed, `when` or `sample`; null where it is not."""
    reasons: pl.Series
    """As JSON; null where a row was not explained."""
    cells: dict[Cell, Counts]


class Reasons:
    """Explains what is folded, as the contract's `review` asks for it."""

    def __init__(self, review: Review | None) -> None:
        self._sample = 0.0 if review is None else float(review.sample)
        self._when = None if review is None else review.when
        self._parsed: dict[int, Expression | None] = {}
        self.unexplained: dict[int, str] = {}
        """Version to why some of what is reviewed has no reasons, since `forget`."""

    def forget(self) -> None:
        """Begin a new fold."""
        self.unexplained = {}

    def __call__(self, found: Typed, reference: Reference, place: tuple[str, int]) -> Reasoned:
        """Explain some rows of one version; `place` is environment and version."""
        ids = found.own["prediction_id"].to_list()
        chance = np.array([zlib.crc32(each.encode()) for each in ids], np.float64) / 2**32
        asked, sampled = self._asked(found, reference), chance < self._sample
        review = [
            "when" if by_rule else "sample" if by_chance else None
            for by_rule, by_chance in zip(asked.tolist(), sampled.tolist(), strict=True)
        ]
        reasons: list[str | None] = [None] * len(ids)
        cells: dict[Cell, Counts] = {}
        explainer = reference.explainer
        if explainer is not None and _has_all(reference.signature, found.columns):
            by_chance = sampled
            if explainer.method == "exact":
                by_chance = chance < max(self._sample, SHARE)
            rows = np.flatnonzero(asked | by_chance)
            if explainer.method != "exact" and len(rows) > MOST_ASKED:
                self.unexplained[reference.version] = (
                    f"{len(rows):,} predictions of one stretch of the log are to be reviewed, and "
                    f"at most {MOST_ASKED} of them get reasons where the model is asked for each. "
                    "Review fewer, or explain one: loopline explain PREDICTION-ID"
                )
                rows = np.sort(rows[np.argsort(chance[rows], kind="stable")[:MOST_ASKED]])
            told = self._explained(reference, found.columns, rows)
            if told is not None:
                for at, row in enumerate(rows.tolist()):
                    reasons[row] = msgspec.json.encode(told.reasons(at, _TOLD)).decode()
                counted = by_chance[rows] & found.is_plausible[rows]
                cells = _cells(told, found.hours[rows], counted, place)
        return Reasoned(
            pl.Series("review", review, dtype=pl.String),
            pl.Series("reasons", reasons, dtype=pl.String),
            cells,
        )

    def _asked(self, found: Typed, reference: Reference) -> np.ndarray:
        """Return which rows the contract's condition holds for."""
        rows, signature = len(found.scores), reference.signature
        if self._when is None:
            return np.zeros(rows, dtype=bool)
        columns = {**found.columns, **answers(signature, found.scores)}
        types = {each.name: each.type for each in signature.inputs if each.logged}
        types |= dict.fromkeys(answers(signature, found.scores), "number")
        if reference.version not in self._parsed:
            self._parsed[reference.version] = _parsed(self._when, types)
        condition = self._parsed[reference.version]
        if condition is None:
            return np.zeros(rows, dtype=bool)
        return np.asarray(evaluate(condition.steps, columns, rows) == 1)

    def _explained(
        self, reference: Reference, columns: Columns, rows: np.ndarray
    ) -> Contributions | None:
        if not rows.size or reference.explainer is None:
            return None
        chosen = {name: values[rows] for name, values in columns.items()}
        try:
            return reference.explainer(chosen)
        # A model may refuse values that never came together, or not answer at all.
        except (RequestError, RuntimeUnavailableError, MissingExtraError) as error:
            self.unexplained[reference.version] = str(error)
            return None


def _parsed(condition: str, types: Mapping[str, str]) -> Expression | None:
    """Return the condition; None for a version that has not the columns it names."""
    try:
        return parse(condition, types)
    except RowSqlError:  # `loopline check` names it where it is none for the contract itself
        return None


def answers(signature: Signature, scores: np.ndarray) -> Columns:
    """Return what a review's condition may ask of the answers: `probability` or `prediction`.

    Of several classes it is the probability of the likeliest.
    """
    if signature.task == "regression":
        return {"prediction": scores}
    return {"probability": scores if scores.ndim == 1 else scores.max(axis=1)}


def _has_all(signature: Signature, columns: Columns) -> bool:
    return all(each.name in columns for each in signature.inputs if each.required)


def _cells(
    told: Contributions, hours: np.ndarray, counted: np.ndarray, place: tuple[str, int]
) -> dict[Cell, Counts]:
    if told.method != "exact":
        return {}
    found: dict[Cell, Counts] = {}
    for hour in np.unique(hours[counted]).tolist():
        here = np.rint(np.abs(told.added[counted & (hours == hour)]) * _MILLION).astype(np.int64)
        for name, total in zip(told.names, here.sum(axis=0).tolist(), strict=True):
            cell = Cell(*place, hour, name, IMPORTANCE)
            found[cell] = Counter(rows=len(here), millionths=total)
    return found


def judge(
    monitor: Monitor,
    subject: Subject,
    reference: Reference,
    counted: Mapping[tuple[str, str], Counts],
    window: Window,
) -> list[Finding]:
    """Judge whether the columns that drive a version are those that drove it at its training."""
    usual = {} if reference.explainer is None else reference.explainer.usual
    sums = {
        name: each
        for (kind, name), each in counted.items()
        if kind == IMPORTANCE and isinstance(each, Counter)
    }
    rows = max((each["rows"] for each in sums.values()), default=0)
    if not usual or rows < monitor.minimum_explained:
        return []
    now = _shares({name: each["millionths"] for name, each in sums.items()})
    before = _shares(usual)
    moved = {name: now.get(name, 0.0) - before.get(name, 0.0) for name in {**before, **now}}
    shift = sum(map(abs, moved.values())) / 2
    most = sorted(moved, key=lambda name: (-abs(moved[name]), name))[:3]
    told = ", ".join(f"{name} {before.get(name, 0):.0%} → {now.get(name, 0):.0%}" for name in most)
    limit = float(monitor.importance_shift)
    state = "has shifted" if shift > limit else "is as at its training"
    return [
        subject.judge(
            "importance",
            "reasons",
            holds=shift <= limit,
            metric="importance_shift",
            value=shift,
            limit=limit,
            window=window.text,
            rows=rows,
            labels=None,
            message=f"What drives {subject.name} {state} on {rows:,} explained predictions, "
            f"{window}: {shift:.0%} moved to other columns (limit {limit:.0%}); {told}.",
            evidence={"now": now, "training": before},
        )
    ]


def _shares(sums: Mapping[str, float]) -> dict[str, float]:
    total = sum(sums.values())
    return {name: value / total if total else 0.0 for name, value in sums.items()}
