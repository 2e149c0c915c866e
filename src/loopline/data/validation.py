"""Data checked against the contract: counts and examples, never a silent drop.

All checks of columns run as one lazy polars pass; only those that fail cost another. Rows that fail
a blocking check are set apart with the reason; a warning keeps them. The rows may be all there are
or a stretch of them: what stretches show adds up (`checking.py`).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from loopline.contract.schema import Check, Column, Contract, OnFail
from loopline.data import suites
from loopline.data.columns import canonical_text, from_frame, parse_number, unused
from loopline.data.conforming import Conformed, conform, infer_types
from loopline.data.results import CheckResult, share_of
from loopline.data.row_sql import evaluate, parse
from loopline.errors import ValidationError

__all__ = [
    "CheckResult",
    "RowCheck",
    "Seen",
    "Validation",
    "conclude",
    "conform",
    "examine",
    "infer_types",
    "look",
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
    rows, bad = _rows(conformed, contract, 0, None)
    good, quarantine = _part(conformed, bad)
    found = _seen(conformed.frame, good, rows, contract)
    for check in contract.data.checks:
        if check.suite is not None:
            found = replace(found, suites=(*found.suites, *suites.run(check, good, contract, root)))
    checks, refusal = conclude(found, contract, now)
    return Validation(checks, good, quarantine, refusal)


@dataclass(frozen=True)
class Seen:
    """What a stretch of rows shows; what two show adds up to what both show."""

    rows: int
    good: int
    """Rows that fail no blocking check."""
    newest: datetime | None
    """The time of the newest good row, where the contract asks how fresh the data is."""
    missing: tuple[int, ...]
    """Rows without a value, for each column whose missing values have a limit."""
    checks: tuple[CheckResult, ...]
    """Of types and of single rows."""
    suites: tuple[CheckResult, ...] = ()

    def __add__(self, more: "Seen") -> "Seen":
        rows, good = self.rows + more.rows, self.good + more.good
        times = [newest for newest in (self.newest, more.newest) if newest is not None]
        return Seen(
            rows,
            good,
            max(times, default=None),
            tuple(a + b for a, b in zip(self.missing, more.missing, strict=True)),
            _added(self.checks, more.checks, rows),
            _added(self.suites, more.suites, good),
        )


def look(
    conformed: Conformed,
    contract: Contract,
    queries: Sequence[suites.Query] = (),
    *,
    first: int = 0,
    repeated: np.ndarray | None = None,
) -> tuple[Seen, pl.DataFrame]:
    """Return what a stretch of rows shows that begins with the row `first` of all, and good rows.

    `repeated` are the places among all, in order, whose key an earlier row has: one stretch cannot
    tell.
    """
    here = None
    if repeated is not None:
        begin, end = np.searchsorted(repeated, [first, first + conformed.frame.height])
        here = repeated[begin:end] - first
    rows, bad = _rows(conformed, contract, first, here)
    good = _good(conformed.frame, bad)
    found = _seen(conformed.frame, good, rows, contract)
    return replace(found, suites=tuple(each.run(good, contract) for each in queries)), good


def conclude(
    seen: Seen, contract: Contract, now: datetime
) -> tuple[tuple[CheckResult, ...], str | None]:
    """Return the outcome of every check, and why the data must not be used at all."""
    whole = [*_whole(seen, contract, now), *seen.suites]
    blocking = [str(check) for check in whole if check.on_fail == "block" and not check.passed]
    refusal = None
    if blocking:
        refusal = "The data fails what must hold:\n  " + "\n  ".join(blocking)
    elif not seen.good:
        failed = [str(check) for check in seen.checks if not check.passed]
        refusal = "No row passes the blocking checks:\n  " + "\n  ".join(failed)
    return (*seen.checks, *whole), refusal


def _added(
    some: Sequence[CheckResult], more: Sequence[CheckResult], rows: int
) -> tuple[CheckResult, ...]:
    return tuple(
        replace(
            one,
            failed=(failed := one.failed + other.failed),
            share=share_of(failed, rows),
            examples=(one.examples + other.examples)[:_EXAMPLES],
            passed=not failed,
        )
        for one, other in zip(some, more, strict=True)
    )


def _rows(
    conformed: Conformed, contract: Contract, first: int, repeated: np.ndarray | None
) -> tuple[list[CheckResult], dict[int, list[str]]]:
    """Return the outcome of the checks of rows, and why a row fails one that blocks, by place."""
    results: list[CheckResult] = []
    bad: dict[int, list[str]] = {}
    failing = _failing(conformed, contract, repeated)
    for result, places in [*_unreadable(conformed, contract), *failing]:
        results.append(_moved(result, first))
        if result.on_fail == "block":
            reason = f"{result.column}: {result.name}" if result.column else result.name
            for place in places.tolist():
                bad.setdefault(place, []).append(reason)
    return results, bad


def _moved(result: CheckResult, first: int) -> CheckResult:
    if not first:
        return result
    examples = tuple(each | {"row": each["row"] + first} for each in result.examples)
    return replace(result, examples=examples)


def _seen(
    frame: pl.DataFrame, good: pl.DataFrame, rows: Sequence[CheckResult], contract: Contract
) -> Seen:
    time = contract.data.time
    newest = None
    if time is not None and any(check.fresh is not None for check in contract.data.checks):
        found = good.get_column(time).max() if good.height else None
        newest = found if isinstance(found, datetime) else None
    missing = tuple(frame.get_column(name).null_count() for name in _limited(contract))
    return Seen(frame.height, good.height, newest, missing, tuple(rows))


def _limited(contract: Contract) -> list[str]:
    columns = contract.data.columns.items()
    return [name for name, column in columns if column.missing_at_most is not None]


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


def _failing(
    conformed: Conformed, contract: Contract, repeated: np.ndarray | None
) -> Iterator[tuple[CheckResult, np.ndarray]]:
    """Yield the outcome of each check of single rows."""
    frame = conformed.frame
    checks = row_checks(conformed, contract, repeated)
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


def row_checks(
    conformed: Conformed, contract: Contract, repeated: np.ndarray | None = None
) -> list[RowCheck]:
    """Return the contract's checks of single rows, for the rows of `conformed`.

    `repeated` are the places whose key was there before; without it these rows are all there are.
    """
    return [*_column_checks(conformed, contract, repeated), *_rules(conformed, contract)]


def _column_checks(
    conformed: Conformed, contract: Contract, repeated: np.ndarray | None
) -> Iterator[RowCheck]:
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
            again = ~value.is_first_distinct()
            if repeated is not None:
                mask = np.zeros(conformed.frame.height, dtype=bool)
                mask[repeated] = True
                again = pl.lit(pl.Series(mask))
            fails = again | value.is_null()
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


def _whole(seen: Seen, contract: Contract, now: datetime) -> Iterator[CheckResult]:
    """Yield the outcome of the checks that no single row fails."""
    for name, failed in zip(_limited(contract), seen.missing, strict=True):
        column = contract.data.columns[name]
        limit = column.missing_at_most or 0.0
        share = failed / seen.rows
        said = f"missing at most {limit:.4g}"
        yield CheckResult(said, name, column.on_fail, failed, share, (), share <= limit)
    for check in contract.data.checks:
        if check.rows_at_least is not None:
            said = f"at least {check.rows_at_least:,} rows"
            passed = seen.good >= check.rows_at_least
            yield _of_all(said, check, seen.good, passed, {"rows": seen.good})
        if check.fresh is not None:
            yield _fresh(seen, contract, check, now)


def _fresh(seen: Seen, contract: Contract, check: Check, now: datetime) -> CheckResult:
    if contract.data.time is None:
        raise ValidationError(
            "A check of freshness needs data.time, the column of each row's time."
        )
    newest = seen.newest
    passed = newest is not None and check.fresh is not None and now - newest <= check.fresh
    said = "none" if newest is None else newest.isoformat()
    return _of_all(f"fresh {check.fresh}", check, seen.good, passed, {"newest": said})


def _of_all(
    name: str, check: Check, rows: int, passed: bool, example: dict[str, Any]
) -> CheckResult:
    failed = 0 if passed else rows
    return CheckResult(name, None, check.on_fail, failed, float(not passed), (example,), passed)


def _good(frame: pl.DataFrame, bad: Collection[int]) -> pl.DataFrame:
    if not bad:
        return frame
    keep = np.ones(frame.height, dtype=bool)
    keep[list(bad)] = False
    return frame.filter(pl.Series(keep))


def _part(conformed: Conformed, bad: dict[int, list[str]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that are good, and those that are not as the source wrote them."""
    frame = conformed.frame
    places = sorted(bad)
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
    return _good(frame, bad), apart


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
