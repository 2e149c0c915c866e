"""What a version keeps of its training rows by several columns, and what it never keeps."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from loopline.counts import pairs
from loopline.data.multivariate import Rows
from loopline.model.bundle import open_bundle
from loopline.pipeline.run import run
from loopline.pipeline.workspace import Workspace

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_a_version_keeps_its_pairs_and_rows_without_anything_personal(
    credit_project: Path,
) -> None:
    contract = credit_project / "loopline.yaml"
    asked = """monitor:
  drift: {psi: 0.2, multivariate: 0.6}
  pairs: [[credit_amount, duration_in_month], [purpose, credit_amount]]
"""
    text = contract.read_text().replace("age_in_years: {", "age_in_years: {personal: indirect, ")
    contract.write_text(text + asked)

    done = run(Workspace.open(credit_project), now=NOW, progress=lambda *_: None)

    space = Workspace.open(credit_project)
    bundle = open_bundle(space.objects, space.keys, done.version.bundle, done.version.bundle_digest)
    kept = pairs.decode(bundle.file("pairs.bin"))
    assert list(kept) == [("credit_amount", "duration_in_month"), ("purpose", "credit_amount")]
    rows = Rows.from_bytes(bundle.file("sample.bin"))
    assert len(rows.matrix) == kept["credit_amount", "duration_in_month"].rows  # of the training
    assert {"credit_amount", "purpose"} < set(rows.names)
    assert "age_in_years" not in rows.names
    amount, months = (
        rows.matrix[:, rows.names.index(name)] for name in ("credit_amount", "duration_in_month")
    )
    found = pairs.association(kept["credit_amount", "duration_in_month"])
    assert found is not None
    assert found.value == pytest.approx(stats.spearmanr(amount, months).statistic, abs=found.bound)
    assert np.unique(rows.matrix[:, rows.names.index("purpose")]).tolist() == list(range(10))


def test_without_being_asked_nothing_is_kept(trained: Path) -> None:
    space = Workspace.open(trained)
    known = space.registry.get(1)
    bundle = open_bundle(space.objects, space.keys, known.bundle, known.bundle_digest)

    assert not {"pairs.bin", "sample.bin"} & set(bundle.listed)
