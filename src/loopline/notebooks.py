"""How a record looks in a notebook: a table of its fields, everything in it escaped."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any

_ROWS = 30
"""Of a list within a record; how many more there are is said."""
_SIGNS = 400
"""Of one text."""


class Shown:
    """A record that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return table(self)


def table(record: Any) -> str:
    """Return a record, or a mapping, as an HTML table of its fields and their values."""
    rows = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{_text(name)}</th>'
        f'<td style="text-align:left">{_cell(value)}</td></tr>'
        for name, value in _fields(record)
    )
    title = (
        "" if isinstance(record, Mapping) else f"<caption>{_text(type(record).__name__)}</caption>"
    )
    return f"<table>{title}{rows}</table>"


def rows_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under their heads as an HTML table, all of them."""
    lines = [("th", heads), *(("td", row) for row in rows)]
    body = "".join(
        f"<tr>{''.join(_left(tag, _text(cell)) for cell in line)}</tr>" for tag, line in lines
    )
    return f"<table>{body}</table>"


def _left(tag: str, content: str) -> str:
    return f'<{tag} style="text-align:left">{content}</{tag}>'


def _fields(record: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(record, Mapping):
        yield from ((str(name), value) for name, value in record.items())
    elif is_dataclass(record):
        yield from ((each.name, getattr(record, each.name)) for each in fields(record))
    else:  # the contract's parts; what it does not say stays out
        yield from ((name, getattr(record, name)) for name in sorted(record.model_fields_set))


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping) or is_dataclass(value) or hasattr(value, "model_fields_set")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and type(value) is float:
        return f"{value:.6g}"
    if _is_record(value):
        return table(dict(_fields(value))) if not isinstance(value, Mapping) or value else ""
    if isinstance(value, list | tuple | set | frozenset):
        return _list(list(value))
    return _text(value)


def _list(values: Sequence[Any]) -> str:
    more = f"<p>{len(values) - _ROWS:,} more</p>" if len(values) > _ROWS else ""
    shown = values[:_ROWS]
    if not shown or not all(_is_record(value) for value in shown):
        return ", ".join(map(_cell, shown)) + more
    rows = [dict(_fields(value)) for value in shown]
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in names)}</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>{more}"


def _text(value: Any) -> str:
    text = str(value)
    return escape(text if len(text) <= _SIGNS else f"{text[:_SIGNS]}…")
