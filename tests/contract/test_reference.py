import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

import loopline.demo
from loopline.contract import schema
from loopline.contract.metrics import METRICS, WATCHED
from loopline.contract.reference import json_schema, pages

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", ["contract.md", "loopline.schema.json"])
def test_the_generated_reference_is_up_to_date(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")

    assert written == pages()[name], (
        "make it anew with: python -m loopline.contract.reference docs/reference"
    )


def test_every_field_and_metric_is_in_the_reference() -> None:
    page = pages()["contract.md"]
    models = [m for m in vars(schema).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    fields = {name for model in models for name in model.model_fields}

    assert [name for name in [*fields, *METRICS, *WATCHED] if f"| `{name}` |" not in page] == []


def test_the_schema_accepts_the_demo_contract_and_refuses_what_load_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    text = (Path(loopline.demo.__file__).parent / "loopline.yaml").read_text()
    contract = YAML(typ="safe", pure=True).load(text)

    validator.check_schema(json_schema())
    validator.validate(contract)
    for path, wrong in [
        (("project",), "Not A Name"),
        (("problem", "task"), "binry"),
        (("goals", 0, "metric"), "roc_acu"),
        (("data", "colums"), {}),
    ]:
        broken = json.loads(json.dumps(contract))
        place = broken
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = wrong
        assert list(validator.iter_errors(broken)), path
