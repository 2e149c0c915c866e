"""How good the predictions were, once it is known what turned out true.

From counts of outcomes: as fast for a billion labels as for a thousand, for every task, in any
window, whole and by group. What rests on which answers were right (confusion, costs, most rules of
fairness) is exact; what rests on probabilities and errors comes with a bound, from cells at most
0.4 % wide. Predictions without a label are left out, never guessed; the baseline answers the same
ones.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from loopline.contract.metrics import METRICS
from loopline.contract.money import best_quantile, cost_matrix, has_costs, per_unit
from loopline.contract.schema import Contract, Fairness, Problem
from loopline.counts import decisions, deviations, quality
from loopline.counts.decisions import Confusion
from loopline.counts.figure import Figure
from loopline.counts.groups import total
from loopline.counts.kernel import SHIFT, ColumnCounts
from loopline.counts.quality import Scored
from loopline.data.columns import canonical_text
from loopline.evaluation.fairness import apart
from loopline.evaluation.metrics import names, primary
from loopline.kernels.count import lower_edges
from loopline.model.signature import Signature
from loopline.monitoring import drift, hours, labels
from loopline.monitoring.hours import ANSWERED, SCORED, Counts
from loopline.monitoring.onset import changes
from loopline.monitoring.realised import BASELINE, TENTHS, group_name, is_grouped, needs_scores
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import Window, mature
from loopline.store.database import Database

_SLICE_SHARE, _SLICE_ROWS = 0.01, 30
_SHOWN = 10
_KINDS = 20
_NOTHING = ColumnCounts("number")


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
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Between which values a figure lies by the chance in the rows (95 %)."""
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
    contract: Contract,
    reference: Reference,
    database: Database,
    environment: str,
    windows: list[Window],
) -> Performance | None:
    """Judge the newest of `windows` that has the labels the contract asks for; None if none has."""
    place = (database, contract.project, environment, reference.version)
    span = Window(2 * windows[-1].first - windows[-1].last, windows[0].last)
    by_hour = {
        hour: each
        for hour, each in hours.series(*place, span, (ANSWERED, "")).items()
        if isinstance(each, Counter)
    }
    labelled = {hour: each.total() for hour, each in by_hour.items()}
    window = mature(windows, labelled, contract.monitor.minimum_labels)
    if window is None:
        return None
    answered = hours.series(*place, window, (hours.ROWS, ""))
    begin = 2 * window.first - window.last
    near = {hour: each for hour, each in by_hour.items() if begin <= hour < window.last}
    return replace(
        _figures(contract, reference, hours.total(*place, window, outcomes=True), window),
        rows=sum(drift.rows({(hours.ROWS, ""): each}) for each in answered.values()),
        worse_since=_worse_since(contract, reference.signature, near),
    )


def of_counts(
    contract: Contract,
    reference: Reference,
    known: Mapping[tuple[str, str], Counts],
    rows: int,
) -> Performance:
    """Return the figures of outcomes that are counted, of so many predictions of no time."""
    return replace(_figures(contract, reference, known, Window(0, 1)), rows=rows)


def without_each(
    contract: Contract,
    reference: Reference,
    database: Database,
    environment: str,
    window: Window,
    pieces: list[Window],
) -> list[Performance]:
    """Return the figures of a window without each of its pieces in turn, where any are left."""
    place = (database, contract.project, environment, reference.version)
    parts = [hours.total(*place, piece, outcomes=True) for piece in pieces]
    found = []
    for left_out in range(len(parts)):
        known: dict[tuple[str, str], Counts] = {}
        for number, part in enumerate(parts):
            if number != left_out:
                hours.gather(known, part)
        if known:
            found.append(_figures(contract, reference, known, window))
    return found


def _figures(
    contract: Contract,
    reference: Reference,
    known: Mapping[tuple[str, str], Counts],
    window: Window,
) -> Performance:
    """Return the figures of known outcomes, as if no other predictions were."""
    counted = _Counted(contract, reference.signature, known)
    own, other = counted.whole(""), counted.whole(BASELINE)
    simple = None if reference.baseline is None or not other else reference.baseline.name
    rows = sum(said.total() for said in counted.by_value("").values())
    return Performance(
        window=window,
        rows=rows,
        labels=rows,
        metrics={name: figure.value for name, figure in own.items()},
        baseline=simple,
        baseline_metrics={name: figure.value for name, figure in other.items() if simple},
        fairness=tuple(
            counted.fairness(rule) for rule in contract.fairness if counted.knows(rule.by)
        ),
        calibration=tuple(counted.calibration()),
        slices=tuple(_slices(contract, reference, counted)),
        bounds={name: figure.bound for name, figure in own.items() if figure.bound},
        intervals={name: (figure.low, figure.high) for name, figure in own.items()},
    )


class _Counted:
    """The sum of a window's known outcomes, and the figures that it holds."""

    def __init__(
        self, contract: Contract, signature: Signature, known: Mapping[tuple[str, str], Counts]
    ) -> None:
        self._problem = contract.problem
        self._signature = signature
        self._known = known
        self._names = names(contract.problem)
        self._costs = None
        if has_costs(contract.problem) and signature.task != "regression":
            self._costs = cost_matrix(contract.problem, signature.classes)

    def knows(self, column: str) -> bool:
        """Return whether outcomes are counted by the values of a column."""
        return (ANSWERED, column) in self._known

    def whole(self, column: str) -> dict[str, Figure]:
        """Return the figures of the version's own answers, or of the baseline's."""
        said = self.by_value(column).get("", Counter())
        found = self.of_answers(said) | self.of_scores(column)
        return {name: found[name] for name in self._names if name in found}

    def by_value(self, column: str) -> dict[str, Counter[str]]:
        """Return what was said of what turned out for each value of a column, largest first."""
        counted = self._known.get((ANSWERED, column), Counter())
        found: dict[str, Counter[str]] = {}
        for key, number in counted.items() if isinstance(counted, Counter) else ():
            said, _, value = key.partition(":")
            found.setdefault(value, Counter())[said] += number
        return dict(sorted(found.items(), key=lambda each: (-each[1].total(), each[0])))

    def of_answers(self, said: Counter[str]) -> dict[str, Figure]:
        """Return the figures that rest on which answers were right: exact but for a regression."""
        if not said:
            return {}
        if self._signature.task == "regression":
            cells = np.array(sorted(map(int, said)), np.int64)
            counts = np.array([said[str(cell)] for cell in cells.tolist()], np.int64)
            return self._of_errors(
                ColumnCounts("number", cells=cells, counts=counts), SHIFT + deviations.COARSE
            )
        size = max(len(self._signature.classes), 2)
        table = [[said[f"{actual},{each}"] for each in range(size)] for actual in range(size)]
        confusion = Confusion(tuple(map(tuple, table)))
        if self._signature.task == "binary":
            return decisions.of_decisions(confusion, self._costs)
        return decisions.of_classes(confusion, self._costs)

    def of_scores(self, column: str) -> dict[str, Figure]:
        """Return the figures that rest on probabilities, or on errors, within their bounds."""
        if self._signature.task == "binary":
            return quality.of_scores(self._scored(column))
        if self._signature.task == "multiclass":
            return quality.of_class_scores(
                [self._scored(column, f" {place}") for place in range(len(self._signature.classes))]
            )
        errors = self._sum(column, *(f"error {tenth}" for tenth in range(TENTHS)))
        found: dict[str, Figure | None] = dict(self._of_errors(errors, SHIFT))
        found["r2"] = deviations.r2(errors, self._sum(column, "truth"))
        found["mape"] = deviations.mape(self._sum(column, "relative"))
        return {name: figure for name, figure in found.items() if figure is not None}

    def _of_errors(self, errors: ColumnCounts, shift: int) -> dict[str, Figure]:
        under, over = per_unit(self._problem)
        quantile = best_quantile(self._problem) or 0.5
        return deviations.of_errors(errors, under=under, over=over, quantile=quantile, shift=shift)

    def _scored(self, column: str, class_: str = "") -> Scored:
        return Scored(
            self._sum(column, f"00{class_}", f"01{class_}"),
            self._sum(column, f"10{class_}", f"11{class_}"),
        )

    def _sum(self, column: str, *slices: str) -> ColumnCounts:
        parts = [self._known.get((f"{SCORED}{each}", column)) for each in slices]
        there = [each for each in parts if isinstance(each, ColumnCounts)]
        return total(there) if there else _NOTHING

    def calibration(self) -> list[dict[str, Any]]:
        """Return what was predicted beside what came true, from low to high."""
        if self._signature.task == "regression":
            found = []
            for tenth in range(TENTHS):
                predicted = self._sum("", f"predicted {tenth}")
                if predicted.counts.sum():
                    middle = deviations.mean(predicted)
                    error = deviations.mean(self._sum("", f"error {tenth}"))
                    found.append((middle, middle - error, predicted.rows))
        else:
            scored = self._scored("")
            if self._signature.task == "multiclass":  # of the class that was answered
                places = range(len(self._signature.classes))
                scored = Scored(
                    self._sum("", *(f"01 {place}" for place in places)),
                    self._sum("", *(f"11 {place}" for place in places)),
                )
            found = [
                (each["probability"], each["share"], int(each["rows"]))
                for each in quality.calibration(scored)
            ]
        return [
            {"predicted": predicted, "observed": observed, "rows": rows}
            for predicted, observed, rows in found
        ]

    def fairness(self, rule: Fairness) -> dict[str, Any]:
        """Return a rule's metric for each group, and how far groups are apart."""
        by_scores = needs_scores(rule, self._signature)
        found: list[dict[str, Any]] = []
        for name, said in self.by_value(rule.by).items():
            figures = (
                self.of_scores(group_name(rule.by, name)) if by_scores else self.of_answers(said)
            )
            figure = figures.get(rule.metric)
            found.append(
                {
                    "group": name,
                    "rows": said.total(),
                    "figure": None if figure is None else figure.value,
                    "judged": figure is not None and said.total() >= rule.minimum_rows,
                }
            )
        return apart(rule.by, rule.metric, found)


def _slices(contract: Contract, reference: Reference, counted: _Counted) -> list[dict[str, Any]]:
    """Return the worst values of category and boolean inputs by what decides between models."""
    metric = primary(contract)
    found: list[dict[str, Any]] = []
    for column in reference.signature.inputs:
        if not (column.required and is_grouped(column)):
            continue
        groups = counted.by_value(column.name)
        rows = sum(said.total() for said in groups.values())
        least = max(_SLICE_ROWS, _SLICE_SHARE * rows)
        for name, said in groups.items():
            if said.total() < least:
                break
            figure = counted.of_answers(said).get(metric)
            if figure is not None:
                found.append(
                    {
                        "column": column.name,
                        "value": name,
                        "rows": said.total(),
                        "figure": figure.value,
                    }
                )
    worst_first = -1 if METRICS[metric].direction == "lower" else 1
    found.sort(key=lambda each: (worst_first * each["figure"], each["column"], each["value"]))
    return found[:_SHOWN]


def _worse_since(
    contract: Contract, signature: Signature, by_hour: Mapping[int, Counter[str]]
) -> int | None:
    """Return the newest hour from which on answers were worse than before.

    By what each hour's errors cost, where they have a price, else by how many or how large they
    are.
    """
    there = sorted(by_hour)
    if not there:
        return None
    kinds = sorted(set().union(*by_hour.values()))  # of the whole: no value follows the colon
    table = np.array([[by_hour[hour][kind] for kind in kinds] for hour in there], dtype=np.int64)
    worth = np.array([_worth(contract.problem, signature, kind[:-1]) for kind in kinds])
    starts = changes(_fewer(table, worth))
    parts = np.add.reduceat(table, starts, axis=0)
    worse = (parts @ worth) / np.maximum(parts.sum(axis=1), 1)
    risen = [place for place in range(1, len(starts)) if worse[place] > worse[place - 1]]
    return there[starts[risen[-1]]] if risen else None


def _worth(problem: Problem, signature: Signature, said: str) -> float:
    """Return what one kind of answer costs."""
    if signature.task == "regression":
        cell = np.array([int(said), int(said) + 1], np.int64)
        error = float(lower_edges(cell, SHIFT + deviations.COARSE).mean())
        under, over = per_unit(problem) if has_costs(problem) else (1.0, 1.0)
        return max(-error * under, error * over)
    actual, answered = map(int, said.split(","))
    if has_costs(problem):
        return float(cost_matrix(problem, signature.classes)[actual, answered])
    return float(actual != answered)


def _fewer(table: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Return a table with at most so many kinds: neighbours by what they cost are one."""
    if len(worth) <= _KINDS:
        return table
    order = np.argsort(worth, kind="stable")
    sums = table.sum(axis=0)[order].cumsum()
    begins = np.unique(np.searchsorted(sums, np.arange(_KINDS) * sums[-1] / _KINDS, "right"))
    found: np.ndarray = np.add.reduceat(table[:, order], begins, axis=1)
    return found
