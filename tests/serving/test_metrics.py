"""What the server counts is what Prometheus reads, of one process or of several."""

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loopline.registry.release import Release, Served
from loopline.serving import metrics as module
from loopline.serving.limits import Intake, Limits
from loopline.serving.metrics import CONTENT_TYPE, Metrics, lasting, line, render, total


@dataclass
class Log:
    """What a log says of itself."""

    frames: int = 10
    lost: int = 2
    failure: str | None = "the disk is full"
    waiting_bytes: int = 4096


@dataclass
class Router:
    """A release of three versions: two answer, one is a shadow."""

    release: Release = field(
        default_factory=lambda: Release(
            "churn",
            "dev",
            4,
            (
                Served(3, "bundles/3", "d3", share=0.75),
                Served(7, "bundles/7", "d7", share=0.25),
                Served(9, "bundles/9", "d9", share=0.0, shadow=True),
            ),
            "ada",
            "test",
            "2013-04-01T00:00Z",
        )
    )
    models: tuple[Any, ...] = ()
    shadows: tuple[Any, ...] = ()


def text(metrics: Metrics) -> bytes:
    return metrics.render(Router(), Log())  # type: ignore[arg-type]


def parsed(metrics: Metrics) -> dict[str, Any]:
    families = text_string_to_metric_families(text(metrics).decode())
    return {family.name: family for family in families}


def values(family: Any) -> dict[tuple[str, ...], float]:
    return {(s.name, *map(str, s.labels.values())): s.value for s in family.samples}


def busy() -> Metrics:
    metrics = Metrics(Intake(Limits(in_flight=300), in_flight=12, shed=5, cut_off=3))
    metrics.requests["/v2/models/{model}/infer", 200] += 5
    metrics.requests["/v2/models/{model}/infer", 400] += 1
    metrics.requests["other", 404] += 2
    metrics.errors["RequestError"] += 1
    metrics.unknown_columns, metrics.labels, metrics.releases_refused = 6, 7, 8
    metrics.scored(3, 2, 150)
    metrics.batched(33)
    return metrics


def test_a_server_that_did_nothing_yet_is_read_too() -> None:
    found = parsed(Metrics())

    assert CONTENT_TYPE.startswith(b"text/plain; version=0.0.4")
    assert values(found["loopline_labels"]) == {("loopline_labels_total",): 0}
    assert values(found["loopline_requests"]) == {}
    assert values(found["loopline_prediction_seconds"])["loopline_prediction_seconds_count",] == 0


def test_every_counter_is_read_as_it_was_counted() -> None:
    found = parsed(busy())

    assert values(found["loopline_requests"]) == {
        ("loopline_requests_total", "/v2/models/{model}/infer", "200"): 5,
        ("loopline_requests_total", "/v2/models/{model}/infer", "400"): 1,
        ("loopline_requests_total", "other", "404"): 2,
    }
    assert values(found["loopline_errors"]) == {("loopline_errors_total", "RequestError"): 1}
    for name, value in {
        "loopline_unknown_columns": 6, "loopline_labels": 7, "loopline_releases_refused": 8,
        "loopline_log_frames": 10, "loopline_log_lost": 2, "loopline_shed": 5,
        "loopline_connections_cut": 3,
    }.items():  # fmt: skip
        assert found[name].type == "counter"
        assert values(found[name]) == {(f"{name}_total",): value}
    for name, value in {
        "loopline_log_failing": 1, "loopline_log_lag_bytes": 4096, "loopline_release": 4,
        "loopline_in_flight": 12, "loopline_in_flight_limit": 300, "loopline_workers": 1,
        "loopline_queue_rows": 0, "loopline_connections": 0,
    }.items():  # fmt: skip
        assert found[name].type == "gauge"
        assert values(found[name]) == {(name,): value}


def test_versions_are_shown_with_their_shares_and_shadows_apart() -> None:
    found = parsed(Metrics())

    assert values(found["loopline_serving"]) == {
        ("loopline_serving", "3"): 1,
        ("loopline_serving", "7"): 1,
    }
    assert values(found["loopline_share"]) == {
        ("loopline_share", "3"): 0.75,
        ("loopline_share", "7"): 0.25,
    }
    assert values(found["loopline_shadow"]) == {("loopline_shadow", "9"): 1}


def test_latencies_fall_into_cumulative_buckets_at_their_upper_bounds() -> None:
    metrics = Metrics()
    for microseconds in (1, 100, 101, 1_000_000, 1_000_001, 90_000_000):
        metrics.scored(3, 2, microseconds)

    family = parsed(metrics)["loopline_prediction_seconds"]

    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert family.type == "histogram"
    assert (buckets["0.0001"], buckets["0.0002"], buckets["1"], buckets["+Inf"]) == (2, 3, 4, 6)
    assert list(buckets.values()) == sorted(buckets.values())
    assert [float(le) for le in buckets] == sorted(float(le) for le in buckets)
    whole = {s.name.rpartition("_")[2]: s.value for s in family.samples}
    assert whole["count"] == 6
    assert math.isclose(whole["sum"], 92.000203)
    assert values(parsed(metrics)["loopline_predictions"]) == {
        ("loopline_predictions_total", "3"): 12
    }


def test_batches_fall_into_buckets_of_rows() -> None:
    metrics = Metrics()
    for rows in (1, 1, 33, 512):
        metrics.batched(rows)

    family = parsed(metrics)["loopline_batch_rows"]

    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert (buckets["1"], buckets["20"], buckets["50"], buckets["512"]) == (2, 2, 3, 4)
    assert values(family)["loopline_batch_rows_sum",] == 547


def test_the_process_tells_its_own_use() -> None:
    found = parsed(Metrics())

    [memory] = values(found["process_resident_memory_bytes"]).values()
    [seconds] = values(found["process_cpu_seconds"]).values()
    assert 2**20 < memory < 2**40
    assert seconds > 0


@pytest.mark.parametrize("make", [Metrics, busy])
def test_promtool_finds_nothing_to_complain_about(make: Callable[[], Metrics]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")

    done = subprocess.run(
        [promtool, "check", "metrics"], input=text(make()), capture_output=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def families(metrics: Metrics, release: int = 4) -> list[module.Family]:
    router = Router()
    router.release = Release(
        "churn", "dev", release, router.release.serves[:1], "ada", "test", "2013-04-01T00:00Z"
    )
    return metrics.families(router, Log(failure=None, lost=0))  # type: ignore[arg-type]


def test_the_figures_of_several_processes_add_up_each_in_its_way() -> None:
    one, other = busy(), busy()
    other._started = one._started - 5
    other.requests["/ping", 200] += 9

    whole = render(total([families(one, 5), families(other, 4)])).decode()
    found = {f.name: values(f) for f in text_string_to_metric_families(whole)}

    assert found["loopline_requests"] == {
        ("loopline_requests_total", "/v2/models/{model}/infer", "200"): 10,
        ("loopline_requests_total", "/v2/models/{model}/infer", "400"): 2,
        ("loopline_requests_total", "other", "404"): 4,
        ("loopline_requests_total", "/ping", "200"): 9,
    }
    histogram = found["loopline_prediction_seconds"]
    assert histogram["loopline_prediction_seconds_bucket", "0.0001"] == 0
    assert histogram["loopline_prediction_seconds_bucket", "0.0002"] == 2
    assert histogram["loopline_prediction_seconds_count",] == 2
    assert found["loopline_workers"] == {("loopline_workers",): 2}
    assert found["loopline_in_flight_limit"] == {("loopline_in_flight_limit",): 600}
    # The server is as far as the worker that is furthest behind, and as old as its oldest.
    assert found["loopline_release"] == {("loopline_release",): 4}
    assert found["loopline_share"] == {("loopline_share", "3"): 1}
    [started] = found["process_start_time_seconds"].values()
    assert started == other._started


def test_a_process_that_has_ended_still_counts_and_uses_nothing() -> None:
    left = {family.name for family in lasting(families(busy()))}

    assert "loopline_requests" in left
    assert "loopline_prediction_seconds" in left
    assert "loopline_in_flight" not in left
    assert "process_resident_memory_bytes" not in left


def test_the_same_figures_are_one_line_of_json() -> None:
    said = line(families(busy()), "2026-03-01T12:00:00Z")

    assert b"\n" not in said
    found = json.loads(said)
    assert found["at"] == "2026-03-01T12:00:00Z"
    assert found["loopline_shed_total"] == 5
    assert found["loopline_release"] == 4
    assert {"route": "other", "status": "404", "value": 2} in found["loopline_requests_total"]
    assert found["loopline_prediction_seconds_count"] == 1
    names = {name for name in found if name != "at"}
    samples = {
        sample.name
        for family in text_string_to_metric_families(render(families(busy())).decode())
        for sample in family.samples
    }
    assert names == samples
