"""A pandera schema written as a suite of SQL: no Python of the schema's runs with the data then.

Each check becomes one query that selects the rows that are wrong, named after it. What SQL over
single rows or groups of equal values cannot say (functions of the team's own, orders, tests of
whole columns) is not written, and told, rather than written as something near it. A type is for
the contract's `columns` to say.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

_CANNOT = "SQL of rows cannot say it"


class _CannotError(Exception):
    """Why a check is not written."""


@dataclass(frozen=True)
class Translated:
    """What a schema comes to."""

    queries: tuple[tuple[str, str], ...]
    """Each check's name, and the query that selects what is wrong."""
    left: tuple[str, ...]
    """What is not written, and why."""
    types: dict[str, str]
    """Column to the contract's type for it, where one says the same."""

    @property
    def sql(self) -> str:
        """The suite as a file."""
        return "\n".join(f"-- {name}\n{query};\n" for name, query in self.queries)


def translate(schema: Any) -> Translated:
    """Return the checks of a pandera schema as SQL."""
    queries: list[tuple[str, str]] = []
    left: list[str] = []
    types: dict[str, str] = {}
    for name, column in schema.columns.items():
        if getattr(column, "regex", False):
            left.append(f"{name!r} names columns by a pattern; name each of them.")
            continue
        kind = _type(column.dtype)
        if kind is not None:
            types[name] = kind
        if not column.required:
            left.append(f"{name} may be absent, and a suite's columns may not.")
            continue
        for what, query in _column(name, column, left):
            queries.append((_line(f"{name}: {what}"), query))
    for columns in _together(schema.unique):
        named = ", ".join(columns)
        queries.append((_line(f"{named}: unique together"), _repeated(columns)))
    left += [f"{_said(check)}, of the whole table: {_CANNOT}." for check in schema.checks]
    if schema.strict:
        left.append("that there is no other column: the contract's columns say what there is.")
    if getattr(schema, "ordered", False):
        left.append("the order of the columns: nothing here reads by it.")
    return Translated(tuple(queries), tuple(map(_line, left)), types)


def _column(name: str, column: Any, left: list[str]) -> Iterator[tuple[str, str]]:
    quoted = _name(name)
    if not column.nullable:
        yield "not_nullable", _wrong(f"{quoted} is null")
    if column.unique:
        yield "field_uniqueness", _repeated([name])
    for check in column.checks:
        try:
            if getattr(check, "raise_warning", False):
                raise _CannotError("it only warns; write it into a suite with `on_fail: warn`")
            fails = _fails(quoted, check)
        except _CannotError as why:
            left.append(f"{name}: {_said(check)}: {why}.")
            continue
        if not check.ignore_na:
            fails = f"{fails} or {quoted} is null"
        yield _said(check), _wrong(fails)


def _fails(x: str, check: Any) -> str:
    """Return the condition of the rows that fail a check; a missing value never does."""
    say = _SAID.get(check.name)
    if say is None or not check.statistics or check.groupby is not None:
        raise _CannotError(_CANNOT)
    return say(x, check.statistics)


def _range(x: str, told: Mapping[str, Any]) -> str:
    low = ">=" if told["include_min"] else ">"
    high = "<=" if told["include_max"] else "<"
    least, most = _value(told["min_value"]), _value(told["max_value"])
    return f"not ({x} {low} {least} and {x} {high} {most})"


def _length(x: str, told: Mapping[str, Any]) -> str:
    low, high, exact = told["min_value"], told["max_value"], told.get("exact_value")
    parts = [] if low is None else [f"length({x}) >= {_value(low)}"]
    parts += [] if high is None else [f"length({x}) <= {_value(high)}"]
    parts = parts if exact is None else [f"length({x}) = {_value(exact)}"]
    return f"not ({' and '.join(parts)})"


def _among(x: str, values: Any) -> str:
    known = [_value(each) for each in values if each is not None]
    if not known:
        raise _CannotError("it names no value")
    return f"{x} in ({', '.join(known)})"


def _compared(operator: str, key: str) -> Callable[[str, Mapping[str, Any]], str]:
    return lambda x, told: f"not ({x} {operator} {_value(told[key])})"


def _pattern(x: str, pattern: Any) -> str:
    if not isinstance(pattern, str):
        raise _CannotError("its pattern is no text")
    return f"not ({x} ~ {_value(pattern)})"


_SAID: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "greater_than": _compared(">", "min_value"),
    "greater_than_or_equal_to": _compared(">=", "min_value"),
    "less_than": _compared("<", "max_value"),
    "less_than_or_equal_to": _compared("<=", "max_value"),
    "equal_to": _compared("=", "value"),
    "not_equal_to": _compared("<>", "value"),
    "in_range": _range,
    "isin": lambda x, told: f"not ({_among(x, told['allowed_values'])})",
    "notin": lambda x, told: _among(x, told["forbidden_values"]),
    "str_length": _length,
    "str_startswith": lambda x, told: f"not starts_with({x}, {_value(told['string'])})",
    "str_endswith": lambda x, told: _pattern(x, f"(?:{re.escape(told['string'])})$"),
    "str_contains": lambda x, told: _pattern(x, told["pattern"]),
    "str_matches": lambda x, told: _pattern(x, f"^(?:{told['pattern']})"),
}
"""Pandera's own checks, by their names."""


def _wrong(fails: str) -> str:
    return f"select * from data where {fails}"  # noqa: S608 - of names and values written by us


def _repeated(columns: list[str]) -> str:
    named = ", ".join(map(_name, columns))
    return f"select {named} from data group by {named} having count(*) > 1"  # noqa: S608 - as above


def _together(unique: Any) -> list[list[str]]:
    """Return which columns must be unique together: a list of names, or of lists of them."""
    if not unique:
        return []
    groups = [unique] if isinstance(unique[0], str) else unique
    return [list(group) for group in groups]


def _value(value: Any) -> str:
    """Return a value as SQL writes it."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and isfinite(value):
        return repr(value)
    if isinstance(value, str):
        if "\x00" in value:
            raise _CannotError("a text in it has a zero character")
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return f"cast('{moment.astimezone(UTC).isoformat(sep=' ')}' as timestamptz)"
    if isinstance(value, date):
        return f"cast('{value.isoformat()} 00:00:00+00:00' as timestamptz)"
    raise _CannotError(f"it names {value!r:.60}, which SQL here has no way to write")


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _said(check: Any) -> str:
    return str(check.error or check.name)


def _line(text: str) -> str:
    """Return a text on one line, which ends no comment."""
    return " ".join("".join(s if s.isprintable() else " " for s in text).split())


def _type(dtype: Any) -> str | None:
    said = str(dtype).lower()
    for kind, beginnings in (
        ("integer", ("int", "uint")),
        ("number", ("float", "decimal")),
        ("boolean", ("bool",)),
        ("time", ("datetime", "date")),
        ("category", ("string", "str", "object", "categorical", "enum")),
    ):
        if said.startswith(beginnings):
            return kind
    return None
