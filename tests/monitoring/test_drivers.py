"""Reasons of what is folded: whose, how often, and what they add up to."""

import json
import zlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from loopline.contract.schema import Monitor, Review
from loopline.counts.kernel import count_arrays
from loopline.errors import RequestError, RuntimeUnavailableError
from loopline.model.compile.estimator import compile_plan
from loopline.model.explanation import Explainer, background
from loopline.model.signature import Feature, Input, Signature, matrix
from loopline.monitoring import drivers, hours
from loopline.monitoring.drivers import Reasons
from loopline.monitoring.findings import Subject
from loopline.monitoring.hours import IMPORTANCE, Cell
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import Predictions, typed
from loopline.monitoring.windows import HOUR, Window

PLACE = ("dev", 3)
START = 380_000


def reference(estimator: Any = None, task: str = "binary") -> Reference:
    generator = np.random.default_rng(2)
    columns = {name: generator.normal(size=400) for name in ("age", "debt")}
    classes = ("no", "yes") if task == "binary" else ()
    signature = Signature(
        "credit",
        task,  # type: ignore[arg-type]
        tuple(Input(name, "number") for name in columns),
        tuple(Feature(name, "number") for name in columns),
        classes,
        0.5 if classes else None,
    )
    truth = columns["age"] + 0.2 * columns["debt"]
    truth = (truth > 0).astype(int) if classes else truth
    model = (estimator or LogisticRegression()).fit(matrix(signature, columns), truth)
    plan = compile_plan(model, signature)
    explainer = Explainer(background(plan, signature, columns, 0), signature, plan)
    return Reference(3, signature, count_arrays({}), None, explainer=explainer)


def logged(known: Reference, rows: int, *, spread: float = 1.0) -> Any:
    """Predictions of so many rows, ten an hour; `spread` widens the second column."""
    generator = np.random.default_rng(5)
    values = [generator.normal(size=rows).tolist(), (spread * generator.normal(size=rows)).tolist()]
    assert known.explainer is not None
    columns = dict(zip(("age", "debt"), map(np.array, values), strict=True))
    told = known.explainer(columns).values
    scores = (1 / (1 + np.exp(-told)) if known.signature.classes else told).tolist()
    outputs = [["yes"] * rows, scores] if known.signature.classes else [scores]
    found = Predictions(3, shadow=False, inputs=values, outputs=outputs)
    found.ids = [f"id{row}-0" for row in range(rows)]
    found.arrivals = [(START + row // 10) * HOUR for row in range(rows)]
    found.client_ids, found.callers, found.latencies = [None] * rows, [None] * rows, [1] * rows
    return typed(found, known.signature, "dev")


def test_a_share_of_all_is_explained_whoever_folds_and_in_whatever_pieces() -> None:
    known = reference()
    found = logged(known, 3000)

    whole = Reasons(None)(found, known, PLACE)

    chosen = [f"id{row}-0" for row in range(3000) if zlib.crc32(f"id{row}-0".encode()) < 2**24]
    explained = whole.reasons.is_not_null()
    assert found.own["prediction_id"].filter(explained).to_list() == chosen
    assert 3 < len(chosen) < 30
    assert whole.review.null_count() == 3000
    assert sum(each["rows"] for cell, each in whole.cells.items() if cell.column == "age") == len(
        chosen
    )


def test_what_the_contract_reviews_is_marked_and_explained() -> None:
    known = reference()
    found = logged(known, 400)

    reasoned = Reasons(Review(when="probability between 0.4 and 0.6", sample="10%"))(
        found, known, PLACE
    )

    between = (found.scores >= 0.4) & (found.scores <= 0.6)
    by_chance = np.array([zlib.crc32(name.encode()) for name in found.own["prediction_id"]]) < (
        2**32 / 10
    )
    expected = [
        "when" if b else "sample" if c else None for b, c in zip(between, by_chance, strict=True)
    ]
    assert reasoned.review.to_list() == expected
    assert {"when", "sample", None} == set(expected)
    assert (reasoned.reasons.is_not_null() == reasoned.review.is_not_null()).all()
    row = int(np.flatnonzero(between)[0])
    told = json.loads(reasoned.reasons[row])
    probability = found.scores[row]
    assert told["value"] == pytest.approx(np.log(probability / (1 - probability)))
    # Rows that a condition chose would say nothing of the model's usual day.
    counted = sum(each["rows"] for cell, each in reasoned.cells.items() if cell.column == "debt")
    assert counted == by_chance.sum()


def test_what_each_column_adds_is_summed_by_the_hour_in_whole_numbers() -> None:
    known = reference()
    found = logged(known, 40)

    cells = Reasons(Review(sample=1.0))(found, known, PLACE).cells

    assert known.explainer is not None
    added = known.explainer({"age": found.columns["age"], "debt": found.columns["debt"]}).added
    first = cells[Cell(*PLACE, START, "debt", IMPORTANCE)]
    exact = Counter(rows=10, millionths=int(np.rint(np.abs(added[:10, 1]) * 1e6).sum()))
    assert first == exact
    assert {cell.hour for cell in cells} == {START, START + 1, START + 2, START + 3}


def test_sums_of_hours_come_back_from_the_database(database: Any) -> None:
    known = reference()
    cells = Reasons(Review(sample=1.0))(logged(known, 40), known, PLACE).cells
    with database.begin() as connection:
        hours.add(connection, "credit", cells)
        hours.add(connection, "credit", cells)

    total = hours.total(database, "credit", *PLACE, Window(START, START + 4))

    once = sum((cells[cell] for cell in cells if cell.column == "age"), Counter())
    assert total[IMPORTANCE, "age"] == once + once


def test_a_regression_is_reviewed_by_its_prediction() -> None:
    known = reference(LinearRegression(), "regression")
    found = logged(known, 200)

    reasoned = Reasons(Review(when="prediction > 1 and age > 0"))(found, known, PLACE)

    expected = (found.scores > 1) & (found.columns["age"] > 0)
    assert reasoned.review.is_not_null().to_list() == expected.tolist()
    assert 0 < expected.sum() < 200


def test_a_version_without_the_column_of_a_condition_is_reviewed_by_chance_alone() -> None:
    known = reference()

    reasoned = Reasons(Review(when="income > 3", sample=1.0))(logged(known, 20), known, PLACE)

    assert reasoned.review.to_list() == ["sample"] * 20


def test_a_model_that_must_be_asked_is_explained_where_the_contract_reviews() -> None:
    known = reference(make_pipeline(PolynomialFeatures(2), LogisticRegression()))
    found = logged(reference(), 500)

    nothing = Reasons(None)(found, known, PLACE)
    some = Reasons(Review(sample="1%"))(found, known, PLACE)

    assert nothing.reasons.null_count() == 500
    explained = some.reasons.drop_nulls()
    assert len(explained) == some.review.is_not_null().sum() > 0
    assert json.loads(explained[0])["method"] == "sampled"
    assert some.cells == {}


def asked(score: Any) -> Reference:
    """A version without a plan."""
    known = reference()
    generator = np.random.default_rng(2)
    columns = {name: generator.normal(size=400) for name in ("age", "debt")}
    kept = background(None, known.signature, columns, 0)
    explainer = Explainer(kept, known.signature, None, score)
    return replace(known, explainer=explainer)


def test_a_version_without_a_plan_is_asked_for_what_is_reviewed_and_for_no_more() -> None:
    rows = []

    def score(columns: Any) -> np.ndarray:
        rows.append(len(columns["age"]))
        return np.asarray(0.5 + 0.1 * np.tanh(columns["age"]))

    known, found = asked(score), logged(reference(), 60)

    assert Reasons(None)(found, known, PLACE).reasons.null_count() == 60
    assert rows == []
    reasoned = Reasons(Review(sample="20%"))(found, known, PLACE)

    is_reviewed = reasoned.review.is_not_null()
    assert 3 < is_reviewed.sum() < 30
    assert (reasoned.reasons.is_not_null() == is_reviewed).all()
    row = int(is_reviewed.arg_true()[0])
    told = json.loads(reasoned.reasons[row])
    assert told["value"] == pytest.approx(0.5 + 0.1 * np.tanh(found.columns["age"][row]))
    assert told["reasons"][0]["column"] == "age"
    assert told["reasons"][1]["adds"] == 0


def test_where_the_model_is_asked_for_each_a_stretch_has_so_many_reasons_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drivers, "MOST_ASKED", 7)
    reasons, found = Reasons(Review(sample=1.0)), logged(reference(), 40)

    reasoned = reasons(found, asked(lambda columns: columns["age"] * 0 + 0.5), PLACE)

    assert reasoned.review.null_count() == 0
    chance = [zlib.crc32(name.encode()) for name in found.own["prediction_id"].to_list()]
    explained = reasoned.reasons.is_not_null().arg_true().to_list()
    assert explained == sorted(np.argsort(chance)[:7].tolist())
    assert reasons.unexplained[3].startswith("40 predictions of one stretch of the log are to be")
    reasons.forget()
    assert reasons.unexplained == {}


@pytest.mark.parametrize("kind", [RuntimeUnavailableError, RequestError])
def test_an_original_that_does_not_answer_is_said_and_its_predictions_are_folded(
    kind: type[Exception],
) -> None:
    def score(_: Any) -> np.ndarray:
        raise kind("The worker of bundles/credit/3 did not start.")

    reasons = Reasons(Review(sample=1.0))
    reasoned = reasons(logged(reference(), 20), asked(score), PLACE)

    assert reasoned.review.to_list() == ["sample"] * 20
    assert reasoned.reasons.null_count() == 20
    assert reasons.unexplained == {3: "The worker of bundles/credit/3 did not start."}


def test_a_version_that_nothing_explains_is_folded_all_the_same() -> None:
    known = reference()
    plain = Reference(3, known.signature, known.profile, None)

    reasoned = Reasons(Review(sample=1.0))(logged(known, 20), plain, PLACE)

    assert reasoned.review.to_list() == ["sample"] * 20
    assert reasoned.reasons.dtype == pl.String
    assert reasoned.reasons.null_count() == 20


SUBJECT = Subject("credit", "dev", 3, datetime(2013, 5, 8, tzinfo=UTC))
WINDOW = Window(START, START + 24)


def judged(known: Reference, rows: int, spread: float, **monitor: Any) -> Any:
    cells = Reasons(Review(sample=1.0))(logged(known, rows, spread=spread), known, PLACE).cells
    counted: dict[tuple[str, str], Any] = {}
    for cell, each in cells.items():
        counted[IMPORTANCE, cell.column] = counted.get((IMPORTANCE, cell.column), Counter()) + each
    return drivers.judge(Monitor.model_validate(monitor), SUBJECT, known, counted, WINDOW)


def test_a_model_that_other_columns_drive_than_at_its_training_is_a_finding() -> None:
    [found] = judged(reference(), 200, spread=8.0)

    assert (found.kind, found.subject, found.status) == ("importance", "reasons", "open")
    assert found.metric == "importance_shift"
    before, now = found.evidence["training"], found.evidence["now"]
    assert before["age"] > 0.75
    assert now["debt"] > 0.5
    assert found.value == pytest.approx(now["debt"] - before["debt"])
    assert found.rows == 200
    assert "has shifted on 200 explained predictions" in found.message
    assert f"debt {before['debt']:.0%} → {now['debt']:.0%}" in found.message


def test_a_model_that_is_driven_as_it_was_is_none() -> None:
    [found] = judged(reference(), 200, spread=1.0)

    assert (found.status, found.value < 0.1) == ("resolved", True)
    assert "is as at its training" in found.message


def test_on_few_explained_predictions_nothing_is_judged() -> None:
    assert judged(reference(), 99, spread=8.0) == []


def test_the_contract_says_how_far_it_may_shift_and_on_how_many_it_is_judged() -> None:
    [calm] = judged(reference(), 200, spread=8.0, importance_shift="99%")

    assert (calm.status, calm.limit) == ("resolved", 0.99)
    assert judged(reference(), 200, spread=8.0, minimum_explained=201) == []
