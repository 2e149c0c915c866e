"""What a run remembers, so that the next one can tell that nothing has changed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from loopline.contract.schema import Contract
from loopline.pipeline import cache
from loopline.pipeline.run import run
from loopline.pipeline.workspace import Workspace

NOW = datetime(2013, 4, 1, tzinfo=UTC)
CONTRACT = """
project: credit
problem: {task: binary, target: credit_risk, positive: 2}
goals: [{metric: roc_auc, at_least: 0.5}]
data:
  source: credit.csv
  columns: {duration_in_month: {type: integer, maximum: 40}, purpose: {type: category}}
model: {candidates: [linear], trials: 1}
"""


@pytest.fixture
def space(tmp_path: Path, german_credit_csv: Path) -> Workspace:
    (tmp_path / "loopline.yaml").write_text(CONTRACT)
    (tmp_path / "credit.csv").write_bytes(german_credit_csv.read_bytes())
    return Workspace.open(tmp_path)


def test_only_a_run_that_dev_serves_stands_for_the_next_one(space: Workspace) -> None:
    challenger = run(space, now=NOW, progress=lambda *_: None, release=False)
    assert cache.find(space.root, space.settings) is None

    other = Contract.model_validate(space.contract.model_dump(mode="json", exclude_unset=True))
    run(space, now=NOW, progress=lambda *_: None, contract=other)
    assert cache.find(space.root, space.settings) is None

    first = run(space, now=NOW, progress=lambda *_: None)
    found = cache.find(space.root, space.settings)
    assert found == first.summary()
    assert challenger.version.digest == first.version.digest
    [finding] = found["findings"]
    assert finding.startswith(
        "duration_in_month: maximum 40: 81 rows (8.10%) warned, such as row 2"
    )

    (space.root / "loopline.yaml").write_text(CONTRACT.replace("trials: 1", "trials: 2"))
    assert cache.find(space.root, space.settings) is None
