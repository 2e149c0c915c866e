"""`loopline watch` and `loopline feedback`, as a person types them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from loopline.cli import feedback, watch
from loopline.evaluation.report import Estimate
from loopline.monitoring.estimation import Estimation, Widened
from loopline.monitoring.held import Compared, Held
from loopline.monitoring.windows import Window

Day = Callable[[float], datetime]


@pytest.fixture
def typed(world: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(world.space.root)
    monkeypatch.setenv("LOOPLINE_ACTOR", "ada")

    def run(command: Any, *arguments: str) -> Any:
        return CliRunner().invoke(
            command.command, arguments, standalone_mode=False, catch_exceptions=False
        )

    return run


def test_watching_before_anything_is_released_says_what_to_do(typed: Callable[..., Any]) -> None:
    shown = typed(watch, "--once")

    assert shown.return_value == 0
    assert (
        "Nothing is released, so there is nothing to watch. Start with: loopline run"
        in shown.output
    )


def test_a_second_watcher_says_that_it_did_not_look_and_nothing_about_releases(
    world: Any, typed: Callable[..., Any]
) -> None:
    world.serve(world.version())
    name = "watch/credit"
    world.space.database.take_lease(name, "another", now=datetime.now(UTC), seconds=60)

    seen = typed(watch, "--once", "--strict")

    assert "Another watcher judges and responds" in seen.output
    assert "Nothing is released" not in seen.output
    assert seen.return_value == 1  # strict: whoever asked for a judgement got none


def test_watching_before_any_request_says_where_predictions_come_from(
    world: Any, typed: Callable[..., Any]
) -> None:
    world.serve(world.version())

    shown = typed(watch, "--once")

    assert shown.return_value == 0
    assert "Predictions come from: loopline serve" in shown.output


def test_one_look_shows_traffic_drift_goals_and_findings(
    world: Any, day: Day, typed: Callable[..., Any]
) -> None:
    world.serve(world.version())
    truth = world.traffic(
        1, day(3), change=lambda frame: frame.with_columns(score=1 - frame["score"])
    )
    world.outcomes(truth, day(4))

    shown = typed(watch, "--now", "2013-05-06")

    assert "credit as of 2013-05-06 00:00 UTC" in shown.output
    assert "200 predictions, 200 outcomes and 0 errors folded" in shown.output
    assert "production: credit:1, 100% of the traffic" in shown.output
    assert "200 outcomes of 200 predictions (100%)" in shown.output
    assert "roc_auc of credit:1 in production is 0." in shown.output
    assert "alert (done)" in shown.output
    assert shown.return_value == 0
    assert typed(watch, "--now", "2013-05-06", "--strict").return_value == 1


def test_the_same_look_as_json(world: Any, day: Day, typed: Callable[..., Any]) -> None:
    world.serve(world.version())
    world.traffic(1, day(3))

    seen = json.loads(typed(watch, "--now", "2013-05-06", "--json").output)

    assert seen["watched"][0]["rows"] == 200
    assert seen["folded"]["predictions"] == 200


@pytest.mark.parametrize("arguments", [["--now", "yesterday"], ["--once", "--every", "often"]])
def test_times_that_are_none_are_refused_as_misuse(
    typed: Callable[..., Any], arguments: list[str]
) -> None:
    import click

    with pytest.raises(click.BadParameter, match=r"is no time|this must be a number"):
        typed(watch, *arguments)


def test_feedback_reaches_the_goals_and_twice_is_once(
    world: Any, day: Day, typed: Callable[..., Any], tmp_path: Path
) -> None:
    world.serve(world.version())
    truth = world.traffic(1, day(3))
    lines = [f"{name},{label},2013-05-05" for name, label in truth.items()]
    (tmp_path / "labels.csv").write_text(
        "\n".join(["prediction_id,credit_risk,observed_at", *lines])
    )

    first = typed(feedback, "labels.csv", "--env", "production")
    before = world.look(day(6)).watched[0].performance
    typed(feedback, "labels.csv", "--env", "production")
    after = world.look(day(6)).watched[0].performance

    assert "Kept 200 outcomes from labels.csv." in first.output
    assert before.labels == 200
    assert after == before
    assert world.kinds("labels") == []


def test_feedback_for_an_environment_that_serves_nothing_is_refused(
    world: Any, typed: Callable[..., Any], tmp_path: Path
) -> None:
    from loopline.errors import FeedbackError

    world.serve(world.version())
    (tmp_path / "labels.csv").write_text("prediction_id,label\na-0,1\n")

    with pytest.raises(FeedbackError, match="staging serves nothing"):
        typed(feedback, "labels.csv", "--env", "staging")
    assert not (tmp_path / ".loopline" / "log" / "credit" / "staging").exists()


def test_ctrl_c_ends_the_watch_cleanly_and_gives_back_its_lease(world: Any, day: Day) -> None:
    world.serve(world.version())
    world.traffic(1, day(3))
    watching = subprocess.Popen(
        [sys.executable, "-m", "loopline", "watch", "--every", "0.1s"],
        cwd=world.space.root,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    greeting, first = watching.stdout.readline(), watching.stdout.readline()

    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=30)

    assert greeting.startswith("Watching credit, every 0.1 s: what is new is told here.")
    assert "folded 200 predictions" in first
    assert watching.returncode == 0
    assert errors == ""
    assert world.look(day(4)).folded.is_alone


def test_watching_with_a_report_looks_once_and_writes_one_page(
    world: Any, typed: Callable[..., Any], day: Day
) -> None:
    world.serve(world.version())
    world.traffic(1, day(1))
    usual = world.space.settings.home / "reports" / "credit-watch.html"

    shown = typed(watch, "--now", "2013-05-02T01:00:00Z", "--report")
    elsewhere = typed(watch, "--now", "2013-05-02T01:00:00Z", "--json", "--report", "page.html")

    assert shown.stderr.endswith(f"Report: {usual}\n")
    assert json.loads(elsewhere.stdout)["project"] == "credit"
    for page in (usual, world.space.root / "page.html"):
        text = page.read_text(encoding="utf-8")
        assert text.startswith("<!doctype html>")
        assert "200 predictions of version 1" in text


def test_watching_shows_prometheus_its_gauges_in_a_file_and_on_a_port(
    world: Any, typed: Callable[..., Any], day: Day
) -> None:
    world.serve(world.version())
    world.traffic(1, day(1))
    file = world.space.root / "loopline.prom"

    typed(watch, "--now", "2013-05-02T01:00:00Z", "--metrics-file", "loopline.prom")
    assert (
        'loopline_window_predictions{project="credit",environment="production",version="1"} 200'
        in (file.read_text())
    )

    command = [
        sys.executable,
        "-P",
        "-m",
        "loopline",
        "watch",
        "--every",
        "1s",
        "--metrics-port",
        "0",
    ]
    with subprocess.Popen(
        command, cwd=world.space.root, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as watcher:
        assert watcher.stderr is not None
        url = watcher.stderr.readline().removeprefix("Metrics: ").strip()
        shown = ""
        for _ in range(200):
            with urllib.request.urlopen(url, timeout=10) as answer:
                shown = answer.read().decode()
            if shown:
                break
            time.sleep(0.1)
        watcher.send_signal(signal.SIGTERM)
    assert watcher.returncode == 0
    assert "loopline_watch_timestamp_seconds" in shown


COMPARED = Compared("production", 3, ("2013-05-01", "2013-05-02"), 0, 9, 9, {})


def expecting(**more: Any) -> Estimation:
    return Estimation(
        Window(0, 24), 100, "isotonic", 900, {"roc_auc": Estimate(0.7, 0.6, 0.8)}, **more
    )


def test_an_interval_widened_by_past_misses_stands_beside_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = expecting(widened={"roc_auc": Widened(0.55, 0.85, 20 / 21, 20)})
    held = Held(20, {"roc_auc": 9}, COMPARED, {"roc_auc": (14, 15)})
    watched: Any = SimpleNamespace(rows=100, estimation=found, held=held)

    watch._print_estimation(watched)

    told = capsys.readouterr().out
    assert "0.6 to 0.8; widened by past misses 0.55 to 0.85 (95%, from 20)" in told
    assert "inside the widened one: roc_auc in 14 of 15" in told


def test_a_withdrawn_estimate_is_not_printed_but_why(capsys: pytest.CaptureFixture[str]) -> None:
    found = expecting(withdrawn={"roc_auc": "The estimate of roc_auc is withdrawn: it missed."})
    watched: Any = SimpleNamespace(rows=100, estimation=found, held=None)

    watch._print_estimation(watched)

    told = capsys.readouterr().out
    assert "The estimate of roc_auc is withdrawn: it missed." in told
    assert "0.6 to 0.8" not in told


@pytest.mark.parametrize(
    ("windows", "inside", "is_said"), [(4, 1, True), (4, 2, False), (2, 0, False)]
)
def test_estimates_that_mostly_did_not_hold_are_said_not_to_be_relied_on(
    windows: int, inside: int, is_said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    watched: Any = SimpleNamespace(
        rows=100,
        estimation=expecting(),
        held=Held(windows, {"roc_auc": inside}, COMPARED),
    )

    watch._print_estimation(watched)

    told = capsys.readouterr().out
    assert f"of {windows} past windows, inside the interval: roc_auc in {inside}" in told
    assert ("do not rely on them" in told) is is_said
