"""The team's behavioural tests: what they can ask, and what they are told."""

import numpy as np
import pytest

from loopline.evaluation.behaviour import EXAMPLE, Model, run_tests
from loopline.model.signature import Feature, Input, Signature

SIGNATURE = Signature(
    project="exam",
    task="binary",
    inputs=(
        Input("income", "number"),
        Input("sex", "category"),
        Input("member", "boolean"),
        Input("since", "time"),
        Input("children", "integer"),
        Input("id", "category", required=False),
    ),
    features=(Feature("income", "number"),),
    classes=("no", "yes"),
    threshold=0.5,
    missing=("?",),
)
HELD_OUT = {
    "income": np.array([0.1, np.nan, 0.7]),
    "sex": np.array(["f", None, "m"], dtype=object),
    "member": np.array([1.0, 0.0, np.nan]),
    "since": np.array(["2026-01-01T06:00", "NaT", "2026-01-02"], dtype="datetime64[us]"),
    "children": np.array([2.0, np.nan, 0.0]),
    "id": np.array(["1", "2", "3"], dtype=object),
}


def score(columns):
    """More income, more yes; one sex is a little better off."""
    income = np.nan_to_num(columns["income"], nan=0.5)
    return np.clip(income + 0.05 * (columns["sex"] == "m"), 0, 1)


@pytest.fixture
def model():
    return Model(SIGNATURE, score, HELD_OUT)


def test_held_out_rows_are_as_a_caller_would_send_them(model):
    first, second, _ = model.rows()

    assert first == {
        "income": 0.1,
        "sex": "f",
        "member": True,
        "since": "2026-01-01T06:00:00.000000Z",
        "children": 2,
    }
    assert set(second.values()) == {None, False}
    assert model.score(model.rows()) == pytest.approx(score(HELD_OUT))
    assert model.label(model.rows(2)) == ["no", "yes"]


def test_values_may_be_written_as_a_request_writes_them(model):
    row = dict.fromkeys(model.inputs) | {"income": " 0.9 ", "sex": "?"}

    assert model.score([row]) == pytest.approx([0.9])


def test_invariance_names_the_row_that_moved(model):
    model.stays(model.rows(), {"children": 3})
    model.stays(model.rows(), {"sex": "m"}, within=0.06)
    model.stays(model.rows(), {"sex": "m"}, share=0.3)

    with pytest.raises(AssertionError, match=r"2 of 3 rows moved by more than 0\.01.*row 0.*0\.15"):
        model.stays(model.rows(), {"sex": "m"}, within=0.01)


def test_direction_is_checked_both_ways(model):
    richer = {"income": lambda income: (income or 0.5) + 0.1}
    model.rises(model.rows(), richer)

    with pytest.raises(AssertionError, match="3 of 3 rows rose"):
        model.falls(model.rows(), richer)


def test_minimum_function_is_a_row_and_its_label(model):
    rich = dict.fromkeys(model.inputs) | {"income": 0.95}
    model.answers([rich], "yes")

    with pytest.raises(AssertionError, match="1 of 1 rows did not get the label 'no'"):
        model.answers([rich], "no")


def test_a_test_that_asks_for_what_is_not_there_is_told(model):
    with pytest.raises(AssertionError, match=r"no input wage\. Inputs: income, sex"):
        model.stays(model.rows(), {"wage": 1})
    with pytest.raises(AssertionError, match="A row lacks children, income"):
        model.score([{"sex": "f"}])


@pytest.fixture
def project(tmp_path):
    def make(**files):
        folder = tmp_path / "tests" / "model"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        return tmp_path

    return make


def test_the_example_holds_for_any_model(project, model):
    found = run_tests(project(test_behaviour=EXAMPLE), model)

    assert [test["passed"] for test in found] == [True, True]
    assert found[0]["name"] == "the order of rows does not matter"
    assert run_tests(project().parent, model) == ()


def test_every_way_to_fail_is_told_with_its_line_and_the_rest_goes_on(project, model):
    first = """
def test_fails(model):
    assert model.score(model.rows()).max() < 0.1

def test_breaks(model):
    return 1 / 0

def test_asks_for_more(model, database):
    pass

def test_wrong_value(model):
    model.score([dict.fromkeys(model.inputs) | {"income": "much"}])

def test_holds(model):
    helper()

def helper():
    pass
"""

    found = run_tests(project(a=first, b="import nothing_of_this_name"), model)

    told = {test["name"]: test for test in found}
    assert told["fails"]["message"] == "line 3: assert model.score(model.rows()).max() < 0.1"
    assert told["breaks"]["message"] == "line 6: ZeroDivisionError: division by zero"
    assert "database" in told["asks for more"]["message"]
    assert told["wrong value"]["message"].startswith("line 12: income[0] is 'much'")
    assert told["b can be loaded"]["message"].startswith("line 1: ModuleNotFoundError")
    assert [test["name"] for test in found if test["passed"]] == ["holds"]
    assert {test["file"] for test in found} == {"tests/model/a.py", "tests/model/b.py"}
