"""What the watcher saw, as Prometheus reads it."""

import shutil
import subprocess
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loopline.evaluation.report import Estimate
from loopline.monitoring.drift import Drift
from loopline.monitoring.estimation import Estimation
from loopline.monitoring.fold import Waiting
from loopline.monitoring.gauges import COLUMNS, exposition
from loopline.monitoring.performance import Performance
from loopline.monitoring.service import Service
from loopline.monitoring.survey import Watched
from loopline.monitoring.windows import Window

WINDOW = Window(0, 24)
HOSTILE = 'a"b\\c\nd{x="1"}'


def drift(column: str, psi: float) -> Drift:
    return Drift(column, "input", 900, {"psi": psi}, {})


def seen(*drifts: Drift, labels: int = 300) -> Watched:
    performance = Performance(WINDOW, 400, labels, {"roc_auc": 0.7}, None, {}, (), ())
    return Watched(
        environment="production",
        version=3,
        share=1.0,
        shadow=False,
        window=WINDOW.text,
        rows=900,
        apart=0,
        drift=drifts,
        service=Service(WINDOW, 0, 0, 0, {}, {}),
        performance=performance,
        figures={},
        estimation=Estimation(WINDOW, 900, "isotonic", 500, {"roc_auc": Estimate(0.66, 0.6, 0.7)}),
    )


def read(content: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels) if key != "project")):
            sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }  # fmt: skip


@pytest.fixture
def content(finding: Any) -> bytes:
    missed = finding(kind="goal", subject="roc_auc", metric="roc_auc", value=0.61, limit=0.65)
    kept = finding(kind="service", subject="latency_p99", value=0.012, limit=0.025,
                   status="resolved")  # fmt: skip
    drifted = finding(kind="drift", subject="income", columns=("income", HOSTILE))
    watched = seen(drift(HOSTILE, 0.5), drift("age", 0.1))
    waiting = Waiting(1234, 900.0)
    return exposition("credit", [watched], [missed, kept], [missed, drifted], waiting, 1000.0)


def test_each_promise_has_its_value_its_limit_and_whether_it_is_kept(content):
    found = read(content)

    goal = ("production", "roc_auc", "goal", "3")
    latency = ("production", "latency_p99", "service", "3")
    assert found["loopline_goal_value", *goal] == 0.61
    assert found["loopline_goal_limit", *goal] == 0.65
    assert found["loopline_goal_met", *goal] == 0
    assert found["loopline_goal_value", *latency] == 0.012
    assert found["loopline_goal_met", *latency] == 1


def test_drift_findings_outcomes_and_the_log_have_theirs(content):
    found = read(content)

    assert found["loopline_drift_psi", HOSTILE, "production", "input", "3"] == 0.5
    assert found["loopline_drifted", HOSTILE, "production", "input", "3"] == 1
    assert found["loopline_drifted", "age", "production", "input", "3"] == 0
    assert found["loopline_findings_open", "production", "goal"] == 1
    assert found["loopline_findings_open", "production", "fairness"] == 0
    assert found["loopline_labels_coverage", "production", "3"] == 0.75
    assert found["loopline_window_predictions", "production", "3"] == 900
    assert found["loopline_estimated", "production", "roc_auc", "3"] == 0.66
    assert found[("loopline_log_waiting_bytes",)] == 1234
    assert found[("loopline_log_waiting_seconds",)] == 100
    assert found[("loopline_watch_timestamp_seconds",)] == 1000


def test_what_was_not_judged_and_what_is_no_number_is_absent(finding):
    odd = finding(kind="goal", subject="r2", value=float("-inf"))

    found = read(exposition("credit", [seen()], [odd], [], Waiting(), 1.0))

    assert not [name for name, *_ in found if name == "loopline_goal_value"]
    assert [name for name, *_ in found if name == "loopline_goal_limit"]
    assert found[("loopline_log_waiting_seconds",)] == 0


def test_a_thousand_columns_are_not_a_thousand_series(finding):
    many = [drift(f"c{n}", 1000.0 - n) for n in range(1000)]
    last = finding(kind="drift", subject="c998", columns=("c998", "c999"))

    found = read(exposition("credit", [seen(*many)], [], [last], Waiting(), 1.0))

    shown = [key[1] for key in found if key[0] == "loopline_drift_psi"]
    # What has drifted keeps its series while others change places.
    assert set(shown) == {"c998", "c999", *(f"c{n}" for n in range(COLUMNS - 2))}
    assert found["loopline_drifted", "c999", "production", "input", "3"] == 1
    assert found["loopline_drift_psi_worst", "production", "input", "3"] == 1000


def test_series_stay_when_columns_change_places(finding):
    before = [drift("a", 0.5), *(drift(f"c{n}", 0.2) for n in range(40))]
    after = [*(drift(f"c{n}", 0.2) for n in range(40)), drift("a", 0.1)]

    names = [
        set(read(exposition("credit", [seen(*some)], [], [], Waiting(), 1.0)))
        for some in (before, after)
    ]

    assert names[0] == names[1]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_complain_of(content):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=content, capture_output=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_gauge_is_in_the_reference(content):
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()

    names = {name for name, *_ in read(content)}
    assert len(names) == 13
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
