"""A pandera schema as SQL, beside pandera's own verdicts on the same rows."""

import warnings
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from loopline.cli.generated import checks as command
from loopline.contract.schema import Check, Contract
from loopline.data import suites
from loopline.data.translated import translate

SCHEMA = r"""
import pandera.polars as pa
import polars as pl
from datetime import datetime, timezone

JUNE = datetime(2013, 6, 1, tzinfo=timezone.utc)

schema = pa.DataFrameSchema(
    {
        "age": pa.Column(
            float,
            [pa.Check.ge(18), pa.Check.lt(90), pa.Check.in_range(0, 65, include_max=False)],
            nullable=True,
        ),
        "sex": pa.Column(str, [pa.Check.isin(["f", "it's"]), pa.Check.ne("x")]),
        "odd \"name\"": pa.Column(
            str, pa.Check.notin(["a", "b"], ignore_na=False), nullable=True
        ),
        "code": pa.Column(
            str,
            [
                pa.Check.str_matches(r"[A-Z]\d"),
                pa.Check.str_contains(r"\d$"),
                pa.Check.str_startswith("A"),
                pa.Check.str_endswith("1."),
                pa.Check.str_length(2, 3),
            ],
            unique=True,
        ),
        "good": pa.Column(bool, pa.Check.eq(True)),
        "at": pa.Column(pl.Datetime("us", "UTC"), pa.Check.gt(JUNE)),
        "maybe": pa.Column(float, required=False),
    },
    checks=pa.Check(lambda data: data.lazyframe.select(True)),
    unique=["age", "sex"],
    strict=True,
)


class Model(pa.DataFrameModel):
    age: float = pa.Field(ge=10, nullable=True)
    own: str = pa.Field(nullable=True)

    @pa.check("own")
    def _is_fine(cls, data):
        return data.lazyframe.select(True)
"""
FRAME = pl.DataFrame(
    {
        "age": [17.0, 40, 40, 65, 95, None],
        "sex": ["f", "it's", "it's", "x", None, "m"],
        'odd "name"': ["a", "c", None, "b", "d", "e"],
        "code": ["A1", "A1", "b2", "A1.", "AB12", "9A"],
        "good": [True, False, True, True, False, True],
        "at": pl.Series([datetime(2013, month, 1, tzinfo=UTC) for month in (5, 6, 7, 8, 1, 12)]),
    }
)
CONTRACT = Contract.model_validate(
    {
        "project": "credit",
        "problem": {"task": "binary", "target": "good"},
        "goals": [{"metric": "roc_auc", "at_least": 0.5}],
        "data": {"source": "x.csv"},
    }
)


@pytest.fixture
def root(tmp_path: Any) -> Any:
    (tmp_path / "suite.py").write_text(SCHEMA)
    (tmp_path / "loopline.yaml").write_text("project: credit\n")
    return tmp_path


def verdicts(schema: Any, frame: pl.DataFrame = FRAME) -> dict[str, int]:
    """Return how many cases pandera itself finds of each check, by column and name."""
    from pandera.errors import SchemaErrors

    found: dict[str, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            schema.validate(frame, lazy=True)
        except SchemaErrors as errors:
            for case in errors.failure_cases.to_dicts():
                if case["schema_context"] == "Column":
                    name = f"{case['column']}: {case['check']}"
                    found[name] = found.get(name, 0) + 1
    return found


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_suite_finds_what_pandera_finds(root: Any) -> None:
    schema = suites.pandera_schema("suite.py:schema", root)
    translated = translate(schema)
    (root / "checks.sql").write_text(translated.sql)

    found = suites.run(Check(suite="checks.sql"), FRAME, CONTRACT, root)

    mine = {one.name.removeprefix("checks.sql: "): one.failed for one in found}
    theirs = verdicts(schema)
    once = "code: field_uniqueness"  # there each row, here each value
    assert theirs.pop(once) == 2
    assert mine.pop(once) == 1
    assert mine.pop("age, sex: unique together") == 1
    assert {name: number for name, number in mine.items() if number} == theirs
    assert len(mine) == 17
    for name in (
        "age: in_range(0, 65)",
        "sex: isin(['f', \"it's\"])",
        "odd \"name\": notin(['a', 'b'])",
    ):
        assert mine[name] > 0


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_pandera_lets_pass_the_suite_does_too(root: Any) -> None:
    schema = suites.pandera_schema("suite.py:schema", root)
    (root / "checks.sql").write_text(translate(schema).sql)
    good = pl.DataFrame(
        {
            "age": [20.0],
            "sex": ["it's"],
            'odd "name"': ["c"],
            "code": ["A1."],
            "good": [True],
            "at": pl.Series([datetime(2013, 7, 1, tzinfo=UTC)]),
        }
    )

    found = suites.run(Check(suite="checks.sql"), good, CONTRACT, root)

    mine = {one.name.removeprefix("checks.sql: "): one.failed for one in found}
    assert {name: number for name, number in mine.items() if number} == verdicts(schema, good)
    assert sum(mine.values()) == 1  # "A1." does not end with a digit


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_each_query_can_be_asked_piece_by_piece(root: Any) -> None:
    translated = translate(suites.pandera_schema("suite.py:schema", root))
    (root / "checks.sql").write_text(translated.sql)

    assert len(suites.in_pieces([Check(suite="checks.sql")], root)) == len(translated.queries)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_sql_cannot_say_is_told_and_not_written(root: Any) -> None:
    translated = translate(suites.pandera_schema("suite.py:schema", root))
    model = translate(suites.pandera_schema("suite.py:Model", root))

    assert translated.left == (
        "maybe may be absent, and a suite's columns may not.",
        "<lambda>, of the whole table: SQL of rows cannot say it.",
        "that there is no other column: the contract's columns say what there is.",
    )
    assert [name for name, _ in model.queries] == ["age: greater_than_or_equal_to(10)"]
    assert model.left == ("own: _is_fine: SQL of rows cannot say it.",)
    assert translated.types == {
        "age": "number", "sex": "category", 'odd "name"': "category", "code": "category",
        "good": "boolean", "at": "time", "maybe": "number",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ({"name": "isin", "statistics": {"allowed_values": [None]}}, "it names no value"),
        ({"name": "equal_to", "statistics": {"value": 1j}}, "it names 1j"),
        ({"name": "equal_to", "statistics": {"value": float("inf")}}, "it names inf"),
        ({"name": "equal_to", "statistics": {"value": "\0"}}, "zero character"),
        ({"name": "str_contains", "statistics": {"pattern": 3}}, "no text"),
        ({"name": "unique_values_eq", "statistics": {"values": [1]}}, "SQL of rows cannot"),
        ({"name": "equal_to", "statistics": {"value": 1}, "raise_warning": True}, "only warns"),
    ],
)
def test_a_check_that_is_not_written_says_why(check: dict[str, Any], why: str) -> None:
    one = SimpleNamespace(**{"error": None, "ignore_na": True, "groupby": None, **check})
    column = SimpleNamespace(
        dtype="Float64", nullable=True, unique=False, required=True, checks=[one]
    )
    schema = SimpleNamespace(columns={"x": column}, unique=None, strict=False, checks=[])

    found = translate(schema)

    assert found.queries == ()
    assert why in found.left[0]
    assert found.left[0].startswith(f"x: {check['name']}: ")


def test_a_name_that_ends_the_comment_does_not(tmp_path: Any) -> None:
    column = SimpleNamespace(dtype="str", nullable=False, unique=False, required=True, checks=[])
    schema = SimpleNamespace(
        columns={"a\nselect 1; --": column}, unique=None, strict=False, checks=[]
    )

    (tmp_path / "checks.sql").write_text(translate(schema).sql)
    frame = pl.DataFrame({"a\nselect 1; --": ["x", None]})
    [found] = suites.run(Check(suite="checks.sql"), frame, CONTRACT, tmp_path)

    assert found.failed == 1


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_person_writes_a_suite_and_is_told_what_the_contract_must_say(
    root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)

    shown = CliRunner().invoke(
        command.command, ["--from-pandera", "suite.py:schema"], catch_exceptions=False
    )

    assert (root / "schema.sql").read_text().startswith("-- age: greater_than_or_equal_to(18)\n")
    assert "schema.sql: 19 checks" in shown.output
    assert "    checks: [{suite: schema.sql}]" in shown.output
    assert '      "odd \\"name\\"": {type: category}' in shown.output
    assert "  - maybe may be absent" in shown.output
