"""What the server says of itself: the model's metadata, OpenAPI 3.1, and a page to read.

The page is one file without scripts, fonts or anything else from elsewhere; every name in it comes
from data and is escaped.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from loopline import __version__
from loopline.model.signature import DATATYPES, Input, Signature

if TYPE_CHECKING:
    from loopline.serving.routes import Route

_EXAMPLES: dict[str, Any] = {
    "number": 1.5,
    "integer": 1,
    "boolean": True,
    "category": "text",
    "text": "text",
    "time": "2013-04-01T06:30:00Z",
}
_SCHEMAS: dict[str, dict[str, Any]] = {
    "number": {"type": ["number", "string", "null"]},
    "integer": {"type": ["integer", "string", "null"]},
    "boolean": {"type": ["boolean", "integer", "string", "null"]},
    "category": {"type": ["string", "number", "boolean", "null"]},
    "text": {"type": ["string", "null"]},
    "time": {"type": ["string", "null"], "format": "date-time"},
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d8dee4}"
    "pre{background:#f6f8fa;padding:1rem;overflow:auto}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_ROUTING_KEY = {
    "name": "X-Routing-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Where several versions answer: the same key always gets the same one.",
}
PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'".encode(),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def metadata(signature: Signature, versions: Sequence[int], runtime: str) -> dict[str, Any]:
    """Return the Open Inference Protocol's metadata of a model; `runtime` is plan or original."""
    return {
        "name": signature.project,
        "versions": [str(version) for version in versions],
        "platform": f"loopline_{runtime}",
        "inputs": [
            {"name": column.name, "datatype": DATATYPES[column.type], "shape": [-1]}
            for column in signature.inputs
        ],
        "outputs": _outputs(signature),
    }


def _outputs(signature: Signature) -> list[dict[str, Any]]:
    if signature.task == "regression":
        return [{"name": "prediction", "datatype": "FP64", "shape": [-1]}]
    shape = [-1, len(signature.classes)] if signature.task == "multiclass" else [-1]
    return [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probability", "datatype": "FP64", "shape": shape},
    ]


def example(signature: Signature) -> dict[str, Any]:
    """Return one row that the model takes."""
    known = {f.name: f.categories[0] for f in signature.features if f.categories and not f.sql}
    return {
        column.name: known.get(column.name, _EXAMPLES[column.type]) for column in signature.inputs
    }


def tensors_example(signature: Signature) -> dict[str, Any]:
    """Return an Open Inference Protocol request of that row."""
    row = example(signature)
    return {
        "id": "mine-1",
        "inputs": [
            {
                "name": column.name,
                "datatype": DATATYPES[column.type],
                "shape": [1],
                "data": [row[column.name]],
            }
            for column in signature.inputs
        ],
    }


def feedback_example(signature: Signature) -> dict[str, Any]:
    """Return an outcome."""
    label = signature.classes[-1] if signature.classes else 1.5
    return {
        "prediction_id": "PREDICTION-0",
        "label": label,
        "observed_at": _EXAMPLES["time"],
    }


def document(signature: Signature, version: int, routes: "Sequence[Route]") -> dict[str, Any]:
    """Return OpenAPI 3.1 for `routes`, with this version's columns."""
    paths: dict[str, Any] = {}
    for route in routes:
        operation: dict[str, Any] = paths.setdefault(route.path, {}).setdefault(
            route.method.lower(),
            {
                "summary": route.summary,
                "responses": {"200": {"description": "Done"}, "4XX": {"description": "Why not"}},
            },
        )
        parameters: list[dict[str, Any]] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", route.path)
        ]
        if route.does is None:
            parameters += [_ROUTING_KEY, _EXPLAIN]
        if parameters:
            operation["parameters"] = parameters
        for kind in filter(None, route.takes):
            body = operation.setdefault("requestBody", {"required": True, "content": {}})
            is_json = kind == "application/json"
            media = _json_body(route, signature) if is_json else {"schema": {"type": "string"}}
            if "example" in media or kind not in body["content"]:
                body["content"][kind] = media
    return {
        "openapi": "3.1.0",
        "info": {
            "title": signature.project,
            "version": str(version),
            "description": f"Served by Loopline {__version__}.",
        },
        "paths": paths,
        "components": {"schemas": {"Row": _row_schema(signature)}},
    }


_EXPLAIN = {
    "name": "explain",
    "in": "query",
    "required": False,
    "description": "Tell the reasons of each row: true, or how many.",
    "schema": {"type": "string", "enum": ["true", "false", "3"]},
}


def _row_schema(signature: Signature) -> dict[str, Any]:
    def described(column: Input) -> dict[str, Any]:
        feature = next((f for f in signature.features if f.name == column.name), None)
        known = list(feature.categories) if feature is not None else []
        return {**_SCHEMAS[column.type], **({"examples": known[:20]} if known else {})}

    return {
        "type": "object",
        "properties": {column.name: described(column) for column in signature.inputs},
        "required": [column.name for column in signature.inputs if column.required],
    }


def _json_body(route: "Route", signature: Signature) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    if route.example is None:
        return {"schema": schema}
    body = route.example(signature)
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}
    for form in {"dataframe_records", "instances"}.intersection(body):
        schema["properties"] = {form: rows}
    return {"schema": schema, "example": body}


def page(description: dict[str, Any]) -> bytes:
    """Return `document` as a page."""
    row = description["components"]["schemas"]["Row"]
    columns = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(', '.join(schema['type']))}</td>"
        f"<td>{'yes' if name in row['required'] else 'no'}</td></tr>"
        for name, schema in row["properties"].items()
    )
    operations = [
        (method.upper(), path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    listed = "".join(
        f"<tr><td>{method}</td><td>{escape(path)}</td><td>{escape(operation['summary'])}</td></tr>"
        for method, path, operation in operations
    )
    examples = "".join(
        f"<h3>{method} {escape(path)}</h3><pre>{escape(_pretty(operation))}</pre>"
        for method, path, operation in operations
        if "{version}" not in path and _example(operation) is not None
    )
    title = escape(f"{description['info']['title']}, version {description['info']['version']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f'<p>{escape(description["info"]["description"])} As a document: <a href="/openapi.json">'
        "/openapi.json</a>.</p><h2>Columns</h2><table><tr><th>column</th><th>JSON types</th>"
        f"<th>needed</th></tr>{columns}</table><h2>Routes</h2><table>{listed}</table>"
        f"<h2>Bodies</h2>{examples}</body></html>"
    ).encode()


def _example(operation: dict[str, Any]) -> Any:
    content = operation.get("requestBody", {"content": {}})["content"]
    return content.get("application/json", {}).get("example")


def _pretty(operation: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(_example(operation)), indent=2).decode()
