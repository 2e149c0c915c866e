"""The page opens anywhere, and shows the report's own figures."""

import base64
import hashlib
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from loopline.errors import StoreError
from loopline.evaluation.page import html, metric_rows, write
from loopline.evaluation.report import Comparison, Estimate, GateResult, Report


def report(**changes: Any) -> Report:
    usual: dict[str, Any] = {
        "run": "run-1", "project": "credit", "task": "binary", "rows": 1234, "threshold": 0.25,
        "metrics": {"roc_auc": Estimate(0.8, 0.7, 0.9), "recall": Estimate(0.5, 0.5, 0.5)},
        "baseline": "majority", "baseline_metrics": {"roc_auc": Estimate(0.5, 0.5, 0.5)},
        "champion": None, "champion_metrics": {}, "classes": ("good", "bad"), "primary": "recall",
        "comparisons": (
            Comparison("roc_auc", "baseline", 0.8, 0.5, Estimate(0.3, 0.2, 0.4), better=True),
        ),
        "gates": (
            GateResult("roc_auc at least 0.7", True, 0.8, "roc_auc is 0.8"),
            GateResult("recall at least 0.6", False, 0.5, "recall is 0.5"),
        ),
        "created_at": "2026-03-01T12:00:00Z", "latency": {"p50": 0.00002, "p99": 0.0001},
    }  # fmt: skip
    return Report(**{**usual, **changes})


def words(page: str) -> str:
    return " ".join(unescape(re.sub("<[^>]+>", " ", page.partition("<body>")[2])).split())


def test_its_policy_allows_its_own_style_and_nothing_else() -> None:
    page = html(report())

    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert unescape(policy) == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "<script" not in page
    assert not re.search(r"\s(style|src|href|on\w+)=", page)


def test_a_failed_gate_comes_first_with_what_was_found() -> None:
    said = words(html(report()))

    assert "✗ The gate failed. 1 of 2 conditions do not hold." in said
    assert said.index("✗ recall at least 0.6 recall is 0.5") < said.index("✓ roc_auc at least")
    passed = words(html(report(gates=report().gates[:1])))
    assert "✓ The gate passed. All 1 conditions hold." in passed


def test_figures_stand_with_their_intervals_beside_baseline_and_champion() -> None:
    alone = {row["name"]: row for row in metric_rows(report())}
    beside = report(
        champion="credit:3",
        champion_rows=90,
        champion_metrics={"roc_auc": Estimate(0.75, 0.7, 0.8)},
        comparisons=(
            *report().comparisons,
            Comparison("roc_auc", "credit:3", 0.8, 0.75, Estimate(0.05, -0.1, 0.2), better=False),
        ),
    )
    rows = {row["name"]: row for row in metric_rows(beside)}

    assert list(alone) == ["recall", "roc_auc"]  # what decides comes first
    assert alone["roc_auc"]["own"] == "0.8 (0.7 to 0.9)"
    assert alone["recall"]["own"] == "0.5"  # an interval without width is not shown
    assert alone["roc_auc"]["against"].against == "baseline"
    assert rows["roc_auc"]["against"].against == "credit:3"
    assert "not proven better" in words(html(beside))
    assert "Champion: credit:3" in words(html(beside))
    assert "compared, on the 90 rows that did not teach it" in words(html(beside))


def test_it_is_written_where_it_is_asked_for_and_a_place_that_cannot_be_is_said(
    tmp_path: Path,
) -> None:
    place = write(report(), tmp_path / "deep" / "page.html")

    assert place.read_text(encoding="utf-8") == html(report())
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="The page cannot be written to"):
        write(report(), tmp_path / "file" / "page.html")


def test_a_report_with_nothing_optional_is_still_a_page() -> None:
    bare = report(
        comparisons=(), gates=(), baseline_metrics={}, latency={}, classes=(), threshold=None
    )

    said = words(html(bare))

    assert "The gate passed" in said
    assert "Calibration" not in said
