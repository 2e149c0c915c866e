"""What the benchmark of batches says about its figures, worked out by hand."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench.batch import Turn, main, ratio
from bench.figures import Spread
from bench.load import BenchError

from bench import batch


def turn(contender, number, seconds, cpu=1.0, peak=100.0):
    return Turn(contender, number, 1000, seconds, cpu, peak)


TURNS = [
    turn("2 threads", 0, 2.0), turn("mlflow", 0, 20.0),
    turn("2 threads", 1, 1.0), turn("mlflow", 1, 32.0),
    turn("spark", 0, 10.0), turn("mlflow on spark", 0, 50.0),
    turn("spark", 1, 20.0), turn("mlflow on spark", 1, 60.0),
]  # fmt: skip


def test_a_ratio_is_taken_within_each_round():
    assert ratio(TURNS, "2 threads", "mlflow") == Spread(21, 10, 32)
    assert ratio(TURNS, "spark", "mlflow on spark") == Spread(4, 3, 5)


def test_what_is_printed_compares_like_with_like(monkeypatch, capsys):
    monkeypatch.setattr(batch, "_run", lambda _rows, _rounds: TURNS)

    assert main([]) == 0

    lines = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines()
             if "│" in line}  # fmt: skip
    assert "21 (10..32)" in lines["loopline score, 2 threads"]
    assert "4 (3..5)" in lines["loopline score on Spark"]
    assert "750 (500..1,000)" in lines["loopline score, 2 threads"]
    assert lines["MLflow pyfunc"].split("│")[-2].strip() == ""


def test_json_has_every_turn_with_its_rate(monkeypatch, capsys):
    monkeypatch.setattr(batch, "_run", lambda _rows, _rounds: TURNS[:1])

    assert main(["--json"]) == 0

    [said] = json.loads(capsys.readouterr().out)
    assert (said["contender"], said["rate"]) == ("2 threads", 500.0)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("1 thread", "differs from the pipeline by 0.5"), ("spark", "differs from one thread")],
)
def test_answers_that_differ_end_it(tmp_path, wrong, reason):
    for name in ("1 thread", "spark", "mlflow"):
        second = 0.75 + (0.5 if name == wrong == "1 thread" else 1e-15 if name == wrong else 0.0)
        # Spark writes its parts in any order: what belongs together is told by the key.
        rows = {"flight_id": ["b", "a"], "probability": [second, 0.5]}
        table = pa.table(rows).sort_by("flight_id") if name == "mlflow" else pa.table(rows)
        pq.write_table(table, tmp_path / f"{name.replace(' ', '-')}.parquet")

    with pytest.raises(BenchError, match=reason):
        batch._check(tmp_path, ["1 thread", "spark", "mlflow"])


def test_an_error_of_the_benchmark_is_its_last_word(monkeypatch, capsys):
    def fail(_rows: int, _rounds: int) -> list[Turn]:
        raise BenchError("spark ended with exit code 3.")

    monkeypatch.setattr(batch, "_run", fail)

    assert main([]) == 1
    assert capsys.readouterr().err == "spark ended with exit code 3.\n"
