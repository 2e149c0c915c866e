"""The reference page names what the code has."""

import re
from pathlib import Path

from loopline.contract.metrics import METRICS
from loopline.evaluation.behaviour import Model
from loopline.training.candidates.boosted_trees import BoostedTrees

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")


def test_every_metric_is_explained_with_its_direction():
    rows = re.findall(r"^\| (`.*?`) \| (higher|lower|either) \|", PAGE, re.MULTILINE)

    told = {name: better for names, better in rows for name in re.findall(r"`(\w+)`", names)}

    assert told == {name: metric.direction for name, metric in METRICS.items()}


def test_every_public_method_of_the_model_under_test_is_explained():
    methods = [name for name in vars(Model) if not name.startswith("_")]

    assert [name for name in methods if f"model.{name}(" not in PAGE] == []


def test_the_searched_ranges_are_the_ones_told():
    for name, span in BoostedTrees.space.items():
        assert f"`{name}` {span.low:g} to {span.high:g}" in PAGE
