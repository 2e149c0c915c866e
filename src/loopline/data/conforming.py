"""A frame as its source gave it, turned into the types the contract promises.

Text is stripped and read by the expressions of `columns.py`, so a file and a request mean the same.
A value that cannot be what its column is becomes missing, and its row and text are kept: nothing
is dropped without a count.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from loopline.contract.schema import Contract
from loopline.data import row_sql
from loopline.data.columns import (
    BEYOND_INTEGERS,
    FALSE,
    NUMBER,
    TIME,
    TRUE,
    WHOLE,
    canonical_text,
    missing_numbers,
)
from loopline.errors import DataError
from loopline.kernels.texts import Marks, marks

_DTYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "integer": pl.Int64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
    "text": pl.String(),
    "time": pl.Datetime("us", "UTC"),
}
# A column is text, rather than a category, when its values hardly repeat or are sentences.
_FEW_VALUES = 50
_NEAR_UNIQUE = 0.5
_SENTENCE = 60
# What a column's rare slips may be before it counts as another type.
_SLIPS, _SLIP_SHARE = 3, 0.01
_INFINITE = r"(?i)^[+-]?inf(inity)?$"
_TRUTHS = {"true", "t", "yes"}, {"false", "f", "no"}


@dataclass(frozen=True)
class Conformed:
    """A frame typed as the contract says."""

    frame: pl.DataFrame
    types: dict[str, str]
    """Column to contract type, in the frame's order."""
    failures: dict[str, pl.DataFrame]
    """Column to what could not be read there: `row` (from 0) and `value` (its text)."""


def conform(frame: pl.DataFrame, contract: Contract) -> Conformed:
    """Keep the columns that `contract` speaks of, in its order, and give them its types.

    Raises:
        DataError: a column is not there; all of them are named.
    """
    return convert(frame, contract_types(frame, contract), contract.data.missing)


def contract_types(frame: pl.DataFrame, contract: Contract) -> dict[str, str]:
    """Return the type of each column that `contract` speaks of: as it says, or as `frame` shows.

    Raises:
        DataError: a column is not there; all of them are named.
    """
    kept = needed(contract, frame.columns)
    listed = contract.data.columns
    types = {name: listed[name].type for name in kept if name in listed}
    if contract.data.time is not None and types.get(contract.data.time) is None:
        types[contract.data.time] = "time"
    if contract.data.time is not None and types[contract.data.time] != "time":
        raise DataError(
            f"data.time is '{contract.data.time}', but data.columns says that it is of type "
            f"{types[contract.data.time]}. Give it type: time, or name another column."
        )
    unknown = [name for name in kept if types.get(name) is None]
    found = infer_types(frame.select(unknown), contract.data.missing)
    return {name: types.get(name) or found[name] for name in kept}


def needed(contract: Contract, available: Sequence[str]) -> list[str]:
    """Return the columns that `contract` speaks of, of those `available`.

    Raises:
        DataError: a column is not there; all of them are named.
    """
    data, problem = contract.data, contract.problem
    target = [problem.target] if problem.target in available else row_sql.names(problem.target)
    rule = problem.baseline.rule if problem.baseline else None
    expressions = [*data.features.values(), *(check.rule for check in data.checks), rule]
    spoken = [
        *data.columns,
        *(name for name in (data.key, data.time, data.split.group) if name is not None),
        *target,
        *(fairness.by for fairness in contract.fairness),
        *(name for sql in expressions if sql is not None for name in row_sql.names(sql)),
    ]
    names = [name for name in dict.fromkeys(spoken) if name not in data.features]
    absent = [name for name in names if name not in available]
    if absent:
        raise DataError("\n".join(_absent(name, available) for name in absent))
    for name, other in alike_but_for_case(names):
        raise DataError(
            f"The contract speaks of the columns '{name}' and '{other}', which differ in case "
            "alone, and Delta tables tell no case apart. Rename one, or leave it out."
        )
    return names


def alike_but_for_case(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each name that an earlier one differs from in case alone, after that one."""
    first: dict[str, str] = {}
    for name in names:
        known = first.setdefault(name.lower(), name)
        if known != name:
            yield known, name


def convert(
    frame: pl.DataFrame,
    types: Mapping[str, str],
    missing: Sequence[str],
    *,
    keep_infinite: bool = False,
) -> Conformed:
    """Return the columns of `frame` that `types` names as those types, `missing` texts as null.

    An infinite number is no value of a contract's column; with `keep_infinite` it stays.
    """
    schema = frame.schema
    present = _all_present(frame, list(types), missing)
    codes = [name for name, kind in types.items() if kind == "category" and _is_text(schema[name])]
    pointed = {name for name, found in _marks(present.select(codes)).items() if found.is_pointed}
    finite = _finite(present, [name for name, kind in types.items() if kind == "number"])
    typed = present.select(
        name
        if name in finite or (name in codes and name not in pointed)
        else _read(schema[name], name, kind, keep_infinite=keep_infinite)
        for name, kind in types.items()
    )
    lost = {
        name: present.get_column(name).is_not_null() & typed.get_column(name).is_null()
        for name in types
        if typed.get_column(name).null_count() > present.get_column(name).null_count()
    }
    failures = {
        name: pl.DataFrame({
            "row": mask.arg_true().cast(pl.Int64),
            "value": _as_text(present.get_column(name).filter(mask)),
        })
        for name, mask in lost.items()
    }  # fmt: skip
    return Conformed(typed, dict(types), failures)


def infer_types(frame: pl.DataFrame, missing: Sequence[str] = ("",)) -> dict[str, str]:
    """Return the contract type that each column's values suggest.

    Codes with leading zeros are categories; whole numbers stay integers however few there are.
    """
    return {name: _infer(frame.get_column(name), missing) for name in frame.columns}


def _is_text(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def _absent(name: str, available: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, available, n=1, cutoff=0.6)
    hint = f"Did you mean '{near[0]}'?" if near else f"It has {', '.join(available[:12])}."
    return f"The contract speaks of the column '{name}', which the data does not have. {hint}"


def _all_present(frame: pl.DataFrame, names: Sequence[str], missing: Sequence[str]) -> pl.DataFrame:
    """Return columns as `_present` has each; what needs no change is not copied."""
    schema, absent = frame.schema, [text.strip() for text in missing]
    texts = [name for name in names if _is_text(schema[name])]
    spaced = {name for name, found in _marks(frame.select(texts)).items() if found.is_spaced}
    present = frame.select(
        _present(schema[name], name, missing)
        if name not in texts
        else _stripped(name)
        if name in spaced or schema[name] != pl.String
        else name
        for name in names
    )
    some = present.select(pl.col(name).is_in(absent).any() for name in texts)
    gapped = [name for name in texts if absent and some[name].item()]
    return present.with_columns(_but(pl.col(name), absent) for name in gapped)


def _marks(texts: pl.DataFrame) -> dict[str, Marks]:
    """Return by column what may have to be changed in its texts."""
    arrow = texts.to_arrow(compat_level=pl.CompatLevel.newest())
    return {name: marks(arrow.column(name)) for name in texts.columns}


def _stripped(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).str.strip_chars()


def _but(column: pl.Expr, absent: Sequence[str]) -> pl.Expr:
    return pl.when(~column.is_in(absent)).then(column)


def _finite(frame: pl.DataFrame, names: Sequence[str]) -> set[str]:
    """Return which columns are float64 and hold nothing else than finite numbers and nulls."""
    floats = [name for name in names if frame.schema[name] == pl.Float64]
    whole = frame.select(pl.col(name).is_finite().all() for name in floats)
    return {name for name in floats if whole[name].item()}


def _present(dtype: pl.DataType, name: str, missing: Sequence[str]) -> pl.Expr:
    """Return the column as it is, but stripped, and null where it is missing."""
    column = pl.col(name)
    if _is_text(dtype):
        absent = [text.strip() for text in missing]
        return _but(_stripped(name), absent) if absent else _stripped(name)
    if dtype.is_float():
        column = column.fill_nan(None)
    numbers = missing_numbers(tuple(missing))
    if dtype.is_numeric() and numbers:
        return pl.when(~column.cast(pl.Float64).is_in(list(numbers))).then(column).alias(name)
    return column


def _read(dtype: pl.DataType, name: str, kind: str, *, keep_infinite: bool = False) -> pl.Expr:
    """Return the stripped column as `kind`, null where it cannot be."""
    column = pl.col(name)
    is_text = _is_text(dtype)
    if dtype.is_nested() or dtype in {pl.Binary, pl.Object, pl.Null}:
        return pl.lit(None, _DTYPES[kind]).alias(name)
    if kind == "time":
        return _time(dtype, column).alias(name)
    if kind in {"category", "text"}:
        if not is_text:
            return column.map_batches(_as_text, return_dtype=pl.String)
        return column.str.replace(WHOLE, "${1}") if kind == "category" else column
    if dtype.is_temporal():
        return pl.lit(None, _DTYPES[kind]).alias(name)
    if kind == "boolean":
        text = column.str.to_lowercase() if is_text else column.cast(pl.Float64).cast(pl.String)
        return (
            pl.when(text.is_in(list(TRUE)))
            .then(True)
            .when(text.is_in(list(FALSE)))
            .then(False)
            .alias(name)
        )
    number = column.cast(pl.Float64, strict=False)
    number = pl.when(number.is_not_nan() if keep_infinite else number.is_finite()).then(number)
    if kind == "number":
        return number.alias(name)
    fits = (number == number.floor()) & (number.abs() < BEYOND_INTEGERS)
    whole = pl.when(fits).then(number).cast(pl.Int64, strict=False)
    exact = column.cast(pl.Int64, strict=False) if is_text or dtype.is_integer() else whole
    return pl.when(fits).then(pl.coalesce(exact, whole)).alias(name)


def _time(dtype: pl.DataType, column: pl.Expr) -> pl.Expr:
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if isinstance(dtype, pl.Datetime):
        zoned = column.dt.replace_time_zone("UTC") if dtype.time_zone is None else column
        return zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if not _is_text(dtype):
        return pl.lit(None, _DTYPES["time"])
    found = column.str.extract_groups(TIME).struct
    part = {number: found.field(str(number)).fill_null("") for number in range(1, 11)}
    padded = [part[1], *(part[number].str.pad_start(2, "0") for number in range(2, 7))]
    fraction = part[7].str.pad_end(6, "0")
    written = pl.format("{}-{}-{}T{}:{}:{}.{}", *padded, fraction)
    moment = written.str.to_datetime("%Y-%m-%dT%H:%M:%S%.6f", time_unit="us", strict=False)
    minutes = part[9].cast(pl.Int64, strict=False).fill_null(0) * 60
    minutes += part[10].cast(pl.Int64, strict=False).fill_null(0)
    offset = pl.when(part[8] == "-").then(-minutes).otherwise(minutes)
    return (moment - pl.duration(minutes=offset)).dt.replace_time_zone("UTC")


def _as_text(series: pl.Series) -> pl.Series:
    """Return the canonical text of values that are not text; one look at each distinct value."""
    if series.dtype == pl.String:
        return series
    if series.dtype.is_nested() or series.dtype in {pl.Binary, pl.Object}:
        texts = [None if value is None else str(value)[:80] for value in series.to_list()]
        return pl.Series(series.name, texts, pl.String)
    distinct = series.unique()
    texts = [canonical_text(value) for value in distinct.to_list()]
    return series.replace_strict(distinct, pl.Series(texts, dtype=pl.String), default=None)


def _infer(series: pl.Series, missing: Sequence[str]) -> str:
    dtype = series.dtype
    native = {
        "boolean": dtype == pl.Boolean,
        "integer": dtype.is_integer() and _fits_integer(series),
        "number": dtype.is_numeric(),
        "time": dtype == pl.Date or isinstance(dtype, pl.Datetime),
        "category": _is_text(dtype) and dtype != pl.String,
    }
    for kind, holds in native.items():
        if holds:
            return kind
    if dtype != pl.String:
        return "text"
    values = (
        series.to_frame("text")
        .lazy()
        .select(_present(dtype, "text", missing).alias("text"))
        .drop_nulls()
        .group_by("text")
        .len("rows")
        .collect()
    )
    return _infer_text(values.get_column("text"), values.get_column("rows"))


def _fits_integer(whole: pl.Series) -> bool:
    """Whether 64 bits with a sign hold every value: hashes are often written without one."""
    if whole.dtype not in {pl.UInt64, pl.Int128}:
        return True
    return bool((whole.cast(pl.Float64).abs().fill_null(0) < BEYOND_INTEGERS).all())


def _infer_text(texts: pl.Series, rows: pl.Series) -> str:
    total = int(rows.sum())
    if not total:
        return "text"

    def all_but_slips(fits: pl.Series) -> bool:
        slips = ~fits.fill_null(value=False)
        share = int(rows.filter(slips).sum()) / total
        return int(slips.sum()) <= _SLIPS and share <= _SLIP_SHARE

    lowered = set(texts.str.to_lowercase().to_list()) if len(texts) <= 6 else set()
    if lowered & _TRUTHS[0] and lowered & _TRUTHS[1] and lowered <= _TRUTHS[0] | _TRUTHS[1]:
        return "boolean"
    numbers = texts.str.contains(NUMBER)
    # An infinite value makes no text of its column: it is a number of no use, and counted.
    if numbers.any() and all_but_slips(numbers | texts.str.contains(_INFINITE)):
        if texts.str.contains(r"^[+-]?0[0-9]").any():
            return "category"
        whole = texts.filter(numbers).str.contains(r"^[+-]?[0-9]{1,18}(\.0*)?$")
        return "integer" if whole.all() else "number"
    if all_but_slips(texts.str.contains(TIME)):
        return "time"
    repeats_seldom = len(texts) > max(_FEW_VALUES, _NEAR_UNIQUE * total)
    length = (texts.str.len_chars() * rows).sum() / total
    is_long = len(texts) > _FEW_VALUES and length > _SENTENCE
    return "text" if repeats_seldom or is_long else "category"


_COMMON = ("", "?", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "Null", "None", "none", "nan",
           "NaN", "NAN", "\\N", "-", "--", ".", "missing", "unknown", "na", "n.a.", "<NA>",
           "Missing", "Unknown", "#DIV/0!", "#VALUE!")  # fmt: skip
_CLEAR = {"", "?", "N/A", "n/a", "#N/A", "null", "NULL", "nan", "NaN", "\\N"}
"""Texts that mean missing beside words too; NA beside them may be Namibia, and none a value."""


def missing_tokens(frame: pl.DataFrame) -> tuple[str, ...]:
    """Return the texts in `frame` that mean missing, `""` always among them.

    A text that may also be a value counts only where the rest of its column are numbers or times.
    """
    found = {""}
    for series in frame.iter_columns():
        if not isinstance(series.dtype, pl.String):
            continue
        stripped = series.str.strip_chars()
        tokens = set(stripped.filter(stripped.is_in(_COMMON)).unique().to_list()) - found
        if tokens - _CLEAR and _infer(series, _COMMON) in {"number", "integer", "time"}:
            found |= tokens
        found |= tokens & _CLEAR
    return tuple(token for token in _COMMON if token in found)
