"""The contract's checks, counted at every stage: one record for each check, kept in the ledger.

What is checked at the source is checked again in what was frozen, in what a model sees and in the
rows that train it, by the same expressions. All of a stage is one lazy polars pass that counts and
shows nothing. A check at a stage is what its name says, so its history is that of the name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl

from loopline.contract.schema import Contract, OnFail
from loopline.data import suites
from loopline.data.columns import Columns
from loopline.data.conforming import Conformed
from loopline.data.validation import CheckResult, row_checks
from loopline.store.ledger import Ledger

Stage = Literal["source", "snapshot", "features", "training", "serving", "feedback"]
CHECKED = "data.checked"
"""The ledger's event of one run's checks."""


@dataclass(frozen=True)
class Tally:
    """One check at one stage: how many rows it looked at, and how many failed."""

    stage: Stage
    column: str | None
    name: str
    """As a person says it: `maximum 150`."""
    on_fail: OnFail
    rows: int
    failed: int
    passed: bool
    note: str = ""
    """Why it was not asked here; empty where it was."""

    @property
    def share(self) -> float:
        """Of the rows, those that failed."""
        return self.failed / self.rows if self.rows else 0.0


def of_source(checks: Iterable[CheckResult], rows: int) -> list[Tally]:
    """Return what was found at the source, row by row and of the whole."""
    return [
        Tally("source", one.column, one.name, one.on_fail, rows, one.failed, one.passed)
        for one in checks
    ]


def tally(
    stage: Stage, frame: pl.DataFrame, types: Mapping[str, str], contract: Contract
) -> list[Tally]:
    """Count what fails the contract's checks of rows and of missing values, in one pass."""
    checks = row_checks(Conformed(frame, dict(types), {}), contract)
    limits = {
        name: column.missing_at_most
        for name, column in contract.data.columns.items()
        if column.missing_at_most is not None and name in types
    }
    sums = [check.fails.sum().alias(f"row {place}") for place, check in enumerate(checks)]
    gaps = [pl.col(name).null_count().alias(f"gap {name}") for name in limits]
    if not sums and not gaps:
        return []
    counted = frame.lazy().select(*sums, *gaps).collect().row(0, named=True)
    rows = frame.height
    found = [
        Tally(stage, one.column, one.name, one.on_fail, rows, failed, failed == 0)
        for place, one in enumerate(checks)
        for failed in [int(counted[f"row {place}"] or 0)]
    ]
    for name, limit in limits.items():
        failed = int(counted[f"gap {name}"])
        said = f"missing at most {limit:.4g}"
        passed = failed <= limit * rows
        on_fail = contract.data.columns[name].on_fail
        found.append(Tally(stage, name, said, on_fail, rows, failed, passed))
    return found


def of_suites(stage: Stage, frame: pl.DataFrame, contract: Contract, root: Path) -> list[Tally]:
    """Return what the contract's suites find in the rows of a stage behind the source."""
    return [
        Tally(
            stage,
            one.column,
            one.name,
            one.on_fail,
            0 if one.why_not else frame.height,
            one.failed,
            not one.failed,
            one.why_not,
        )
        for one in suites.elsewhere(frame, contract, root)
    ]


def as_frame(columns: Columns) -> pl.DataFrame:
    """Return columns as a table that a suite can be asked of."""
    return pl.DataFrame(
        [
            pl.Series(name, values.tolist() if values.dtype == object else values, nan_to_null=True)
            for name, values in columns.items()
        ]
    )


def of_features(names: Sequence[str], seen: np.ndarray) -> list[Tally]:
    """Return whether each column of the matrix that a model sees is finite, and says something."""
    found = []
    for place, name in enumerate(names):
        values = seen[:, place]
        infinite = int(np.isinf(values).sum())
        known = values[~np.isnan(values)]
        says = bool(known.size) and bool((known != known[0]).any() or known.size < values.size)
        rows, stuck = len(values), 0 if says else len(values)
        found.append(Tally("features", name, "finite", "warn", rows, infinite, infinite == 0))
        found.append(Tally("features", name, "more than one value", "warn", rows, stuck, says))
    return found


def record(ledger: Ledger, tallies: Iterable[Tally], subject: str, now: datetime) -> None:
    """Keep what one run found; `subject` is its snapshot, or the source that was refused."""
    checks = [asdict(one) for one in tallies]
    failing = sum(not one["passed"] for one in checks)
    payload = {"asked": len(checks), "failing": failing, "checks": checks}
    ledger.append(CHECKED, subject, payload, now=now)


def recorded(payload: Any) -> list[Tally]:
    """Return what an event of `record` holds."""
    return msgspec.convert(payload["checks"], list[Tally])
