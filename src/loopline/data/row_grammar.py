"""What row SQL has: for every construct, the arguments understood and the steps it becomes.

A construct or an argument that is not in `RULES` is refused, so a newer parser that understands
more SQL cannot quietly change what a contract means.
"""

import math
from functools import partial
from typing import TYPE_CHECKING

from loopline.data import row_functions
from loopline.data.columns import parse_time
from loopline.data.row_builder import Builder, Rule, Value, apply, operands, rule

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

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


def _subtract(builder: Builder, node: "Node") -> Value:
    left, right = builder.build(node.this), builder.build(node.expression)
    if left.kind == right.kind == "time":
        builder.refuse(node, "write date_diff('hour', a, b) for the hours from a to b")
    return apply("subtract", "number", "number", builder, node)


def _logarithm(builder: Builder, node: "Node") -> Value:
    if node.args.get("expression") is None or node.this.name != "10":
        builder.refuse(node, "log() has another base in every database: write ln(x) or log10(x)")
    value = builder.of("number", node.expression)
    return builder.step("log10", [value], kind="number")


def _round(builder: Builder, node: "Node") -> Value:
    digits = node.args.get("decimals")
    places = 0 if digits is None else builder.whole_literal(digits, "round's digits", -15, 15)
    return builder.step("round", [builder.of("number", node.this)], places, kind="number")


def _chain(operation: str, builder: Builder, node: "Node") -> Value:
    """least and greatest: two at a time, the missing ignored."""
    first, *others = [builder.of("number", operand) for operand in operands(node)]
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
    *earlier, answer = builder.alike(operands(node))
    for value in reversed(earlier):
        absent = builder.step(f"is_null_{value.kind}", [value], kind="logic")
        answer = builder.step("case", [absent, answer, value], kind=value.kind)
    return answer


def _nullif(builder: Builder, node: "Node") -> Value:
    value, unwanted = builder.alike([node.this, node.expression], equated=True)
    same = _comparison(builder, "eq", value, unwanted)
    nothing = builder.step("null", [], value.kind, kind=value.kind)
    return builder.step("case", [same, nothing, value], kind=value.kind)


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


def _rules() -> dict[str, Rule]:
    numeric = {
        "Add": "add", "Mul": "multiply", "Div": "divide", "Mod": "modulo", "Pow": "power",
        "Abs": "abs", "Sign": "sign", "Floor": "floor", "Ceil": "ceil", "Trunc": "truncate",
        "Exp": "exp", "Ln": "ln", "Sqrt": "sqrt",
    }  # fmt: skip
    compare: dict[str, tuple[str, bool, bool]] = {
        "EQ": ("eq", False, False), "NEQ": ("eq", False, True),
        "LT": ("lt", False, False), "GT": ("lt", True, False),
        "LTE": ("le", False, False), "GTE": ("le", True, False),
    }  # fmt: skip
    return {
        **{name: rule(partial(apply, to, "number", "number")) for name, to in numeric.items()},
        **{name: rule(partial(_compare, *how)) for name, how in compare.items()},
        "Literal": rule(_literal, "is_string"),
        "Null": rule(_null),
        "Boolean": rule(_boolean),
        "Column": rule(Builder.column, "table"),
        "Paren": rule(lambda builder, node: builder.build(node.this)),
        "Neg": rule(_negative),
        "Sub": rule(_subtract),
        "Log": rule(_logarithm),
        "Round": rule(_round, "decimals"),
        "Least": rule(partial(_chain, "least"), "ignore_nulls"),
        "Greatest": rule(partial(_chain, "greatest"), "ignore_nulls"),
        "And": rule(partial(apply, "and", "logic", "logic")),
        "Or": rule(partial(apply, "or", "logic", "logic")),
        "Not": rule(partial(apply, "not", "logic", "logic")),
        "Between": rule(_between, "low", "high"),
        "In": rule(_in),
        "Is": rule(_is),
        "Case": rule(_case, "ifs", "default"),
        "If": rule(_if, "true", "false"),
        "Coalesce": rule(_coalesce),
        "Nullif": rule(_nullif),
        "Cast": rule(_cast, "to"),
        "TryCast": rule(_cast, "to", "safe"),
    }


RULES: dict[str, Rule] = _rules() | row_functions.RULES
"""sqlglot's name of a construct to how it is understood."""
