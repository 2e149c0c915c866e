"""What the server counts is what Prometheus reads."""

import math
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from loopline.serving.metrics import CONTENT_TYPE, Metrics


def parsed(metrics: Metrics, **changes: Any) -> dict[str, Any]:
    given = {
        "release": 4,
        "serving": [3, 7],
        "log": {"frames": 10, "lost": 2, "failing": 1},
        **changes,
    }
    families = text_string_to_metric_families(metrics.render(**given).decode())
    return {family.name: family for family in families}


def values(family: Any) -> dict[tuple[str, ...], float]:
    return {(s.name, *map(str, s.labels.values())): s.value for s in family.samples}


def test_a_server_that_did_nothing_yet_is_read_too() -> None:
    found = parsed(Metrics(), serving=[])

    assert CONTENT_TYPE.startswith(b"text/plain; version=0.0.4")
    assert values(found["loopline_labels"]) == {("loopline_labels_total",): 0}
    assert values(found["loopline_requests"]) == {}
    assert values(found["loopline_prediction_seconds"])["loopline_prediction_seconds_count",] == 0


def test_every_counter_is_read_as_it_was_counted() -> None:
    metrics = Metrics()
    metrics.requests["/v2/models/{model}/infer", 200] += 5
    metrics.requests["/v2/models/{model}/infer", 400] += 1
    metrics.requests["other", 404] += 2
    metrics.unknown_columns, metrics.labels, metrics.releases_refused = 6, 7, 8

    found = parsed(metrics)

    assert values(found["loopline_requests"]) == {
        ("loopline_requests_total", "/v2/models/{model}/infer", "200"): 5,
        ("loopline_requests_total", "/v2/models/{model}/infer", "400"): 1,
        ("loopline_requests_total", "other", "404"): 2,
    }
    for name, value in {
        "loopline_unknown_columns": 6, "loopline_labels": 7, "loopline_releases_refused": 8,
        "loopline_log_frames": 10, "loopline_log_lost": 2,
    }.items():  # fmt: skip
        assert found[name].type == "counter"
        assert values(found[name]) == {(f"{name}_total",): value}
    assert values(found["loopline_log_failing"]) == {("loopline_log_failing",): 1}
    assert values(found["loopline_release"]) == {("loopline_release",): 4}
    assert values(found["loopline_serving"]) == {
        ("loopline_serving", "3"): 1,
        ("loopline_serving", "7"): 1,
    }


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


def test_the_process_tells_its_own_use() -> None:
    found = parsed(Metrics())

    [memory] = values(found["process_resident_memory_bytes"]).values()
    [seconds] = values(found["process_cpu_seconds"]).values()
    assert 2**20 < memory < 2**40
    assert seconds > 0
