"""Real data as training material."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from loopline.contract.schema import Contract
from loopline.data.columns import from_frame
from loopline.data.snapshots import Snapshot
from loopline.data.splits import split
from loopline.data.target import truth
from loopline.training.material import Material

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def gather(contract: dict, frame: pl.DataFrame, types: dict[str, str]) -> Material:
    made = Contract.model_validate(
        {"project": "lesson", "goals": [{"metric": "error_rate", "at_most": 1}], **contract}
    )
    columns = from_frame(frame, types)
    target = truth(made, columns, types)
    snapshot = Snapshot(
        id="snap-1", hash="0" * 64, table="snapshots/lesson", table_version=0, rows=len(frame),
        columns=types, source="test", quarantined=0, frozen_at=NOW.isoformat(),
    )  # fmt: skip
    parts = split(frame, columns, made, target.values, made.model.seed)
    return Material(made, snapshot, columns, types, target, parts)


@pytest.fixture
def german_credit(german_credit_csv):
    """Make material of 1,000 credit decisions with what the test asks of the contract."""
    frame = pl.read_csv(german_credit_csv)
    types = {
        name: "category" if kind == pl.String else "number" for name, kind in frame.schema.items()
    }

    def make(*, costs=None, baseline=None, model=None, **data) -> Material:
        problem = {"task": "binary", "target": "credit_risk"}
        problem |= {"costs": costs} if costs else {}
        problem |= {"baseline": baseline} if baseline else {}
        columns = {name: {} for name in types} | data.pop("columns", {})
        data |= {"source": "x", "columns": columns}
        return gather({"problem": problem, "model": model or {}, "data": data}, frame, types)

    return make


@pytest.fixture
def toy():
    """Make material of the given columns, all listed in the contract."""

    def make(columns: dict, types: dict[str, str], *, problem: dict, **contract) -> Material:
        data = {"source": "x", "columns": {name: {} for name in types}, **contract.pop("data", {})}
        return gather({"problem": problem, "data": data, **contract}, pl.DataFrame(columns), types)

    return make


@pytest.fixture
def project(tmp_path) -> Path:
    """A project's folder with its contract."""
    (tmp_path / "loopline.yaml").write_text("project: lesson\n")
    return tmp_path
