"""Checks in SQL and of pandera: what they find, and what no suite may reach."""

from datetime import UTC, datetime

import polars as pl
import pytest

from loopline.contract.schema import Contract
from loopline.data.conforming import conform
from loopline.data.suites import elsewhere
from loopline.data.validation import examine
from loopline.errors import ValidationError

NOW = datetime(2014, 1, 1, tzinfo=UTC)
FLIGHTS = pl.DataFrame(
    {
        "carrier": ["UA", "UA", "AA", "AA", "B6"],
        "distance": [100.0, 200.0, -5.0, None, 300.0],
        "passenger": ["Ada", "Bob", "Cyd", "Dot", "Eve"],
        "y": ["0", "1", "0", "1", "0"],
    }
)


def checks(root, suite, on_fail="block"):
    whole = Contract.model_validate(
        {
            "project": "flights",
            "problem": {"task": "binary", "target": "y"},
            "goals": [{"metric": "roc_auc", "at_least": 0.6}],
            "data": {
                "source": "x.csv",
                "columns": {
                    "carrier": {"type": "category"},
                    "distance": {"type": "number"},
                    "passenger": {"type": "text", "personal": "direct"},
                },
                "checks": [{"suite": suite, "on_fail": on_fail}],
            },
        }
    )
    found = examine(conform(FLIGHTS, whole), whole, NOW, root)
    own = [one for one in found.checks if suite.partition(":")[0] in one.name]
    return own, found.refusal


def sql(tmp_path, text):
    (tmp_path / "checks.sql").write_text(text)
    return checks(tmp_path, "checks.sql")


def test_a_query_selects_what_is_wrong_and_the_comment_before_it_is_its_name(tmp_path):
    found, refusal = sql(
        tmp_path,
        """
        -- distances are positive
        select carrier, distance, passenger from data where distance <= 0;
        -- every carrier flies more than once
        with flown as (select carrier, count(*) as flights from data group by carrier)
        select carrier, flights from flown where flights < 2;
        select 1 from data where distance > 1000
        """,
    )

    assert [(one.name, one.failed, one.passed) for one in found] == [
        ("checks.sql: distances are positive", 1, False),
        ("checks.sql: every carrier flies more than once", 1, False),
        ("checks.sql: query 3", 0, True),
    ]
    # Nobody's name is shown, nor what a query made and may have taken it from.
    assert found[0].examples == ({"carrier": "AA", "distance": -5.0, "passenger": "***"},)
    assert found[1].examples == ({"carrier": "B6", "flights": "***"},)
    assert found[0].share == 0.2
    assert refusal is not None
    assert "checks.sql: distances are positive: 1 row (20.00%) blocked" in refusal


def test_a_suite_that_only_warns_refuses_nothing(tmp_path):
    (tmp_path / "checks.sql").write_text("select * from data where distance < 0")

    found, refusal = checks(tmp_path, "checks.sql", on_fail="warn")

    assert ([one.passed for one in found], refusal) == ([False], None)


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('secret.csv')",
        "select * from read_parquet('secret.parquet') as data",
        "select * from scan_csv('secret.csv')",
        'select * from "secret.csv"',
        "select * from other",
        "select * from other.data",
        "select * from data where exists (select 1 from read_csv('secret.csv'))",
        "with x as (select * from read_json('secret.json')) select * from x",
        "select * from data union all select * from read_ipc('secret.ipc')",
        "select * from data join read_csv('secret.csv') as s on true",
    ],
)
def test_a_query_reaches_nothing_but_the_data(tmp_path, monkeypatch, query):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.csv").write_text("a\n1\n")

    with pytest.raises(ValidationError, match=r"reads .* the table data alone"):
        sql(tmp_path, query)


@pytest.mark.parametrize(
    "query",
    [
        "drop table data",
        "create table t as select * from data",
        "insert into data values (1)",
        "delete from data",
        "truncate table data",
        "select * into t from data",
        "show tables",
        "copy data to 'out.csv'",
        "set x = 1",
    ],
)
def test_a_query_only_reads(tmp_path, query):
    with pytest.raises(ValidationError, match=r"is no select|cannot be read as SQL"):
        sql(tmp_path, query)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select from where", "cannot be read as SQL|cannot be run"),
        ("select nothing from data", "query 1 cannot be run"),
        ("-- nothing", "has no query"),
    ],
)
def test_a_query_that_is_none_is_named(tmp_path, text, said):
    with pytest.raises(ValidationError, match=said):
        sql(tmp_path, text)


@pytest.mark.parametrize("suite", ["absent.sql", "../outside.sql", "/etc/hostname", "notes.txt"])
def test_a_suite_is_a_file_of_the_project(tmp_path, suite):
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "outside.sql").write_text("select * from data")
    (root / "notes.txt").write_text("x")

    with pytest.raises(ValidationError, match=r"no file of the project|is neither a file of SQL"):
        checks(root, suite)


SCHEMA = """
import pandera.polars as pa

schema = pa.DataFrameSchema(
    {
        "distance": pa.Column(float, [pa.Check.ge(0), pa.Check.le(1000)], nullable=True),
        "carrier": pa.Column(str, pa.Check.isin(["UA", "AA"])),
    }
)


class Flights(pa.DataFrameModel):
    distance: float = pa.Field(ge=-10)
"""


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_pandera_schema_is_a_check_for_each_of_its_own(tmp_path):
    (tmp_path / "suite.py").write_text(SCHEMA)

    found, refusal = checks(tmp_path, "suite.py:schema")
    model, _ = checks(tmp_path, "suite.py:Flights")

    assert [(one.column, one.name, one.failed) for one in found] == [
        ("distance", "suite.py:schema: greater_than_or_equal_to(0)", 1),
        ("distance", "suite.py:schema: less_than_or_equal_to(1000)", 0),
        ("carrier", "suite.py:schema: isin(['UA', 'AA'])", 1),
    ]
    assert found[2].examples[0]["carrier"] == "B6"
    assert refusal is not None
    told = {(one.column, one.name): one.failed for one in model}
    assert told["distance", "suite.py:Flights: greater_than_or_equal_to(-10)"] == 0
    assert told["distance", "suite.py:Flights: not_nullable"] == 1


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_python_file_without_the_schema_or_that_fails_is_named(tmp_path):
    (tmp_path / "suite.py").write_text("schema = 3\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")

    with pytest.raises(ValidationError, match=r"suite\.py has no pandera schema called schema"):
        checks(tmp_path, "suite.py:schema")
    with pytest.raises(
        ValidationError, match=r"broken\.py fails when it is imported: ZeroDivision"
    ):
        checks(tmp_path, "broken.py:schema")


def behind(root, frame, *suites):
    whole = Contract.model_validate(
        {
            "project": "flights",
            "problem": {"task": "binary", "target": "y"},
            "goals": [{"metric": "roc_auc", "at_least": 0.6}],
            "data": {"source": "x.csv", "checks": [{"suite": suite} for suite in suites]},
        }
    )
    return {one.name: (one.failed, one.why_not) for one in elsewhere(frame, whole, root)}


def test_behind_the_source_a_query_is_asked_where_its_columns_are(tmp_path):
    (tmp_path / "checks.sql").write_text(
        "-- no way is negative\nselect * from data where distance < 0;\n"
        "-- few are late\nwith by_carrier as (select carrier, sum(y) as late from data "
        "group by carrier) select * from by_carrier where late > 1;\n"
        "-- a number\nselect * from data where carrier > 3;\n"
    )

    found = behind(tmp_path, FLIGHTS.drop("y"), "checks.sql")

    assert found["checks.sql: no way is negative"] == (1, "")
    assert found["checks.sql: few are late"] == (0, "no column y there")
    assert found["checks.sql: a number"][1].startswith("checks.sql: a number cannot be run: ")
    nothing = behind(tmp_path, FLIGHTS.select("passenger"), "checks.sql")
    assert nothing["checks.sql: few are late"] == (0, "no columns carrier, y there")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_behind_the_source_a_schema_asks_of_the_columns_that_are_there(tmp_path):
    (tmp_path / "suite.py").write_text(
        SCHEMA.replace("pa.Column(float, [", "pa.Column(int, [").replace(
            "    }\n)\n", "    },\n    strict=True,\n)\n", 1
        )
    )

    some = behind(tmp_path, FLIGHTS.select("distance", "passenger"), "suite.py:schema")
    every = behind(tmp_path, FLIGHTS, "suite.py:schema")

    # Whole numbers are kept as numbers in the log: types are judged at the source alone.
    assert some == {
        "suite.py:schema: isin(['UA', 'AA'])": (0, "no column carrier there"),
        "suite.py:schema: greater_than_or_equal_to(0)": (1, ""),
        "suite.py:schema: less_than_or_equal_to(1000)": (0, ""),
    }
    assert every["suite.py:schema: isin(['UA', 'AA'])"] == (1, "")
