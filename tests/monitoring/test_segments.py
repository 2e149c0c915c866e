"""Log frames become rows with the names and types of the version that made them."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from loopline.errors import MonitoringError
from loopline.model.signature import Input, Signature
from loopline.monitoring.segments import FARTHEST, gather, typed

HOUR = 3_600_000_000
DAY = 24 * HOUR
SIGNATURE = Signature(
    "credit",
    "binary",
    (
        Input("age", "number"),
        Input("name", "text", required=False, logged=False),
        Input("job", "category"),
        Input("own_phone", "boolean"),
        Input("asked_at", "time", required=False),
        Input("customer", "integer", required=False),
    ),
    (),
    ("bad", "good"),
    0.4,
    key="customer",
    time="asked_at",
)


def prediction(request: str, arrival: int, *rows: tuple[Any, ...], **changes: Any) -> list[Any]:
    """One frame: rows of age, job, own_phone, asked_at, customer, label, probability."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    usual = {"version": 3, "shadow": False, "latency": 250, "client": None, "caller": "local"}
    said = usual | changes
    return [
        "p", request, said["client"], arrival, said["version"], said["shadow"], said["latency"],
        said["caller"], len(rows), columns[:5], columns[5:],
    ]  # fmt: skip


def rows_of(*frames: list[Any]) -> pl.DataFrame:
    stretch = gather([(frame, place + 9) for place, frame in enumerate(frames)], 8, None)
    [predictions] = stretch.predictions.values()
    found = typed(predictions, SIGNATURE, "dev")
    return found.own.with_columns(found.inputs)


def test_each_row_has_its_id_and_its_inputs_under_their_names() -> None:
    frame = rows_of(
        prediction(
            "r1", 5 * HOUR,
            (31.0, "clerk", 1.0, 4 * HOUR, 1001.0, "good", 0.7),
            (None, None, None, None, 1002.0, "bad", 0.2),
            client="c-9",
        )
    )  # fmt: skip

    assert frame["prediction_id"].to_list() == ["r1-0", "r1-1"]
    assert frame["client_id"].to_list() == ["c-9", "c-9"]
    assert frame["key"].to_list() == ["1001", "1002"]
    assert frame["age"].to_list() == [31.0, None]
    assert frame["job"].to_list() == ["clerk", None]
    assert frame["own_phone"].to_list() == [True, None]
    assert frame["label"].to_list() == ["good", "bad"]
    assert frame["score"].to_list() == [0.7, 0.2]
    assert frame["threshold"].to_list() == [0.4, 0.4]
    assert "name" not in frame.columns


def test_the_event_happened_when_the_row_says_or_else_when_it_arrived() -> None:
    frame = rows_of(
        prediction(
            "r1", 5 * HOUR,
            (1.0, "a", 0.0, 4 * HOUR, 1.0, "bad", 0.1),
            (1.0, "a", 0.0, None, 1.0, "bad", 0.1),
        )
    )  # fmt: skip

    assert frame["event_time"].dt.epoch("us").to_list() == [4 * HOUR, 5 * HOUR]


def test_an_event_far_from_its_arrival_is_marked() -> None:
    now = 20_000 * DAY
    times = [now - FARTHEST, now - FARTHEST - 1, now + FARTHEST, now + FARTHEST + 1]
    rows = [(1.0, "a", 0.0, at, 1.0, "bad", 0.1) for at in times]

    frame = rows_of(prediction("r1", now, *rows))

    assert frame["plausible"].to_list() == [True, False, True, False]


def test_versions_and_shadows_are_kept_apart() -> None:
    row = (1.0, "a", 0.0, None, 1.0, "bad", 0.1)
    frames = [
        prediction("a", 1, row),
        prediction("b", 2, row, version=4),
        prediction("c", 3, row, version=4, shadow=True),
        prediction("d", 4, row),
    ]

    stretch = gather([(frame, 9) for frame in frames], 8, None)

    assert list(stretch.predictions) == [(3, False), (4, False), (4, True)]
    assert stretch.predictions[3, False].ids == ["a-0", "d-0"]
    assert (4, 0) in stretch.latencies
    assert len(stretch.latencies[4, 0]) == 1


def test_gathering_stops_where_it_is_told_to() -> None:
    row = (1.0, "a", 0.0, None, 1.0, "bad", 0.1)
    frames = [(prediction(name, 1, row), end) for name, end in (("a", 50), ("b", 90), ("c", 130))]

    assert gather(frames, 8, 90).end == 90
    assert gather(frames, 8, 90).predictions[3, False].ids == ["a-0", "b-0"]
    assert gather(frames, 8, None).end == 130


def test_errors_are_counted_by_version_hour_and_kind() -> None:
    frames = [
        ["e", HOUR, "RequestError", 400, 80, 3],
        ["e", HOUR + 5, "RequestError", 400, 80, 3],
        ["e", 2 * HOUR, "RuntimeUnavailableError", 503, 80, 3],
    ]

    stretch = gather([(frame, 9) for frame in frames], 8, None)

    assert dict(stretch.errors) == {
        (3, 1, "400 RequestError"): 2,
        (3, 2, "503 RuntimeUnavailableError"): 1,
    }


def test_a_log_that_does_not_fit_its_signature_is_refused() -> None:
    frame = prediction("a", 1, (1.0, "a", 0.0, None, 1.0, "bad", 0.1))
    frame[9].append([1.0])
    [predictions] = gather([(frame, 9)], 8, None).predictions.values()

    with pytest.raises(MonitoringError, match="has 6 columns for credit:3, whose signature has 5"):
        typed(predictions, SIGNATURE, "dev")


def test_multiclass_keeps_every_probability_and_regression_the_answer() -> None:
    inputs = (Input("age", "number"),)
    iris = Signature("iris", "multiclass", inputs, (), ("a", "b", "c"))
    house = Signature("house", "regression", inputs, ())
    classes = ["p", "r", None, 1, 1, False, 9, None, 1, [[2.0]], [["b"], [0.1], [0.7], [0.2]]]
    value = ["p", "r", None, 1, 1, False, 9, None, 1, [[2.0]], [[41.5]]]

    [many] = gather([(classes, 9)], 8, None).predictions.values()
    [one] = gather([(value, 9)], 8, None).predictions.values()
    flower, price = typed(many, iris, "dev"), typed(one, house, "dev")

    assert flower.own["probabilities"].to_list() == [[0.1, 0.7, 0.2]]
    assert flower.own["score"].to_list() == [0.7]
    np.testing.assert_array_equal(flower.scores, [[0.1, 0.7, 0.2]])
    assert price.own["score"].to_list() == [41.5]
    assert price.own["label"].to_list() == [None]
