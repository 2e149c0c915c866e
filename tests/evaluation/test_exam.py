"""The whole evaluation on real data, from a trained model to its page."""

import html
import html.parser
import re
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from loopline.contract.schema import Contract
from loopline.data.columns import from_frame
from loopline.data.snapshots import Snapshot
from loopline.data.splits import split
from loopline.data.target import truth
from loopline.evaluation.costs import choose_threshold
from loopline.evaluation.exam import Candidates, Exam, Proofs, evaluate
from loopline.evaluation.metrics import Answer
from loopline.evaluation.page import html as page
from loopline.evaluation.page import metric_rows
from loopline.evaluation.report import Report
from loopline.model.compile.estimator import compile_plan
from loopline.model.parity import prove
from loopline.model.signature import matrix
from loopline.training import baselines
from loopline.training.material import Material
from loopline.training.run import train

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def lesson(german_credit_csv, tmp_path_factory):
    """German credit, trained once: material, what came of it, and its plan."""
    frame = pl.read_csv(german_credit_csv)
    kinds = {pl.String: "category"}
    types = {name: kinds.get(kind, "number") for name, kind in frame.schema.items()}
    contract = Contract.model_validate(
        {
            "project": "credit",
            "problem": {
                "task": "binary",
                "target": "credit_risk",
                "costs": {"currency": "EUR", "false_positive": 5, "false_negative": 1},
            },
            "goals": [
                {"metric": "roc_auc", "at_least": 0.7},
                {"metric": "latency_p99", "at_most": "1 s"},
            ],
            "fairness": [
                {"by": "foreign_worker", "metric": "recall", "ratio_at_least": 0.1,
                 "minimum_rows": 5},
            ],
            "data": {"source": "x", "columns": {name: {} for name in types}},
            "model": {"trials": 4},
        }
    )  # fmt: skip
    columns = from_frame(frame, types)
    target = truth(contract, columns, types)
    snapshot = Snapshot("snap-1", "0" * 64, "t", 0, 1000, types, "x", 0, NOW.isoformat())
    parts = split(frame, columns, contract, target.values, 7)
    material = Material(contract, snapshot, columns, types, target, parts)
    root = tmp_path_factory.mktemp("credit")
    (root / "loopline.yaml").write_text("project: credit\n")
    trained = train(material, root=root, home=root / ".home", now=NOW, progress=lambda *_: None)
    scores = trained.original.scores(material.rows(material.validation))
    threshold = choose_threshold(contract, target.values[material.validation], scores)
    signature = replace(trained.signature, threshold=threshold)
    plan = compile_plan(trained.original.estimator, signature)
    return material, trained, signature, plan


def judge(lesson, *, champion=None, own=None, taught=None):
    material, trained, signature, plan = lesson
    rows = material.rows(material.test)
    exam = Exam.of(material.contract, signature, rows, material.target.values[material.test])
    score = lambda columns: plan.score(matrix(signature, columns))  # noqa: E731
    simple = baselines.fit(material)
    answers = Candidates(
        Answer("own", score(rows) if own is None else own, signature.threshold),
        Answer(simple.name, simple.scores(rows), simple.threshold),
        champion,
        taught,
    )
    proofs = Proofs(parity=prove(plan, trained.original.signed(signature), signature, rows))
    return evaluate(exam, trained.run, answers, score, proofs, NOW)


@pytest.fixture(scope="module")
def report(lesson):
    return judge(lesson)


def test_the_report_measures_the_test_rows_alone(lesson, report):
    material, trained, signature, _ = lesson
    scores = trained.original.scores(material.rows(material.test))
    actual = material.target.values[material.test]
    said = scores >= signature.threshold
    cost = 5 * (said & (actual == 0)).mean() + (~said & (actual == 1)).mean()

    assert report.rows == 150
    assert report.metrics["roc_auc"].value == pytest.approx(roc_auc_score(actual, scores))
    assert report.metrics["log_loss"].value == pytest.approx(log_loss(actual, scores))
    assert report.metrics["cost_per_prediction"].value == pytest.approx(cost)
    assert report.primary == "cost_per_prediction"
    assert report.baseline == "cheapest answer"
    assert report.baseline_metrics["cost_per_prediction"].value == pytest.approx(actual.mean())
    assert report.parity["agreed"]
    assert report.created_at == "2026-03-01T12:00:00Z"


def test_every_part_of_the_report_is_there(lesson, report):
    needed = {each.name for each in lesson[2].inputs if each.required}

    assert {each["name"] for each in report.importance} == needed
    assert report.importance[0]["loss"] > report.importance[-1]["loss"]
    assert sum(each["rows"] for each in report.calibration) == 150
    assert sum(each["rows"] for each in report.confusion) == 150
    assert 0 < report.latency["p50"] <= report.latency["p99"] < 0.1
    assert report.slices[0]["figure"] >= report.slices[-1]["figure"]
    assert [gate.kind for gate in report.gates] == [
        "goal", "goal", "baseline", "fairness", "parity"
    ]  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_rows_without_truth_are_left_out(lesson):
    material, _, signature, _ = lesson
    rows = material.rows(material.test)
    actual = material.target.values[material.test].copy()
    actual[:50] = np.nan

    exam = Exam.of(material.contract, signature, rows, actual)

    assert len(exam.truth) == 100
    assert {len(values) for values in exam.columns.values()} == {100}


def test_the_same_evaluation_twice_says_the_same(lesson, report):
    again = judge(lesson)

    assert replace(again, latency={}, gates=()) == replace(report, latency={}, gates=())


def test_the_feature_that_decides_is_found_important(lesson):
    found = judge(lesson).importance[0]["name"]

    assert found in {"status_of_existing_checking_account", "credit_amount", "duration_in_month"}


def test_a_model_never_beats_itself_and_beats_a_worse_champion(lesson):
    material, trained, signature, _ = lesson
    scores = trained.original.scores(material.rows(material.test))
    shuffled = np.random.default_rng(1).permutation(scores)

    same = judge(lesson, champion=Answer("credit:1", scores, signature.threshold))
    worse = judge(lesson, champion=Answer("credit:1", shuffled, 0.05))

    gate = {each.kind: each for each in same.gates}["champion"]
    assert not gate.passed
    assert not same.passed
    assert {each.kind: each for each in worse.gates}["champion"].passed
    assert "baseline" not in {each.kind for each in worse.gates}
    own = worse.metrics["cost_per_prediction"].value
    assert worse.champion_metrics["cost_per_prediction"].value > own


def test_rows_that_taught_the_champion_do_not_judge_it(lesson):
    material, trained, *_ = lesson
    scores = trained.original.scores(material.rows(material.test))
    knows = scores.copy()
    knows[:100] = material.target.values[material.test][:100]  # it has seen them
    knows[100:] = np.random.default_rng(1).permutation(scores[100:])
    taught = np.arange(len(scores)) < 100

    report = judge(lesson, champion=Answer("credit:1", knows, 0.5), taught=taught)
    naive = judge(lesson, champion=Answer("credit:1", knows, 0.5))

    assert (report.rows, report.champion_rows) == (150, 50)
    by_hand = roc_auc_score(material.target.values[material.test][100:], knows[100:])
    assert report.champion_metrics["roc_auc"].value == pytest.approx(by_hand)
    assert report.metrics == naive.metrics
    gate = {each.kind: each for each in report.gates}["champion"]
    assert "on the same 50 rows that taught neither" in gate.reason
    assert naive.champion_metrics["roc_auc"].value > report.champion_metrics["roc_auc"].value


def test_where_nearly_every_row_taught_the_champion_nothing_beats_it(lesson):
    scores = lesson[1].original.scores(lesson[0].rows(lesson[0].test))
    taught = np.arange(len(scores)) < 140

    report = judge(lesson, champion=Answer("credit:1", 1 - scores, 0.5), taught=taught)

    gate = {each.kind: each for each in report.gates}["champion"]
    assert not gate.passed
    assert gate.reason.startswith(
        "140 of the 150 test rows taught the champion credit:1, and the other 10 are too few"
    )
    assert report.champion_metrics == {}


def test_a_champion_that_chance_could_tell_apart_is_not_beaten(lesson):
    material, trained, signature, _ = lesson
    scores = trained.original.scores(material.rows(material.test))
    said, actual = scores >= signature.threshold, material.target.values[material.test]
    other = scores.copy()
    other[np.flatnonzero(said & (actual == 0))[0]] = 0.0  # one error less
    other[np.flatnonzero(~said & (actual == 0))[0]] = 1.0  # and one more

    report = judge(lesson, champion=Answer("credit:1", other, signature.threshold))

    gate = {each.kind: each for each in report.gates}["champion"]
    compared = {each.metric: each for each in report.comparisons if each.against == "credit:1"}
    money = compared["cost_per_prediction"].difference
    assert money.low < 0 < money.high
    assert not compared["cost_per_prediction"].better
    assert not gate.passed
    assert "Chance alone could explain it" in gate.reason


class Tags(html.parser.HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)


def test_the_page_is_whole_small_and_needs_nothing_from_elsewhere(report):
    text = page(report)
    seen = Tags(text)

    words = " ".join(" ".join(seen.words).split())
    assert not seen.open
    assert len(text) < 100_000
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "img", "link", "iframe", "a"})
    assert not [attributes for _, attributes in seen.tags if "style" in attributes]
    assert re.search(r"default-src 'none'; style-src 'sha256-[\w+/=]{44}'", html.unescape(text))
    assert "The gate passed." in words or "The gate failed." in words
    for gate in report.gates:
        assert " ".join(gate.reason.split()) in words


def test_hostile_names_stay_text(report):
    attack = "<script>alert(1)</script>'\"&{{7*7}}"
    hostile = replace(
        report,
        project=attack,
        run=attack,
        baseline=attack,
        classes=(attack, attack),
        gates=(replace(report.gates[0], name=attack, reason=attack),),
        slices=({"column": attack, "value": attack, "rows": 1, "figure": 0.5},),
        importance=({"name": attack, "loss": 0.1, "spread": 0.0},),
        behaviour=({"name": attack, "file": attack, "passed": False, "message": attack},),
        fairness=(
            {"by": attack, "metric": "recall", "ratio": None, "difference": None, "groups": [
                {"group": attack, "rows": 1, "figure": None, "judged": False}]},
        ),
    )  # fmt: skip

    seen = Tags(page(hostile))

    assert "script" not in {tag for tag, _ in seen.tags}
    assert " ".join(seen.words).count(attack) >= 12


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_have_their_page_too(task, lesson):
    random = np.random.default_rng(4)
    actual = random.integers(0, 3, 90).astype(float)
    scores = random.dirichlet([1, 1, 1], 90) if task == "multiclass" else actual + random.random(90)
    simple = np.full_like(scores, 1 / 3) if task == "multiclass" else np.full(90, actual.mean())
    contract = lesson[0].contract.model_copy(
        update={
            "problem": Contract.model_validate(
                {"project": "x", "problem": {"task": task, "target": "y"},
                 "goals": [{"metric": "error_rate", "at_most": 1}], "data": {"source": "x"}}
            ).problem,
            "fairness": [],
        }
    )  # fmt: skip
    classes = ("a", "b", "c") if task == "multiclass" else ()
    signature = replace(lesson[2], task=task, classes=classes, threshold=None)
    rows = {name: values[:90] for name, values in lesson[0].columns.items()}
    exam = Exam.of(contract, signature, rows, actual)

    report = evaluate(
        exam,
        lesson[1].run,
        Candidates(Answer("own", scores), Answer("simple", simple)),
        lambda columns: scores[: len(next(iter(columns.values())))],
        Proofs(),
        NOW,
    )

    assert {row["name"] for row in metric_rows(report)} == set(report.metrics)
    assert metric_rows(report)[0]["name"] == report.primary
    assert not Tags(page(report)).open
