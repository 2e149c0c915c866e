"""Outcomes from files: what is read, and what is refused with nothing kept."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from loopline.contract.schema import Contract
from loopline.errors import FeedbackError, SourceError
from loopline.model.signature import Signature
from loopline.monitoring import outcomes
from loopline.monitoring.windows import moment
from loopline.serving.log import read_frames
from loopline.settings import Settings

CREDIT = Signature("credit", "binary", (), (), ("0", "1"))
LATE = Signature("flights", "binary", (), (), ("false", "true"))


def contract(**problem: Any) -> Contract:
    data = {"source": "x.csv", "key": "flight_id", "missing": ["NA"]}
    usual = {"task": "binary", "target": "risk"}
    return Contract.model_validate(
        {
            "project": "credit",
            "problem": {**usual, **problem},
            "goals": [{"metric": "error_rate", "at_most": 0.01}],
            "data": data,
        }
    )


def read(
    tmp_path: Path,
    text: str,
    signature: Signature = CREDIT,
    name: str = "labels.csv",
    **problem: Any,
) -> outcomes.Outcomes:
    path = tmp_path / name
    path.write_text(text)
    return outcomes.read(path, contract(**problem), signature, Settings.read(tmp_path, {}))


def test_ids_labels_and_times_are_read_from_csv(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "prediction_id,label,observed_at\na-0,1,2013-04-01T06:30:00Z\na-1,0,\na-2,,2013-04-01\n",
    )

    assert found.rows == [["a-0", None, "1", 1_364_797_800_000_000], ["a-1", None, "0", None]]
    assert found.pending == 1


@pytest.mark.parametrize("column", ["flight_id", "key"])
@pytest.mark.parametrize("label", ["label", "risk"])
def test_keys_and_targets_may_have_the_contracts_names(
    tmp_path: Path, column: str, label: str
) -> None:
    found = read(tmp_path, f"{column},{label}\n17,1\n18.0,0\n19,NA\n")

    assert [row[:3] for row in found.rows] == [[None, "17", "1"], [None, "18", "0"]]


def test_a_row_may_have_an_id_or_a_key_and_the_id_counts(tmp_path: Path) -> None:
    found = read(tmp_path, "prediction_id,key,label\na-0,17,1\n,18,0\n")

    assert [row[:3] for row in found.rows] == [["a-0", None, "1"], [None, "18", "0"]]


def test_json_lines_and_parquet_are_read_like_csv(tmp_path: Path) -> None:
    lines = '{"prediction_id": "a-0", "label": 1}\n{"prediction_id": "a-1", "label": 0}\n'
    pl.DataFrame({"prediction_id": ["a-0", "a-1"], "label": [1.0, 0.0]}).write_parquet(
        tmp_path / "labels.parquet"
    )

    json = read(tmp_path, lines, name="labels.jsonl")
    parquet = outcomes.read(
        tmp_path / "labels.parquet", contract(), CREDIT, Settings.read(tmp_path, {})
    )

    assert json.rows == parquet.rows == [["a-0", None, "1", None], ["a-1", None, "0", None]]


def test_a_target_in_row_sql_is_worked_out_of_its_columns(tmp_path: Path) -> None:
    text = "flight_id,arr_delay\n1,40\n2,-3\n3,NA\n"

    found = read(tmp_path, text, LATE, target="arr_delay > 15")

    assert [row[1:3] for row in found.rows] == [["1", "true"], ["2", "false"]]
    assert found.pending == 1


def test_true_and_false_may_be_written_as_one_and_zero(tmp_path: Path) -> None:
    found = read(tmp_path, "flight_id,label\n1,1\n2,no\n", LATE)

    assert [row[2] for row in found.rows] == ["1", "no"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n1,1\n", r"needs a column prediction_id or flight_id or key\. It has id, label"),
        ("key,outcome\n1,1\n", r"needs a column label or risk\. It has key, outcome"),
        (
            "key,label\n1,1\n2,good\n3,bad\n",
            r"2 of 3 rows .*0 or 1: 'good' in row 2, 'bad' in row 3",
        ),
        ("prediction_id,label\na-0,1\n,0\n", r"1 of 2 rows do not have a prediction_id"),
        ("key,label,observed_at\n1,1,soon\n", r"observed_at that is a time .*'soon' in row 1"),
    ],
)
def test_what_cannot_be_an_outcome_is_named_and_nothing_is_kept(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(FeedbackError, match=message):
        read(tmp_path, text)


def test_a_regressions_label_is_a_number(tmp_path: Path) -> None:
    house = Signature("house", "regression", (), ())

    found = read(tmp_path, "key,label\n1,12.5\n2,7\n", house, task="regression", target="price")

    assert [row[2] for row in found.rows] == ["12.5", "7"]
    with pytest.raises(FeedbackError, match="1 of 1 rows do not have a label that is a number"):
        read(tmp_path, "key,label\n1,cheap\n", house, task="regression", target="price")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no .*labels\.csv"):
        outcomes.read(tmp_path / "labels.csv", contract(), CREDIT, Settings.read(tmp_path, {}))


def test_outcomes_are_written_as_the_server_writes_them(tmp_path: Path) -> None:
    rows = [[f"a-{place}", None, "1", None] for place in range(12_000)]

    outcomes.write(outcomes.Outcomes(rows, 0), tmp_path, "credit", "dev", moment(77))

    [segment] = (tmp_path / "credit" / "dev").glob("*.log")
    frames = [payload for payload, _ in read_frames(segment)]
    assert [frame[0] for frame in frames] == ["f", "f", "f", "s"]
    assert [row for frame in frames[:-1] for row in frame[2]] == rows
    assert {frame[1] for frame in frames[:-1]} == {77}
