"""The contract's reference: a JSON schema for editors and a page for people.

Both are made from `schema.py` and `metrics.py`, so they cannot say anything else. After a change:
`python -m loopline.contract.reference docs/reference`.
"""

import json
import re
import sys
from math import isinf
from pathlib import Path
from typing import Any

from loopline.contract.metrics import METRICS, WATCHED, Metric
from loopline.contract.schema import NAME, Contract

_NULL = {"type": "null"}
_WORDS = {
    "string": "text",
    "number": "number",
    "integer": "whole number",
    "boolean": "true or false",
}
_NOTE = "Accepted, but nothing acts on it yet."

_BEGIN = """<!-- Made from schema.py by `python -m loopline.contract.reference docs/reference`. -->

# loopline.yaml

One file says what a project promises. `loopline check` names every fault in it at once, with its
line, and every key that nothing acts on yet. Editors that know YAML complete it through
[the JSON schema](loopline.schema.json): `loopline new` writes a copy beside each project.

A quantity is a number, a percentage (`5%` is 0.05) or a time (`25 ms`, `7 days`). Unknown keys are
refused. YAML 1.2 holds: `yes` and `no` are texts, `true` and `false` are not.

"""

_END = """
## Conditions of `respond`

`when` is `METRIC OP NUMBER[%]` with one of `>`, `>=`, `<`, `<=` (`error_rate > 1%`,
`latency_p99 > 50 ms`), `goal missed` (any goal of this file that can be judged in production), or
`drift` (any limit of `monitor.drift`).
"""


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of `loopline.yaml`."""
    schema = Contract.model_json_schema(mode="validation")
    for part in (schema, *schema["$defs"].values()):
        _tidy(part)
    schema["properties"]["project"]["pattern"] = f"^{NAME.pattern}$"
    schema["$defs"]["Goal"]["properties"]["metric"]["enum"] = list(METRICS)
    schema["$defs"]["Fairness"]["properties"]["metric"]["enum"] = [
        name for name, metric in METRICS.items() if not metric.service
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "loopline.yaml",
        **schema,
    }


def _tidy(part: dict[str, Any]) -> None:
    """Say in words which keys are idle, and drop titles that repeat the key."""
    part.pop("title", None)
    for key in part.get("properties", {}).values():
        key.pop("title", None)
        if key.get("idle"):
            key["description"] = f"{key.get('description', '')} {_NOTE}".strip()


def markdown() -> str:
    """Return the reference page."""
    schema = json_schema()
    parts = ["## The file\n\n" + _table(schema)]
    parts += [
        f"## {name}\n\n{part['description']}\n\n{_table(part)}"
        for name, part in ((name, schema["$defs"][name]) for name in _order(schema, schema))
    ]
    return _BEGIN + "\n".join(parts) + "\n" + _metrics() + _END


def _order(schema: dict[str, Any], part: dict[str, Any]) -> list[str]:
    """Return the parts of the contract in the order the file has them."""
    names: list[str] = []
    for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(part["properties"])):
        names += [name, *_order(schema, schema["$defs"][name])]
    return list(dict.fromkeys(names))


def _table(part: dict[str, Any]) -> str:
    required = part.get("required", [])
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for name, key in part["properties"].items():
        default = "**required**" if name in required else _default(key)
        meaning = key.get("description", "").replace("|", "\\|").replace("\n", " ")
        rows.append(f"| `{name}` | {_kind(key)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(key: dict[str, Any]) -> str:
    value = key.get("default")
    return "" if value in (None, "") else f"`{json.dumps(value)}`"


def _kind(key: dict[str, Any]) -> str:
    choices = [choice for choice in key.get("anyOf", key.get("oneOf", [])) if choice != _NULL]
    if choices:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in choices))
    if "enum" in key or "const" in key:
        values = key.get("enum", [key.get("const")])
        return "a metric" if "roc_auc" in values else ", ".join(f"`{value}`" for value in values)
    if "$ref" in key:
        name = key["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    kind = key["type"]
    if kind == "array" and "prefixItems" in key:
        return f"[{', '.join(map(_kind, key['prefixItems']))}]"
    if kind == "array":
        return f"list of {_kind(key['items'])}"
    if kind == "object":
        return f"name to {_kind(key['additionalProperties'])}"
    if isinstance(kind, list):
        return "value" if "boolean" in kind else "quantity"
    return "time" if key.get("examples") == ["7 days"] else _WORDS[kind]


def _metrics() -> str:
    rows = [
        "## Metrics\n",
        "Goals, fairness and conditions name these.\n",
        "| metric | better | range | tasks |",
        "| --- | --- | --- | --- |",
    ]
    rows += [f"| `{name}` | {_metric(metric)} |" for name, metric in METRICS.items()]
    rows += [
        "",
        "Conditions of `respond` may also name these: of the worst feature, of predictions, of\n"
        "the servers (frames of the log that were not kept, releases that could not be used),\n"
        "or estimated while outcomes are not known.\n",
    ]
    rows += ["| figure | better | range | tasks |", "| --- | --- | --- | --- |"]
    rows += [f"| `{name}` | {_metric(metric)} |" for name, metric in WATCHED.items()]
    return "\n".join(rows) + "\n"


def _metric(metric: Metric) -> str:
    low = "" if isinf(metric.low) else f"{metric.low:g}"
    high = "" if isinf(metric.high) else f"{metric.high:g}"
    span = f"{low} to {high}" if low and high else f"from {low}" if low else f"to {high}"
    span = span if low or high else "money; needs `costs`"
    tasks = "all" if len(metric.tasks) == 3 else ", ".join(metric.tasks)
    return f"{metric.direction} | {span} | {tasks}"


def pages() -> dict[str, str]:
    """Return each generated file's name and text."""
    return {
        "loopline.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        "contract.md": markdown(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
