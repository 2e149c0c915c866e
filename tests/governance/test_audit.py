"""The ledger as plain rows."""

from datetime import UTC, datetime

import pytest

from loopline.governance import audit
from loopline.store.database import Database
from loopline.store.ledger import Ledger

RUN = {"candidate": "linear", "rows": 700, "trials": []}
NOW = datetime(2013, 4, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    ledger = Ledger(Database(f"sqlite:///{tmp_path / 'loopline.db'}"), "churn", "ada")
    ledger.append("run.finished", "run-1", RUN, now=NOW)
    release = {"project": "churn", "serves": [{"version": 7}], "why": "Cheaper by 5 %"}
    ledger.append("release.written", "production", release, now=NOW)
    ledger.append("finding.opened", "age", {"message": "psi is 0.4", "why": ""}, now=NOW)
    return ledger


def test_a_row_has_every_field_of_its_event(ledger):
    row = audit.rows(ledger)[0]

    assert set(row) == set(vars(ledger.events()[0]))
    assert (row["number"], row["actor"], row["payload"]) == (1, "ada", RUN)


def test_rows_are_chosen_by_kind_by_text_and_from_the_end(ledger):
    def numbers(**choice):
        return [row["number"] for row in audit.rows(ledger, **choice)]

    assert numbers(kinds=("finding.opened", "run.finished")) == [1, 3]
    assert numbers(containing="CHEAPER") == [2]
    assert numbers(containing="age") == [3]
    assert numbers(limit=2) == [2, 3]
    assert numbers(limit=0) == []
    assert numbers(kinds=("no.such",)) == []


def test_a_summary_is_the_events_own_words_or_its_payload(ledger):
    assert [audit.summary(row) for row in audit.rows(ledger)] == [
        "candidate linear, rows 700",
        "serves churn:7: Cheaper by 5 %",
        "psi is 0.4",
    ]


def test_what_is_printed_cannot_drive_the_terminal():
    hostile = "good\x1b[2J\x1b[31m news\r\nroot  approved\u202e"

    assert audit.printable(hostile) == "good�[2J�[31m news��root  approved�"
    assert audit.printable("Käse 5 %") == "Käse 5 %"
