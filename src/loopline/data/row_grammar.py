"""What row SQL has: for every construct, the arguments understood and the steps it becomes.

A construct or an argument that is not in `RULES` is refused, so a newer parser that understands
more SQL cannot quietly change what a contract means.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from loopline.data.columns import parse_time
from loopline.data.row_builder import Builder, Rule, Value

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

PARTS = {
    "year": "year", "quarter": "quarter", "month": "month", "week": "week", "day": "day",
    "dayofmonth": "day", "hour": "hour", "minute": "minute", "second": "second", "epoch": "epoch",
    "dow": "dow", "dayofweek": "dow", "weekday": "dow", "isodow": "isodow", "doy": "doy",
    "dayofyear": "doy",
}  # fmt: skip
UNITS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
_NUMBER_TYPES = {"DOUBLE", "FLOAT", "DECIMAL", "REAL"}
_TEXT_TYPES = {"TEXT", "VARCHAR", "CHAR"}
_INTEGER_TYPES = {"TINYINT", "SMALLINT", "INT", "BIGINT", "INT128"}
_TIME_TYPES = {"DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPNTZ", "DATETIME"}


def _literal(builder: Builder, node: "Node") -> Value:
    if node.args["is_string"]:
        return builder.step("text", [], node.name, kind="text")
    try:
        number = float(node.name)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        builder.refuse(node, f"'{node.name}' is not a number")
    return builder.step("number", [], number, kind="number")


def _null(_builder: Builder, _node: "Node") -> Value:
    return Value(-1, "null")


def _boolean(builder: Builder, node: "Node") -> Value:
    return builder.step("logic", [], 1 if node.this else -1, kind="logic")


def _negative(builder: Builder, node: "Node") -> Value:
    value = builder.of("number", node.this)
    if builder.is_constant(value):
        return builder.step("number", [], -builder.literal(value), kind="number")
    return builder.step("negate", [value], kind="number")


def _operands(node: "Node") -> list["Node"]:
    first = [node.this] if node.args.get("this") is not None else []
    last = node.args.get("expression")
    return [*first, *node.expressions, *([] if last is None else [last])]


def _apply(operation: str, takes: str, gives: str, builder: Builder, node: "Node") -> Value:
    values = [builder.of(takes, operand) for operand in _operands(node)]
    return builder.step(operation, values, kind=gives)


def _subtract(builder: Builder, node: "Node") -> Value:
    left, right = builder.build(node.this), builder.build(node.expression)
    if left.kind == right.kind == "time":
        builder.refuse(node, "write date_diff('hour', a, b) for the hours from a to b")
    return _apply("subtract", "number", "number", builder, node)


def _logarithm(builder: Builder, node: "Node") -> Value:
    if node.args.get("expression") is None or node.this.name != "10":
        builder.refuse(node, "log() has another base in every database: write ln(x) or log10(x)")
    value = builder.of("number", node.expression)
    return builder.step("log10", [value], kind="number")


def _round(builder: Builder, node: "Node") -> Value:
    digits = node.args.get("decimals")
    places = 0 if digits is None else _whole(builder, digits, "round's digits", -15, 15)
    return builder.step("round", [builder.of("number", node.this)], places, kind="number")


def _chain(operation: str, builder: Builder, node: "Node") -> Value:
    """least and greatest: two at a time, the missing ignored."""
    first, *others = [builder.of("number", operand) for operand in _operands(node)]
    for other in others:
        first = builder.step(operation, [first, other], kind="number")
    return first


def _comparison(builder: Builder, name: str, left: Value, right: Value) -> Value:
    if left.kind == "text":
        return builder.step(f"text_{name}", [left, right], kind="logic")
    if left.kind == "logic":
        left, right = (builder.step("flag", [v], kind="number") for v in (left, right))
    return builder.step(name, [left, right], kind="logic")


def _compare(name: str, mirrored: bool, negated: bool, builder: Builder, node: "Node") -> Value:
    for operand in (node.this, node.expression):
        if type(operand).__name__ == "Null":
            builder.refuse(node, "nothing equals null: write `is null` or `is not null`")
    left, right = builder.alike([node.this, node.expression], equated=name == "eq")
    if mirrored:
        left, right = right, left
    value = _comparison(builder, name, left, right)
    return builder.step("not", [value], kind="logic") if negated else value


def _between(builder: Builder, node: "Node") -> Value:
    bounds = [node.args["low"], node.args["high"]]
    value, low, high = builder.alike([node.this, *bounds])
    above = _comparison(builder, "le", low, value)
    below = _comparison(builder, "le", value, high)
    return builder.step("and", [above, below], kind="logic")


def _in(builder: Builder, node: "Node") -> Value:
    if any(type(option).__name__ == "Null" for option in node.expressions):
        builder.refuse(node, "null in a list is never found: leave it out, or add `or ... is null`")
    value, *options = builder.alike([node.this, *node.expressions], equated=True)
    if value.kind == "text" and all(builder.is_constant(option) for option in options):
        known = [builder.literal(option) for option in options]
        return builder.step("among", [value], known, kind="logic")
    found, *others = [_comparison(builder, "eq", value, option) for option in options]
    for other in others:
        found = builder.step("or", [found, other], kind="logic")
    return found


def _is(builder: Builder, node: "Node") -> Value:
    wanted = type(node.expression).__name__
    if wanted == "Null":
        value = builder.settled(builder.build(node.this), "number")
        return builder.step(f"is_null_{value.kind}", [value], kind="logic")
    if wanted != "Boolean":
        builder.refuse(node, "`is` goes with null, true or false: write `=`")
    value = builder.of("logic", node.this)
    if not node.expression.this:
        value = builder.step("not", [value], kind="logic")
    return builder.step("is_true", [value], kind="logic")


def _case(builder: Builder, node: "Node") -> Value:
    branches = node.args["ifs"]
    default = node.args.get("default")
    nodes = [branch.args["true"] for branch in branches] + ([] if default is None else [default])
    values = builder.alike(nodes)
    if default is None:
        values.append(builder.step("null", [], values[0].kind, kind=values[0].kind))
    steps = []
    for branch, value in zip(branches, values, strict=False):
        if node.this:
            left, right = builder.alike([node.this, branch.this], equated=True)
            condition = _comparison(builder, "eq", left, right)
        else:
            condition = builder.of("logic", branch.this)
        steps += [condition, value]
    return builder.step("case", [*steps, values[-1]], kind=values[-1].kind)


def _if(builder: Builder, node: "Node") -> Value:
    otherwise = node.args.get("false")
    nodes = [node.args["true"], *([] if otherwise is None else [otherwise])]
    values = builder.alike(nodes)
    if otherwise is None:
        values.append(builder.step("null", [], values[0].kind, kind=values[0].kind))
    condition = builder.of("logic", node.this)
    return builder.step("case", [condition, *values], kind=values[0].kind)


def _coalesce(builder: Builder, node: "Node") -> Value:
    *earlier, answer = builder.alike(_operands(node))
    for value in reversed(earlier):
        absent = builder.step(f"is_null_{value.kind}", [value], kind="logic")
        answer = builder.step("case", [absent, answer, value], kind=value.kind)
    return answer


def _nullif(builder: Builder, node: "Node") -> Value:
    value, unwanted = builder.alike([node.this, node.expression], equated=True)
    same = _comparison(builder, "eq", value, unwanted)
    nothing = builder.step("null", [], value.kind, kind=value.kind)
    return builder.step("case", [same, nothing, value], kind=value.kind)


def _word(builder: Builder, node: "Node", what: str) -> str:
    """Return the text literal that `node` must be."""
    value = builder.of("text", node)
    if not builder.is_constant(value):
        builder.refuse(node, f"{what} is a text in quotes, the same for every row")
    text: str = builder.literal(value)
    return text


def _whole(builder: Builder, node: "Node", what: str, low: int, high: int) -> int:
    """Return the whole number that `node` must write."""
    value = builder.of("number", node)
    number = builder.literal(value) if builder.is_constant(value) else math.nan
    if not (low <= number <= high and number == int(number)):
        builder.refuse(node, f"{what} is a whole number from {low} to {high}")
    return int(number)


def _like(ignores_case: bool, builder: Builder, node: "Node", escape: str | None = None) -> Value:
    value = builder.of("text", node.this)
    pattern = _word(builder, node.expression, "a pattern")
    found = builder.step("like", [value], pattern, escape, ignores_case, kind="logic")
    return builder.step("not", [found], kind="logic") if node.args.get("negate") else found


def _escape(builder: Builder, node: "Node") -> Value:
    escape = _word(builder, node.expression, "an escape")
    if len(escape) != 1 or type(node.this).__name__ not in {"Like", "ILike"}:
        builder.refuse(node, "escape goes with like, and is one character")
    return _like(type(node.this).__name__ == "ILike", builder, node.this, escape)


def _text_with(operation: str, arguments: tuple[str, ...], builder: Builder, node: "Node") -> Value:
    words = [_word(builder, node.args[name], "the second argument") for name in arguments]
    gives = "text" if operation == "replace" else "logic"
    return builder.step(operation, [builder.of("text", node.this)], *words, kind=gives)


def _substring(builder: Builder, node: "Node") -> Value:
    start = _whole(builder, node.args["start"], "substr's start", 1, 1_000_000)
    length = node.args.get("length")
    most = None if length is None else _whole(builder, length, "substr's length", 0, 1_000_000)
    return builder.step("substring", [builder.of("text", node.this)], start, most, kind="text")


def _trim(builder: Builder, node: "Node") -> Value:
    side = str(node.args.get("position") or "both").lower()
    characters = node.args.get("expression")
    strip = " " if characters is None else _word(builder, characters, "what is trimmed")
    return builder.step("trim", [builder.of("text", node.this)], side, strip, kind="text")


def _cast(builder: Builder, node: "Node") -> Value:
    wanted = node.args["to"].this.name
    if wanted in _TIME_TYPES and type(node.this).__name__ == "Literal":
        instant = parse_time(node.this.name)
        if instant is None:
            builder.refuse(node, f"'{node.this.name}' is not a time such as '2013-04-01 06:30'")
        return builder.step("time", [], instant, kind="time")
    if wanted in _INTEGER_TYPES:
        builder.refuse(
            node,
            "casting to a whole number rounds differently from one database to the next: "
            "write round(x), floor(x) or ceil(x)",
        )
    if node.args["to"].expressions:
        builder.refuse(node, "row SQL casts to double and text as they are: leave out the length")
    kind = "number" if wanted in _NUMBER_TYPES else "text" if wanted in _TEXT_TYPES else None
    value = builder.build(node.this)
    if kind is None or value.kind == "time":
        builder.refuse(node, "row SQL casts to double and text, and a time to nothing")
    if value.kind in {"null", kind}:
        return builder.settled(value, kind)
    return builder.step(f"{value.kind}_to_{kind}", [value], kind=kind)


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
        part = PARTS.get(_word(builder, node.expressions[0], "the part").lower())
        if part is not None:
            value = builder.of("time", node.expressions[1])
            return builder.step("part", [value], part, kind="number")
    return builder.unknown(node)


def _rule(make: Callable[..., Value], *extra: str) -> Rule:
    return frozenset({"this", "expression", "expressions", *extra}), make


def _rules() -> dict[str, Rule]:
    arithmetic = {"Add": "add", "Mul": "multiply", "Div": "divide", "Mod": "modulo", "Pow": "power"}
    functions = {
        "Abs": "abs", "Sign": "sign", "Floor": "floor", "Ceil": "ceil", "Trunc": "truncate",
        "Exp": "exp", "Ln": "ln", "Sqrt": "sqrt",
    }  # fmt: skip
    compare: dict[str, tuple[str, bool, bool]] = {
        "EQ": ("eq", False, False), "NEQ": ("eq", False, True),
        "LT": ("lt", False, False), "GT": ("lt", True, False),
        "LTE": ("le", False, False), "GTE": ("le", True, False),
    }  # fmt: skip
    parts = {
        "Year": "year", "Quarter": "quarter", "Month": "month", "Week": "week", "Hour": "hour",
        "Second": "second", "WeekOfYear": "week", "Day": "day", "DayOfMonth": "day",
        "Minute": "minute", "DayOfWeek": "dow", "DayOfWeekIso": "isodow", "DayOfYear": "doy",
    }  # fmt: skip
    numbers = {**arithmetic, **functions}
    rules: dict[str, Rule] = {
        name: _rule(partial(_apply, operation, "number", "number"))
        for name, operation in numbers.items()
    }
    rules |= {name: _rule(partial(_compare, *how)) for name, how in compare.items()}
    rules |= {name: _rule(partial(_part_of, part)) for name, part in parts.items()}
    plain: dict[str, Any] = {
        "Null": _null, "Boolean": _boolean, "Neg": _negative,
        "Paren": lambda builder, node: builder.build(node.this), "Sub": _subtract,
        "And": partial(_apply, "and", "logic", "logic"), "Is": _is, "In": _in,
        "Or": partial(_apply, "or", "logic", "logic"), "Coalesce": _coalesce, "Nullif": _nullif,
        "Not": partial(_apply, "not", "logic", "logic"), "Escape": _escape, "Log": _logarithm,
        "Lower": partial(_apply, "lower", "text", "text"), "Extract": _extract,
        "Upper": partial(_apply, "upper", "text", "text"), "Anonymous": _anonymous,
        "Length": partial(_apply, "length", "text", "number"),
        "StartsWith": partial(_text_with, "starts_with", ("expression",)),
        "EndsWith": partial(_text_with, "ends_with", ("expression",)),
        "Contains": partial(_text_with, "contains", ("expression",)),
    }  # fmt: skip
    rules |= {name: _rule(make) for name, make in plain.items()}
    return rules | {
        "Column": _rule(Builder.column, "table"),
        "Literal": _rule(_literal, "is_string"),
        "Least": _rule(partial(_chain, "least"), "ignore_nulls"),
        "Greatest": _rule(partial(_chain, "greatest"), "ignore_nulls"),
        "Round": _rule(_round, "decimals"),
        "Between": _rule(_between, "low", "high"),
        "Case": _rule(_case, "ifs", "default"),
        "If": _rule(_if, "true", "false"),
        "Like": _rule(partial(_like, False), "negate"),
        "ILike": _rule(partial(_like, True), "negate"),
        "Replace": _rule(
            partial(_text_with, "replace", ("expression", "replacement")), "replacement"
        ),
        "Substring": _rule(_substring, "start", "length"),
        "Trim": _rule(_trim, "position"),
        "DPipe": _rule(partial(_apply, "join", "text", "text"), "safe"),
        "Concat": _rule(partial(_apply, "concat", "text", "text"), "safe", "coalesce"),
        "Cast": _rule(_cast, "to"),
        "TryCast": _rule(_cast, "to", "safe"),
        "DateDiff": _rule(_date_diff, "unit", "date_part_boundary"),
    }


RULES: dict[str, Rule] = _rules()
"""sqlglot's name of a construct to how it is understood."""
