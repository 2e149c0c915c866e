"""Which outcome becomes the label, whatever the order they come in."""

import random
from typing import Any

import numpy as np
import polars as pl
import pytest

from loopline.model.signature import Signature
from loopline.monitoring import labels
from loopline.monitoring.labels import TRUTH
from loopline.monitoring.segments import gather
from loopline.store.tables import Tables

HOUR = 3_600_000_000


def fold(tables: Tables, *frames: list[Any], segment: str = "credit/dev/1-2-ab.log") -> None:
    """Write feedback frames as the fold writes those of one segment."""
    stretch = gather([(frame, 100 * (place + 1)) for place, frame in enumerate(frames)], 8, None)
    tables.write(labels.table("credit"), labels.outcomes(stretch, segment))


def joined(tables: Tables, *predictions: tuple[str, str | None]) -> list[str | None]:
    frame = pl.LazyFrame(
        {"prediction_id": [p[0] for p in predictions], "key": [p[1] for p in predictions]},
        schema={"prediction_id": pl.String, "key": pl.String},
    )
    found = labels.read(tables, "credit").join(frame).collect()
    truth = dict(found.select("prediction_id", TRUTH).iter_rows())
    return [truth[name] for name, _ in predictions]


def test_a_label_reaches_its_prediction_by_id_and_by_key(tables: Tables) -> None:
    fold(tables, ["f", 9, [["a-0", None, "1", None], [None, "k7", "0", None]]])

    assert joined(tables, ("a-0", None), ("b-0", "k7"), ("c-0", "k8")) == ["1", "0", None]


def test_a_key_labels_every_prediction_that_carries_it(tables: Tables) -> None:
    fold(tables, ["f", 9, [[None, "k7", "1", None]]])

    assert joined(tables, ("a-0", "k7"), ("b-0", "k7")) == ["1", "1"]


def test_the_outcome_observed_last_counts_even_if_it_arrives_first(tables: Tables) -> None:
    fold(tables, ["f", 10, [["a-0", None, "1", 9]]], ["f", 20, [["a-0", None, "0", 5]]])

    assert joined(tables, ("a-0", None)) == ["1"]


def test_without_a_time_of_observation_the_outcome_that_arrives_last_counts(tables: Tables) -> None:
    fold(tables, ["f", 10, [["a-0", None, "1", None]]], ["f", 20, [["a-0", None, "0", None]]])

    assert joined(tables, ("a-0", None)) == ["0"]


def test_between_id_and_key_the_later_observation_counts(tables: Tables) -> None:
    fold(tables, ["f", 10, [["a-0", None, "1", 5], [None, "k", "0", 6], ["b-0", None, "1", 7]]])

    assert joined(tables, ("a-0", "k"), ("b-0", "k")) == ["0", "1"]


def test_any_order_of_segments_gives_the_same_labels(tables: Tables, tmp_path: Any) -> None:
    outcomes = [
        (
            f"credit/dev/{place}-1-a.log",
            ["f", place, [[f"{place % 7}-0", None, str(place % 2), seen]]],
        )
        for place, seen in enumerate([5, 5, None, 3, 8, 8, 1, 5, 7, None, 3, 8, 2, 2, 9])
    ]
    wanted = [(f"{name}-0", None) for name in range(7)]
    found = []
    for seed in range(3):
        shuffled = random.Random(seed).sample(outcomes, len(outcomes))
        own = Tables(type(tables._objects)((tmp_path / f"store{seed}").as_uri()))
        for segment, frame in shuffled:
            fold(own, frame, segment=segment)
        found.append(joined(own, *wanted))

    assert all(one == found[0] for one in found)


def test_without_any_outcome_nothing_has_a_label(tables: Tables) -> None:
    assert joined(tables, ("a-0", "k")) == [None]


@pytest.mark.parametrize(
    ("classes", "texts", "expected"),
    [
        (("0", "1"), ["1", "0", None, "2"], [1, 0, np.nan, np.nan]),
        (("no", "yes"), ["yes", "1", "false", "maybe"], [1, 1, 0, np.nan]),
        (("true", "false"), ["true", "0", "1"], [0, 1, 0]),
        (("bad", "good"), ["good", "1"], [1, np.nan]),
    ],
)
def test_binary_labels_become_zero_and_one(
    classes: tuple[str, ...], texts: list[str | None], expected: list[float]
) -> None:
    signature = Signature("credit", "binary", (), (), classes)

    found = labels.truth(pl.Series(texts, dtype=pl.String), signature)

    np.testing.assert_array_equal(found, expected)


def test_regression_labels_become_numbers_and_classes_their_places() -> None:
    regression = Signature("house", "regression", (), ())
    multiclass = Signature("iris", "multiclass", (), (), ("a", "b", "c"))

    numbers = labels.truth(pl.Series(["1.5", "-2", "x", None]), regression)
    places = labels.truth(pl.Series(["c", "a", "d"]), multiclass)

    np.testing.assert_array_equal(numbers, [1.5, -2, np.nan, np.nan])
    np.testing.assert_array_equal(places, [2, 0, np.nan])
