"""Performance from counts of outcomes: as fast for a billion labels as for a thousand.

The figures are the gate's own, on one row for each cell of the probability, decision and truth,
weighted by how many it holds. What rests on decisions (confusion, costs, fairness, slices) is
exact; what rests on the probability itself comes with a bound, from cells at most 0.4 % wide.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from loopline.contract.metrics import METRICS
from loopline.contract.schema import Contract, Fairness
from loopline.counts import quality
from loopline.counts.groups import total
from loopline.counts.kernel import SHIFT, ColumnCounts
from loopline.counts.quality import Scored
from loopline.evaluation.metrics import BINARY, Answer, Scorecard, primary
from loopline.kernels.count import lower_edges
from loopline.model.signature import Signature
from loopline.monitoring import drift, hours
from loopline.monitoring.hours import CONFUSION, SCORED, Counts
from loopline.monitoring.performance import Performance, worse_since
from loopline.monitoring.reference import Reference
from loopline.monitoring.settled import BASELINE, grouped, is_counted
from loopline.monitoring.windows import Window, mature
from loopline.store.database import Database

_OF_SCORES = ("roc_auc", "average_precision", "log_loss", "brier", "calibration_error")
_SLICE_SHARE = 0.01
_SLICE_ROWS = 30
_SHOWN = 10
_PAIRS = ("00", "01", "10", "11")


def is_enough(contract: Contract, reference: Reference) -> bool:
    """Return whether counts hold all that the contract asks of this version."""
    names = {each.name for each in grouped(reference)}
    there = {each.name for each in reference.signature.inputs if each.logged}
    return is_counted(reference) and all(
        rule.metric not in _OF_SCORES and (rule.by in names or rule.by not in there)
        for rule in contract.fairness
    )


def measure(
    contract: Contract,
    reference: Reference,
    database: Database,
    environment: str,
    windows: list[Window],
) -> Performance | None:
    """Judge the newest of `windows` that has the labels the contract asks for; None if none has."""
    place = (database, contract.project, environment, reference.version)
    span = Window(windows[-1].first, windows[0].last)
    by_hour = {
        hour: each
        for hour, each in hours.series(*place, span, (CONFUSION, "")).items()
        if isinstance(each, Counter)
    }
    labelled = {hour: each.total() for hour, each in by_hour.items()}
    window = mature(windows, labelled, contract.monitor.minimum_labels)
    if window is None:
        return None
    known = hours.total(*place, window, outcomes=True)
    answered = hours.series(*place, window, (hours.ROWS, ""))
    rows = sum(drift.rows({(hours.ROWS, ""): each}) for each in answered.values())
    return _figures(contract, reference, known, rows, window, by_hour)


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
                known |= {key: hours.plus(known.get(key), each) for key, each in part.items()}
        if known:
            found.append(_figures(contract, reference, known, 0, window, {}))
    return found


def _figures(
    contract: Contract,
    reference: Reference,
    known: Mapping[tuple[str, str], Counts],
    rows: int,
    window: Window,
    by_hour: Mapping[int, Counter[str]],
) -> Performance:
    signature = reference.signature
    scored = _scored(known, "")
    metrics = _whole(contract, signature, known, "", signature.threshold)
    other = reference.baseline
    simple = {}
    if other is not None and any(column == BASELINE for _, column in known):
        simple = _whole(contract, signature, known, BASELINE, other.threshold)
    figures = quality.of_scores(scored)
    confusion = known.get((CONFUSION, ""), Counter())
    assert isinstance(confusion, Counter)  # noqa: S101 - what is stored in this slice
    return Performance(
        window=window,
        rows=rows,
        labels=confusion.total(),
        metrics=metrics,
        baseline=other.name if other is not None and simple else None,
        baseline_metrics=simple,
        fairness=tuple(
            _fairness(contract, signature, rule, _by_value(known, rule.by))
            for rule in contract.fairness
            if any(each.name == rule.by for each in grouped(reference))
        ),
        calibration=tuple(
            {"predicted": one["probability"], "observed": one["share"], "rows": int(one["rows"])}
            for one in quality.calibration(scored)
        ),
        slices=_slices(contract, reference, known),
        worse_since=_worse_since(contract, signature, by_hour, window),
        bounds={name: float(figure.bound) for name, figure in figures.items() if figure.bound},
    )


def _scored(known: Mapping[tuple[str, str], Counts], column: str) -> Scored:
    sides: dict[int, list[ColumnCounts]] = {0: [], 1: []}
    for slice_, (actual, _) in SCORED.items():
        counted = known.get((slice_, column))
        if isinstance(counted, ColumnCounts):
            sides[actual].append(counted)
    nothing = ColumnCounts("number")
    return Scored(*(total(sides[side]) if sides[side] else nothing for side in (0, 1)))


def _whole(
    contract: Contract,
    signature: Signature,
    known: Mapping[tuple[str, str], Counts],
    column: str,
    threshold: float | None,
) -> dict[str, float]:
    """Return every figure of one answer; each cell stands on the side that its rows were on."""
    limit = 0.5 if threshold is None else threshold
    scores, truth, weights = [], [], []
    for slice_, (actual, said) in SCORED.items():
        counted = known.get((slice_, column))
        if isinstance(counted, ColumnCounts):
            middle = _middles(counted)
            side = np.maximum(middle, limit) if said else np.minimum(middle, np.nextafter(limit, 0))
            scores.append(side)
            truth.append(np.full(len(side), float(actual)))
            weights.append(counted.counts)
    if not scores:
        return {}
    answer = Answer("own", np.concatenate(scores), threshold)
    card = Scorecard(contract.problem, signature.classes, np.concatenate(truth), answer)
    found = card.under(np.concatenate(weights).astype(np.float64)[None, :])
    return {name: float(value[0]) for name, value in found.items() if np.isfinite(value[0])}


def _middles(counted: ColumnCounts) -> np.ndarray:
    """Return the middle of each cell of folded probabilities, unfolded."""
    low, high = lower_edges(counted.cells, SHIFT), lower_edges(counted.cells + 1, SHIFT)
    middle = np.where(counted.cells == 0, 0.0, low / 2 + high / 2)
    found: np.ndarray = np.where(counted.cells < 0, 1 + middle, middle)
    return found


def _by_value(known: Mapping[tuple[str, str], Counts], column: str) -> dict[str, np.ndarray]:
    """Return each value's rows by truth and answer: 00, 01, 10, 11; the largest first."""
    found: dict[str, np.ndarray] = {}
    counted = known.get((CONFUSION, column), Counter())
    for key, number in counted.items() if isinstance(counted, Counter) else ():
        pair, value = key[:2], key[2:]
        found.setdefault(value, np.zeros(4))[_PAIRS.index(pair)] += number
    return dict(sorted(found.items(), key=lambda each: (-each[1].sum(), each[0])))


def _decided(
    contract: Contract, signature: Signature, groups: Mapping[str, np.ndarray], metric: str
) -> list[float]:
    """Return one figure of decisions for each group."""
    answer = Answer("own", np.array([0.0, 1.0, 0.0, 1.0]), 0.5)
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    card = Scorecard(contract.problem, signature.classes, truth, answer)
    found: list[float] = card.under(np.array(list(groups.values())).reshape(-1, 4))[metric].tolist()
    return found


def _fairness(
    contract: Contract, signature: Signature, rule: Fairness, groups: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    figures = _decided(contract, signature, groups, rule.metric)
    found: list[dict[str, Any]] = [
        {
            "group": name,
            "rows": int(rows.sum()),
            "figure": figure if np.isfinite(figure) else None,
            "judged": bool(rows.sum() >= rule.minimum_rows and np.isfinite(figure)),
        }
        for (name, rows), figure in zip(groups.items(), figures, strict=True)
    ]
    judged = [group["figure"] for group in found if group["judged"]]
    ratio = difference = None
    if len(judged) > 1:
        low, high = min(judged), max(judged)
        difference = high - low
        # Money may be negative, where a ratio says nothing.
        ratio = 1.0 if low == high else low / high if low >= 0 else None
    return {
        "by": rule.by,
        "metric": rule.metric,
        "groups": found,
        "ratio": ratio,
        "difference": difference,
    }


def _slices(
    contract: Contract, reference: Reference, known: Mapping[tuple[str, str], Counts]
) -> tuple[dict[str, Any], ...]:
    """Return the worst values of category and boolean inputs by what decides between models."""
    metric = primary(contract)
    if metric in _OF_SCORES or metric not in BINARY:
        return ()
    found: list[dict[str, Any]] = []
    for column in grouped(reference):
        if not column.required:
            continue
        groups = _by_value(known, column.name)
        least = max(_SLICE_ROWS, _SLICE_SHARE * sum(rows.sum() for rows in groups.values()))
        large = {name: rows for name, rows in groups.items() if rows.sum() >= least}
        if large:
            figures = _decided(contract, reference.signature, large, metric)
            found += [
                {"column": column.name, "value": name, "rows": int(rows.sum()), "figure": figure}
                for (name, rows), figure in zip(large.items(), figures, strict=True)
                if np.isfinite(figure)
            ]
    worst_first = -1 if METRICS[metric].direction == "lower" else 1
    found.sort(key=lambda each: (worst_first * each["figure"], each["column"], each["value"]))
    return tuple(found[:_SHOWN])


def _worse_since(
    contract: Contract,
    signature: Signature,
    by_hour: Mapping[int, Counter[str]],
    window: Window,
) -> int | None:
    begin = 2 * window.first - window.last
    there = sorted(hour for hour in by_hour if begin <= hour < window.last)
    table = np.array([[by_hour[hour][pair] for pair in _PAIRS] for hour in there], dtype=np.int64)
    if not there:
        return None
    return worse_since(contract, signature, np.array(there), table)
