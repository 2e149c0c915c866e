"""Whether the window's rows can be told from training rows by all inputs together.

A relation among many columns may change while each column, and each pair that somebody thought of,
stays as it was. Where `monitor.drift.multivariate` asks, a classifier learns on a sample of both
(`data/multivariate.py`); its area is held against the limit with its whole interval, so that a few
rows or chance raise nothing. The training rows are those that the version keeps; the window's are
drawn by the hash of their prediction's id, the same ones whoever looks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from loopline.contract.schema import Contract
from loopline.data.multivariate import FEWEST, KEPT, Apart, Rows, seen, tell
from loopline.monitoring.findings import Finding, Subject
from loopline.monitoring.fold import stored_name
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import DTYPES
from loopline.monitoring.windows import Window

KIND = "multivariate"
SUBJECT = "inputs"
_GROWN = 1.1
"""How much more rows a window holds before it is sampled again."""
_SPARE = 1.5
"""Of rows drawn: chance gives a few less than were asked for."""
_HASHES = 2**64


@dataclass(frozen=True)
class _Looked:
    window: Window
    rows: int
    found: Apart | None


class Telling:
    """Tells windows from training rows, and remembers what can hardly have changed since."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._before: dict[tuple[str, int], _Looked] = {}

    def __call__(
        self,
        environment: str,
        reference: Reference,
        rows: Callable[[], pl.LazyFrame | None],
        window: Window,
        number: int,
    ) -> Apart | None:
        """Return how well the `number` predictions of a window are told from training rows.

        None where the contract does not ask, the version keeps no rows, or they are too few.
        """
        limit = self._contract.monitor.drift.get("multivariate")
        kept = reference.rows
        least = max(FEWEST, self._contract.monitor.minimum_rows)
        if limit is None or kept is None or number < least or len(kept.matrix) < FEWEST:
            return None
        place = (environment, reference.version)
        before = self._before.get(place)
        if before is None or before.window != window or number > _GROWN * before.rows:
            current = _drawn(rows(), reference, kept, window, number)
            found = None
            if current is not None and len(current.matrix) >= FEWEST:
                found = tell(kept.names, kept.matrix, current.matrix, limit=limit)
            before = self._before[place] = _Looked(window, number, found)
        return before.found


def _drawn(
    rows: pl.LazyFrame | None, reference: Reference, kept: Rows, window: Window, number: int
) -> Rows | None:
    """Return rows of a window, drawn evenly, as the classifier sees them."""
    if rows is None:
        return None
    moment, chance = pl.col("event_time"), pl.col("prediction_id").hash(seed=7)
    types = {each.name: each.type for each in reference.signature.inputs}
    schema = rows.collect_schema()
    stored = {name: stored_name(name, DTYPES[types[name]](), schema) for name in kept.names}
    if any(name not in schema for name in stored.values()):
        return None
    most = min(_HASHES - 1, int(_HASHES * _SPARE * KEPT / number))
    found = (
        rows.filter((moment >= window.start) & (moment < window.end) & (chance <= most))
        .select(chance.alias("\0chance"), *stored.values())
        .sort("\0chance")
        .head(KEPT)
        .collect()
    )
    columns = {name: _array(found[each]) for name, each in stored.items()}
    return seen(kept.names, columns, reference.profile)


def _array(series: pl.Series) -> np.ndarray:
    if series.dtype == pl.String:
        return np.array(series.to_list(), dtype=object)
    return series.cast(pl.Float64).to_numpy()


def judge(
    contract: Contract, subject: Subject, found: Apart | None, window: Window
) -> list[Finding]:
    """Judge whether the inputs together are as in training."""
    limit = contract.monitor.drift.get("multivariate")
    if found is None or limit is None:
        return []
    area = found.roc_auc
    state = "are told from training rows" if found.drifted else "are like training rows"
    told = (
        f"The inputs of {subject.name} together {state} with an area of {area.value:.3f} (95 % "
        f"interval {area.low:.3f} to {area.high:.3f}; 0.5 is not at all, limit {limit:g}) on a "
        f"sample of {found.rows:,} rows, {window}."
    )
    if found.drifted and found.telling:
        leaned = ", ".join(f"{name} ({lost:.3f})" for name, lost in found.telling.items())
        told += f" What tells them, with the area lost without it: {leaned}."
    return [
        subject.judge(
            KIND,
            SUBJECT,
            holds=not found.drifted,
            metric="roc_auc",
            value=area.value,
            limit=limit,
            window=window.text,
            rows=found.rows,
            labels=None,
            message=told,
            columns=tuple(found.telling) if found.drifted else (),
            evidence={"low": area.low, "high": area.high, "telling": dict(found.telling)},
        )
    ]
