"""What the benchmark says about its figures, worked out by hand."""

import json

import pytest
from bench.figures import SHAPES, Goal, Spread, Start, Turn, goals, ratio, told
from bench.load import BenchError, Load
from bench.peers import Model, peers, tensors
from bench.serving import main
from bench.tables import markdown, written


def turn(server, shape, number, rate, *, p50=0.3, resident=60.0, cpu=0.1):
    return Turn(server, *shape, number, Load(rate, 1.0, p50, 9.0), cpu, resident)


ONE, MANY, HUNDRED = (1, 1), (1, 32), (100, 32)


def test_a_ratio_is_taken_within_each_round():
    turns = [
        turn("loopline-async", MANY, 0, 3000), turn("mlflow", MANY, 0, 30),
        turn("loopline-async", MANY, 1, 1000), turn("mlflow", MANY, 1, 20),
        turn("loopline-async", MANY, 2, 4000), turn("mlflow", MANY, 2, 50),
        turn("loopline-async", ONE, 2, 9000), turn("mlflow", ONE, 2, 1),
        turn("loopline-async", HUNDRED, 2, 9000), turn("mlflow", HUNDRED, 2, 1),
    ]  # fmt: skip

    assert ratio(turns, "loopline-async", "mlflow", MANY) == Spread(80, 50, 100)
    assert ratio(turns, "loopline-async", "floor", MANY) is None


def test_cpu_is_compared_too_as_how_much_more_of_it_a_request_takes():
    turns = [
        turn("floor", MANY, 0, 9, cpu=0.02), turn("mlflow", MANY, 0, 9, cpu=10.0),
        turn("floor", MANY, 1, 9, cpu=0.04), turn("mlflow", MANY, 1, 9, cpu=12.0),
        turn("floor", MANY, 2, 9, cpu=0.0), turn("mlflow", MANY, 2, 9, cpu=0.0),
    ]  # fmt: skip

    found = ratio(turns, "floor", "mlflow", MANY, cpu=True)

    assert found is not None
    assert (found.lowest, found.highest) == pytest.approx((300, 500))


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


def test_what_is_missed_says_by_how_much_and_what_the_cpu_says():
    assert Goal("x", 5, 15, at_least=True, unit="times").verdict == "NOT MET, by a factor of 3"
    assert Goal("x", 1.2, 0.8, at_least=False, unit="ms").verdict == "NOT MET, by a factor of 1.5"
    assert Goal("x", 16, 15, at_least=True, unit="times").verdict == "met"
    assert Goal("x", 16, 15, at_least=True, unit="times").wanted == "at least 15 times"
    by_cpu = Goal("x", 5, 15, at_least=True, unit="times", by_cpu=14.04)
    assert by_cpu.verdict == "NOT MET, by a factor of 3; by CPU a request 14 times"


def test_goals_are_judged_by_the_best_peer_and_the_slowest_start():
    turns = [
        turn("loopline-durable", MANY, 0, 2000),
        turn("mlflow", MANY, 0, 20), turn("litserve", MANY, 0, 100),
        turn("loopline-durable", HUNDRED, 0, 800),
        turn("mlflow", HUNDRED, 0, 200), turn("litserve", HUNDRED, 0, 100),
        turn("loopline-off", MANY, 0, 6000), turn("floor", MANY, 0, 10000),
        turn("loopline-off", ONE, 0, 3000, p50=0.2, resident=70.0),
        turn("loopline-durable", ONE, 0, 900, p50=0.9),
    ]  # fmt: skip
    starts = {
        "loopline-off": Start(0.4, 1e-16), "loopline-durable": Start(1.2, 0.0),
        "mlflow": Start(9, 0.0), "litserve": Start(3, 1e-13), "floor": Start(0.1, None),
    }  # fmt: skip

    found = {goal.name: (goal.found, goal.is_met) for goal in goals(turns, starts)}

    assert found == {
        "durable, 1 row, 32 clients, beside the best peer (litserve)": (20, True),
        "durable, 100 rows, 32 clients, beside the best peer (mlflow)": (4, False),
        "durable, 1 row, 32 clients, beside MLflow": (100, True),
        "log off, 1 row, 32 clients, beside the floor": (0.6, True),
        "loopline-off, 1 row, one client, p50": (0.2, True),
        "loopline-durable, 1 row, one client, p50": (0.9, False),
        "start to first answer": (1.2, False),
        "resident memory": (70.0, True),
        "difference from the original": (1e-16, True),
    }


def test_beside_a_peer_the_cpu_of_a_request_is_said_too():
    turns = [turn("loopline-durable", MANY, 0, 20), turn("litserve", MANY, 0, 10, cpu=1.2)]

    [goal, *_] = goals(turns, {"loopline-durable": Start(0.4, 0.0), "litserve": Start(3, 0.0)})

    assert goal.found == 2
    assert goal.by_cpu == pytest.approx(12)


def test_figures_go_between_the_marks_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n")

    written(page, "| new |\n")

    assert page.read_text() == ("before\n<!-- figures -->\n| new |\n<!-- /figures -->\nafter\n")
    page.write_text("no marks")
    with pytest.raises(BenchError, match="has no <!-- figures -->"):
        written(page, "")


@pytest.fixture
def asked(tmp_path):
    """What each server is asked for two rows, by its name."""
    kinds = {"carrier": "category", "temp": "number"}
    rows = ({"key": "a", "carrier": "UA", "temp": 1.5}, {"key": "b", "carrier": "B6", "temp": None})
    model = Model(tmp_path, tmp_path / "m.pkl", tmp_path / "packed", kinds, 9, rows, (0.1, 0.2))
    return {name: (peer, json.loads(peer.body(rows))) for name, peer in peers(model).items()}


def test_every_server_is_asked_for_the_same_rows_in_its_own_words(asked):
    records = [{"carrier": "UA", "temp": 1.5}, {"carrier": "B6", "temp": None}]

    assert asked["fastapi"][1] == records
    assert asked["bentoml"][1] == asked["litserve"][1] == {"flights": records}
    assert asked["mlflow"][1]["dataframe_split"] == {
        "columns": ["carrier", "temp"],
        "data": [["UA", 1.5], ["B6", None]],
    }
    assert asked["mlserver"][1]["outputs"] == [{"name": "predict_proba"}]
    assert [one["data"] for one in asked["mlserver"][1]["inputs"]] == [["UA", "B6"], [1.5, None]]
    assert [one["name"] for one in asked["loopline-off"][1]["inputs"]] == ["key", "carrier", "temp"]


def test_every_answer_is_understood(asked):
    said = {
        "fastapi": [0.1, 0.2],
        "bentoml": [0.1, 0.2],
        "litserve": {"probabilities": [0.1, 0.2]},
        "mlflow": {"predictions": [[0.9, 0.1], [0.8, 0.2]]},
        "mlserver": {"outputs": [{"data": [0.9, 0.1, 0.8, 0.2], "shape": [2, 2]}]},
        "loopline-off": {"outputs": [
            {"name": "label", "data": ["a", "b"]}, {"name": "probability", "data": [0.1, 0.2]}
        ]},
    }  # fmt: skip

    for name, answer in said.items():
        read = asked[name][0].probabilities
        assert read is not None
        assert read(answer) == [0.1, 0.2], name
    assert asked["floor"][0].probabilities is None


def test_rows_are_asked_as_the_open_inference_protocol_has_it():
    assert json.loads(
        tensors(
            [
                {"carrier": "UA", "seats": 149.0, "temp": None},
                {"carrier": None, "seats": 2, "temp": 3},
            ]
        )
    ) == {
        "inputs": [
            {"name": "carrier", "datatype": "BYTES", "shape": [2], "data": ["UA", None]},
            {"name": "seats", "datatype": "FP64", "shape": [2], "data": [149.0, 2]},
            {"name": "temp", "datatype": "FP64", "shape": [2], "data": [None, 3]},
        ]
    }


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--rounds", "0"], ["--only", "nobody"]])
def test_an_option_that_makes_no_sense_is_refused_before_any_work(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        main(wrong)

    assert ended.value.code == 2
    assert wrong[1] in capsys.readouterr().err


def test_a_load_is_said_in_words():
    assert told((1, 32)) == "1 row, 32 clients"
    assert told((100, 1)) == "100 rows, 1 client"


def test_the_tables_of_a_page_have_every_server_and_every_goal():
    turns = [
        turn("loopline-async", MANY, 0, 3000),
        turn("mlflow", MANY, 0, 30),
        turn("floor", MANY, 0, 9000),
    ]
    turns += [turn(one.server, shape, 0, 10) for one in turns for shape in SHAPES if shape != MANY]
    starts = {
        "loopline-async": Start(0.25, 0.0), "mlflow": Start(4.2, 0.0), "floor": Start(0.1, None)
    }  # fmt: skip
    titles = {"loopline-async": "Loopline", "mlflow": "MLflow", "floor": "The floor"}
    machine = {
        "cores": 2, "load_before": 0.1, "load_after": 1.0, "client": "wrk", "sync_ms": 0.2,
        "python": "3.11.2", "versions": {"mlflow": "3.17"},
    }  # fmt: skip

    page = "".join(markdown(machine, titles, starts, turns))

    assert page.count("\n| MLflow | ") == len(SHAPES) + 1
    assert (
        "| MLflow | 30 (30..30) | 0.3 | 9 | 0.1 | 100 (100..100) | 300 (300..300) | 1 (1..1) |"
        in page
    )
    assert "| start to first answer: at most 1 s | 0.25 | met |" in page
    assert "2 cores of a machine with load 0.1 before and 1.0 after" in page
