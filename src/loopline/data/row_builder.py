"""Builds the steps of one row SQL expression from sqlglot's tree."""

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from loopline.data.columns import canonical_text, parse_time
from loopline.errors import RowSqlError

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

_KINDS = {
    "number": "number", "integer": "number", "boolean": "logic", "category": "text",
    "text": "text", "time": "time",
}  # fmt: skip
_CLOCKS = {"now()", "today()", "getdate()", "get_current_time()", "get_current_timestamp()"}
_FICKLE = ("Current", "Localtime", "Rand", "Uuid")
_WORDS = {"number": "a number", "logic": "true or false", "text": "a text", "time": "a time"}


@dataclass(frozen=True)
class Value:
    """A step's place in the list, and the kind of value it gives."""

    place: int
    kind: str
    """number, logic, text, time or null (which is whatever its neighbours are)."""


Rule = tuple[frozenset[str], Callable[["Builder", "Node"], Value]]
"""The arguments of a node that row SQL understands, and what makes its steps."""


class Builder:
    """Turns sqlglot's tree into steps, and refuses what row SQL does not have."""

    def __init__(self, sql: str, types: Mapping[str, str], rules: Mapping[str, Rule]) -> None:
        self.sql = sql
        self.types = types
        self.rules = rules
        self.steps: list[list[Any]] = []
        self.columns: dict[str, None] = {}
        self._places: dict[str, int] = {}

    def step(
        self, operation: str, inputs: Sequence[Value], *parameters: object, kind: str
    ) -> Value:
        """Add one step, or find the equal one there is."""
        step: list[Any] = [operation, [value.place for value in inputs], *parameters]
        place = self._places.setdefault(json.dumps(step), len(self.steps))
        if place == len(self.steps):
            self.steps.append(step)
        return Value(place, kind)

    def build(self, node: "Node") -> Value:
        """Return the value of `node`, whatever its kind."""
        rule = self.rules.get(type(node).__name__)
        if rule is None:
            self.unknown(node)
        understood, make = rule
        for argument, value in node.args.items():
            if argument not in understood and value:
                self.refuse(node, f"{self.called(node)} with {argument} is not part of row SQL")
        return make(self, node)

    def of(self, kind: str, node: "Node") -> Value:
        """Return the value of `node`, which must be of `kind`."""
        value = self.build(node)
        if value.kind == "null":
            return self.step("null", [], kind, kind=kind)
        if value.kind != kind:
            self.refuse(node, f"{self.text_of(node)} is {_WORDS[value.kind]}, not {_WORDS[kind]}")
        return value

    def settled(self, value: Value, kind: str) -> Value:
        """Return `value`, a null as one of `kind`."""
        return self.step("null", [], kind, kind=kind) if value.kind == "null" else value

    def alike(self, nodes: Sequence["Node"], *, equated: bool = False) -> list[Value]:
        """Return the values of `nodes`, all of one kind; literals take the columns' side.

        Where they are `equated`, a number or a truth may name a category: `zone = 5`.
        """
        values = [self.build(node) for node in nodes]
        kinds = [value.kind for value in values if value.kind != "null"]
        kind = kinds[0] if kinds else "number"
        if any(other != kind for other in kinds):
            plain = [v.kind for v in values if v.kind != "null" and not self.is_constant(v)]
            kind = plain[0] if plain else kind
        adapted = []
        for value, node in zip(values, nodes, strict=True):
            fitting = self._adapt(self.settled(value, kind), kind)
            renamed = kind == "text" and value.kind in {"number", "logic"}
            if fitting is None or (renamed and not equated):
                self.refuse(
                    node,
                    f"{self.text_of(node)} is {_WORDS[value.kind]} beside {_WORDS[kind]}"
                    + _conversion(value.kind, kind),
                )
            adapted.append(fitting)
        return adapted

    def is_constant(self, value: Value) -> bool:
        """Tell whether `value` is a literal."""
        return self.steps[value.place][0] in {"number", "text", "time", "logic"}

    def literal(self, value: Value) -> Any:
        """Return what the literal `value` says."""
        return self.steps[value.place][2]

    def _adapt(self, value: Value, kind: str) -> Value | None:
        """Return the literal `value` as one of `kind` where both plainly mean the same."""
        if value.kind == kind:
            return value
        if value.kind == "logic" and kind == "number" and not self.is_constant(value):
            return self.step("logic_to_number", [value], kind="number")
        if not self.is_constant(value):
            return None
        said = self.literal(value)
        if kind == "text" and value.kind in {"number", "logic"}:
            said = (None, "true", "false")[said] if value.kind == "logic" else canonical_text(said)
            return self.step("text", [], said, kind="text")
        if kind == "time" and value.kind == "text":
            instant = parse_time(said)
            return None if instant is None else self.step("time", [], instant, kind="time")
        if kind == "logic" and value.kind == "number" and said in {0, 1}:
            return self.step("logic", [], 1 if said else -1, kind="logic")
        return None

    def text_literal(self, node: "Node", what: str) -> str:
        """Return the text that `node` must write."""
        value = self.of("text", node)
        if not self.is_constant(value):
            self.refuse(node, f"{what} is a text in quotes, the same for every row")
        text: str = self.literal(value)
        return text

    def whole_literal(self, node: "Node", what: str, low: int, high: int) -> int:
        """Return the whole number that `node` must write."""
        value = self.of("number", node)
        number = self.literal(value) if self.is_constant(value) else math.nan
        if not (low <= number <= high and number == int(number)):
            self.refuse(node, f"{what} is a whole number from {low} to {high}")
        return int(number)

    def column(self, node: "Node") -> Value:
        """Return the column that `node` names."""
        name = node.name
        if node.args.get("table") is not None:
            self.refuse(node, f'a column is written alone, and one with a dot as "{node.sql()}"')
        if name not in self.types:
            near = [other for other in self.types if other.startswith(f"{name}-")]
            near += difflib.get_close_matches(name, self.types, n=1, cutoff=0.5)
            known = near[0] if near else ", ".join(list(self.types)[:8])
            written = f'"{known}"' if near and not known.isidentifier() else known
            hint = f"Did you mean {written}?" if near else f"Columns there: {written}."
            self.refuse(node, f"there is no column '{name}'. {hint}")
        self.columns[name] = None
        kind = _KINDS[self.types[name]]
        if kind != "logic":
            return self.step("column", [], name, kind=kind)
        flags = self.step("column", [], name, kind="number")
        return self.step("truth", [flags], kind="logic")

    def text_of(self, node: "Node") -> str:
        """Return `node` as people write it."""
        return f"`{node.sql(dialect='duckdb')}`"

    def called(self, node: "Node") -> str:
        """Return the function that `node` calls, or the name of its construct."""
        if "start" not in node.meta:
            return type(node).__name__.lower()
        return f"{self.sql[node.meta['start'] : node.meta['end'] + 1]}()"

    def unknown(self, node: "Node") -> NoReturn:
        """Raise because `node` is not part of row SQL.

        Raises:
            RowSqlError: always.
        """
        self.refuse(node, _reason(node, self.called(node)))

    def refuse(self, node: "Node", reason: str) -> NoReturn:
        """Raise, naming the place of `node`.

        Raises:
            RowSqlError: always.
        """
        starts = [found.meta["start"] for found in node.walk() if "start" in found.meta]
        place = f" at position {min(starts) + 1}" if starts else ""
        end = "" if reason.endswith((".", "?")) else "."
        raise RowSqlError(f"Row SQL `{self.sql}`{place}: {reason}{end}")


def rule(make: Callable[..., Value], *arguments: str) -> Rule:
    """Return `make` as a rule that understands the usual arguments of a node, and `arguments`."""
    return frozenset({"this", "expression", "expressions", *arguments}), make


def operands(node: "Node") -> list["Node"]:
    """Return what `node` works on, in the order it is written."""
    first = [node.this] if node.args.get("this") is not None else []
    last = node.args.get("expression")
    return [*first, *node.expressions, *([] if last is None else [last])]


def apply(operation: str, takes: str, gives: str, builder: Builder, node: "Node") -> Value:
    """Add the step `operation`, whose operands are all of the kind `takes`."""
    values = [builder.of(takes, operand) for operand in operands(node)]
    return builder.step(operation, values, kind=gives)


def _reason(node: "Node", name: str) -> str:
    from sqlglot import exp

    one_row = "and row SQL sees one row at a time"
    reasons: list[tuple[bool, str]] = [
        (isinstance(node, exp.AggFunc), f"{name} is an aggregate, {one_row}"),
        (isinstance(node, exp.Window), f"a window looks at other rows, {one_row}"),
        (
            isinstance(node, exp.Query | exp.Subquery | exp.Exists),
            f"a subquery reads other rows, {one_row}",
        ),
        (
            name in _CLOCKS or type(node).__name__.startswith(_FICKLE),
            f"{name} would give another answer every time; row SQL depends on the row alone",
        ),
        (
            isinstance(node, exp.IntDiv),
            "`//` rounds differently from one database to the next: write floor(a / b)",
        ),
        (
            isinstance(node, exp.Interval),
            "there are no intervals: write date_diff('hour', a, b) for the time between a and b",
        ),
        (
            isinstance(node, exp.Placeholder),
            "there are no parameters: write the value itself",
        ),
        (isinstance(node, exp.Alias | exp.Block), "this is more than one expression"),
    ]
    otherwise = f"{name} is not part of row SQL; docs/reference/row-sql.md lists what is"
    return next((reason for holds, reason in reasons if holds), otherwise)


def _conversion(kind: str, wanted: str) -> str:
    if (kind, wanted) == ("text", "number"):
        return ": write the number without quotes, or cast(... as double) for a column"
    if (kind, wanted) == ("number", "text"):
        return ": cast one of them"
    if wanted == "time":
        return ": write a time as '2013-04-01 06:30'"
    return ""
