"""Records in a notebook: tables, whatever is in them."""

import html.parser
from dataclasses import dataclass, field
from typing import Any

import pytest

from loopline.contract.load import load
from loopline.contract.schema import Contract
from loopline.data.snapshots import Snapshot
from loopline.evaluation.report import Report
from loopline.monitoring.findings import Finding
from loopline.notebooks import Shown, table
from loopline.registry.release import Release
from loopline.registry.versions import ModelVersion
from loopline.response.rules import Action
from loopline.response.watch import Pass
from loopline.training.run import Run


@dataclass(frozen=True)
class Part(Shown):
    name: str
    share: float = 0.25


@dataclass(frozen=True)
class Whole(Shown):
    title: str
    parts: tuple[Part, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    good: bool = True
    nothing: None = None


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize(
    "record", [Contract, Snapshot, Run, Report, ModelVersion, Release, Finding, Action, Pass]
)
def test_every_record_of_the_chain_is_shown_as_a_table(record):
    assert issubclass(record, Shown)


def test_a_record_is_a_table_of_its_fields_and_a_list_in_it_a_table_of_its_own():
    page = Page(Whole("a", (Part("x"), Part("y", 0.5)), {"rows": 3})._repr_html_())

    assert page.texts == [
        "Whole", "title", "a", "parts", "name", "share", "x", "0.25", "y", "0.5", "facts", "rows",
        "3", "good", "yes", "nothing",
    ]  # fmt: skip
    assert page.tags.count("table") == 3


def test_no_name_or_value_becomes_a_tag():
    page = Page(table({"<img src=x>": "<script>alert(1)</script>", "facts": {"<b>": "</td>"}}))

    assert set(page.tags) <= {"table", "tr", "th", "td"}
    assert page.texts == ["<img src=x>", "<script>alert(1)</script>", "facts", "<b>", "</td>"]


def test_long_lists_and_texts_are_cut_and_say_so():
    shown = Page(Whole("t" * 500, tuple(Part(str(n)) for n in range(35)))._repr_html_())

    assert "5 more" in shown.texts
    assert "t" * 400 + "…" in shown.texts
    assert "29" in shown.texts
    assert "30" not in shown.texts


def test_a_contract_shows_what_it_says_and_not_what_it_leaves_open(tmp_path):
    path = tmp_path / "loopline.yaml"
    path.write_text(
        "project: a\nproblem: {task: binary, target: y}\n"
        "goals: [{metric: roc_auc, at_least: 0.6}]\ndata: {source: x.csv}\n"
    )

    texts = Page(load(path)._repr_html_()).texts

    assert {"roc_auc", "0.6", "x.csv"} <= set(texts)
    assert "respond" not in texts
