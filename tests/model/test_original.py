"""The estimator itself answers as it does where it was trained."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from loopline.data.row_sql import parse
from loopline.errors import MissingExtraError
from loopline.model import original as module
from loopline.model.original import Original, frame
from loopline.model.signature import Feature, Input, Signature, matrix

TYPES = {"amount": "number", "purpose": "category"}
DOUBLE = parse("amount * 2", TYPES)
COLUMNS = {
    "amount": np.array([1.0, np.nan, 3.0, 4.0]),
    "purpose": np.array(["car", "tv", None, "boat"], dtype=object),
}


def signature(task: str = "binary", classes: tuple[str, ...] = ("0", "1")) -> Signature:
    return Signature(
        "credit",
        task,  # type: ignore[arg-type]
        (Input("amount", "number"), Input("purpose", "category")),
        (
            Feature("amount", "number"),
            Feature("purpose", "category", ("car", "tv")),
            Feature("twice", "number", sql=DOUBLE.sql, steps=DOUBLE.steps),
        ),
        classes,
        0.5 if task == "binary" else None,
    )


class Echo:
    """Remembers what it was asked, and answers with rows that are told apart."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.seen = None

    def predict_proba(self, inputs):
        self.seen = inputs
        return np.arange(len(inputs) * self.classes, dtype=np.float32).reshape(len(inputs), -1)

    def predict(self, inputs):
        self.seen = inputs
        return np.arange(len(inputs)).reshape(-1, 1)


def test_binary_is_the_positive_class_multiclass_all_and_regression_a_number_a_row() -> None:
    answers = [
        Original(Echo(classes), "matrix", signature(task, names)).scores(COLUMNS)
        for task, classes, names in (
            ("binary", 2, ("0", "1")), ("multiclass", 3, ("a", "b", "c")), ("regression", 1, ()),
        )
    ]  # fmt: skip

    assert answers[0].tolist() == [1, 3, 5, 7]
    assert answers[1].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert answers[2].tolist() == [0, 1, 2, 3]
    assert {answer.dtype for answer in answers} == {np.dtype(np.float64)}


def test_an_estimator_of_the_matrix_gets_the_codes_that_the_plan_gets() -> None:
    echo = Echo(2)

    Original(echo, "matrix", signature()).scores(COLUMNS)

    assert np.array_equal(echo.seen, matrix(signature(), COLUMNS), equal_nan=True)


def test_an_estimator_of_the_team_gets_a_frame_with_the_features_by_name() -> None:
    seen = frame(signature(), COLUMNS)

    assert list(seen.columns) == ["amount", "purpose", "twice"]
    assert seen.dtypes.astype(str).tolist() == ["float64", "object", "float64"]
    assert seen["twice"].tolist()[2:] == [6.0, 8.0]
    assert seen.isna().to_numpy().tolist() == [
        [False, False, False], [True, False, True], [False, True, False], [False, False, False],
    ]  # fmt: skip
    assert seen["purpose"][3] == "boat"  # a value that was never seen reaches it as it is


def test_real_estimators_answer_what_they_answer_themselves() -> None:
    columns = {
        "amount": np.nan_to_num(COLUMNS["amount"]),
        "purpose": np.array(["car", "tv", "boat", "boat"], dtype=object),
    }
    codes = matrix(signature(), columns)
    classifier = LogisticRegression().fit(codes, [0, 1, 0, 1])
    regressor = LinearRegression().fit(codes, [1.5, 2.5, 3.0, 9.0])

    one = Original(classifier, "matrix", signature()).scores(columns)
    other = Original(regressor, "matrix", signature("regression", ())).scores(columns)

    assert np.array_equal(one, classifier.predict_proba(codes)[:, 1])
    assert np.array_equal(other, regressor.predict(codes))


def test_under_another_signature_it_is_the_same_estimator() -> None:
    first = Original(Echo(2), "matrix", signature())

    second = first.signed(replace(signature(), threshold=0.25))

    assert second.estimator is first.estimator
    assert (first.signature.threshold, second.signature.threshold) == (0.5, 0.25)


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *, extra: str) -> None:
        raise MissingExtraError(f"{name} needs {extra}")

    monkeypatch.setattr(module, "require", missing)

    with pytest.raises(MissingExtraError, match="pandas needs own-model"):
        frame(signature(), COLUMNS)
