"""The ledger as plain rows."""

from datetime import UTC, datetime

import pytest

from loopline.governance import audit
from loopline.store.database import Database
from loopline.store.ledger import Ledger

RUN = {"candidate": "linear", "snapshot": "snap-1", "seed": 7, "trials": []}
FOUND = {"subject": "age", "project": "churn", "version": 7, "message": "psi is 0.4", "why": ""}
ASKED = {"environment": "production", "needed": 2, "why": "Cheaper"}
ACTED = {
    "environment": "production",
    "kind": "rollback",
    "outcome": "done",
    "why": "error_rate is 3 %",
}
REGISTERED = {"gate_passed": False, "run": "run-1", "runtime": "plan"}
NOW = datetime(2013, 4, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    ledger = Ledger(Database(f"sqlite:///{tmp_path / 'loopline.db'}"), "churn", "ada")
    ledger.append("run.finished", "run-1", RUN, now=NOW)
    release = {"project": "churn", "serves": [{"version": 7}], "why": "Cheaper by 5 %"}
    ledger.append("release.written", "production", release, now=NOW)
    ledger.append("finding.opened", "f1", FOUND, now=NOW)
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
    ledger.append("promotion.requested", "churn:7", ASKED, now=NOW)
    ledger.append("action.taken", "a1", ACTED, now=NOW)
    ledger.append("version.registered", "churn:7", REGISTERED, now=NOW)
    ledger.append("key.created", "k1", {"public_key": "PEM"}, now=NOW)

    assert [audit.summary(row) for row in audit.rows(ledger)] == [
        "linear on snap-1, seed 7",
        "serves churn:7: Cheaper by 5 %",
        "psi is 0.4",
        "production, needs 2 approval(s): Cheaper",
        "rollback done: error_rate is 3 %",
        "gate failed, from run-1, answers by plan",
        "public_key PEM",
    ]


def test_findings_and_actions_are_about_what_people_call_them(ledger):
    ledger.append("action.taken", "a1", ACTED, now=NOW)

    told = [audit.about(row) for row in audit.rows(ledger)]

    assert told == ["run-1", "production", "age of churn:7", "production"]


def test_what_is_printed_cannot_drive_the_terminal():
    hostile = "good\x1b[2J\x1b[31m news\r\nroot  approved\u202e"

    assert audit.printable(hostile) == "good�[2J�[31m news��root  approved�"
    assert audit.printable("Käse 5 %") == "Käse 5 %"
