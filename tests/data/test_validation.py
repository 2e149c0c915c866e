import time
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from loopline.data.validation import conform, validate
from loopline.errors import ValidationError

NOW = datetime(2014, 1, 1, tzinfo=UTC)
PEOPLE = pl.DataFrame(
    {
        "id": ["1", "2", "2", "", "5"],
        "age": ["36", "-4", "oops", "", "130"],
        "zone": ["a", "b", "x", "", "a"],
        "name": ["Ada", "Bob", "Cyd", "Dot", "Eve"],
        "start": ["2013-12-30", "2013-12-01", "2013-12-05", "2013-12-31", ""],
        "end": ["2013-12-31", "2013-11-01", "2013-12-06", "", "2013-12-31"],
        "y": ["0", "1", "0", "1", "0"],
    }
)


def check(contract, columns, **data):
    whole = contract(
        {"missing": [""], "columns": columns, "time": "start", **data},
    )
    return validate(conform(PEOPLE, whole), whole, NOW)


def failed(validation):
    return {(c.column, c.name): c.failed for c in validation.checks if not c.passed}


def test_each_failing_check_counts_its_rows_and_missing_passes(contract):
    validation = check(
        contract,
        {
            "age": {"type": "integer", "minimum": 0, "maximum": 120, "missing_at_most": 0.3},
            "zone": {"categories": ["a", "b"], "missing_at_most": "10%"},
        },
        key="id",
        checks=[{"rule": '"end" > start', "on_fail": "warn"}],
    )

    assert failed(validation) == {
        ("age", "type integer"): 1,
        ("age", "minimum 0"): 1,
        ("age", "maximum 120"): 1,
        ("age", "missing at most 0.3"): 2,
        ("zone", "categories a, b"): 1,
        ("zone", "missing at most 0.1"): 1,
        ("id", "unique key"): 2,
        (None, 'rule "end" > start'): 1,
    }
    assert validation.good.height == 5
    assert validation.quarantine.is_empty()


def test_examples_show_the_row_and_what_the_source_said(contract):
    validation = check(contract, {"age": {"type": "integer", "minimum": 0}})
    found = {c.name: c for c in validation.checks if not c.passed}

    assert found["type integer"].examples == ({"row": 3, "age": "oops"},)
    assert found["minimum 0"].examples == ({"row": 2, "age": -4},)
    assert str(found["minimum 0"]) == "age: minimum 0: 1 row (20.00%) warned, such as row 2, age -4"


def test_personal_values_are_masked_in_examples(contract):
    columns = {"name": {"categories": ["Ada"], "personal": "direct"}, "age": {"type": "integer"}}
    validation = check(contract, columns, checks=[{"rule": "name = 'Ada'", "on_fail": "warn"}])

    shown = str([c.examples for c in validation.checks])

    assert "Bob" not in shown
    assert "***" in shown


def test_rows_that_fail_a_blocking_check_are_set_apart_as_the_source_wrote_them(contract):
    validation = check(
        contract,
        {"age": {"type": "integer", "minimum": 0, "on_fail": "block"}, "zone": {}},
        key="id",
        checks=[{"rule": "zone <> 'x'"}],
    )

    assert validation.good["age"].to_list() == [36, None, 130]
    assert validation.quarantine.select("_row", "age", "zone", "_failed").rows() == [
        (2, "-4", "b", "age: minimum 0"),
        (3, "oops", "x", "age: type integer; rule zone <> 'x'"),
    ]
    assert validation.good.height + validation.quarantine.height == PEOPLE.height


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"fresh": "12 hours"}, r"fresh 12:00:00: .* newest 2013-12-31"),
        ({"rows_at_least": 6}, r"at least 6 rows: 5 rows \(100.00%\) blocked, such as rows 5"),
        ({"rule": "y > 5"}, "No row passes the blocking checks"),
    ],
)
def test_a_failure_of_the_whole_stops_where_it_blocks_and_not_where_it_warns(
    contract, rule, message
):
    columns = {"age": {"type": "integer"}}

    with pytest.raises(ValidationError, match=message):
        check(contract, columns, checks=[rule])
    assert not all(
        c.passed for c in check(contract, columns, checks=[{**rule, "on_fail": "warn"}]).checks
    )


def test_what_is_fresh_enough_passes(contract):
    validation = check(contract, {"age": {"type": "integer"}}, checks=[{"fresh": "2 days"}])

    assert [c.passed for c in validation.checks if c.name.startswith("fresh")] == [True]


def test_the_storm_that_never_was_is_found_in_the_weather(contract):
    weather = pl.DataFrame({"wind_speed": ["10.4", "1048.36", "NA"], "y": ["0", "1", "1"]})
    columns = {"wind_speed": {"type": "number", "maximum": 150, "on_fail": "block"}}
    whole = contract({"missing": ["NA"], "columns": columns})

    validation = validate(conform(weather, whole), whole, NOW)

    assert validation.good["wind_speed"].to_list() == [10.4, None]
    assert "row 2, wind_speed 1048.36" in " ".join(map(str, validation.checks))


def test_three_hundred_thousand_flights_are_checked_in_under_two_seconds(contract, flights):
    kinds = {n: "category" if flights[n].dtype == pl.String else "number" for n in flights.columns}
    kinds["time_hour"] = "time"
    columns = {
        name: {"type": kind, **({"minimum": -200} if kind == "number" else {})}
        for name, kind in kinds.items()
    }
    data = {"columns": columns, "checks": [{"rule": "distance > 0 and carrier is not null"}]}
    whole = contract(data, target="arr_delay > 15")
    conformed = conform(flights, whole)

    start = time.process_time()
    validation = validate(conformed, whole, NOW + timedelta(days=1))
    seconds = time.process_time() - start

    assert validation.good.height == 336_776
    assert seconds < 2
