import numpy as np
import pytest

from loopline.data.columns import from_values
from loopline.data.target import truth
from loopline.errors import DataError, RowSqlError


def found(contract, values, kind, **problem):
    columns = {"y": from_values("y", values, kind)}
    return truth(contract(**problem), columns, {"y": kind})


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        ([0, 1, 1, None], "integer", ("0", "1")),
        ([True, False, None], "boolean", ("false", "true")),
        (["No", "Yes", "Yes"], "category", ("No", "Yes")),
        (["good", "bad", "good"], "category", ("good", "bad")),
        ([2, 1, 2], "integer", ("2", "1")),
    ],
)
def test_the_positive_class_is_the_usual_one_or_the_rarer(contract, values, kind, classes):
    target = found(contract, values, kind)

    assert target.classes == classes
    assert target.positive == classes[1]
    np.testing.assert_array_equal(np.isnan(target.values), [value is None for value in values])


def test_the_contract_names_the_positive_class(contract):
    target = found(contract, ["good", "bad", "good"], "category", positive="good")

    assert target.classes == ("bad", "good")
    assert target.values.tolist() == [1, 0, 1]
    assert found(contract, [True, False], "boolean", positive="no").classes == ("true", "false")
    with pytest.raises(DataError, match=r"positive is 'great', but .* has the values bad, good"):
        found(contract, ["good", "bad"], "category", positive="great")


def test_row_sql_makes_a_target_and_missing_stays_unknown(contract):
    columns = {"arr_delay": np.array([20.0, 3.0, np.nan])}

    target = truth(contract(target="arr_delay > 15"), columns, {"arr_delay": "integer"})

    assert target.classes == ("false", "true")
    np.testing.assert_array_equal(target.values, [1, 0, np.nan])
    with pytest.raises(RowSqlError, match="there is no column 'late'"):
        truth(contract(target="late"), columns, {"arr_delay": "integer"})


def test_classes_of_many_are_in_the_order_of_numbers_or_texts(contract):
    many = {"task": "multiclass"}

    assert found(contract, [10, 9, 2, None], "integer", **many).classes == ("2", "9", "10")
    assert found(contract, ["b", "a", "c"], "category", **many).values.tolist() == [1, 0, 2]
    target = found(contract, [1.5, None], "number", task="regression")
    np.testing.assert_array_equal(target.values, [1.5, np.nan])


@pytest.mark.parametrize(
    ("values", "kind", "problem", "message"),
    [
        ([1, 1, None], "integer", {}, r"two values to learn from; it has 1 \(2\)"),
        ([None], "category", {}, "it has none"),
        ([1, 2, 3], "integer", {}, r"3 values \(1 \(1\), .*Write task: multiclass, or row SQL"),
        (["a", "b"], "category", {"task": "regression"}, "a regression predicts a number"),
        (["2013-01-01"], "time", {}, "is a time"),
    ],
)
def test_a_target_that_does_not_fit_the_task_is_refused(contract, values, kind, problem, message):
    with pytest.raises(DataError, match=message):
        found(contract, values, kind, **problem)
