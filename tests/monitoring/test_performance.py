"""Live quality from counts: scikit-learn's and fairlearn's figures on the labelled rows."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from fairlearn.metrics import MetricFrame
from sklearn import metrics

from loopline.contract.schema import Contract
from loopline.counts.kernel import count_arrays
from loopline.evaluation.metrics import Answer, Scorecard
from loopline.model.signature import Input, Signature
from loopline.monitoring import hours, performance, realised
from loopline.monitoring.hours import Cell
from loopline.monitoring.labels import TRUTH
from loopline.monitoring.performance import Performance
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import HOUR, Window, earlier, moment
from loopline.store.database import Database
from loopline.training.baselines import restore

NOW = Window(1000, 1010)
WINDOWS = earlier(NOW, 3)
RULE = {"name": "everyone", "threshold": 0.0, "constant": 0.7}
CLASSES: dict[Any, tuple[str, ...]] = {
    "binary": ("0", "1"), "multiclass": ("a", "b", "c"), "regression": (),
}  # fmt: skip
COSTS: Any = {
    "binary": {"false_positive": 5, "false_negative": 1, "true_positive": -1},
    "multiclass": {"matrix": {"a": {"b": 3}, "c": {"a": 1, "b": 2}}},
    "regression": {"under": 3, "over": 1},
}


def contract(task: str = "binary", **more: Any) -> Contract:
    return Contract.model_validate(
        {
            "project": "credit",
            "problem": {"task": task, "target": "y", "costs": COSTS[task]},
            "goals": [{"metric": "error_rate", "at_most": 0.01}],
            "data": {"source": "x.csv", "columns": {"sex": {}, "age": {}}},
            "monitor": {"minimum_labels": 50},
            **more,
        }
    )


def reference(task: Any = "binary", baseline: Any = RULE) -> Reference:
    signature = Signature(
        "credit", task, (Input("sex", "category"), Input("age", "number")), (), CLASSES[task],
        0.4 if task == "binary" else None,
    )  # fmt: skip
    profile = count_arrays(
        {"age": np.linspace(20, 60, 500), "prediction": np.random.default_rng(9).normal(10, 2, 999)}
    )
    return Reference(3, signature, profile, restore(baseline) if baseline else None)


def predictions(hours: Any, truth: list[str | None], scores: Any, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "event_time": [moment(int(hour) * HOUR) + timedelta(minutes=5) for hour in hours],
            TRUTH: pl.Series(truth, dtype=pl.String),
            "score": np.asarray(scores),
            "sex": ["f", "m"] * (len(truth) // 2),
            "age": 20 + 40 * np.random.default_rng(5).random(len(truth)),
            **columns,
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )


def binary(number: int) -> pl.DataFrame:
    generator = np.random.default_rng(1)
    truth = (generator.random(number) < 0.4).astype(int)
    scores = np.clip(truth * 0.3 + generator.random(number) * 0.7, 0.01, 0.99)
    texts = [None if place % 4 == 3 else str(value) for place, value in enumerate(truth.tolist())]
    return predictions(generator.integers(1000, 1010, number), texts, scores)


def multiclass(number: int) -> pl.DataFrame:
    generator = np.random.default_rng(2)
    chances = generator.dirichlet([1, 1, 1], number)
    places = [generator.choice(3, p=row) for row in chances]
    return predictions(
        generator.integers(1000, 1010, number), ["abc"[place] for place in places],
        chances[:, 0], probabilities=chances.tolist(),
    )  # fmt: skip


def regression(number: int) -> pl.DataFrame:
    generator = np.random.default_rng(3)
    values = generator.normal(10, 2, number)
    said = values + generator.normal(0.5, 1, number)
    return predictions(
        generator.integers(1000, 1010, number), [str(value) for value in values.tolist()], said
    )


ROWS: dict[str, Callable[[int], pl.DataFrame]] = {
    "binary": binary, "multiclass": multiclass, "regression": regression,
}  # fmt: skip
Measure = Callable[..., Performance | None]


@pytest.fixture
def measure(database: Database) -> Measure:
    def measured(
        asked: Contract, made_from: Reference, frame: pl.DataFrame, windows: Any = WINDOWS
    ) -> Performance | None:
        found: dict[Cell, hours.Counts] = dict(
            realised.count(frame, made_from, ("dev", 3), asked.fairness)
        )
        for hour, rows in (
            frame.group_by(frame["event_time"].dt.epoch("us").alias("at") // HOUR).len().iter_rows()
        ):
            found[Cell("dev", 3, hour, "", hours.ROWS)] = Counter(whole=rows)
        with database.begin() as connection:
            hours.add(connection, "credit", found)
        return performance.measure(asked, made_from, database, "dev", windows)

    return measured


@pytest.mark.parametrize("task", list(CLASSES))
def test_the_figures_of_counts_are_those_of_the_rows_within_their_bounds(
    task: Any, measure: Measure
) -> None:
    made_from, frame = reference(task, None), ROWS[task](2000)
    found = measure(contract(task), made_from, frame)

    known = frame.drop_nulls(TRUTH)
    truth = performance.labels.truth(known[TRUTH], made_from.signature)
    scores = known["score"].to_numpy()
    if task == "multiclass":
        scores = np.array(known["probabilities"].to_list())
    answer = Answer("own", scores, made_from.signature.threshold)
    # The gate's own, which are scikit-learn's: tests/evaluation shows it.
    exact = Scorecard(contract(task).problem, CLASSES[task], truth, answer).whole()
    assert found is not None
    assert (found.window, found.rows, found.labels) == (NOW, 2000, len(known))
    assert list(found.metrics) == list(exact)
    for name, value in exact.items():
        bound = found.bounds.get(name, 0.0)
        assert found.metrics[name] == pytest.approx(value, abs=bound + 1e-12, rel=0), name
        assert bound < 0.01 * max(abs(value), 1) + 0.02 * (name == "calibration_error"), name
        low, high = found.intervals[name]
        assert low <= value <= high, name
    assert (found.baseline, found.baseline_metrics) == (None, {})


def test_some_of_them_beside_scikit_learn_itself(measure: Measure) -> None:
    frame = multiclass(1000)
    found = measure(contract("multiclass"), reference("multiclass", None), frame)

    truth, chances = frame[TRUTH].to_numpy(), np.array(frame["probabilities"].to_list())
    said = np.array(list("abc"))[chances.argmax(axis=1)]
    assert found is not None
    assert found.metrics["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    assert found.metrics["macro_f1"] == pytest.approx(
        metrics.f1_score(truth, said, average="macro")
    )
    for name, value in (
        ("roc_auc", metrics.roc_auc_score(truth, chances, multi_class="ovr")),
        ("log_loss", metrics.log_loss(truth, chances)),
    ):
        assert abs(found.metrics[name] - value) <= found.bounds[name] < 0.003, name


def test_the_baseline_answers_the_same_rows(measure: Measure) -> None:
    found = measure(contract(), reference(), binary(200))

    assert found is not None
    assert found.baseline == "everyone"
    assert found.baseline_metrics["recall"] == 1.0


def test_the_baseline_of_numbers_does_too(measure: Measure) -> None:
    mean = {"name": "mean", "threshold": 0.5, "constant": 10.0}

    found = measure(contract("regression"), reference("regression", mean), regression(200))

    assert found is not None
    values = np.array([float(text) for text in regression(200)[TRUTH]])
    assert found.baseline_metrics["mae"] == pytest.approx(np.abs(values - 10).mean(), rel=0.002)


def test_the_newest_window_that_has_enough_labels_is_judged(measure: Measure) -> None:
    frame = binary(200)
    month_before = frame.with_columns(pl.col("event_time") - timedelta(hours=20))
    fresh = frame.head(40)  # 30 labels: too few

    found = measure(contract(), reference(), pl.concat([month_before, fresh]))

    assert found is not None
    assert (found.window, found.rows, found.labels) == (WINDOWS[2], 200, 150)


@pytest.mark.parametrize("case", ["long ago", "few", "none", "strange"])
def test_labels_that_came_too_late_are_too_few_or_none_of_the_classes_judge_nothing(
    case: str, measure: Measure
) -> None:
    frame = binary(200)
    frame = {
        "long ago": frame.with_columns(pl.col("event_time") - timedelta(hours=40)),
        "few": frame.head(60),
        "none": frame.head(0),
        "strange": frame.with_columns(pl.lit("perhaps").alias(TRUTH)),
    }[case]

    assert measure(contract(), reference(), frame) is None


def _rule(by: str, metric: str) -> dict[str, Any]:
    return {"by": by, "metric": metric, "difference_at_most": 1, "minimum_rows": 10}


FAIR: dict[str, dict[str, Callable[..., float]]] = {
    "binary": {
        "recall": lambda truth, scores: metrics.recall_score(truth, scores >= 0.4),
        "log_loss": metrics.log_loss,
        "roc_auc": metrics.roc_auc_score,
    },
    "multiclass": {
        "accuracy": lambda truth, scores: metrics.accuracy_score(truth, np.argmax(scores, axis=1)),
        "log_loss": metrics.log_loss,
    },
    "regression": {
        "rmse": metrics.root_mean_squared_error,
        "r2": metrics.r2_score,
        "mape": metrics.mean_absolute_percentage_error,
    },
}


@pytest.mark.parametrize(
    ("task", "metric"), [(task, metric) for task, each in FAIR.items() for metric in each]
)
def test_fairness_is_fairlearn_s_by_category_and_by_number(
    task: Any, metric: str, measure: Measure
) -> None:
    frame = ROWS[task](3000)
    found = measure(
        contract(task, fairness=[_rule("sex", metric), _rule("age", metric)]),
        reference(task, None), frame,
    )  # fmt: skip

    assert found is not None
    by_sex, by_age = found.fairness
    known = frame.drop_nulls(TRUTH)
    truth = performance.labels.truth(known[TRUTH], reference(task).signature)
    scores = known["score"].to_numpy()
    if task == "multiclass":
        scores = np.array(known["probabilities"].to_list())
    edges = [float(group["group"].split(" to ")[0]) for group in by_age["groups"]]
    ages = np.searchsorted(np.sort(edges)[1:], known["age"].to_numpy(), "right")
    for measured, groups in ((by_sex, known["sex"].to_numpy()), (by_age, ages)):
        # fairlearn takes one score a row: of several classes the row's number stands for them.
        places = np.arange(len(truth)) if task == "multiclass" else scores
        exact = MetricFrame(
            metrics=lambda actual, said: FAIR[task][metric](
                actual, scores[said.astype(int)] if task == "multiclass" else said
            ),
            y_true=truth, y_pred=places, sensitive_features=groups,
        )  # fmt: skip
        assert len(measured["groups"]) == len(exact.by_group) == (2 if groups is not ages else 4)
        assert measured["difference"] == pytest.approx(exact.difference(), abs=0.004)
        assert measured["ratio"] == pytest.approx(exact.ratio(), abs=0.004)
        figures = sorted(group["figure"] for group in measured["groups"])
        assert figures == pytest.approx(sorted(exact.by_group.tolist()), abs=0.004)


def test_fairness_is_measured_where_the_log_holds_its_column(measure: Measure) -> None:
    data = {"source": "x", "columns": {"sex": {}, "name": {}}}
    asked = contract(fairness=[_rule("sex", "recall"), _rule("name", "recall")], data=data)

    found = measure(asked, reference(), binary(200))

    assert found is not None
    assert [rule["by"] for rule in found.fairness] == ["sex"]  # the name is not in the log


def test_groups_of_few_rows_are_told_and_not_judged(measure: Measure) -> None:
    few = binary(200).with_columns(
        pl.when(pl.int_range(pl.len()) < 5).then(pl.lit("x")).otherwise("sex").alias("sex")
    )

    found = measure(contract(fairness=[_rule("sex", "accuracy")]), reference(), few)

    assert found is not None
    groups = {group["group"]: group["judged"] for group in found.fairness[0]["groups"]}
    assert groups == {"f": True, "m": True, "x": False}


@pytest.mark.parametrize("task", list(CLASSES))
def test_calibration_is_what_was_said_beside_what_came(task: Any, measure: Measure) -> None:
    found = measure(contract(task), reference(task, None), ROWS[task](3000))

    assert found is not None
    assert sum(each["rows"] for each in found.calibration) == found.labels
    assert 3 < len(found.calibration) <= 10
    said = [each["predicted"] for each in found.calibration]
    assert said == sorted(said)
    if task == "multiclass":  # made so that chances are right
        assert all(abs(each["observed"] - each["predicted"]) < 0.1 for each in found.calibration)
    if task == "regression":  # half a unit too high, and towards the mean at both ends
        gaps = [each["predicted"] - each["observed"] for each in found.calibration]
        rows = [each["rows"] for each in found.calibration]
        assert np.average(gaps, weights=rows) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("task", list(CLASSES))
def test_the_worst_slice_and_the_hour_of_the_change_are_found(task: Any, measure: Measure) -> None:
    generator = np.random.default_rng(4)
    at = np.repeat(np.arange(980, 1010), 100)
    is_bad = (at >= 1004) & (np.arange(len(at)) % 2 == 0)  # of f, from 1004 on
    flipped = is_bad & (generator.random(len(at)) < 0.6)
    chances = np.where(flipped, 0.2, 0.8)
    frame = predictions(
        at, ["1" if task == "binary" else "a" if task == "multiclass" else "10"] * len(at),
        chances if task == "binary" else 10 + 5 * flipped + generator.normal(0, 0.1, len(at)),
        probabilities=np.stack([chances, 1 - chances, 0 * chances], axis=1).tolist(),
    )  # fmt: skip
    costs = {"binary": None, "multiclass": None, "regression": COSTS["regression"]}[task]
    problem = {"task": task, "target": "y"} | ({} if costs is None else {"costs": costs})
    goals = [{"metric": "mae", "at_most": 1} if costs else {"metric": "accuracy", "at_least": 0.9}]

    found = measure(contract(task, problem=problem, goals=goals), reference(task, None), frame)

    assert found is not None
    assert found.worse_since == 1004
    assert found.slices[0]["value"] == "f"
    assert found.slices[0]["rows"] == 500
    assert [each["value"] for each in found.slices] == ["f", "m"]


def test_the_figures_without_a_piece_are_those_of_the_other_hours(
    measure: Measure, database: Database
) -> None:
    frame, asked = binary(600), contract(fairness=[_rule("sex", "recall")])
    assert measure(asked, reference(), frame) is not None
    pieces = [Window(1000, 1004), Window(1004, 1010), Window(1010, 1020)]

    found = performance.without_each(asked, reference(), database, "dev", NOW, pieces)

    hour = frame["event_time"].dt.epoch("us") // HOUR
    for piece, each in zip(pieces, found, strict=True):
        left = frame.filter((hour < piece.first) | (hour >= piece.last)).drop_nulls(TRUTH)
        truth, scores = left[TRUTH].cast(pl.Int64).to_numpy(), left["score"].to_numpy()
        assert each.labels == len(left)
        assert each.metrics["recall"] == pytest.approx(metrics.recall_score(truth, scores >= 0.4))
        assert each.fairness[0]["difference"] is not None
