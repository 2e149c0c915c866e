"""The contract's checks counted at a stage, and kept in the ledger."""

from datetime import UTC, datetime

import numpy as np
import polars as pl

from loopline.data import quality
from loopline.data.conforming import conform
from loopline.data.quality import CHECKED, Tally, of_features, of_source, recorded, tally
from loopline.data.validation import examine
from loopline.store.database import Database
from loopline.store.ledger import Ledger

NOW = datetime(2014, 1, 1, tzinfo=UTC)
PEOPLE = pl.DataFrame(
    {
        "id": ["1", "2", "2", "", "5"],
        "age": ["36", "-4", "oops", "", "130"],
        "zone": ["a", "b", "x", "", "a"],
        "start": ["2013-12-30", "2013-12-01", "2013-12-05", "2013-12-31", ""],
        "end": ["2013-12-31", "2013-11-01", "2013-12-06", "", "2013-12-31"],
        "y": ["0", "1", "0", "1", "0"],
    }
)
COLUMNS = {
    "age": {"type": "integer", "minimum": 0, "maximum": 120, "missing_at_most": 0.3},
    "zone": {"categories": ["a", "b"], "missing_at_most": "30%", "on_fail": "block"},
}


def told(tallies):
    return {(t.column, t.name): (t.rows, t.failed, t.passed) for t in tallies}


def test_a_stage_counts_what_validation_counts_but_for_what_could_not_be_read(contract):
    checks = [{"rule": '"end" > start', "on_fail": "warn"}]
    data = {"missing": [""], "columns": COLUMNS, "time": "start", "key": "id", "checks": checks}
    whole = contract(data)
    conformed = conform(PEOPLE, whole)

    found = tally("snapshot", conformed.frame, conformed.types, whole)

    assert told(found) == {
        ("age", "minimum 0"): (5, 1, False),
        ("age", "maximum 120"): (5, 1, False),
        ("zone", "categories a, b"): (5, 1, False),
        ("id", "unique key"): (5, 2, False),
        (None, 'rule "end" > start'): (5, 1, False),
        ("age", "missing at most 0.3"): (5, 2, False),
        ("zone", "missing at most 0.3"): (5, 1, True),
    }
    assert {t.on_fail for t in found if t.column == "zone"} == {"block"}
    source = told(of_source(examine(conformed, whole, NOW).checks, 5))
    assert source["age", "type integer"] == (5, 1, False)
    assert {name: source[name] for name in told(found)} == told(found)


def test_a_stage_without_checks_has_no_tallies(contract):
    assert tally("training", pl.DataFrame({"x": [1.0]}), {"x": "number"}, contract({})) == []


def test_what_a_model_sees_is_finite_and_says_something():
    seen = np.array([[1.0, 7.0, np.nan, np.inf], [2.0, 7.0, np.nan, 1.0], [3.0, 7.0, 4.0, np.nan]])

    found = told(of_features(["good", "stuck", "gaps", "endless"], seen))

    assert [name for name, (_, _, passed) in found.items() if not passed] == [
        ("stuck", "more than one value"),
        ("endless", "finite"),
    ]
    assert found["endless", "finite"] == (3, 1, False)
    assert found["stuck", "more than one value"] == (3, 3, False)


def test_the_ledger_gives_back_what_was_recorded(tmp_path):
    ledger = Ledger(Database(f"sqlite:///{tmp_path / 'loopline.db'}"), "people", "ada")
    tallies = [
        Tally("source", "age", "minimum 0", "warn", 5, 1, False),
        Tally("training", None, "rule a > b", "block", 4, 0, True),
    ]

    quality.record(ledger, tallies, "snap-1", NOW)

    [event] = ledger.events(kinds=[CHECKED])
    assert event.subject == "snap-1"
    assert recorded(event.payload) == tallies
    assert [t.share for t in tallies] == [0.2, 0.0]
