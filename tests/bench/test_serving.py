"""What the benchmark says about its figures, worked out by hand."""

import json

import pytest
from bench.load import Load
from bench.peers import tensors
from bench.serving import Goal, Spread, Start, Turn, goals, main, ratio


def turn(server, clients, number, rate, p50=0.3, resident=60.0):
    return Turn(server, clients, number, Load(rate, 1.0, p50, 9.0), 0.1, resident)


def test_a_ratio_is_taken_within_each_round():
    turns = [
        turn("loopline-async", 32, 0, 3000), turn("mlflow", 32, 0, 30),
        turn("loopline-async", 32, 1, 1000), turn("mlflow", 32, 1, 20),
        turn("loopline-async", 32, 2, 4000), turn("mlflow", 32, 2, 50),
        turn("loopline-async", 1, 2, 9000), turn("mlflow", 1, 2, 1),
    ]  # fmt: skip

    assert ratio(turns, "loopline-async", "mlflow", 32) == Spread(80, 50, 100)
    assert ratio(turns, "loopline-async", "floor", 32) is None


def test_a_spread_is_a_median_with_the_least_and_the_most():
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0)
    assert str(Spread.of([1234.0])) == "1,234 (1,234..1,234)"
    assert str(Spread.of([0.12345, 0.5])) == "0.312 (0.123..0.5)"


@pytest.mark.parametrize(
    ("found", "at_least", "met"),
    [(2, True, True), (1.9, True, False), (2, False, True), (2.1, False, False)],
)
def test_a_goal_is_met_on_the_limit_and_beyond_it(found, at_least, met):
    assert Goal("x", found, 2, at_least=at_least, unit="s").is_met is met


def test_goals_are_judged_by_the_best_peer_and_the_slowest_start():
    turns = [
        turn("loopline-durable", 32, 0, 2000),
        turn("mlflow", 32, 0, 20), turn("fastapi", 32, 0, 100),
        turn("loopline-off", 32, 0, 6000), turn("floor", 32, 0, 10000),
        turn("loopline-off", 1, 0, 3000, p50=0.2, resident=70.0),
        turn("loopline-durable", 1, 0, 900, p50=0.9),
    ]  # fmt: skip
    starts = {
        "loopline-off": Start(0.4, 0.0), "loopline-durable": Start(1.2, 0.0),
        "mlflow": Start(9, 0.0), "fastapi": Start(3, 0.0), "floor": Start(0.1, None),
    }  # fmt: skip

    found = {goal.name: (goal.found, goal.is_met) for goal in goals(turns, starts)}

    assert found == {
        "durable, 32 clients, beside the best peer (fastapi)": (20, True),
        "durable, 32 clients, beside MLflow": (100, True),
        "log off, 32 clients, beside the HTTP floor": (0.6, True),
        "loopline-off, one client, p50": (0.2, True),
        "loopline-durable, one client, p50": (0.9, False),
        "start to first answer": (1.2, False),
        "resident memory": (70.0, True),
    }


def test_a_row_is_asked_as_the_open_inference_protocol_has_it():
    assert json.loads(tensors({"carrier": "UA", "seats": 149.0, "temp": None})) == {
        "inputs": [
            {"name": "carrier", "datatype": "BYTES", "shape": [1], "data": ["UA"]},
            {"name": "seats", "datatype": "FP64", "shape": [1], "data": [149.0]},
            {"name": "temp", "datatype": "FP64", "shape": [1], "data": [None]},
        ]
    }


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--rounds", "0"], ["--only", "nobody"]])
def test_an_option_that_makes_no_sense_is_refused_before_any_work(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        main(wrong)

    assert ended.value.code == 2
    assert wrong[1] in capsys.readouterr().err
