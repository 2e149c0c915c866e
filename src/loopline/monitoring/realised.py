"""Predictions whose truth is known, as counts that add: a function from rows to cells.

For whoever has the rows, a process or the workers of a cluster. What an answer was when it turned
out (`answered`) is counted whole and by the values of columns; its probability or error (`scored`)
whole, for the baseline, and for the groups of the fairness rules that ask for it. Groups of numbers
are those of the rows that the version was made from, so that hours add and months compare.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from loopline.contract.schema import Fairness
from loopline.counts.deviations import coarse
from loopline.counts.groups import count_groups
from loopline.counts.kernel import SHIFT, ColumnCounts
from loopline.counts.quality import folded_probabilities
from loopline.counts.statistics import quantiles
from loopline.data.columns import Columns, from_frame
from loopline.evaluation.diagnosis import DISTINCT
from loopline.evaluation.metrics import Answer, decide
from loopline.kernels.count import cells_of, lower_edges
from loopline.model.signature import Input, Signature, decide_places
from loopline.monitoring import labels
from loopline.monitoring.fold import stored_name
from loopline.monitoring.hours import ANSWERED, SCORED, Cell, Counts
from loopline.monitoring.labels import TRUTH
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import DTYPES
from loopline.monitoring.windows import HOUR

BASELINE = "~baseline"
"""The column of the baseline's answers; no input is called so by accident."""
TENTHS = 10
"""Parts of the predictions of a regression, by size, of which errors are counted apart."""
_OF_SCORES = ("roc_auc", "average_precision", "log_loss", "brier", "calibration_error")
_OTHER = "other"
_PLAIN = ColumnCounts("number")


@dataclass(frozen=True)
class _Answers:
    """Answers whose truth is known, in numbers."""

    hours: np.ndarray
    truth: np.ndarray
    scores: np.ndarray
    said: np.ndarray
    """Places among the classes; of a regression, the coarse cells of the errors."""


def count(
    rows: pl.DataFrame,
    reference: Reference,
    place: tuple[str, int],
    rules: Sequence[Fairness] = (),
) -> dict[Cell, Counts]:
    """Count one version's labelled rows by the hour of the event.

    `rows` are those of the table of predictions, with their `TRUTH`; `place` is environment and
    version; `rules` say whose groups are compared.
    """
    signature = reference.signature
    truth = labels.truth(rows[TRUTH], signature)
    scores, is_known = _scores(rows, signature)
    kept = np.flatnonzero(is_known & np.isfinite(truth))
    if not len(kept):
        return {}
    frame, scores = rows[kept], scores[kept]
    at = frame["event_time"].dt.epoch("us").to_numpy() // HOUR
    truth = truth[kept] if signature.task == "regression" else truth[kept].astype(np.int64)
    own = _Answers(at, truth, scores, _said(signature, truth, scores))
    found = _scored(own, reference, place, [""], np.zeros(len(at), np.int64))
    found |= _answered(own, place, signature, "", None)
    other = _baseline(reference, _inputs(frame, reference))
    if other is not None:
        said = _said(signature, truth, other.scores)
        if signature.task == "binary":
            said = decide(other).astype(np.int64)
        simple = replace(own, scores=other.scores, said=said)
        found |= _scored(simple, reference, place, [BASELINE], np.zeros(len(at), np.int64))
        found |= _answered(simple, place, signature, BASELINE, None)
    asked = {rule.by: needs_scores(rule, signature) for rule in rules}
    asked |= {rule.by: True for rule in rules if needs_scores(rule, signature)}
    for column in signature.inputs:
        if not column.logged or not (column.name in asked or is_grouped(column)):
            continue
        values = _groups(frame, column, reference)
        found |= _answered(own, place, signature, column.name, values)
        if asked.get(column.name):
            names = values.drop_nulls().unique(maintain_order=True)
            codes = values.replace_strict(
                names, range(len(names)), default=-1, return_dtype=pl.Int64
            )
            within = [group_name(column.name, name) for name in names.to_list()]
            found |= _scored(own, reference, place, within, codes.to_numpy())
    return found


def count_all(
    rows: pl.DataFrame, reference: Callable[[int], Reference], rules: Sequence[Fairness]
) -> dict[Cell, Counts]:
    """Count the labelled rows of every version and environment, whose event is plausible."""
    found: dict[Cell, Counts] = {}
    labelled = rows.filter(pl.col("plausible") & pl.col(TRUTH).is_not_null())
    for (environment, version), mine in labelled.group_by(["environment", "version"]):
        known = reference(int(str(version)))
        found |= count(mine, known, (str(environment), known.version), rules)
    return found


def as_stored(inputs: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return inputs of the contract's types as a table of predictions with `schema` has them."""
    numbers = inputs.with_columns(pl.col(pl.Int64).cast(pl.Float64))
    return numbers.rename(lambda name: stored_name(name, numbers.schema[name], schema))


def is_grouped(column: Input) -> bool:
    """Return whether an input's values are always counted apart: slices are made of them."""
    return column.logged and column.type in ("category", "boolean")


def needs_scores(rule: Fairness, signature: Signature) -> bool:
    """Return whether a rule's metric rests on more than which answers were right."""
    return signature.task == "regression" or rule.metric in _OF_SCORES


def group_name(column: str, group: str) -> str:
    """Return the column of a group's scores."""
    return f"{column}={group}"


def _scores(rows: pl.DataFrame, signature: Signature) -> tuple[np.ndarray, np.ndarray]:
    """Return the answers of rows, and which of them can be judged."""
    if signature.task == "multiclass":
        size = len(signature.classes)
        listed = rows["probabilities"]
        is_whole = (listed.list.len() == size).fill_null(value=False)
        nothing = pl.lit([np.nan] * size, dtype=pl.List(pl.Float64))
        filled = rows.select(pl.when(is_whole).then("probabilities").otherwise(nothing).alias("p"))
        found = filled["p"].list.to_array(size).to_numpy().reshape(-1, size)
        is_known = np.all((found >= 0) & (found <= 1), axis=1)
        return found, np.asarray(is_known)
    found = rows["score"].to_numpy().astype(np.float64)
    if signature.task == "regression":
        return found, np.isfinite(found)
    return found, (found >= 0) & (found <= 1)


def _said(signature: Signature, truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    if signature.task == "regression":
        return coarse(scores - truth)
    return decide_places(signature, scores)


def _scored(
    answers: _Answers,
    reference: Reference,
    place: tuple[str, int],
    names: list[str],
    codes: np.ndarray,
) -> dict[Cell, Counts]:
    """Count probabilities or errors by hour and by the column that `codes` picks from `names`."""
    found: dict[Cell, Counts] = {}
    for slice_, values, mask, like in _parts(answers, reference):
        rows = np.flatnonzero(mask & (codes >= 0))
        pairs, groups = np.unique(
            answers.hours[rows] * len(names) + codes[rows], return_inverse=True
        )
        counted = count_groups(values[rows], groups, len(pairs), like)
        for pair, each in zip(pairs.tolist(), counted, strict=True):
            hour, code = divmod(pair, len(names))
            found[Cell(*place, hour, names[code], f"{SCORED}{slice_}")] = each
    return found


def _parts(
    answers: _Answers, reference: Reference
) -> Iterator[tuple[str, np.ndarray, np.ndarray, ColumnCounts]]:
    """Yield a name, values, which rows they are of, and the grid they are counted on."""
    truth, said, scores = answers.truth, answers.said, answers.scores
    if reference.signature.task == "regression":
        yield from _of_errors(truth, scores, reference)
        return
    of_each = [("", scores, truth == 1, said == 1)]
    if reference.signature.task == "multiclass":
        of_each = [
            (f" {place}", scores[:, place], truth == place, said == place)
            for place in range(scores.shape[1])
        ]
    for name, probability, is_true, is_said in of_each:
        folded = folded_probabilities(probability)
        for actual, answer in ((0, 0), (0, 1), (1, 0), (1, 1)):
            mask = (is_true == actual) & (is_said == answer)
            yield f"{actual}{answer}{name}", folded, mask, _PLAIN


def _of_errors(
    truth: np.ndarray, predicted: np.ndarray, reference: Reference
) -> Iterator[tuple[str, np.ndarray, np.ndarray, ColumnCounts]]:
    profile = reference.profile.columns.get("prediction")
    grid, edges = _PLAIN, np.empty(0)
    if profile is not None:
        grid = replace(_PLAIN, offset=profile.offset)
        edges = _edges(profile, [part / TENTHS for part in range(1, TENTHS)])
    error, tenths = predicted - truth, np.searchsorted(edges, predicted, "right")
    for tenth in range(len(edges) + 1):
        yield f"error {tenth}", error, tenths == tenth, _PLAIN
        yield f"predicted {tenth}", predicted, tenths == tenth, grid
    yield "truth", truth, np.ones(len(truth), bool), grid
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        yield "relative", error / truth, truth != 0, _PLAIN


def _edges(profile: ColumnCounts, shares: list[float]) -> np.ndarray:
    found = [edge for edge in quantiles(profile, shares) if edge is not None]
    return np.unique(found) if found else np.empty(0)


def _answered(
    answers: _Answers,
    place: tuple[str, int],
    signature: Signature,
    column: str,
    values: pl.Series | None,
) -> dict[Cell, Counts]:
    """Count what was said of what turned out, by hour and value; rows without one are left out."""
    said = pl.Series(answers.said).cast(pl.String)
    if signature.task != "regression":
        said = pl.Series(answers.truth).cast(pl.String) + "," + said
    table = pl.DataFrame({"hour": answers.hours, "said": said}).with_columns(
        pl.lit("").alias("value") if values is None else values.alias("value")
    )
    found: dict[Cell, Counts] = {}
    for hour, told, value, number in (
        table.drop_nulls().group_by("hour", "said", "value").len().iter_rows()
    ):
        cell = Cell(*place, hour, column, ANSWERED)
        tally = found.setdefault(cell, Counter())
        assert isinstance(tally, Counter)  # noqa: S101 - made so above
        tally[f"{told}:{value}"] = number
    return found


def _groups(frame: pl.DataFrame, column: Input, reference: Reference) -> pl.Series:
    """Return each row's group by one column, as text; null for none."""
    values = frame[stored_name(column.name, DTYPES[column.type], frame.schema)]
    if column.type in ("category", "text"):
        return values.str.slice(0, 200)
    if column.type == "boolean":
        return values.cast(pl.Int8).cast(pl.String)
    profile = reference.profile.columns.get(column.name)
    if profile is None:
        return pl.Series([None] * len(frame), dtype=pl.String)
    if column.type == "time":
        values = values.dt.epoch("us") / 1e6
    return _of_numbers(values.cast(pl.Float64).to_numpy(), profile)


def _of_numbers(numbers: np.ndarray, profile: ColumnCounts) -> pl.Series:
    """Return the values that a column had in its reference; where they are many, its quarters."""
    known = np.isfinite(numbers)
    found = np.full(len(numbers), None, object)
    if len(profile.cells) <= DISTINCT:
        there = np.array([*_values(profile), _OTHER], object)
        cells = cells_of(numbers[known], profile.offset, SHIFT)
        places = np.searchsorted(profile.cells, cells)
        is_there = np.append(profile.cells, -1)[places] == cells
        found[known] = there[np.where(is_there, places, len(profile.cells))]
    else:
        edges = _edges(profile, [0, 0.25, 0.5, 0.75, 1])
        names = np.array([f"{low:g} to {high:g}" for low, high in pairwise(edges)], object)
        places = np.searchsorted(edges, numbers[known], "right") - 1
        found[known] = names[np.clip(places, 0, len(names) - 1)]
    return pl.Series(found.tolist(), dtype=pl.String)


def _values(profile: ColumnCounts) -> Iterator[str]:
    """Return the shortest number in each cell: what people write."""
    edges = (lower_edges(profile.cells + more, SHIFT) for more in (0, 1))
    for cell, low, high in zip(profile.cells.tolist(), *edges, strict=True):
        middle = profile.offset + (0.0 if cell == 0 else (low + high) / 2)
        for digits in range(1, 18):
            short = np.array([float(f"{middle:.{digits}g}")])
            if cells_of(short, profile.offset, SHIFT)[0] == cell:
                break
        yield f"{short[0]:g}"


def _baseline(reference: Reference, columns: Columns) -> Answer | None:
    """Return the baseline's answers to the same rows, where the log kept what it reads."""
    if reference.baseline is None:
        return None
    try:
        scores = reference.baseline.scores(columns)
    except KeyError:  # a column that is personal, and so was not logged
        return None
    return Answer(reference.baseline.name, scores, reference.baseline.threshold)


def _inputs(frame: pl.DataFrame, reference: Reference) -> Columns:
    """Return the inputs that the log kept, under the names and types of the signature."""
    types: dict[str, Any] = {
        column.name: column.type for column in reference.signature.inputs if column.logged
    }
    stored = {name: stored_name(name, DTYPES[kind], frame.schema) for name, kind in types.items()}
    return from_frame(
        frame.select(pl.col(where).alias(name) for name, where in stored.items()), types
    )
