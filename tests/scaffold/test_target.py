import polars as pl
import pytest

from loopline.errors import SourceError
from loopline.scaffold.target import guess_target, require_target


@pytest.mark.parametrize(
    ("values", "kind", "task", "positive"),
    [
        ([0, 1, 1, 1], "integer", "binary", "1"),
        ([1.0, 2.0, 2.0], "number", "binary", "1"),  # the rarer one
        (["no", "yes", "yes"], "category", "binary", "yes"),
        (["No", "Yes", "Yes"], "category", "binary", "Yes"),
        ([True, False, True], "boolean", "binary", "true"),
        (["good", "bad", "good", None], "category", "binary", "bad"),
        ([-1, 1, 1], "integer", "binary", "1"),
        (["a", "b", "c"] * 3, "category", "multiclass", None),
        ([1, 2, 3] * 3, "integer", "multiclass", None),
        ([1.0, 2.0, 3.0] * 3, "number", "multiclass", None),
        ([1.5, 2.0, 3.0] * 3, "number", "regression", None),
        (list(range(40)), "integer", "regression", None),
    ],
)
def test_the_task_follows_from_the_values(
    values: list, kind: str, task: str, positive: str | None
) -> None:
    found = guess_target(pl.Series("y", values), kind)

    assert (found.task, found.positive) == (task, positive)
    assert found.why
    assert found.unlabelled == values.count(None)


def test_classes_are_named_as_people_will_say_them() -> None:
    found = guess_target(pl.Series("y", [5.0, 5.0, 7.0, 7.0, 7.0, 9.0]), "number")

    assert found.classes == ("7", "5", "9")
    assert found.kind == "category"


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([None, None], "integer", "missing in every row"),
        ([3, 3, None], "integer", "3 in every row"),
        ([f"t{n}" for n in range(99)], "text", "99 different texts.*too many for classes"),
        ([f"{n},5" for n in range(99)], "text", "look like numbers, such as '0,5'"),
        ([f"{n}.5" for n in range(98)] + ["n/k"], "category", "1 of them no number, such as 'n/k'"),
        ([f"€ {n}" for n in range(99)], "text", "too many for classes"),
    ],
)
def test_a_target_that_cannot_be_predicted_says_why(values: list, kind: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        guess_target(pl.Series("y", values), kind)


def test_a_target_may_have_any_name() -> None:
    found = guess_target(pl.Series("count", ["few", "many", "many"]), "category")

    assert (found.name, found.classes) == ("count", ("many", "few"))


def test_a_target_that_is_not_there_names_the_nearest() -> None:
    require_target("y", ["x", "y"])
    with pytest.raises(SourceError, match=r"no column 'CHURN'. Did you mean 'churned'\?"):
        require_target("CHURN", ["age", "churned"])
    with pytest.raises(SourceError, match=r"Columns: c0, c1, .*c29, \.\.\.\."):
        require_target("zzz", [f"c{n}" for n in range(50)])
