"""Columns as numpy arrays: the one form in which training, serving and row SQL see values.

Numbers, integers and booleans are float64 with NaN for missing (a boolean is 0 or 1), categories
and texts are object arrays of str with None, times are datetime64[us] in UTC with NaT. What a text
means as a number, a truth or a time is decided by the expressions here, for files and requests
alike; anything else, such as `1,234` or `03/04/2013`, is refused rather than guessed.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from loopline.errors import DataError

if TYPE_CHECKING:
    import polars as pl

Columns = dict[str, np.ndarray]
"""Column to values, all of one length."""

SPACE = (
    " \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What is stripped: Unicode's white space, as in polars; Python's strip takes four signs more."""
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
WHOLE = r"^([+-]?[0-9]+)\.0+$"
"""A whole number as tools write it after a column had a gap: 5.0 is the category 5."""
TIME = (
    r"^([1-9][0-9]{3})[-/]([0-9]{1,2})[-/]([0-9]{1,2})"
    r"(?:[T ]+([0-9]{1,2}):([0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]{1,6})[0-9]*)?)?"
    r" *(?:Z|UTC|GMT|([+-])([0-2][0-9]):?([0-5][0-9])?)?)?$"
)
"""Year first, as ISO 8601 and databases write it; without an offset it is UTC."""
TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})

_NUMBER, _WHOLE, _TIME = re.compile(NUMBER), re.compile(WHOLE), re.compile(TIME)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
BEYOND_INTEGERS = 2.0**63
NAT = np.iinfo(np.int64).min
"""The integer inside numpy's NaT."""


def unused(name: str, taken: Iterable[str]) -> str:
    """Return `name`, after as many underscores as no column of `taken` is called, in any case."""
    lowered = {other.lower() for other in taken}
    while name.lower() in lowered:
        name = f"_{name}"
    return name


def canonical_text(value: Any) -> str | None:
    """Return `value` as the text of a category: 5, 5.0 and "5.0" are `5`, True is `true`."""
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT differ from themselves
        return None
    if isinstance(value, str):
        text = value.strip(SPACE)
        return whole[1] if text.endswith("0") and (whole := _WHOLE.match(text)) else text
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    if isinstance(value, datetime):
        return _utc(value).isoformat().replace("+00:00", "Z")
    return str(value)


def parse_number(text: str) -> float | None:
    """Return the number that `text` writes, or None where it writes none or one too large."""
    number = float(text) if _NUMBER.match(text) else np.inf
    return number if abs(number) != np.inf else None


def parse_time(text: str) -> int | None:
    """Return the microseconds since 1970 in UTC that `text` writes, or None."""
    match = _TIME.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction = int((match[7] or "").ljust(6, "0"))
    try:
        moment = datetime(year, month, day, hour, minute, second, fraction, tzinfo=UTC)
    except ValueError:
        return None
    offset = int(match[9] or 0) * 60 + int(match[10] or 0)
    microseconds = (moment - _EPOCH) // _MICROSECOND
    return microseconds - (-offset if match[8] == "-" else offset) * 60_000_000


@lru_cache(maxsize=64)
def missing_numbers(missing: tuple[str, ...]) -> frozenset[float]:
    """Return the numbers among the texts that mean missing: where `-999` does, so does -999."""
    numbers = (parse_number(text) for text in missing)
    return frozenset(number for number in numbers if number is not None)


def from_values(
    name: str, values: Sequence[object], kind: str, missing: Collection[str] = ()
) -> np.ndarray:
    """Return a request's `values` as the column `name` of contract type `kind`.

    A text is stripped, and is missing when it is among `missing`; None and NaN are missing.

    Raises:
        DataError: a value cannot be one of `kind`; the message names its place.
    """
    filler, dtype = _FORMS[kind]
    read = [from_value(name, raw, kind, missing, place) for place, raw in enumerate(values)]
    column = np.empty(len(read), dtype)
    column[:] = [filler if value is None else value for value in read]
    return column.view("datetime64[us]") if kind == "time" else column


def from_value(
    name: str, raw: object, kind: str, missing: Collection[str] = (), place: int = 0
) -> Any:
    """Return the one value that `from_values` makes of `raw`: None where it is missing.

    A time is its microseconds. For a request's one row, where an array around each value costs
    more than the model.

    Raises:
        DataError: `raw` cannot be one of `kind`; the message names it by its `place`.
    """
    if isinstance(raw, str):
        value: Any = raw.strip(SPACE)
        if value in missing:
            return None
    else:
        value = raw
        if raw is None or raw != raw or _is_in(raw, missing_numbers(tuple(missing))):  # noqa: PLR0124
            return None
    converted = _CONVERT[kind](value)
    if converted is None:
        raise DataError(f"{name}[{place}] is {raw!r:.60}, but {name} is {_ARTICLES[kind]}.")
    return converted


def from_frame(frame: "pl.DataFrame", types: Mapping[str, str]) -> Columns:
    """Return the columns of `frame` that `types` names, in that order."""
    import polars as pl

    columns: Columns = {}
    for name, kind in types.items():
        series = frame.get_column(name)
        if kind in {"number", "integer", "boolean"}:
            columns[name] = series.cast(pl.Float64).to_numpy()
        elif kind == "time":
            naive = series.dt.replace_time_zone(None) if series.dtype != pl.Null else series
            columns[name] = naive.cast(pl.Datetime("us")).to_numpy()
        else:
            columns[name] = _objects(series.cast(pl.String))
    return columns


def _objects(texts: "pl.Series") -> np.ndarray:
    """Return `texts` as objects, equal ones as one object: a tenth of the time and the memory."""
    import polars as pl

    distinct = texts.drop_nulls().unique()
    if len(distinct) > len(texts) // 10:
        return np.asarray(texts.to_numpy(), dtype=object)
    places = texts.cast(pl.Enum(distinct)).to_physical().fill_null(len(distinct))
    objects = np.array([*distinct, None], dtype=object)
    return objects.take(places.to_numpy())


def _is_in(value: object, numbers: frozenset[float]) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value in numbers


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return parse_number(value)
    if not isinstance(value, int | float | np.number) or abs(value) == np.inf:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _integer(value: Any) -> float | None:
    number = _number(value)
    fits = number is not None and number.is_integer() and abs(number) < BEYOND_INTEGERS
    return number if fits else None


def _boolean(value: Any) -> float | None:
    text = (canonical_text(value) or "").lower()
    return 1.0 if text in TRUE else 0.0 if text in FALSE else None


def _category(value: Any) -> str | None:
    return None if isinstance(value, list | dict | bytes) else canonical_text(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else _category(value)


def _time(value: Any) -> int | None:
    if isinstance(value, datetime):
        return (_utc(value) - _EPOCH) // _MICROSECOND
    if isinstance(value, date):
        return (value - _EPOCH.date()) // _MICROSECOND
    return parse_time(value) if isinstance(value, str) else None


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "category": _category,
    "text": _text,
    "time": _time,
}
_FORMS: dict[str, tuple[Any, Any]] = {
    "number": (np.nan, np.float64),
    "integer": (np.nan, np.float64),
    "boolean": (np.nan, np.float64),
    "category": (None, object),
    "text": (None, object),
    "time": (NAT, np.int64),
}
"""Kind to what stands for missing in an array, and the array's type; times become datetime64."""
_ARTICLES = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "category": "a category: a text or a number",
    "text": "a text",
    "time": "a time such as 2013-04-01T06:30:00Z",
}
