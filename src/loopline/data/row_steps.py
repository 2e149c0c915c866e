"""Evaluates parsed row SQL: numpy alone, the same for one row and for a million.

A parsed expression is a list of steps `[operation, [earlier steps], parameter...]`, plain JSON, and
the last step is the answer. Truth inside is an int8 that is 1 for true, -1 for false and 0 for
unknown, so SQL's `and`, `or` and `not` are the minimum, the maximum and the sign. Constants have
length one and broadcast. A number that is not finite (a division by zero, an overflow, the
logarithm of nothing) is missing.
"""

import re
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import lru_cache
from typing import Any

import numpy as np

from loopline.data.columns import SPACE, Columns, canonical_text, parse_number

Array = Any
"""A numpy array of one of the column types, or of truth."""

_MONTHS = {"year": 12, "quarter": 3, "month": 1}
# Arrays, since a Python int costs an operation on one row as much again.
_MICROSECONDS = {
    "day": np.array([86_400_000_000]),
    "hour": np.array([3_600_000_000]),
    "minute": np.array([60_000_000]),
    "second": np.array([1_000_000]),
}
_IN_A = {"hour": np.array([24]), "minute": np.array([60]), "second": np.array([60])}
_FLAGS = np.array([np.nan, 1.0, 0.0])  # indexed by 0, 1 and -1
_SURE = np.array([-1, 1], dtype=np.int8)
_NULLS: dict[str, tuple[object, Any]] = {
    "number": (np.nan, np.float64),
    "text": (None, object),
    "time": ("NaT", "datetime64[us]"),
    "logic": (0, np.int8),
}


def evaluate(steps: Sequence[Sequence[Any]], columns: Columns, rows: int) -> np.ndarray:
    """Run `steps` over `columns`; a truth comes back as float64 1, 0 or NaN.

    Raises:
        KeyError: a column is not there.
    """
    answer: np.ndarray = _QUIET.copy().run(_run, steps, columns)
    return answer if len(answer) == rows else np.repeat(answer, rows)


def _run(steps: Sequence[Sequence[Any]], columns: Columns) -> Array:
    found: list[Array] = []
    for operation, inputs, *parameters in steps:
        if operation == "column":
            found.append(columns[parameters[0]])
        else:
            apply = _OPERATIONS[operation]
            found.append(apply(*[found[place] for place in inputs], *parameters))
    return found[-1]


# Where a division by zero is no warning. A copy of it is entered in 0.2 us, np.errstate in 1.3.
_QUIET = copy_context()
_QUIET.run(np.seterr, all="ignore")


@lru_cache(maxsize=4096, typed=True)
def _constant(value: object, kind: str) -> Array:
    filler, dtype = _NULLS[kind]
    array = np.array([filler if value is None else value], dtype=dtype)
    array.flags.writeable = False
    return array


# Numbers


def _finite(numbers: Array) -> Array:
    return numbers + (numbers - numbers)  # infinity minus itself is NaN; -0.0 becomes 0.0


def _power(base: Array, exponent: Array) -> Array:
    # To numpy the zeroth power of missing is 1, and so is any power of 1.
    return _finite(np.power(base, exponent)) + (base - base) + (exponent - exponent)


def _round(numbers: Array, digits: int) -> Array:
    scale = 10.0**digits
    size = np.abs(numbers) * scale
    whole = np.floor(size)
    rounded = np.copysign(whole + (size - whole >= 0.5), numbers) / scale + 0.0
    return np.where(size < 2**53, rounded, numbers)  # beyond it every number is whole


# Truth


def _compare(holds: Array, fails: Array) -> Array:
    return holds.view(np.int8) - fails.view(np.int8)


def _less(left: Array, right: Array) -> Array:
    return _compare(np.less(left, right), np.greater_equal(left, right))


def _less_equal(left: Array, right: Array) -> Array:
    return _compare(np.less_equal(left, right), np.greater(left, right))


def _equal(left: Array, right: Array) -> Array:
    at_most, at_least = np.less_equal(left, right), np.greater_equal(left, right)
    return _compare(at_most & at_least, at_most ^ at_least)


def _sure(facts: Array) -> Array:
    return _SURE.take(facts)


def _case(*choices: Array) -> Array:
    """Conditions and values in turn, then the value for none of them."""
    answer = choices[-1]
    for place in range(len(choices) - 3, -1, -2):
        answer = np.where(choices[place] > 0, choices[place + 1], answer)
    return answer


# Texts: one pass in Python, since numpy's own string functions do not know a missing one.


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _texts(texts: Array, function: Callable[[str], str]) -> Array:
    return _objects([None if text is None else function(text) for text in texts.tolist()])


def _numbers(texts: Array, function: Callable[[str], float | None]) -> Array:
    found = [None if text is None else function(text) for text in texts.tolist()]
    return np.array(found, dtype=np.float64)


def _truths(texts: Array, function: Callable[[str], Any]) -> Array:
    found = [0 if text is None else 1 if function(text) else -1 for text in texts.tolist()]
    return np.array(found, dtype=np.int8)


def _in_step(*arrays: Array) -> list[list[Any]]:
    lengths = [len(array) for array in arrays]
    rows = 0 if 0 in lengths else max(lengths)
    return [array.tolist() * (1 if len(array) == rows else rows) for array in arrays]


def _compare_texts(left: Array, right: Array, holds: Callable[[str, str], bool]) -> Array:
    if len(right) == 1 and right[0] is not None:
        known = right[0]
        return _truths(left, lambda text: holds(text, known))
    pairs = zip(*_in_step(left, right), strict=True)
    found = [0 if a is None or b is None else 1 if holds(a, b) else -1 for a, b in pairs]
    return np.array(found, dtype=np.int8)


def _join(*texts: Array) -> Array:
    rows = zip(*_in_step(*texts), strict=True)
    return _objects([None if None in row else "".join(row) for row in rows])


def _concat(*texts: Array) -> Array:
    rows = zip(*_in_step(*texts), strict=True)
    return _objects(["".join([part for part in row if part is not None]) for row in rows])


def _substring(texts: Array, start: int, length: int | None) -> Array:
    end = None if length is None else start - 1 + length
    return _texts(texts, lambda text: text[start - 1 : end])


def _trim(texts: Array, side: str, characters: str) -> Array:
    strip = {"both": str.strip, "leading": str.lstrip, "trailing": str.rstrip}[side]
    return _texts(texts, lambda text: strip(text, characters))


@lru_cache(maxsize=1024)
def like_expression(pattern: str, escape: str | None, ignores_case: bool) -> re.Pattern[str]:
    """Return LIKE's `pattern` as a regular expression that never searches twice.

    The first place where a piece between two `%` fits is always right, so each piece is an atomic
    group: a hostile text costs no more than its length times the pattern's.
    """
    pieces, characters = [""], iter(pattern)
    for character in characters:
        if character == escape:
            pieces[-1] += re.escape(next(characters, ""))
        elif character == "%":
            pieces.append("")
        else:
            pieces[-1] += "." if character == "_" else re.escape(character)
    first, *rest = pieces
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1] if piece)
    last = f".*{rest[-1]}" if rest else ""
    flags = re.DOTALL | (re.IGNORECASE if ignores_case else 0)
    return re.compile(f"{first}{middle}{last}", flags)


# Times


def _day_number(times: Array) -> Array:
    return np.floor_divide(times.view(np.int64), _MICROSECONDS["day"])


def _iso_week(days: Array) -> Array:
    thursday = days - (days + 3) % 7 + 3
    new_year = thursday.view("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]")
    return (thursday - new_year.view(np.int64)) // 7 + 1


def _part(times: Array, part: str) -> Array:
    instants = times.view(np.int64)
    if part in _MONTHS:
        months = times.astype("datetime64[M]").view(np.int64)
        values = months // 12 + 1970 if part == "year" else months % 12 // _MONTHS[part] + 1
    elif part == "epoch":
        values = instants / 1e6
    elif part in _IN_A:
        values = instants // _MICROSECONDS[part] % _IN_A[part]
    else:
        values = _day_part(_day_number(times), part)
    return np.where(np.isnat(times), np.nan, values)


def _day_part(days: Array, part: str) -> Array:
    if part == "dow":
        return (days + 4) % 7
    if part == "isodow":
        return (days + 3) % 7 + 1
    if part == "week":
        return _iso_week(days)
    unit = "datetime64[Y]" if part == "doy" else "datetime64[M]"
    first = days.view("datetime64[D]").astype(unit).astype("datetime64[D]").view(np.int64)
    return days - first + 1


def _boundary(times: Array, unit: str) -> Array:
    if unit in _MONTHS:
        return times.astype("datetime64[M]").view(np.int64) // _MONTHS[unit]
    if unit == "week":
        return (_day_number(times) + 3) // 7
    return np.floor_divide(times.view(np.int64), _MICROSECONDS[unit])


def _date_diff(start: Array, end: Array, unit: str) -> Array:
    missing = np.isnat(start) | np.isnat(end)
    return np.where(missing, np.nan, _boundary(end, unit) - _boundary(start, unit))


_LIKES: dict[str, Callable[..., Array]] = {
    "lt": lambda a, b: _compare_texts(a, b, str.__lt__),
    "le": lambda a, b: _compare_texts(a, b, str.__le__),
    "eq": lambda a, b: _compare_texts(a, b, str.__eq__),
}
_OPERATIONS: dict[str, Callable[..., Array]] = {
    "number": lambda value: _constant(value, "number"),
    "text": lambda value: _constant(value, "text"),
    "time": lambda value: _constant(value, "time"),
    "logic": lambda value: _constant(value, "logic"),
    "null": lambda kind: _constant(None, kind),
    "add": lambda a, b: _finite(np.add(a, b)),
    "subtract": lambda a, b: _finite(np.subtract(a, b)),
    "multiply": lambda a, b: _finite(np.multiply(a, b)),
    "divide": lambda a, b: _finite(np.divide(a, b)),
    "modulo": np.fmod,
    "negate": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "truncate": np.trunc,
    "round": _round,
    "exp": lambda a: _finite(np.exp(a)),
    "ln": lambda a: _finite(np.log(a)),
    "log10": lambda a: _finite(np.log10(a)),
    "sqrt": np.sqrt,
    "power": _power,
    "least": np.fmin,
    "greatest": np.fmax,
    "lt": _less,
    "le": _less_equal,
    "eq": _equal,
    **{f"text_{name}": function for name, function in _LIKES.items()},
    "and": np.minimum,
    "or": np.maximum,
    "not": np.negative,
    "truth": lambda flags: _compare(np.greater(flags, 0), np.less_equal(flags, 0)),
    "flag": _FLAGS.take,
    "is_true": lambda truths: _sure(truths > 0),
    "is_null_number": lambda a: _sure(np.isnan(a)),
    "is_null_time": lambda a: _sure(np.isnat(a)),
    "is_null_text": lambda a: _sure(np.array([text is None for text in a.tolist()], dtype=bool)),
    "is_null_logic": lambda a: _sure(a == 0),
    "case": _case,
    "among": lambda texts, known: _truths(texts, frozenset(known).__contains__),
    "like": lambda texts, *how: _truths(texts, like_expression(*how).fullmatch),
    "starts_with": lambda texts, start: _truths(texts, lambda text: text.startswith(start)),
    "ends_with": lambda texts, end: _truths(texts, lambda text: text.endswith(end)),
    "contains": lambda texts, part: _truths(texts, lambda text: part in text),
    "lower": lambda texts: _texts(texts, str.lower),
    "upper": lambda texts: _texts(texts, str.upper),
    "trim": _trim,
    "length": lambda texts: _numbers(texts, len),
    "substring": _substring,
    "replace": lambda texts, old, new: _texts(texts, lambda text: text.replace(old, new)),
    "join": _join,
    "concat": _concat,
    "text_to_number": lambda texts: _numbers(texts, lambda text: parse_number(text.strip(SPACE))),
    "number_to_text": lambda a: _objects([canonical_text(value) for value in a.tolist()]),
    "logic_to_number": _FLAGS.take,
    "logic_to_text": lambda truths: _objects([(None, "true", "false")[t] for t in truths.tolist()]),
    "part": _part,
    "date_diff": _date_diff,
}
