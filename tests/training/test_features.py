"""Which columns reach a model."""

import polars as pl
import pytest

from loopline.errors import TrainingError
from loopline.training import features
from loopline.training.features import sign

TYPES = {
    "id": "category", "seen": "time", "group": "category", "y": "number", "late": "number",
    "name": "text", "email": "category", "off": "number", "size": "integer", "flag": "boolean",
    "kind": "category", "unlisted": "number",
}  # fmt: skip


@pytest.fixture
def material(toy):
    rows = 60
    frame = pl.DataFrame(
        {
            "id": [str(number) for number in range(rows)],
            "seen": pl.datetime_range(
                pl.datetime(2026, 1, 1), pl.datetime(2026, 1, 1), eager=True
            ).extend_constant(None, rows - 1),
            "group": [str(number // 3) for number in range(rows)],
            **{name: [float(n % 2) for n in range(rows)] for name in ("y", "late", "off")},
            "name": ["x"] * rows,
            "email": ["e"] * rows,
            "size": list(range(rows)),
            "flag": [True, False] * (rows // 2),
            "kind": ["b", "a", None] * (rows // 3),
            "unlisted": [1.0] * rows,
        }
    )
    listed = {name: {} for name in TYPES if name != "unlisted"}
    listed |= {"late": {"leaks": True}, "email": {"personal": "direct"}, "off": {"feature": False}}

    def make(derived=None, pairs=()):
        return toy(
            frame.to_dict(),
            TYPES,
            problem={"task": "binary", "target": "y > 0"},
            monitor={"pairs": list(pairs)},
            fairness=[{"by": "email", "metric": "recall", "ratio_at_least": 0.5}],
            data={
                "key": "id",
                "time": "seen",
                "columns": listed,
                "split": {"by": "group", "group": "group"},
                "features": derived or {},
            },
        )

    return make


def test_only_what_is_known_beforehand_and_impersonal_is_a_feature(material):
    signature = sign(material())

    assert [each.name for each in signature.features] == ["size", "flag", "kind"]
    assert [each.kind for each in signature.features] == ["number", "number", "category"]
    assert signature.features[2].categories == ("a", "b")


def test_inputs_are_what_the_model_needs_and_what_monitoring_looks_at(material):
    signature = sign(material({"length": "length(name)", "month": "extract(month from seen)"}))

    needed = {each.name for each in signature.inputs if each.required}
    beside = {each.name for each in signature.inputs if not each.required}
    assert needed == {"seen", "name", "size", "flag", "kind"}
    assert beside == {"id", "group", "email"}
    assert [each.name for each in signature.inputs if not each.logged] == ["email"]
    assert [each.sql for each in signature.features if each.sql] == [
        "length(name)",
        "extract(month from seen)",
    ]
    assert signature.threshold is None


def test_columns_that_are_watched_together_are_inputs_too(material):
    signature = sign(material(pairs=[["off", "size"]]))

    assert [each.name for each in signature.inputs if not each.required] == [
        "id", "seen", "group", "email", "off"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("name", "is text, and pairs are of numbers"),
        ("email", "is no column that callers send and the log keeps"),
        ("y", "makes the target"),
    ],
)
def test_what_goes_together_with_nothing_is_in_no_pair(material, name, why):
    with pytest.raises(TrainingError, match=f"monitor.pairs: {name} {why}"):
        sign(material(pairs=[["size", name]]))


def test_a_derived_category_has_its_levels_and_a_time_is_refused(material):
    derived = sign(material({"big": "case when size > 30 then 'big' else 'small' end"}))

    assert derived.features[-1].categories == ("big", "small")
    with pytest.raises(TrainingError, match=r"data\.features\.moment gives a time"):
        sign(material({"moment": "case when flag then seen end"}))


def test_only_the_most_frequent_levels_get_a_code(toy, monkeypatch):
    monkeypatch.setattr(features, "LEVELS", 2)
    kinds = ["rare", "b", "a", "a", "b", "a"] * 10
    material = toy(
        {"kind": kinds, "y": [0.0, 1.0, 1.0] * 20},
        {"kind": "category", "y": "number"},
        problem={"task": "binary", "target": "y"},
    )

    assert sign(material).features[0].categories == ("a", "b")


def test_nothing_to_learn_from_is_refused(toy):
    material = toy(
        {"name": ["x"] * 40, "y": [0.0, 1.0] * 20},
        {"name": "text", "y": "number"},
        problem={"task": "binary", "target": "y"},
    )

    with pytest.raises(TrainingError, match="No column is left"):
        sign(material)
