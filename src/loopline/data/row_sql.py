"""The contract's row SQL, parsed into steps: one meaning in training, serving and at scale.

`parse` needs sqlglot and runs once, where a contract is read; what it returns is plain JSON that
`evaluate` runs with numpy alone. Everything is checked here, types included, so that a parsed
expression cannot fail on a row. docs/reference/row-sql.md is the reference for users.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loopline.data.row_builder import Builder
from loopline.data.row_grammar import RULES
from loopline.data.row_steps import evaluate
from loopline.errors import RowSqlError

__all__ = ["Expression", "evaluate", "names", "parse"]

_LONGEST = 10_000
_TYPES = {"number": "number", "logic": "boolean", "text": "category", "time": "time"}


@dataclass(frozen=True)
class Expression:
    """One row SQL expression, checked and parsed."""

    sql: str
    type: str
    """What it gives: number, boolean, category (a text) or time."""
    columns: tuple[str, ...]
    """The columns it reads, in the order it names them."""
    steps: list[list[Any]]
    """What `evaluate` runs."""


def parse(sql: str, types: Mapping[str, str]) -> Expression:
    """Check `sql` against columns of the contract types `types`, and make its steps.

    Raises:
        RowSqlError: it is not row SQL; the message names the place and what to write.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(sql) > _LONGEST:
        raise RowSqlError(f"Row SQL of {len(sql)} characters; at most {_LONGEST} are read.")
    builder = Builder(sql, types, RULES)
    try:
        node = sqlglot.parse_one(sql, dialect="duckdb")
        answer = builder.settled(builder.build(node), "number")
        if answer.kind == "logic":
            answer = builder.step("flag", [answer], kind="logic")
    except SqlglotError as error:
        raise RowSqlError(_syntax(sql, error)) from error
    except RecursionError as error:
        raise RowSqlError(f"Row SQL '{sql[:40]}...' is nested too deeply.") from error
    columns, steps = tuple(builder.columns), _needed(builder.steps, answer.place)
    return Expression(sql, _TYPES[answer.kind], columns, steps)


def _needed(steps: list[list[Any]], answer: int) -> list[list[Any]]:
    """Return the steps that `answer` rests on; literals that became a parameter fall away."""
    needed, waiting = set(), [answer]
    while waiting:
        place = waiting.pop()
        needed.add(place)
        waiting += [place for place in steps[place][1] if place not in needed]
    moved = {place: number for number, place in enumerate(sorted(needed))}
    return [
        [operation, [moved[place] for place in inputs], *parameters]
        for operation, inputs, *parameters in (steps[place] for place in sorted(needed))
    ]


def _syntax(sql: str, error: Exception) -> str:
    details = (getattr(error, "errors", None) or [{}])[0]
    if not sql.strip():
        return "Row SQL is empty. Write an expression such as `distance > 1000`."
    found = details.get("highlight")
    lines = sql.splitlines()[: int(details.get("line") or 1) - 1]
    place = sum(len(line) + 1 for line in lines) + int(details.get("col") or 0)
    near = f" near '{found}', position {place - len(found) + 1}" if found else ""
    return (
        f"Row SQL `{sql}` cannot be read{near}. Write one expression such as `distance > 1000`, "
        f'with odd column names in double quotes ("odd name") and texts in single ones.'
    )


def names(sql: str) -> tuple[str, ...]:
    """Return the columns that `sql` names, without asking whether there are such columns.

    Raises:
        RowSqlError: it is not SQL at all.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        node = sqlglot.parse_one(sql[:_LONGEST], dialect="duckdb")
    except (SqlglotError, RecursionError) as error:
        raise RowSqlError(_syntax(sql, error)) from error
    return tuple(dict.fromkeys(column.name for column in node.find_all(exp.Column, bfs=False)))
