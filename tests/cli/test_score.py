"""What `loopline score` says of what came of it."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from loopline.cli.main import cli
from loopline.cli.score import command

COLUMNS = (
    "status_of_existing_checking_account,duration_in_month,credit_history,credit_amount,"
    "age_in_years,savings_account/bonds,purpose"
)
GOOD, BAD = "A11,6,A34,1169,67,A65,A43", "A11,x,A34,1169,67,A65,A43"


@pytest.fixture
def said(credit_project: Path):
    """`said(rows, ...)`: score these rows, and return what is printed."""

    def score(rows: list[str], *options: str) -> list[str]:
        source = credit_project / f"{len(rows)} rows.csv"
        if not source.exists():
            source.write_text("\n".join([COLUMNS, *rows, ""]))
        places = [str(source), str(credit_project / "out.csv")]
        done = CliRunner().invoke(command, [*places, "--project", str(credit_project), *options])
        assert done.exit_code == 0, done.output
        return done.output.replace(f"{credit_project}/", "").splitlines()

    return score


def test_one_row_is_said_of_one_and_several_of_several(said):
    one = said([GOOD, BAD])
    several = said([GOOD, GOOD, BAD, BAD], "--replace")

    assert one[0] == "1 prediction of credit:1 in out.csv"
    assert one[2] == "  1 row has none: out.csv.rejected.jsonl"
    assert several[0] == "2 predictions of credit:1 in out.csv"
    assert several[2] == "  2 rows have none: out.csv.rejected.jsonl"


def test_of_what_was_complete_no_speed_is_said(said):
    said([GOOD])
    again = said([GOOD])

    assert again == [
        "out.csv was complete already; --replace scores it again.",
        "  1 prediction of credit:1",
    ]


def test_what_was_scored_is_judged_where_the_outcome_was_kept(credit_project, monkeypatch):
    monkeypatch.chdir(credit_project)

    def call(*arguments):
        return CliRunner().invoke(cli, arguments, catch_exceptions=False)

    call("score", "credit.csv", "out.parquet", "--keep", "credit_risk,purpose")
    shown = call("model", "evaluate", "out.parquet")
    told = json.loads(call("model", "evaluate", "out.parquet", "--json").output)

    assert shown.output.startswith("credit:1 in out.parquet: 1,000 outcomes of 1,000 predictions\n")
    figures = told["performance"]
    accuracy = pl.read_parquet("out.parquet").select(
        (pl.col("label") == pl.col("credit_risk").cast(pl.String)).mean()
    ).item()  # fmt: skip
    assert figures["metrics"]["accuracy"] == accuracy
    assert 0 < figures["bounds"]["roc_auc"] < 0.003
    assert figures["baseline"] in shown.output
