"""Ledger and release documents vouch for each other."""

import pytest
from sqlalchemy import text
from tests.registry.conftest import NOW

from loopline.errors import BrokenLedgerError, ReleaseError
from loopline.registry import proof
from loopline.registry.promotion import promote


@pytest.fixture
def proven(registry, versions, open_contract):
    for number, environment in ((1, "staging"), (1, "production"), (2, "staging")):
        promote(registry, number, environment, by="ada", now=NOW, contract=open_contract)
    return registry


def test_a_whole_history_is_counted(proven):
    assert proof.verify(proven) == (7, 3)


def test_a_changed_event_is_found(proven):
    with proven.ledger.database.begin() as connection:
        connection.execute(text("UPDATE events SET actor = 'mallory' WHERE number = 5"))

    with pytest.raises(BrokenLedgerError, match="content of event 5 was changed"):
        proof.verify(proven)


def test_a_ledger_cut_off_together_with_its_head_is_found_by_the_releases(proven, tmp_path):
    (tmp_path / "heads" / "churn").unlink()
    with proven.ledger.database.begin() as connection:
        connection.execute(text("DELETE FROM events WHERE number > 5"))

    with pytest.raises(BrokenLedgerError, match="Event 6 is missing"):
        proof.verify(proven)


def test_a_document_that_differs_from_its_event_is_found(proven):
    proven.objects.delete("releases/churn/staging/2.json")

    with pytest.raises(ReleaseError, match="Release 2 of staging is in the ledger, but"):
        proof.verify(proven)


def test_an_unsigned_document_is_found(proven):
    document = proven.objects.get("releases/churn/staging/2.json")
    proven.objects.put("releases/churn/staging/2.json", document.replace(b'"ada"', b'"eve"'))

    with pytest.raises(ReleaseError, match="Release 2 of churn in staging was changed"):
        proof.verify(proven)
