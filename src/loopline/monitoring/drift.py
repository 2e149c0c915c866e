"""Compares what the model sees and says now with what it was made from.

The reference is the profile stored with the model version, never last week's traffic: a model that
drifts slowly would drag its own yardstick along. Every figure comes from counts, by the hour of the
event, so a month of any traffic is the sum of a few hundred small rows. Near its limit a figure
crosses it to and fro, so a column that has drifted is back when its whole interval lies within, and
days that are alike must not explain that it drifted, unless the contract says `judge_by: figure`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from loopline.contract.schema import Contract
from loopline.contract.when import parse_when
from loopline.counts import statistics
from loopline.counts.figure import wilson
from loopline.counts.kernel import ColumnCounts
from loopline.monitoring import alike
from loopline.monitoring.alike import ALONE, Alike
from loopline.monitoring.findings import Finding, Subject, spell
from loopline.monitoring.hours import INPUT, OUTPUT, ROWS, Counts
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import Window

_RULED = {
    INPUT: ("psi", "missing_rate", "new_category_rate"),
    OUTPUT: ("prediction_psi",),
}
"""What the contract's rules can name, of inputs and of outputs."""

_FLAGRANT = 1.0
"""So much PSI beyond chance is another distribution, however alike the rows of a day are."""

_SILENT = 0.01
"""From so much more on, missing values are told beside a column's drift."""


@dataclass(frozen=True)
class Drift:
    """How far one column of the current window is from the reference."""

    column: str
    kind: str
    """`input` or `output`."""
    rows: int
    figures: dict[str, float]
    """`psi`, `jensen_shannon`, `ks` (of numbers), `missing_rate`, `new_category_rate` (of
    categories); `psi_by_chance`, what PSI would be on so few rows without any drift; `p_value` and
    `cramers_v` of the chi-square; `reference_missing_rate`."""
    bounds: dict[str, float]
    """How far a figure may be from that of the values themselves, where it is not exact."""
    against: str = "training"
    """The reference: the version's own rows, or the season of the contract."""
    alike: Alike = ALONE
    """How alike rows of one day were in the weeks before; looked at where it matters."""
    margin: float = 0.0
    """How far the part of the PSI beyond chance may be off (95 %)."""
    margin_of_days: float = 0.0
    """How much of that there is because rows of a day are alike."""


def rows(counted: Mapping[tuple[str, str], Counts], kind: str = "whole") -> int:
    """Return how many predictions lie in a window; with `apart`, those of implausible times."""
    found = counted.get((ROWS, ""), Counter())
    return found[kind] if isinstance(found, Counter) else 0


def measure(reference: Reference, counted: Mapping[tuple[str, str], Counts]) -> tuple[Drift, ...]:
    """Compare the sum of a window's counts with the reference, the largest PSI first."""
    found = [
        _measure(column, kind, reference.profile.columns[column], current)
        for (kind, column), current in counted.items()
        if kind in (INPUT, OUTPUT) and isinstance(current, ColumnCounts)
    ]
    return tuple(sorted(found, key=lambda one: (-one.figures["psi"], one.column)))


def _measure(column: str, kind: str, expected: ColumnCounts, current: ColumnCounts) -> Drift:
    found = statistics.drift(expected, current)
    figures = {
        "psi": found.psi,
        "psi_by_chance": found.psi_by_chance,
        "jensen_shannon": found.jensen_shannon,
        "missing_rate": found.missing_rate,
        "reference_missing_rate": found.reference_missing_rate,
        "cramers_v": found.cramers_v,
        "p_value": found.p_value,
    }
    bounds = {}
    if found.ks is not None:
        figures["ks"] = found.ks
        bounds["ks"] = found.ks_bound
    else:
        figures["new_category_rate"] = found.new_rate
    one = Drift(column, kind, found.rows, figures, bounds)
    return among_days(one, expected, current, ALONE)


def among_days(one: Drift, expected: ColumnCounts, current: ColumnCounts, known: Alike) -> Drift:
    """Return a column's drift with what chance makes of it where rows of a day are alike."""
    silent = bool(expected.missing or current.missing)
    found = alike.beyond(*statistics.binned(expected, current), silent=silent, alike=known)
    figures = {**one.figures, "psi_by_chance": found.by_chance, "p_value": found.p_value}
    return replace(
        one,
        figures=figures,
        alike=known,
        margin=found.margin,
        margin_of_days=found.margin_of_days,
    )


def is_beyond(contract: Contract, one: Drift) -> bool:
    """Return whether a column is above one of its limits, as far as rows alone say."""
    limits = _limits(contract, one.kind)
    return any(
        _is_more_than_chance(one, metric, limit)
        for metric, limit in limits.items()
        if metric in one.figures
    )


def is_flagrant(one: Drift) -> bool:
    """Return whether a column differs by more than days that are unlike each other may excuse."""
    return _is_more_than_chance(one, "psi", _FLAGRANT)


def worst(drifted: tuple[Drift, ...]) -> dict[str, tuple[str, float]]:
    """Return what rules may name, with its column: of the worst input, and of the predictions."""
    found: dict[str, tuple[str, float]] = {}
    for one in drifted:
        for metric in _RULED[one.kind]:
            value = one.figures.get(metric.removeprefix("prediction_"))
            if value is None:
                continue
            counts = value if _is_more_than_chance(one, metric, 0.0) else 0.0
            if counts >= found.get(metric, ("", 0.0))[1]:
                found[metric] = (one.column, counts)
    return found


def judge(
    contract: Contract,
    subject: Subject,
    drifted: tuple[Drift, ...],
    window: Window,
    new_values: Callable[[str], list[str]],
    opened: Collection[str] = (),
) -> list[Finding]:
    """Judge each column by the contract's drift limits, and by what its rules say of drift.

    `new_values` finds examples of a category's values that the reference does not have; `opened`
    are the columns that are in an open finding.
    """
    by_interval = contract.monitor.judge_by == "interval"
    return [
        _judge(
            subject,
            one,
            _compared(contract, one, by_interval=by_interval),
            window,
            new_values,
            is_open=by_interval and one.column in opened,
        )
        for one in drifted
    ]


@dataclass(frozen=True)
class _Compared:
    """One figure beside its limit."""

    value: float
    limit: float
    is_beyond: bool
    """It is, by more than chance and by more than days may add."""
    is_within: bool
    """Its whole interval is."""


def _compared(contract: Contract, one: Drift, *, by_interval: bool) -> dict[str, _Compared]:
    found = {}
    for metric, limit in _limits(contract, one.kind).items():
        if metric in one.figures:
            value, margin = one.figures[metric], _margin(one, metric) if by_interval else 0.0
            days = one.margin_of_days if by_interval and metric == "psi" else 0.0
            found[metric] = _Compared(
                value,
                limit,
                _is_more_than_chance(one, metric, limit + days),
                value - _by_chance(one, metric) <= max(limit - margin, 0.0),
            )
    return found


def _margin(one: Drift, metric: str) -> float:
    """Return how far a figure may be off (95 %); 0 of those whose chance is not known."""
    if metric == "psi":
        return one.margin
    if metric not in ("missing_rate", "new_category_rate") or not one.rows:
        return 0.0
    effect = one.alike.missing if metric == "missing_rate" else one.alike.values
    low, high = wilson(one.figures[metric], one.rows / effect)
    return (high - low) / 2


def _judge(
    subject: Subject,
    one: Drift,
    compared: dict[str, _Compared],
    window: Window,
    new_values: Callable[[str], list[str]],
    *,
    is_open: bool,
) -> Finding:
    passed = {metric: each for metric, each in compared.items() if each.is_beyond}
    stays = is_open and not passed and not all(each.is_within for each in compared.values())
    told = ", ".join(
        f"{metric} {spell(metric, each.value)} (limit {spell(metric, each.limit)})"
        for metric, each in (passed or compared).items()
    )
    known = passed or compared
    metric = max(
        known, key=lambda name: _excess(known[name].value, known[name].limit), default="psi"
    )
    value, limit = one.figures["psi"], 0.0
    if metric in compared:
        value, limit = compared[metric].value, compared[metric].limit
    state = "has drifted" if passed or stays else "is like its reference"
    evidence: dict[str, Any] = {
        "kind": one.kind,
        "figures": one.figures,
        "bounds": one.bounds,
        "against": one.against,
        "margin": one.margin,
        "alike": asdict(one.alike),
    }
    if passed and one.figures.get("new_category_rate"):
        evidence["new_values"] = new_values(one.column)
        told += f"; new are {', '.join(evidence['new_values'])}"
    missing, usual = one.figures["missing_rate"], one.figures["reference_missing_rate"]
    if passed and "missing_rate" not in passed and missing - usual >= _SILENT:
        told += f"; missing are {missing:.1%}, and {usual:.1%} of the reference"
    if stays:
        told += "; not convincingly back"
    return subject.judge(
        "drift",
        one.column,
        holds=not passed and not stays,
        metric=metric,
        value=value,
        limit=limit,
        window=window.text,
        rows=one.rows,
        labels=None,
        message=f"{one.column} of {subject.name} {state} on {one.rows:,} predictions, {window}: "
        f"{told}.",
        evidence=evidence,
    )


def _by_chance(one: Drift, metric: str) -> float:
    return one.figures["psi_by_chance"] if metric.endswith("psi") else 0.0


def _is_more_than_chance(one: Drift, metric: str, limit: float) -> bool:
    """Return whether a figure is above its limit, and by more than chance makes of it."""
    value = one.figures[metric.removeprefix("prediction_")]
    if metric in ("missing_rate", "new_category_rate"):
        return value > limit
    return value - _by_chance(one, metric) > limit and one.figures["p_value"] < statistics.CHANCE


def _limits(contract: Contract, kind: str) -> dict[str, float]:
    """Return each figure's limit: the contract's own, and the lowest of its rules."""
    limits: dict[str, float] = {str(name): value for name, value in contract.monitor.drift.items()}
    for rule in contract.respond:
        when = parse_when(rule.when)
        if when.metric in _RULED[kind] and when.op.startswith(">"):
            name = when.metric.removeprefix("prediction_")
            limits[name] = min(float(when.limit), limits.get(name, float(when.limit)))
    return limits


def _excess(value: float, limit: float) -> float:
    return value / limit if limit > 0 else value
