"""A place with a log, a database and tables, and small makers of what goes in."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from loopline.monitoring.findings import Finding
from loopline.serving.log import HEADER, SEALED, frame
from loopline.store.database import Database
from loopline.store.ledger import Ledger
from loopline.store.objects import Objects
from loopline.store.tables import Tables

HOUR = 3_600_000_000


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'loopline.db'}")


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, "credit", "ada")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(Objects((tmp_path / "store").as_uri()))


@pytest.fixture
def write_segment(tmp_path: Path) -> Callable[..., Path]:
    def write(
        name: str, frames: Iterable[list[Any]], *, sealed: bool = True, env: str = "dev"
    ) -> Path:
        path = tmp_path / "log" / "credit" / env / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        end = [SEALED] if sealed else []
        path.write_bytes(HEADER + b"".join(frame(payload) for payload in [*frames, *end]))
        return path

    return write


@pytest.fixture
def finding() -> Callable[..., Finding]:
    def make(**changes: Any) -> Finding:
        usual: dict[str, Any] = {
            "id": "0123456789abcdef",
            "project": "credit",
            "environment": "production",
            "version": 3,
            "kind": "drift",
            "subject": "temp",
            "metric": "psi",
            "value": 0.5,
            "limit": 0.2,
            "window": ("2013-04-01T00:00:00Z", "2013-04-08T00:00:00Z"),
            "rows": 900,
            "labels": None,
            "message": "psi of temp is 0.5",
            "evidence": {},
            "status": "open",
            "found_at": "2013-04-08T00:00:00Z",
        }
        return Finding(**{**usual, **changes})

    return make
