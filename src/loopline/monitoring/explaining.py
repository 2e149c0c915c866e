"""What explains a finding: since when it is so, in which part of the data, what it costs.

From the hourly counts; only where a drift is new are rows read, to tell which slices hold it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from loopline.contract.money import has_costs
from loopline.contract.schema import Contract
from loopline.counts.kernel import ColumnCounts
from loopline.evaluation.metrics import primary
from loopline.monitoring import estimation, hours, onset
from loopline.monitoring.alike import GAP
from loopline.monitoring.causes import Seen
from loopline.monitoring.drift import Drift
from loopline.monitoring.estimation import Estimation
from loopline.monitoring.findings import OPEN, Finding, spell
from loopline.monitoring.fold import stored_name
from loopline.monitoring.hours import INPUT, OUTPUT
from loopline.monitoring.onset import Onset
from loopline.monitoring.performance import Performance
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import DTYPES
from loopline.monitoring.windows import HOUR, Window, moment
from loopline.store.database import Database
from loopline.store.ledger import iso

_SHOWN = 5
_MOST = 0.8
"""The share of a change that a few slices must hold to be named."""
_MORE = 1.25
"""How much larger that share must be than their share of the rows."""
_SLICE_ROWS = 30
_ROWS = 200_000
_VALUES = 50


class Explaining:
    """Explains what is found of one version in one environment."""

    def __init__(
        self,
        contract: Contract,
        database: Database,
        rows: Callable[[str, int], pl.LazyFrame | None],
        environment: str,
        reference: Reference,
    ) -> None:
        """`rows` gives a version's logged predictions, None where there are none."""
        self._contract = contract
        self._database = database
        self._rows = rows
        self._environment = environment
        self._reference = reference

    def drift(self, column: str, window: Window) -> Seen:
        """Return since when a column differs from its reference, and in which slices."""
        reference = self._reference
        expected = reference.profile.columns[column]
        inputs = {each.name for each in reference.signature.inputs}
        kind = INPUT if column in inputs else OUTPUT
        history = Window(2 * window.first - window.last, window.last)
        counted = {
            hour: each
            for hour, each in hours.series(
                self._database,
                self._contract.project,
                self._environment,
                reference.version,
                history,
                (kind, column),
            ).items()
            if isinstance(each, ColumnCounts)
        }
        order, usual, rows = onset.table(expected, counted)
        is_silent = _is_silent(usual, rows[order >= window.first].sum(axis=0))
        if is_silent:  # what is there may have drifted too, at another time
            usual, rows = _silence(usual), _silence(rows)
        limit = self._limit() * (GAP if is_silent else 1.0)
        found = onset.find(order, usual, rows, limit)
        if found is None or found.is_older or kind == OUTPUT:
            return Seen(found)
        return Seen(found, self._slices(column, found, history, is_silent=is_silent))

    def _limit(self) -> float:
        return float(self._contract.monitor.drift.get("psi", 0.2))

    def _slices(
        self, column: str, found: Onset, history: Window, *, is_silent: bool
    ) -> tuple[dict[str, Any], ...]:
        """Return the values of one category that hold most of a change, being less of the rows."""
        rows = self._rows(self._environment, self._reference.version)
        if rows is None:
            return ()
        signature = self._reference.signature
        schema = rows.collect_schema()
        named = {
            each.name: stored_name(each.name, DTYPES[each.type], schema)
            for each in signature.inputs
            if each.logged and (each.name == column or each.type in ("category", "boolean"))
        }
        end = history.end if found.until is None else moment(found.until * HOUR)
        at, begin = pl.col("event_time"), moment(found.hour * HOUR)
        frame = (
            rows.filter((at >= history.start) & (at < end))
            .select(
                (at >= begin).alias("~after"),
                *[pl.col(where).cast(pl.String).alias(name) for name, where in named.items()],
            )
            .tail(_ROWS)
            .collect()
        )
        bins = self._bins(frame[column], column)
        if is_silent:
            bins = frame[column].is_null().to_numpy().astype(np.int64)
        after = frame["~after"].to_numpy()
        best: tuple[dict[str, Any], ...] = ()
        for name in named:
            if name != column:
                some = _holding(name, frame[name], bins, after)
                if some and (not best or len(some) < len(best)):
                    best = some
        return best

    def _bins(self, values: pl.Series, column: str) -> np.ndarray:
        """Return each row's bin: of a number its tenth in the reference, of a category itself."""
        counted = self._reference.profile.columns[column]
        if counted.kind == "category":
            return values.fill_null("~").rank("dense").to_numpy().astype(np.int64)
        from loopline.counts.statistics import quantiles

        edges = [edge for edge in quantiles(counted, [k / 10 for k in range(1, 10)]) if edge]
        numbers = values.cast(pl.Float64, strict=False).to_numpy()
        found = np.searchsorted(np.unique(edges), numbers)
        return np.where(np.isnan(numbers), len(edges) + 1, found)

    def money(self, estimated: Estimation | None) -> str:
        """Return what the window is estimated to cost beside what the reference would."""
        metric, contract, reference = "cost_per_prediction", self._contract, self._reference
        if estimated is None or metric not in estimated.metrics or not has_costs(contract.problem):
            return ""
        profile = reference.profile.columns.get("probability")
        if profile is None:
            return ""
        usual = estimation.measure(
            contract, reference, {(OUTPUT, "probability"): profile}, estimated.window
        )
        if usual is None:
            return ""
        now, before = estimated.metrics[metric], usual.metrics[metric]
        if before.low <= now.value <= before.high:
            return ""  # nothing that chance would not bring
        currency = contract.problem.costs.currency if contract.problem.costs else None
        more = (now.value - before.value) * estimated.rows
        said = f"{abs(more):,.0f} {currency} {'more' if more > 0 else 'less'}"
        return (
            f"Cost per prediction is estimated at {spell(metric, now.value, currency)}, and at "
            f"{spell(metric, before.value, currency)} for rows like the reference: {said} over the "
            "window."
        )

    def goal(self, finding: Finding, found: Performance, drifted: tuple[Drift, ...]) -> Finding:
        """Return a missed goal with since when, how much, in which slices and by which columns."""
        if finding.status != OPEN or finding.kind != "goal":
            return finding
        told, evidence = [finding.message], dict(finding.evidence)
        since = None if found.worse_since is None else iso(moment(found.worse_since * HOUR))
        if since is not None:
            told.append(f"Worse since {since[:16].replace('T', ' ')} UTC.")
        if finding.metric == "cost_per_prediction" and self._contract.problem.costs is not None:
            evidence["money"] = lost = (finding.value - finding.limit) * found.rows
            currency = self._contract.problem.costs.currency
            told.append(f"Over these predictions that is {lost:,.0f} {currency} beyond the goal.")
        evidence["slices"] = list(found.slices[:_SHOWN])
        if found.slices:
            worst = found.slices[0]
            metric = primary(self._contract)
            told.append(
                f"Worst is {worst['column']} {worst['value']}: {metric} "
                f"{spell(metric, worst['figure'])} on {worst['rows']:,} rows."
            )
        evidence["drivers"] = drivers = self._drivers(drifted)
        if drivers:
            parts = ", ".join(f"{each['column']} (psi {each['psi']:.2g})" for each in drivers)
            told.append(f"Of what the model relies on, these have drifted most: {parts}.")
        return replace(finding, message=" ".join(told), since=since, evidence=evidence)

    def _drivers(self, drifted: tuple[Drift, ...]) -> list[dict[str, Any]]:
        """Return the inputs whose drift weighs most: PSI beyond chance times importance."""
        weighed: list[dict[str, Any]] = []
        for one in drifted:
            share = self._reference.importances.get(one.column, 0.0)
            beyond = one.figures["psi"] - one.figures["psi_by_chance"]
            if one.kind == INPUT and share > 0 and beyond > self._limit() / 2:
                weighed.append(
                    {"column": one.column, "psi": one.figures["psi"], "importance": share}
                )
        return sorted(weighed, key=lambda each: -each["psi"] * each["importance"])[:3]


def _is_silent(usual: np.ndarray, current: np.ndarray) -> bool:
    """Return whether missing values, the last bin, make much of the PSI and grew."""
    first, second = (each + 0.5 for each in (usual, current))
    first, second = first / first.sum(), second / second.sum()
    parts = (second - first) * np.log(second / first)
    return bool(second[-1] > first[-1] and parts[-1] >= GAP * parts.sum())


def _silence(rows: np.ndarray) -> np.ndarray:
    """Return present and missing values alone."""
    return np.stack([rows[..., :-1].sum(axis=-1), rows[..., -1]], axis=-1)


def _holding(
    name: str, values: pl.Series, bins: np.ndarray, after: np.ndarray
) -> tuple[dict[str, Any], ...]:
    """Return the values that hold most of a change, if they are less of the rows.

    The change of a value is the total variation of its bins before and after, less what chance
    makes of so few rows, times its rows.
    """
    size = int(bins.max()) + 1 if len(bins) else 1
    changed: dict[str, float] = {}
    sizes: dict[str, int] = {}
    frequent = values.alias("value").value_counts(sort=True, name="rows")["value"]
    for value in frequent.head(_VALUES).drop_nulls().to_list():
        mine = (values == value).fill_null(False).to_numpy()
        here, before = bins[mine & after], bins[mine & ~after]
        if min(len(here), len(before)) < _SLICE_ROWS:
            continue
        first = np.bincount(before, minlength=size) / len(before)
        second = np.bincount(here, minlength=size) / len(here)
        used = int(((first + second) > 0).sum())
        chance = np.sqrt(used * (1 / len(here) + 1 / len(before))) / 2
        changed[value] = max(float(np.abs(first - second).sum() / 2 - chance), 0.0) * len(here)
        sizes[value] = len(here)
    total, rows = sum(changed.values()), sum(sizes.values())
    found: list[dict[str, Any]] = []
    for value in sorted(changed, key=lambda each: -changed[each]):
        if total <= 0 or sum(each["share"] for each in found) >= _MOST:
            break
        found.append({"column": name, "value": value, "share": changed[value] / total})
    held = sum(sizes[each["value"]] for each in found)
    share = sum(each["share"] for each in found)
    return tuple(found) if found and share >= _MORE * held / rows else ()
