"""The month that is folded three ways: what is told of it changes when anything in it does."""

from pathlib import Path

import pytest

from bench import folding


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folding.write_month(tmp_path / "log", 2, 120)
    return tmp_path / "log"


def test_the_same_month_has_one_digest_and_outcomes_have_their_own(
    tmp_path: Path, log: Path
) -> None:
    digests = []
    for name in ("one", "other"):
        place = folding.Place(tmp_path / name, log)
        done = place.fold()()
        before = place.digest(), place.digest(outcomes=True)
        place.settle()
        digests.append((place.digest(), place.digest(outcomes=True)))

        assert (done.predictions, done.segments) == (120, 3)
        assert before[0] == digests[-1][0]
        assert before[1] != digests[-1][1]
    assert digests[0] == digests[1]


def test_a_month_without_one_of_its_segments_has_another_digest(tmp_path: Path, log: Path) -> None:
    whole = folding.Place(tmp_path / "whole", log)
    whole.fold()()
    next(iter(sorted(log.rglob("*.log")))).unlink()
    less = folding.Place(tmp_path / "less", log)
    less.fold()()

    assert less.digest() != whole.digest()
