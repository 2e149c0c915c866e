"""A search interrupted anywhere ends as one that was not."""

import math
from types import SimpleNamespace

import pytest

from loopline.training.candidates.base import Range
from loopline.training.tuning import Search, search

WAVE = SimpleNamespace(
    defaults={"x": 1.0, "n": 5}, space={"x": Range(0.1, 10.0), "n": Range(1, 50, whole=True)}
)
SLOPE = SimpleNamespace(defaults={"a": 2.0}, space={"a": Range(0.5, 8.0, log=False)})
FIXED = SimpleNamespace(defaults={}, space={})
CANDIDATES = {"wave": WAVE, "slope": SLOPE}


def value(name, parameters):
    if name == "slope":
        return abs(parameters["a"] - 3) + 1
    return math.sin(parameters["x"] * 3) + abs(parameters["n"] - 20) / 10 + 1


def run(journal, trials=12, *, seed=7, stop_after=None, candidates=CANDIDATES):
    asked = []

    def evaluate(name, parameters):
        if stop_after is not None and len(asked) == stop_after:
            raise KeyboardInterrupt
        asked.append(name)
        return value(name, parameters) if name != "fixed" else 0.0

    found = search(Search(trials, seed, journal), candidates, evaluate, lambda *_: None)
    return [(t.number, t.candidate, t.parameters, t.value) for t in found], asked


def test_the_first_trial_of_each_candidate_is_its_defaults(tmp_path):
    found, _ = run(tmp_path / "a.jsonl")

    assert found[0][1:3] == ("wave", WAVE.defaults)
    assert found[1][1:3] == ("slope", SLOPE.defaults)
    assert len({str(parameters) for _, _, parameters, _ in found}) == 12
    assert isinstance(found[0][2]["n"], int)


@pytest.mark.parametrize("stop_after", [0, 1, 2, 5, 11])
def test_a_search_killed_anywhere_goes_on_to_the_same_end(tmp_path, stop_after):
    whole, _ = run(tmp_path / "whole.jsonl")

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "halves.jsonl", stop_after=stop_after)
    resumed, asked = run(tmp_path / "halves.jsonl")

    assert resumed == whole
    assert len(asked) == 12 - stop_after


def test_a_line_torn_by_a_kill_is_tried_again(tmp_path):
    whole, _ = run(tmp_path / "a.jsonl")
    torn = (tmp_path / "a.jsonl").read_bytes()[:-30]
    (tmp_path / "a.jsonl").write_bytes(torn)

    resumed, asked = run(tmp_path / "a.jsonl")

    assert resumed == whole
    assert len(asked) == 1


def test_more_trials_go_on_where_fewer_ended(tmp_path):
    few, _ = run(tmp_path / "a.jsonl", trials=6)
    more, asked = run(tmp_path / "a.jsonl", trials=12)
    whole, _ = run(tmp_path / "b.jsonl", trials=12)

    assert more == whole
    assert more[:6] == few
    assert len(asked) == 6


def test_another_seed_searches_elsewhere(tmp_path):
    first, _ = run(tmp_path / "a.jsonl")
    second, _ = run(tmp_path / "b.jsonl", seed=8)

    assert first[:2] == second[:2]
    assert first[2:] != second[2:]


def test_what_has_nothing_to_search_is_tried_once(tmp_path):
    alone, _ = run(tmp_path / "a.jsonl", candidates={"fixed": FIXED})
    beside, _ = run(tmp_path / "b.jsonl", candidates={"fixed": FIXED, "slope": SLOPE})

    assert [name for _, name, _, _ in alone] == ["fixed"]
    assert [name for _, name, _, _ in beside].count("fixed") == 1
    assert len(beside) == 12
