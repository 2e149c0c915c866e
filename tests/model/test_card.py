"""The card says what a version is for and worth, to people who have nothing but a reader."""

from typing import Any

import pytest

from loopline.model.card import card

HOSTILE = "<script>alert(1)</script> | [x](http://evil.example) **b** `c` &lt; # 1\n\n# two"
SHOWN = " ".join(HOSTILE.split())

PROBLEM = {
    "question": "Will it be repaid?", "decision": "Refuse it.", "owner": "ada@bank.example",
    "target": "credit_risk",
}  # fmt: skip
SNAPSHOT = {"id": "snap-1", "rows": 1234, "source": "credit.csv", "quarantined": 5}
RUN = {
    "split": {"by": "stratified"}, "parameters": {"C": 0.5}, "candidate": "linear",
    "trials": [1, 2, 3], "objective": "log_loss", "seed": 7,
}  # fmt: skip


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def report(**changes: Any) -> dict[str, Any]:
    usual = {
        "project": "credit", "task": "binary", "classes": ["1", "2"], "threshold": 0.25,
        "rows": 400, "baseline": "majority", "metrics": {"roc_auc": figure(0.75)},
        "baseline_metrics": {"roc_auc": figure(0.5)}, "champion": None, "champion_metrics": {},
        "champion_rows": 0,
        "gates": [
            {"passed": True, "reason": "roc_auc is 0.75"},
            {"passed": False, "reason": "recall is 0.4"},
        ],
        "fairness": [], "importance": [],
        "parity": {"rows": 400, "hostile_rows": 600, "largest_difference": 2e-16, "flipped": 0},
    }  # fmt: skip
    return {**usual, **changes}


def made(refusal: str | None = None, **changes: Any) -> str:
    return card(PROBLEM, SNAPSHOT, RUN, report(**changes), refusal=refusal)


def test_it_says_what_the_version_is_for_made_from_and_worth() -> None:
    text = made()

    for line in (
        "# credit",
        "Will it be repaid? Refuse it.",
        "- Decision: positive where the probability is at least 0.25",
        "- Snapshot snap-1: 1,234 rows from credit.csv",
        "- 5 rows failed a blocking check and were kept apart",
        "- linear: C 0.5",
        "- Best of 3 trials by log_loss; seed 7",
        "On 400 rows that trained nothing, with 95 % intervals:",
        "- passed: roc\\_auc is 0.75",
        "- **failed**: recall is 0.4",
    ):
        assert line in text.splitlines(), line
    assert "| roc_auc | 0.75 (0.65 to 0.85) | 0.5 (0.4 to 0.6) |" in text
    assert "600 hostile rows it differs from the original by at most 2e-16 and flips 0" in text
    assert "## Fairness" not in text  # nothing to say, no heading


def test_a_champion_has_its_column_and_what_was_not_measured_says_so() -> None:
    text = made(champion="credit:3", champion_metrics={}, metrics={"recall": figure(0.5)})

    assert "| metric | model | baseline (majority) | credit:3 |" in text
    assert "| recall | 0.5 (0.4 to 0.6) | not measured | not measured |" in text
    assert "credit:3 is measured on the 0 rows unknown to it." in text


def test_without_a_plan_it_says_why_the_original_answers() -> None:
    text = made(refusal="GaussianProcess has no plan", parity={})

    assert "Answers by its original, since it has no exact plan: GaussianProcess has" in text
    assert "exact plan: over" not in text


def test_a_regression_has_neither_classes_nor_a_threshold() -> None:
    text = made(task="regression", classes=[], threshold=None)

    assert "Classes" not in text
    assert "Decision" not in text


def test_fairness_is_told_group_by_group_in_words() -> None:
    rule = {
        "by": "sex", "metric": "recall", "ratio": 0.92, "difference": 0.067,
        "groups": [
            {"group": "f", "rows": 1100, "figure": 0.8, "judged": True},
            {"group": "m", "rows": 1500, "figure": 0.867, "judged": True},
            {"group": "x", "rows": 3, "figure": None, "judged": False},
        ],
    }  # fmt: skip
    alone = {**rule, "ratio": None, "difference": None, "groups": rule["groups"][2:]}

    lines = made(fairness=[rule, alone]).splitlines()

    assert (
        "- recall by sex: f 0.8 (1,100 rows), m 0.867 (1,500 rows), x undefined (3 rows, not "
        "judged); smallest to largest 0.92, difference 0.067" in lines
    )
    assert "- recall by sex: x undefined (3 rows, not judged); too few rows to judge" in lines


def test_of_many_inputs_the_first_are_told() -> None:
    rows = [{"name": f"input{n}", "loss": 1 / (n + 3), "spread": 0.01} for n in range(20)]

    text = made(importance=rows)

    assert "| input0 | 0.3333 | 0.01 |" in text
    assert "input14" in text
    assert "input15" not in text


def test_whatever_names_hold_they_show_as_they_are_and_nothing_of_them_is_markup() -> None:
    markdown_it = pytest.importorskip("markdown_it")
    problem = dict.fromkeys(PROBLEM, HOSTILE)
    found = report(
        classes=[HOSTILE], baseline=HOSTILE, champion=HOSTILE,
        gates=[{"passed": False, "reason": HOSTILE}],
        importance=[{"name": HOSTILE, "loss": 0.1, "spread": 0.0}],
        fairness=[{
            "by": HOSTILE, "metric": "recall", "ratio": None, "difference": None,
            "groups": [{"group": HOSTILE, "rows": 1, "figure": None, "judged": False}],
        }],
    )  # fmt: skip
    run = {**RUN, "split": {HOSTILE: HOSTILE}, "parameters": {HOSTILE: 1}, "candidate": HOSTILE}

    text = card(problem, {**SNAPSHOT, "source": HOSTILE}, run, found, refusal=HOSTILE)

    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    inside = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in [*tokens, *inside]}
    assert not kinds & {"html_block", "html_inline", "link_open", "code_inline", "em_open", "image"}
    shown = ["".join(child.content for child in token.children or []) for token in tokens]
    assert sum(text.count(SHOWN) for text in shown) >= 14
    headings = [token.tag for token in tokens if token.type == "heading_open"]
    assert headings.count("h1") == 1
