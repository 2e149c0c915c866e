"""Live quality: scikit-learn's figures on the labelled rows of one window, and no others."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, mean_absolute_error, recall_score, roc_auc_score

from loopline.contract.schema import Contract
from loopline.counts.kernel import Profile
from loopline.model.signature import Input, Signature
from loopline.monitoring.labels import TRUTH
from loopline.monitoring.performance import measure
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import HOUR, Window, earlier, moment
from loopline.training.baselines import restore

NOW = Window(1000, 1010)
WINDOWS = earlier(NOW, 3)
RULE = {"name": "everyone", "threshold": 0.0, "constant": 0.7}


def contract(task: str = "binary", **more: Any) -> Contract:
    return Contract.model_validate(
        {
            "project": "credit",
            "problem": {"task": task, "target": "y"},
            "goals": [{"metric": "error_rate", "at_most": 0.01}],
            "data": {"source": "x.csv", "columns": {"sex": {}}},
            "monitor": {"minimum_labels": 50},
            **more,
        }
    )


def reference(task: Any = "binary", baseline: Any = RULE) -> Reference:
    classes = {"binary": ("0", "1"), "multiclass": ("a", "b", "c"), "regression": ()}[task]
    signature = Signature(
        "credit", task, (Input("sex", "category"),), (), classes,
        0.5 if task == "binary" else None,
    )  # fmt: skip
    return Reference(3, signature, Profile({}), restore(baseline) if baseline else None)


def predictions(hours: Any, truth: list[str | None], scores: Any, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "prediction_id": [f"p{number:05}" for number in range(len(truth))],
            "event_time": [moment(int(hour) * HOUR) + timedelta(minutes=5) for hour in hours],
            TRUTH: pl.Series(truth, dtype=pl.String),
            "score": np.asarray(scores),
            "sex": ["f", "m"] * (len(truth) // 2),
            **columns,
        }
    )


@pytest.fixture
def frame() -> pl.DataFrame:
    """200 rows of the window; every fourth has no label."""
    generator = np.random.default_rng(1)
    truth = (generator.random(200) < 0.4).astype(int)
    scores = np.clip(truth * 0.3 + generator.random(200) * 0.7, 0.01, 0.99)
    texts = [None if place % 4 == 3 else str(value) for place, value in enumerate(truth.tolist())]
    return predictions(generator.integers(1000, 1010, 200), texts, scores)


def test_the_figures_are_scikit_learn_s_on_the_rows_that_have_a_label(frame: pl.DataFrame) -> None:
    found = measure(contract(), reference(), frame.lazy(), WINDOWS)

    known = frame.drop_nulls(TRUTH)
    truth, scores = known[TRUTH].cast(pl.Int64).to_numpy(), known["score"].to_numpy()
    assert found is not None
    assert (found.window, found.rows, found.labels, found.coverage) == (NOW, 200, 150, 0.75)
    assert found.metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, scores))
    assert found.metrics["log_loss"] == pytest.approx(log_loss(truth, scores))
    assert found.metrics["recall"] == pytest.approx(recall_score(truth, scores >= 0.5))
    assert found.baseline == "everyone"
    assert found.baseline_metrics["recall"] == 1.0
    assert sum(each["rows"] for each in found.calibration) == 150


def test_the_order_of_the_rows_makes_no_difference_to_the_last_bit(frame: pl.DataFrame) -> None:
    first = measure(contract(), reference(), frame.lazy(), WINDOWS)

    for seed in range(3):
        mixed = frame.sample(fraction=1, shuffle=True, seed=seed)
        assert measure(contract(), reference(), mixed.lazy(), WINDOWS) == first


def test_the_newest_window_that_has_enough_labels_is_judged(frame: pl.DataFrame) -> None:
    month_before = frame.with_columns(pl.col("event_time") - timedelta(hours=20))
    fresh = frame.head(40)  # 30 labels: too few

    found = measure(contract(), reference(), pl.concat([month_before, fresh]).lazy(), WINDOWS)

    assert found is not None
    assert (found.window, found.rows, found.labels) == (WINDOWS[2], 200, 150)


def test_labels_that_came_too_late_or_are_too_few_judge_nothing(frame: pl.DataFrame) -> None:
    long_ago = frame.with_columns(pl.col("event_time") - timedelta(hours=40))

    assert measure(contract(), reference(), long_ago.lazy(), WINDOWS) is None
    assert measure(contract(), reference(), frame.head(60).lazy(), WINDOWS) is None
    assert measure(contract(), reference(), frame.head(0).lazy(), WINDOWS) is None


def test_labels_that_are_none_of_the_classes_count_as_none(frame: pl.DataFrame) -> None:
    strange = frame.with_columns(
        pl.when(pl.col("sex") == "f").then(pl.lit("perhaps")).otherwise(TRUTH).alias(TRUTH)
    )
    every = frame.with_columns(pl.lit("perhaps").alias(TRUTH))

    found = measure(contract(), reference(), strange.lazy(), WINDOWS)

    assert found is not None
    assert found.labels == strange.filter(pl.col(TRUTH).is_in(["0", "1"])).height
    assert measure(contract(), reference(), every.lazy(), WINDOWS) is None


def test_classes_and_values_are_judged_too() -> None:
    generator = np.random.default_rng(2)
    places = generator.integers(0, 3, 100)
    chances = generator.dirichlet([1, 1, 1], 100)
    hours = np.full(100, 1005)
    classed = predictions(
        hours, ["abc"[place] for place in places.tolist()], chances[:, 0],
        probabilities=chances.tolist(),
    )  # fmt: skip
    values = generator.normal(10, 2, 100)
    numbers = predictions(hours, [str(value) for value in values.tolist()], values + 1)

    of_classes = measure(
        contract("multiclass"), reference("multiclass", None), classed.lazy(), WINDOWS
    )
    of_values = measure(
        contract("regression"), reference("regression", None), numbers.lazy(), WINDOWS
    )

    assert of_classes is not None
    assert of_values is not None
    assert of_classes.metrics["log_loss"] == pytest.approx(log_loss(places, chances))
    assert of_values.metrics["mae"] == pytest.approx(mean_absolute_error(values, values + 1))
    assert (of_classes.baseline, of_classes.baseline_metrics) == (None, {})


def test_fairness_is_measured_where_the_log_holds_its_column(frame: pl.DataFrame) -> None:
    rules = [
        {"by": name, "metric": "recall", "ratio_at_least": 0.5, "minimum_rows": 10}
        for name in ("sex", "age")
    ]
    asked = contract(fairness=rules, data={"source": "x", "columns": {"sex": {}, "age": {}}})

    found = measure(asked, reference(), frame.lazy(), WINDOWS)

    assert found is not None
    assert [rule["by"] for rule in found.fairness] == ["sex"]  # age is personal: not in the log
