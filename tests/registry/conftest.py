"""A registry with versions, some of which did not pass their gate."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loopline.contract.schema import Contract
from loopline.governance.signing import Keys
from loopline.model.bundle import write
from loopline.registry.versions import ModelVersion, Registry
from loopline.store.database import Database
from loopline.store.ledger import Ledger
from loopline.store.objects import Objects

NOW = datetime(2013, 4, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


def open_registry(home: Path) -> Registry:
    ledger = Ledger(Database(f"sqlite:///{home / 'loopline.db'}"), "churn", "ada")
    return Registry(ledger, Objects((home / "store").as_uri()), Keys(home))


def register(registry: Registry, name: str = "", report: bytes = b"{}", **changes) -> ModelVersion:
    """Register a version whose bundle holds no model: a card and a report."""
    number = len(registry.all()) + 1
    bundle = f"bundles/churn/{number}{name}"
    files = {"card.md": bundle.encode(), "report.json": report}
    fields = {
        "digest": hashlib.sha256(bundle.encode()).hexdigest(),
        "bundle": bundle,
        "bundle_digest": write(registry.objects, registry.keys, bundle, files),
        "run": f"run-{number}",
        "snapshot": "snap-0123456789ab",
        "runtime": "plan",
        "reasons": (),
        "now": NOW,
        **changes,
    }
    return registry.register(**fields)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry(tmp_path)


@pytest.fixture
def versions(registry: Registry) -> list[ModelVersion]:
    """churn:1, churn:2 and churn:3, all passed."""
    return [register(registry) for _ in range(3)]


@pytest.fixture
def contract() -> Contract:
    """Production wants one approval."""
    return make_contract(approvals=1)


@pytest.fixture
def open_contract() -> Contract:
    """No environment wants an approval."""
    return make_contract(approvals=0)


def make_contract(*, approvals: int) -> Contract:
    return Contract.model_validate(
        {
            "project": "churn",
            "problem": {"task": "binary", "target": "churned"},
            "goals": [{"metric": "roc_auc", "at_least": 0.65}],
            "data": {"source": "customers.csv"},
            "environments": {"dev": {}, "staging": {}, "production": {"approvals": approvals}},
        }
    )


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], Registry]:
    """Open the same registry as another process would."""
    return lambda: open_registry(tmp_path)
