"""Every statistic on twelve distributions: within its bound of what other libraries say."""

from pathlib import Path

import pytest

from loopline.counts import reference
from loopline.counts.reference import DISTRIBUTIONS, SOURCES, Check

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "statistics.md"


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return reference.checks()


@pytest.mark.parametrize("statistic", SOURCES)
def test_a_statistic_is_within_its_bound_on_every_distribution(
    statistic: str, checks: list[Check]
) -> None:
    found = [check for check in checks if check.statistic == statistic]

    assert found
    assert [check for check in found if not check.holds] == []


def test_every_distribution_and_every_statistic_is_checked(checks: list[Check]) -> None:
    assert len(DISTRIBUTIONS) == 12
    assert {check.distribution for check in checks} == set(DISTRIBUTIONS)
    assert {check.statistic for check in checks} == set(SOURCES)


def test_a_figure_beyond_its_bound_is_told() -> None:
    assert not Check("psi", "discrete", 0.2, 0.1, 0.05).holds
    assert Check("psi", "discrete", 0.2, 0.1, 0.11).holds
    assert not Check("psi", "discrete", 0.2, 0.1, 0.11).is_equal


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch, checks: list[Check]) -> None:
    monkeypatch.setattr(reference, "checks", lambda: checks)

    assert PAGE.read_text(encoding="utf-8") == reference.pages()["statistics.md"], (
        "make it anew with: python -m loopline.counts.reference docs/reference"
    )
