"""Data checked against the contract: counts and examples, never a silent drop.

All checks of columns run as one lazy polars pass; only those that fail cost another. Rows that fail
a blocking check are set apart with the reason; a warning keeps them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from loopline.contract.schema import Check, Column, Contract, OnFail
from loopline.data import suites
from loopline.data.columns import canonical_text, from_frame, parse_number, unused
from loopline.data.conforming import Conformed, conform, infer_types
from loopline.data.results import CheckResult
from loopline.data.row_sql import evaluate, parse
from loopline.errors import ValidationError

__all__ = [
    "CheckResult",
    "RowCheck",
    "Validation",
    "conform",
    "examine",
    "infer_types",
    "row_checks",
    "validate",
]

_EXAMPLES = 5
_HERE = Path()
_MASK = "***"


@dataclass(frozen=True)
class Validation:
    """Every check's outcome, the rows to use and the rows set apart."""

    checks: tuple[CheckResult, ...]
    good: pl.DataFrame
    quarantine: pl.DataFrame
    """Rows that fail a blocking check, as text: the source's own where it could not be read;
    `_row` from 1, and `_failed` says which checks."""
    refusal: str | None = None
    """Why the data must not be used at all."""


@dataclass(frozen=True)
class RowCheck:
    """One check of single rows."""

    name: str
    column: str | None
    on_fail: OnFail
    fails: pl.Expr
    """True for every row that fails; null passes."""
    shows: tuple[str, ...]


def validate(
    conformed: Conformed, contract: Contract, now: datetime, root: Path = _HERE
) -> Validation:
    """Check every row and the whole; `root` is the folder where suites are.

    Raises:
        ValidationError: a blocking check of the whole fails, or no row is left; with all reasons.
    """
    found = examine(conformed, contract, now, root)
    if found.refusal is not None:
        raise ValidationError(found.refusal)
    return found


def examine(
    conformed: Conformed, contract: Contract, now: datetime, root: Path = _HERE
) -> Validation:
    """Check every row and the whole, and refuse no data.

    Raises:
        ValidationError: a suite of the contract is not there, or is none.
    """
    frame = conformed.frame
    results: list[CheckResult] = []
    bad: dict[int, list[str]] = {}
    for result, places in [*_unreadable(conformed, contract), *_failing(conformed, contract)]:
        results.append(result)
        if result.on_fail == "block":
            reason = f"{result.column}: {result.name}" if result.column else result.name
            for place in places.tolist():
                bad.setdefault(place, []).append(reason)
    good, quarantine = _part(conformed, bad)
    whole = list(_whole(frame, good, contract, now))
    for check in contract.data.checks:
        if check.suite is not None:
            whole += suites.run(check, good, contract, root)
    blocking = [str(check) for check in whole if check.on_fail == "block" and not check.passed]
    refusal = None
    if blocking:
        refusal = "The data fails what must hold:\n  " + "\n  ".join(blocking)
    elif good.is_empty():
        failed = [str(check) for check in results if not check.passed]
        refusal = "No row passes the blocking checks:\n  " + "\n  ".join(failed)
    return Validation((*results, *whole), good, quarantine, refusal)


def _unreadable(
    conformed: Conformed, contract: Contract
) -> Iterator[tuple[CheckResult, np.ndarray]]:
    """Yield the outcome of reading each column as its type."""
    rows = conformed.frame.height
    for name, kind in conformed.types.items():
        lost = conformed.failures.get(name)
        places = np.empty(0, np.int64) if lost is None else lost.get_column("row").to_numpy()
        examples = [] if lost is None else lost.head(_EXAMPLES).rows()
        shown = tuple(
            {"row": place + 1, name: _MASK if _is_personal(contract, name) else value}
            for place, value in examples
        )
        failed = len(places)
        on_fail = _column(contract, name).on_fail
        yield (
            CheckResult(f"type {kind}", name, on_fail, failed, failed / rows, shown, not failed),
            places,
        )


def _failing(conformed: Conformed, contract: Contract) -> Iterator[tuple[CheckResult, np.ndarray]]:
    """Yield the outcome of each check of single rows."""
    frame = conformed.frame
    checks = row_checks(conformed, contract)
    sums = [check.fails.sum().alias(str(place)) for place, check in enumerate(checks)]
    counts = frame.lazy().select(sums).collect().row(0) if sums else ()
    failing = [check for check, failed in zip(checks, counts, strict=True) if failed]
    masks = frame.select(
        c.fails.fill_null(value=False).alias(str(i)) for i, c in enumerate(failing)
    )
    found = dict(zip([id(check) for check in failing], masks.iter_columns(), strict=True))
    for check in checks:
        mask = found.get(id(check))
        places = (
            np.empty(0, np.int64) if mask is None else mask.arg_true().cast(pl.Int64).to_numpy()
        )
        failed = len(places)
        examples = _examples(frame, contract, places[:_EXAMPLES].tolist(), check.shows)
        share = failed / frame.height
        yield (
            CheckResult(
                check.name, check.column, check.on_fail, failed, share, examples, not failed
            ),
            places,
        )


def row_checks(conformed: Conformed, contract: Contract) -> list[RowCheck]:
    """Return the contract's checks of single rows, for the rows of `conformed`."""
    return [*_column_checks(conformed, contract), *_rules(conformed, contract)]


def _column_checks(conformed: Conformed, contract: Contract) -> Iterator[RowCheck]:
    for name, kind in conformed.types.items():
        column, value = _column(contract, name), pl.col(name)
        shows = (name,)
        if kind in {"number", "integer"}:
            for bound, limit, beyond in (
                ("minimum", column.minimum, pl.Expr.lt),
                ("maximum", column.maximum, pl.Expr.gt),
            ):
                if limit is not None:
                    fails = beyond(value, limit)
                    yield RowCheck(f"{bound} {limit:g}", name, column.on_fail, fails, shows)
        if column.categories is not None and kind != "time":
            listed = f"categories {', '.join(column.categories[:8])}"
            fails = ~value.is_in(_allowed(column.categories, kind))
            yield RowCheck(listed, name, column.on_fail, fails, shows)
        if name == contract.data.key:
            fails = ~value.is_first_distinct() | value.is_null()
            yield RowCheck("unique key", name, column.on_fail, fails, shows)


def _allowed(categories: list[str], kind: str) -> list[Any]:
    texts = [canonical_text(category) for category in categories]
    if kind in {"number", "integer"}:
        return [parse_number(text) for text in texts if text is not None]
    return [text == "true" for text in texts] if kind == "boolean" else texts


def _rules(conformed: Conformed, contract: Contract) -> Iterator[RowCheck]:
    for check in contract.data.checks:
        if check.rule is None:
            continue
        rule = parse(check.rule, conformed.types)
        used = {name: conformed.types[name] for name in rule.columns}
        outcome = evaluate(rule.steps, from_frame(conformed.frame, used), conformed.frame.height)
        fails = pl.lit(pl.Series(outcome == 0))
        yield RowCheck(f"rule {check.rule}", None, check.on_fail, fails, rule.columns)


def _whole(
    frame: pl.DataFrame, good: pl.DataFrame, contract: Contract, now: datetime
) -> Iterator[CheckResult]:
    """Yield the outcome of the checks that no single row fails."""
    for name, column in contract.data.columns.items():
        if column.missing_at_most is not None:
            failed = frame.get_column(name).null_count()
            share = failed / frame.height
            said = f"missing at most {column.missing_at_most:.4g}"
            passed = share <= column.missing_at_most
            yield CheckResult(said, name, column.on_fail, failed, share, (), passed)
    for check in contract.data.checks:
        if check.rows_at_least is not None:
            said, passed = (
                f"at least {check.rows_at_least:,} rows",
                good.height >= check.rows_at_least,
            )
            yield _of_all(said, check, good.height, passed, {"rows": good.height})
        if check.fresh is not None:
            yield _fresh(good, contract, check, now)


def _fresh(good: pl.DataFrame, contract: Contract, check: Check, now: datetime) -> CheckResult:
    if contract.data.time is None:
        raise ValidationError(
            "A check of freshness needs data.time, the column of each row's time."
        )
    newest = good.get_column(contract.data.time).max() if good.height else None
    passed = (
        isinstance(newest, datetime) and check.fresh is not None and now - newest <= check.fresh
    )
    said = newest.isoformat() if isinstance(newest, datetime) else "none"
    return _of_all(f"fresh {check.fresh}", check, good.height, passed, {"newest": said})


def _of_all(
    name: str, check: Check, rows: int, passed: bool, example: dict[str, Any]
) -> CheckResult:
    failed = 0 if passed else rows
    return CheckResult(name, None, check.on_fail, failed, float(not passed), (example,), passed)


def _part(conformed: Conformed, bad: dict[int, list[str]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that are good, and those that are not as the source wrote them."""
    frame = conformed.frame
    places = sorted(bad)
    keep = np.ones(frame.height, dtype=bool)
    keep[places] = False
    apart = frame[places].select(pl.all().cast(pl.String))
    for name, lost in conformed.failures.items():
        raw = dict(lost.filter(pl.col("row").is_in(places)).iter_rows())
        values = [
            raw.get(place, value)
            for place, value in zip(places, apart.get_column(name), strict=True)
        ]
        apart = apart.with_columns(pl.Series(name, values, dtype=pl.String))
    reasons = ["; ".join(bad[place]) for place in places]
    row, failed = (unused(name, frame.columns) for name in ("_row", "_failed"))
    rows = pl.Series(row, [place + 1 for place in places], dtype=pl.Int64)
    apart = apart.with_columns(rows, pl.Series(failed, reasons, dtype=pl.String))
    return (frame.filter(pl.Series(keep)) if bad else frame), apart


def _examples(
    frame: pl.DataFrame, contract: Contract, places: list[int], shows: tuple[str, ...]
) -> tuple[dict[str, Any], ...]:
    if not places:
        return ()
    found = zip(places, frame.select(shows)[places].iter_rows(named=True), strict=True)
    return tuple(
        {"row": place + 1}
        | {name: _MASK if _is_personal(contract, name) else v for name, v in values.items()}
        for place, values in found
    )


def _column(contract: Contract, name: str) -> Column:
    return contract.data.columns.get(name) or Column()


def _is_personal(contract: Contract, name: str) -> bool:
    return _column(contract, name).personal is not None
