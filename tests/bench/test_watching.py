"""What the benchmark of watching says about its figures, and that its contenders agree."""

import json

import pyarrow.parquet as pq
import pytest
from bench.figures import Spread
from bench.load import BenchError
from bench.watching import (
    Asked,
    Turn,
    _in_rounds,
    data,
    goals,
    long_file,
    main,
    markdown,
    measured,
    pair,
    ratio,
)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def turn(task, contender, rows=1000, number=0, **figures):
    known = {"seconds": 1.0, "cpu": 1.0, "peak": 100.0, "work": None} | figures
    return Turn(
        task, contender, rows, number, known["seconds"], known["cpu"], known["peak"], known["work"]
    )


def test_a_ratio_is_taken_within_each_round_and_of_what_ended():
    turns = [
        turn("drift", "loopline", seconds=2.0, cpu=3.0),
        turn("drift", "decode", seconds=1.0, cpu=2.0),
        turn("drift", "loopline", number=1, seconds=9.0),
        turn("drift", "decode", number=1, seconds=3.0),
        turn("drift", "nannyml", seconds=None),
    ]

    assert ratio(turns, "loopline", "decode") == Spread(2.5, 2.0, 3.0)
    assert ratio(turns[:2], "loopline", "decode", cpu=True) == Spread(1.5, 1.5, 1.5)
    assert ratio(turns, "nannyml", "loopline") is None


def test_goals_are_judged_on_the_largest_files_and_the_slowest_growth():
    turns = [
        turn("drift", "loopline", rows=10, seconds=9.0),
        turn("drift", "decode", rows=10, seconds=1.0),
        turn("drift", "loopline", seconds=1.2),
        turn("drift", "decode", seconds=1.0),
        turn("drift", "nannyml", seconds=24.0),
        turn("growth", "loopline", rows=1, peak=100),
        turn("growth", "loopline", rows=2, peak=160),
        turn("month", "month", work=0.04),
        turn("checks", "polars", work=1.0),
        turn("checks", "loopline_checks", seconds=9.0, work=1.4),
        turn("checks", "loopline_stage", work=1.7),
    ]

    found = {goal.name: (round(goal.found, 3), goal.is_met) for goal in goals(turns)}

    assert found == {
        "drift beside the decode floor, time": (1.2, True),
        "drift beside the decode floor, CPU time": (1.0, True),
        "drift beside NannyML": (20.0, False),
        "memory, 1 to 2 rows": (1.6, False),
        "a month of a billion": (40.0, True),
        "82 checks of the source beside one polars pass": (1.4, True),
        "82 checks of a later stage beside one polars pass": (1.7, False),
    }


def test_files_are_made_once_and_of_the_size_asked_for():
    first, second = pair(500)

    assert [pq.ParquetFile(place).metadata.num_rows for place in (first, second)] == [500, 500]
    assert pq.ParquetFile(first).metadata.num_columns == 50
    before = first.stat().st_mtime_ns
    assert pair(500)[0].stat().st_mtime_ns == before
    long = pq.ParquetFile(long_file(1200)).read()
    assert long.num_rows == 1200
    assert len(set(long["key"].to_pylist())) == 1200
    assert list(data().glob("*.draft")) == []


def own_in_order(names):
    return sorted(names, key=lambda name: int(name[1:]))


def test_contenders_find_the_same_and_say_what_they_took(capsys):
    skipped = ["--without", "evidently", "--without", "nannyml", "--without", "great_expectations"]
    only = ["--only", "drift", "--only", "checks", "--only", "growth"]

    assert main(["--quick", "--json", *only, *skipped, "--without", "pandera"]) == 0

    turns = json.loads(capsys.readouterr().out)
    said = {
        (one["task"], one["contender"]): json.loads(one["said"]) for one in turns if one["said"]
    }
    own = said["drift", "loopline"]["drifted"]
    assert set(own) == {"n1", "n9", "n17", "n25"}
    # Of categories of hundreds of values so few rows make no chi-square.
    assert [n for n in said["drift", "scipy"]["drifted"] if n[0] == "n"] == own_in_order(own)
    assert said["drift", "loopline on Delta"]["drifted"] == own
    checked = [said["checks", name] for name in ("polars", "loopline_checks", "loopline_stage")]
    assert checked == [{"checks": 82, "failing": 0}] * 3
    assert all(one["seconds"] > 0 and one["peak_mib"] > 10 for one in turns)


def test_a_contender_that_fails_is_told_and_one_that_takes_too_long_is_stopped():
    with pytest.raises(BenchError, match="no_such_module"):
        measured(["python", "-c", "import no_such_module"])

    took, _, peak, said = measured(["sleep", "60"], seconds=0.5)
    assert (took, said) == (None, "")
    assert peak > 0


def test_a_peer_that_is_stopped_or_fails_is_a_result_and_is_not_asked_again(monkeypatch):
    def commands(name):
        return {
            "pandera": ["python", "-c", name],
            "polars": ["python", "-c", "print('{\"seconds\": 1}')"],
        }

    slow = commands("import time; time.sleep(60)")
    stopped = set()
    found = list(_in_rounds("checks", 9, slow, Asked(rounds=2, limit=0.5), stopped))

    assert [(one.contender, one.round, one.said) for one in found] == [
        ("pandera", 0, "stopped after 0 s"), ("polars", 0, ""), ("polars", 1, "")
    ]  # fmt: skip
    assert stopped == {"pandera"}
    assert list(_in_rounds("checks", 99, slow, Asked(without=["polars"]), stopped)) == []
    [failed, *_] = _in_rounds("checks", 9, commands("import no_such"), Asked(rounds=1), set())
    assert (failed.seconds, failed.said.rpartition(": ")[2]) == (None, "No module named 'no_such'")


def test_loopline_itself_must_come_to_its_end():
    with pytest.raises(BenchError, match="no_such"):
        list(_in_rounds("month", 9, {"month": ["python", "-c", "import no_such"]}, Asked(), set()))


def test_the_page_has_a_row_for_each_contender_and_what_is_not_reached():
    turns = [
        turn("drift", "loopline", seconds=2.0),
        turn("drift", "decode", seconds=1.0),
        Turn("drift", "evidently", 1000, 0, None, 99.0, 5000.0, said="stopped after 120 s"),
    ]

    page, one = "".join(markdown(turns)), Spread.of([1.0])

    assert f"| loopline | 1,000 | {Spread.of([2.0])} |  | {Spread.of([1.0])} | 100 |  |  |" in page
    assert f"| decode | 1,000 | {one} |  | {one} | 100 | {Spread.of([0.5])} |  |" in page
    assert "| evidently | 1,000 |  |  |  | 5000 |  | `stopped after 120 s` |" in page
    assert "| NOT MET | drift beside the decode floor, time | 2 times | at most 1.3 |" in page


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--only", "nothing"]])
def test_an_option_that_makes_no_sense_is_refused(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        main(wrong)

    assert ended.value.code == 2
