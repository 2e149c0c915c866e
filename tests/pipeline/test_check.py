from datetime import UTC, datetime
from pathlib import Path

import pytest

from loopline.pipeline.check import Verdict, check
from loopline.scaffold.create import create
from loopline.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path, german_credit_csv: Path) -> Path:
    return create("credit", german_credit_csv, "credit_risk", parent=tmp_path).folder


def look(root: Path) -> dict[str, Verdict]:
    return {verdict.part: verdict for verdict in check(root, Settings.read(root, {}), NOW)}


def change(root: Path, *changes: tuple[str, str]) -> None:
    path = root / "loopline.yaml"
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)


def files(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_a_new_project_holds_unedited_and_nothing_is_written(root: Path) -> None:
    before = files(root)

    verdicts = look(root)

    assert {verdict.state for verdict in verdicts.values()} == {"ok"}
    assert verdicts["data"].said[0].startswith("1,000 rows and 21 columns from ")
    assert verdicts["features"].said == ("20 features of 20 inputs",)
    assert files(root) == before


def test_a_faulty_contract_gives_all_its_faults_and_the_tests_are_looked_at_still(
    root: Path,
) -> None:
    change(root, ("task: binary", "task: binry"), ("trials: 10", "trials: 0"))
    (root / "tests/model/test_more.py").write_text("def test_x(model):\n    return (\n")

    verdicts = look(root)

    assert [text.split(": ")[1].split(" is")[0] for text in verdicts["contract"].said] == [
        "problem.task",
        "model.trials",
    ]
    assert verdicts["data"].state == "skipped"
    assert verdicts["tests"].state == "fault"
    assert verdicts["tests"].said[0].startswith("test_more.py:2: SyntaxError")


def test_faults_of_every_part_are_said_at_once(root: Path) -> None:
    change(
        root,
        (
            "  split:",
            "  features: {a: credit_amont * 2, b: frobnicate(job), job: job + 1}\n  split:",
        ),
        ("  columns:\n", "  columns:\n    nowhere: {type: number}\n"),
        ("candidates: [linear, boosted_trees]", "candidates: [linear, bosted_trees]"),
        ("  # baseline:", '  baseline: {rule: "credit_amount >> 3"}\n  # baseline:'),
    )
    change(root, ("    job:", "    # job:"))

    verdicts = look(root)

    assert verdicts["row SQL"].state == "fault"
    said = "\n".join(verdicts["row SQL"].said)
    for fault in (
        "data.features.job has the name of a column",
        "data.features.a: ",
        "credit_amount",  # the nearest column
        "data.features.b: ",
        "problem.baseline.rule: ",
    ):
        assert fault in said
    assert verdicts["columns"].state == "fault"
    assert "column 'nowhere'" in verdicts["columns"].said[0]
    assert verdicts["split"].said == ("not looked at before the rows can be used",)
    assert verdicts["model"].said == (
        "There is no candidate 'bosted_trees': Did you mean 'boosted_trees'?",
    )


def test_idle_keys_are_named(root: Path) -> None:
    change(root, ("production: {}", "production: {shadow: true}"))

    verdict = look(root)["contract"]

    assert verdict.state == "note"
    assert verdict.said[1:] == (
        "environments.production.shadow: accepted, but nothing acts on it yet",
    )


def test_rows_that_break_a_rule_are_counted_and_data_that_cannot_be_used_is_a_fault(
    root: Path,
) -> None:
    change(
        root,
        ("maximum: 18424}", "maximum: 15000, on_fail: block}"),
        ("  split:", "  checks: [{rows_at_least: 5000}]\n  split:"),
    )

    verdicts = look(root)

    assert verdicts["rows"].state == "fault"
    assert any("at least 5,000 rows" in text for text in verdicts["rows"].said)

    change(root, ("rows_at_least: 5000", "rows_at_least: 500"))
    rows = look(root)["rows"]
    assert rows.state == "note"
    assert rows.said[0] == "995 rows to use, 5 kept apart"
    assert "credit_amount: maximum 15000" in rows.said[1]


def test_columns_left_unnamed_and_texts_are_mentioned(root: Path) -> None:
    change(root, ("    job: {type:", "    # job: {type:"))
    change(root, ("purpose: {type: category", "purpose: {type: text"))

    said = look(root)["columns"].said

    assert "the data has columns that loopline.yaml does not name: job" in said
    assert "no model sees a text; make data.features of it: purpose" in said


def test_a_leak_is_mentioned(root: Path) -> None:
    change(root, ("  split:", "  features: {twin: credit_risk_again}\n  split:"))
    csv = root.parent / "leaky.csv"
    lines = Path(_source(root)).read_text().splitlines()
    header = lines[0] + ",credit_risk_again"
    csv.write_text("\n".join([header, *(f"{line},{line.split(',')[-1]}" for line in lines[1:])]))
    change(root, (f'source: "{_source(root)}"', f'source: "{csv}"'))

    split = look(root)["split"]

    assert split.state == "note"
    assert "twin alone predicts the target almost perfectly" in split.said[1]


def _source(root: Path) -> str:
    from loopline.contract.load import load

    return str(load(root / "loopline.yaml").data.source)


@pytest.mark.parametrize(
    ("code", "state", "message"),
    [
        (
            "from sklearn.dummy import DummyClassifier as D\ndef build():\n    return D()\n",
            "ok",
            "model.py:build gives a DummyClassifier",
        ),
        ("import nowhere_to_be_found\n", "fault", "model.py:1: ModuleNotFoundError"),
        ("def make():\n    pass\n", "fault", "has no function build"),
        ("def build():\n    return 3\n", "fault", "int, which has no fit"),
        ("def build(:\n", "fault", "model.py:1: SyntaxError"),
    ],
)
def test_the_teams_own_model_is_tried(root: Path, code: str, state: str, message: str) -> None:
    (root / "model.py").write_text(code)
    change(root, ("  candidates:", "  train: model.py:build\n  # candidates:"))
    before = files(root)

    verdict = look(root)["model"]

    assert verdict.state == state
    assert message in verdict.said[0]
    assert files(root) == before


def test_a_source_that_is_gone_skips_what_needs_it(root: Path) -> None:
    change(root, ("source: ", "source: gone.csv # "))

    verdicts = look(root)

    assert verdicts["data"].state == "fault"
    assert "gone.csv" in verdicts["data"].said[0]
    assert verdicts["columns"].said == ("not looked at before the data can be used",)
    assert verdicts["model"].state == "ok"
