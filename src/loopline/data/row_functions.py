"""What row SQL can do with texts and times."""

from functools import partial
from typing import TYPE_CHECKING

from loopline.data.row_builder import Builder, Rule, Value, apply, rule

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

PARTS = {
    "year": "year", "quarter": "quarter", "month": "month", "week": "week", "day": "day",
    "dayofmonth": "day", "hour": "hour", "minute": "minute", "second": "second", "epoch": "epoch",
    "dow": "dow", "dayofweek": "dow", "weekday": "dow", "isodow": "isodow", "doy": "doy",
    "dayofyear": "doy",
}  # fmt: skip
UNITS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")


def _like(ignores_case: bool, builder: Builder, node: "Node", escape: str | None = None) -> Value:
    value = builder.of("text", node.this)
    pattern = builder.text_literal(node.expression, "a pattern")
    found = builder.step("like", [value], pattern, escape, ignores_case, kind="logic")
    return builder.step("not", [found], kind="logic") if node.args.get("negate") else found


def _escape(builder: Builder, node: "Node") -> Value:
    escape = builder.text_literal(node.expression, "an escape")
    if len(escape) != 1 or type(node.this).__name__ not in {"Like", "ILike"}:
        builder.refuse(node, "escape goes with like, and is one character")
    return _like(type(node.this).__name__ == "ILike", builder, node.this, escape)


def _text_with(operation: str, arguments: tuple[str, ...], builder: Builder, node: "Node") -> Value:
    words = [builder.text_literal(node.args[name], "the second argument") for name in arguments]
    gives = "text" if operation == "replace" else "logic"
    return builder.step(operation, [builder.of("text", node.this)], *words, kind=gives)


def _substring(builder: Builder, node: "Node") -> Value:
    start = builder.whole_literal(node.args["start"], "substr's start", 1, 1_000_000)
    length = node.args.get("length")
    most = (
        None if length is None else builder.whole_literal(length, "substr's length", 0, 1_000_000)
    )
    return builder.step("substring", [builder.of("text", node.this)], start, most, kind="text")


def _trim(builder: Builder, node: "Node") -> Value:
    side = str(node.args.get("position") or "both").lower()
    characters = node.args.get("expression")
    strip = " " if characters is None else builder.text_literal(characters, "what is trimmed")
    return builder.step("trim", [builder.of("text", node.this)], side, strip, kind="text")


def _part_of(part: str, builder: Builder, node: "Node") -> Value:
    return builder.step("part", [builder.of("time", node.this)], part, kind="number")


def _extract(builder: Builder, node: "Node") -> Value:
    part = PARTS.get(node.this.name.lower())
    if part is None:
        builder.refuse(node, f"'{node.this.name.lower()}' is not among {', '.join(PARTS)}")
    value = builder.of("time", node.expression)
    return builder.step("part", [value], part, kind="number")


def _date_diff(builder: Builder, node: "Node") -> Value:
    unit = node.args["unit"].name.lower().removesuffix("s") if node.args.get("unit") else ""
    if unit not in UNITS:
        builder.refuse(node, f"date_diff's first argument is one of {', '.join(UNITS)}")
    end, start = builder.alike([node.this, node.expression])
    if start.kind != "time":
        builder.refuse(node, "date_diff('hour', a, b) takes two times")
    return builder.step("date_diff", [start, end], unit, kind="number")


def _anonymous(builder: Builder, node: "Node") -> Value:
    """Functions that sqlglot knows no class for: weekday and date_part."""
    name = node.name.lower()
    if name == "weekday" and len(node.expressions) == 1:
        value = builder.of("time", node.expressions[0])
        return builder.step("part", [value], "dow", kind="number")
    if name == "date_part" and len(node.expressions) == 2:
        part = PARTS.get(builder.text_literal(node.expressions[0], "the part").lower())
        if part is not None:
            value = builder.of("time", node.expressions[1])
            return builder.step("part", [value], part, kind="number")
    return builder.unknown(node)


_PART_FUNCTIONS = {
    "Year": "year", "Quarter": "quarter", "Month": "month", "Week": "week", "WeekOfYear": "week",
    "Day": "day", "DayOfMonth": "day", "Hour": "hour", "Minute": "minute", "Second": "second",
    "DayOfWeek": "dow", "DayOfWeekIso": "isodow", "DayOfYear": "doy",
}  # fmt: skip
RULES: dict[str, Rule] = {
    **{name: rule(partial(_part_of, part)) for name, part in _PART_FUNCTIONS.items()},
    "Extract": rule(_extract),
    "DateDiff": rule(_date_diff, "unit", "date_part_boundary"),
    "Anonymous": rule(_anonymous),
    "Lower": rule(partial(apply, "lower", "text", "text")),
    "Upper": rule(partial(apply, "upper", "text", "text")),
    "Length": rule(partial(apply, "length", "text", "number")),
    "DPipe": rule(partial(apply, "join", "text", "text"), "safe"),
    "Concat": rule(partial(apply, "concat", "text", "text"), "safe", "coalesce"),
    "Like": rule(partial(_like, False), "negate"),
    "ILike": rule(partial(_like, True), "negate"),
    "Escape": rule(_escape),
    "StartsWith": rule(partial(_text_with, "starts_with", ("expression",))),
    "EndsWith": rule(partial(_text_with, "ends_with", ("expression",))),
    "Contains": rule(partial(_text_with, "contains", ("expression",))),
    "Replace": rule(partial(_text_with, "replace", ("expression", "replacement")), "replacement"),
    "Substring": rule(_substring, "start", "length"),
    "Trim": rule(_trim, "position"),
}
"""sqlglot's name of a construct to how it is understood."""
