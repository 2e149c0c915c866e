"""The chain of events: it grows in order whoever writes, and every fault in it is named."""

import hashlib
import json
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

import pytest

from loopline.errors import BrokenLedgerError
from loopline.store.database import Database
from loopline.store.ledger import FIRST, Ledger, iso


@pytest.fixture
def ten(ledger, now):
    """A ledger of ten events."""
    for number in range(1, 11):
        ledger.append("run.finished", f"run-{number}", {"auc": number / 7}, now=now)
    return ledger


def change(ledger: Ledger, *statements: str) -> None:
    """Do what someone with a database client could."""
    with ledger.database.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_an_event_says_who_when_what_and_what_came_before(ledger, now):
    first = ledger.append("run.finished", "run-1", {"b": 1, "a": [None, 2.5, "ä"]}, now=now)
    second = ledger.append("finding.opened", "churn:1", {}, now=now, actor="watcher")

    assert (first.number, first.actor, first.at) == (1, "ada", "2013-04-01T12:30:00Z")
    assert first.payload == {"b": 1, "a": [None, 2.5, "ä"]}
    assert first.previous == FIRST
    assert (second.number, second.actor, second.previous) == (2, "watcher", first.hash)
    assert ledger.events() == [first, second]


def test_the_hash_is_sha_256_over_the_hash_before_and_the_canonical_json(ledger, now):
    event = ledger.append("run.finished", "run-1", {"b": 0.1, "a": "ä"}, now=now)

    content = {
        "actor": "ada",
        "at": "2013-04-01T12:30:00Z",
        "kind": "run.finished",
        "number": 1,
        "payload": {"a": "ä", "b": 0.1},
        "project": "churn",
        "subject": "run-1",
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert event.hash == hashlib.sha256(("0" * 64 + canonical).encode()).hexdigest()


def test_numbers_that_json_cannot_hold_become_null(ledger, now):
    event = ledger.append(
        "finding.opened", "x", {"value": float("nan"), "z": float("inf")}, now=now
    )

    assert event.payload == {"value": None, "z": None}
    assert ledger.verify() == 1


def test_times_are_stored_in_utc_and_a_time_without_zone_is_refused(ledger, now):
    sydney = timezone(timedelta(hours=11))

    assert iso(now.astimezone(sydney)) == "2013-04-01T12:30:00Z"
    with pytest.raises(ValueError, match="has no time zone"):
        ledger.append("run.finished", "run-1", {}, now=datetime(2013, 4, 1))
    assert ledger.events() == []


def test_events_are_found_by_kind_subject_and_number(ledger, now):
    for kind, subject in (("a", "x"), ("b", "x"), ("a", "y"), ("c", "y")):
        ledger.append(kind, subject, {}, now=now)

    assert [event.number for event in ledger.events(("a", "b"))] == [1, 2, 3]
    assert [event.number for event in ledger.events(subject="y")] == [3, 4]
    assert [event.number for event in ledger.events(("a",), subject="y", after=2)] == [3]
    assert ledger.events(after=4) == []


def test_projects_in_one_database_have_chains_of_their_own(database, now):
    churn, fraud = Ledger(database, "churn", "ada"), Ledger(database, "fraud", "ada")

    churn.append("a", "x", {}, now=now)
    event = fraud.append("a", "x", {}, now=now)

    assert (event.number, event.previous) == (1, FIRST)
    assert churn.verify() == fraud.verify() == 1


def test_an_event_is_part_of_the_transaction_it_is_given(ledger, now):
    def fail_after_appending():
        with ledger.database.begin() as connection:
            ledger.append("a", "x", {}, now=now, connection=connection)
            assert len(ledger.events(connection=connection)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_appending()

    assert ledger.events() == []
    assert ledger.verify() == 0
    with ledger.database.begin() as connection:
        ledger.append("a", "x", {}, now=now, connection=connection)
        ledger.append("a", "y", {}, now=now, connection=connection)
    assert ledger.verify() == 2


def test_two_processes_that_write_200_events_each_make_one_chain(tmp_path):
    script = """
import sys
from datetime import UTC, datetime
from loopline.store.database import Database
from loopline.store.ledger import Ledger
ledger = Ledger(Database(sys.argv[1]), "churn", sys.argv[2])
for number in range(200):
    ledger.append("run.finished", str(number), {}, now=datetime.now(UTC))
"""
    url = f"sqlite:///{tmp_path / 'loopline.db'}"
    writers = [subprocess.Popen([sys.executable, "-c", script, url, who]) for who in ("ada", "bob")]
    assert [writer.wait(60) for writer in writers] == [0, 0]

    ledger = Ledger(Database(url), "churn", "eve")
    assert ledger.verify() == 400
    for who in ("ada", "bob"):
        own = [int(event.subject) for event in ledger.events() if event.actor == who]
        assert own == list(range(200))


def test_an_append_costs_less_than_two_milliseconds(ledger, now):
    for _ in range(10):
        ledger.append("run.finished", "run-1", {}, now=now)

    # Of this process alone, so that a busy machine does not count.
    started = time.process_time()
    for _ in range(100):
        ledger.append("run.finished", "run-1", {"auc": 0.75}, now=now)

    assert (time.process_time() - started) / 100 < 0.002


def test_a_whole_chain_verifies(ten):
    assert ten.verify() == 10


@pytest.mark.parametrize("column", ["at", "actor", "kind", "subject", "payload"])
def test_a_changed_event_is_named(ten, column):
    change(ten, f"UPDATE events SET {column} = '{{}}' WHERE number = 4")

    with pytest.raises(BrokenLedgerError, match=r"content of event 4 was changed"):
        ten.verify()


def test_a_changed_digit_in_a_payload_is_named(ten):
    change(ten, "UPDATE events SET payload = replace(payload, '0.5', '0.6') WHERE number = 4")

    with pytest.raises(BrokenLedgerError, match=r"content of event 4 .*run\.finished about run-4"):
        ten.verify()


def test_an_event_that_was_rewritten_with_a_fitting_hash_breaks_the_next_link(ten, now):
    other = Ledger(Database("sqlite://"), "churn", "mallory")
    forged = other.append("run.finished", "run-1", {"auc": 1}, now=now)
    row = f"payload = '{{\"auc\":1}}', actor = 'mallory', hash = '{forged.hash}'"
    change(ten, f"UPDATE events SET {row} WHERE number = 1")

    with pytest.raises(BrokenLedgerError, match=r"event 2 .*Event 1 was replaced"):
        ten.verify()


def test_a_missing_event_is_named(ten):
    change(ten, "DELETE FROM events WHERE number IN (6, 7)")

    with pytest.raises(BrokenLedgerError, match=r"Event 6 is missing: after event 5 comes event 8"):
        ten.verify()


def test_events_in_another_order_are_named(ten):
    change(
        ten,
        "UPDATE events SET number = 99 WHERE number = 4",
        "UPDATE events SET number = 4 WHERE number = 5",
        "UPDATE events SET number = 5 WHERE number = 99",
    )

    with pytest.raises(BrokenLedgerError, match=r"The order is broken at event 4"):
        ten.verify()


def test_a_ledger_without_its_end_is_noticed(ten):
    change(ten, "DELETE FROM events WHERE number > 8")

    with pytest.raises(BrokenLedgerError, match=r"Event 9 is missing: .*event 10 was recorded"):
        ten.verify()


def test_a_ledger_that_was_emptied_is_noticed(ten):
    change(ten, "DELETE FROM events")

    with pytest.raises(BrokenLedgerError, match=r"Event 1 is missing"):
        ten.verify()


def test_a_whole_chain_written_anew_is_noticed(ten, tmp_path, now):
    forged = Ledger(Database(f"sqlite:///{tmp_path / 'other' / 'loopline.db'}"), "churn", "ada")
    for _ in range(10):
        forged.append("run.finished", "run-1", {"auc": 1}, now=now)
    (tmp_path / "heads" / "churn").replace(tmp_path / "other" / "heads" / "churn")

    with pytest.raises(BrokenLedgerError, match="Event 10 is not the one that was recorded"):
        forged.verify()


def test_an_anchor_from_elsewhere_is_held_against_the_chain(ten):
    seventh = ten.events()[6]

    assert ten.verify([(7, seventh.hash)]) == 10
    with pytest.raises(BrokenLedgerError, match="Event 7 is not the one that was recorded"):
        ten.verify([(7, "f" * 64)])


def test_a_damaged_head_is_not_taken_for_a_good_one(ten, tmp_path):
    (tmp_path / "heads" / "churn").write_text("ten events, roughly\n")

    with pytest.raises(BrokenLedgerError, match="should hold the last event's number"):
        ten.verify()
