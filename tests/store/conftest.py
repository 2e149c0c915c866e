"""Stores and databases to test with."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from loopline.store.database import Database
from loopline.store.ledger import Ledger
from loopline.store.objects import Objects

NOW = datetime(2013, 4, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects((tmp_path / "store").as_uri())


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'loopline.db'}")


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, "churn", "ada")


@pytest.fixture
def now() -> datetime:
    return NOW
