"""What the server says of itself holds for what it takes."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest

from loopline.model.signature import Feature, Input, Signature
from loopline.serving import openapi
from loopline.serving.app import ROUTES

HOSTILE = "<script>alert(1)</script>\"'&"
PREDICT = {(route.method, route.path) for route in ROUTES if route.does is None}
LISTED = [route for route in ROUTES if route.same_as is None]


def signature(task: Any = "binary", *, name: str = "a") -> Signature:
    return Signature(
        "credit",
        task,
        (
            Input(name, "category"),
            Input("amount", "number"),
            Input("count", "integer"),
            Input("owns", "boolean"),
            Input("note", "text", required=False),
            Input("moment", "time", required=False),
        ),
        (Feature(name, "category", ("x", HOSTILE)), Feature("amount", "number")),
        {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "regression": ()}[task],
        0.5 if task == "binary" else None,
    )


def described(made: Signature) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(openapi.document(made, 7, LISTED)))
    return found


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_metadata_says_what_goes_in_and_comes_out(task: str) -> None:
    found = openapi.metadata(signature(task), [7, 8], "original")

    assert (found["name"], found["versions"]) == ("credit", ["7", "8"])
    assert found["platform"] == "loopline_original"
    assert [(each["name"], each["datatype"]) for each in found["inputs"]] == [
        ("a", "BYTES"), ("amount", "FP64"), ("count", "INT64"), ("owns", "BOOL"),
        ("note", "BYTES"), ("moment", "BYTES"),
    ]  # fmt: skip
    shapes = {each["name"]: each["shape"] for each in found["outputs"]}
    assert (
        shapes
        == {
            "binary": {"label": [-1], "probability": [-1]},
            "multiclass": {"label": [-1], "probability": [-1, 3]},
            "regression": {"prediction": [-1]},
        }[task]
    )


def test_every_route_is_described_with_its_parameters() -> None:
    paths = described(signature())["paths"]

    assert {(m.upper(), path) for path, on in paths.items() for m in on} == {
        (route.method, route.path) for route in LISTED
    }
    for path, methods in paths.items():
        for method, operation in methods.items():
            taken = [(each["in"], each["name"]) for each in operation.get("parameters", [])]
            named = [("path", name) for name in re.findall(r"{(\w+)}", path)]
            key = (
                [("header", "X-Routing-Key"), ("query", "explain")]
                if (method.upper(), path) in PREDICT
                else []
            )
            assert taken == named + key
            assert ("requestBody" in operation) == (method == "post")


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_examples_are_what_the_schemas_say(task: str) -> None:
    document = described(signature(task))
    row = document["components"]["schemas"]["Row"]
    jsonschema.Draft202012Validator.check_schema(row)

    examples = [on["post"] for on in document["paths"].values() if "post" in on]
    bodies = [post["requestBody"]["content"]["application/json"] for post in examples]
    forms = ("dataframe_records", "instances")
    invoked = [
        body["example"][form]
        for body in bodies
        for form in forms
        if form in body.get("example", {})
    ]
    for [record] in invoked:
        jsonschema.validate(record, row)
        assert set(record) == set(row["properties"])
    assert len(invoked) == 3
    assert row["required"] == ["a", "amount", "count", "owns"]
    assert row["properties"]["a"]["examples"] == ["x", HOSTILE]


def test_the_server_takes_its_own_examples(serve: Any, late: Any) -> None:
    client = serve(late)
    paths = client.get("/openapi.json").json["paths"]

    for path, methods in paths.items():
        if "post" not in methods:
            continue
        body = methods["post"]["requestBody"]["content"]["application/json"]
        example = body.get("example", {})
        here = path.replace("{model}", "flight-delays").replace("{version}", "3")
        assert client.post(here, example).status == 200, here


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {name for name, _ in attrs if name.startswith("on") or name == "style"}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_names_from_data_stay_text_on_the_page() -> None:
    page = openapi.page(described(signature(name=HOSTILE))).decode()

    seen = _Tags()
    seen.feed(page)
    assert "script" not in seen.tags
    assert HOSTILE in seen.text  # a cell of the table, whole
    assert not re.search(r"(?:src|href)=\"(?!/openapi\.json)", page)
