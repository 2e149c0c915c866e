"""Labelled rows as counts: those of parts add to those of the whole."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopline.contract.schema import Fairness
from loopline.counts.kernel import count_arrays
from loopline.model.signature import Input, Signature
from loopline.monitoring import hours, stored
from loopline.monitoring.hours import ANSWERED, Cell, is_outcome
from loopline.monitoring.labels import TRUTH
from loopline.monitoring.realised import BASELINE, count
from loopline.monitoring.reference import Reference
from loopline.training.baselines import restore

SCHEMA: Any = {
    "event_time": pl.Datetime("us", "UTC"),
    "probabilities": pl.List(pl.Float64),
    TRUTH: pl.String,
    "sex": pl.String,
}
START = datetime(2013, 5, 8, tzinfo=UTC)
FIRST = int(START.timestamp()) // 3600
PLACE = ("dev", 3)
CLASSES: dict[Any, tuple[str, ...]] = {
    "binary": ("0", "1"),
    "multiclass": ("0", "1", "2"),
    "regression": (),
}
RULES = [
    Fairness(by=by, metric="log_loss", difference_at_most=1) for by in ("sex", "age", "children")
]


def reference(task: Any, **columns: np.ndarray) -> Reference:
    constant: Any = {"binary": 0.7, "multiclass": [0.5, 0.3, 0.2], "regression": 4.0}[task]
    profile = {
        "age": np.linspace(20, 60, 200),
        "children": np.array([0.0, 1.0, 2.0, 3.5, 0.1]),
        "prediction": np.linspace(0, 10, 1000),
    }
    inputs = (Input("sex", "category"), Input("age", "number"), Input("children", "number"))
    return Reference(
        3,
        Signature("credit", task, inputs, (), CLASSES[task], 0.4 if task == "binary" else None),
        count_arrays(profile | columns),
        restore({"name": "everyone", "threshold": 0.0, "constant": constant}),
    )


def rows(number: int, seed: int = 1) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "event_time": [START + timedelta(minutes=11 * place) for place in range(number)],
            "score": generator.random(number),
            "probabilities": generator.dirichlet([1, 1, 1], number).tolist(),
            TRUTH: [["0", "1", "2", "none of them"][n] for n in generator.integers(0, 4, number)],
            "sex": [["f", "m", None][n] for n in generator.integers(0, 3, number)],
            "age": generator.integers(10, 70, number).astype(np.float64),
            "children": generator.choice([0.0, 1.0, 2.0, 3.5, 7.0, np.nan], number),
        },
        schema_overrides=SCHEMA,
    )


@pytest.mark.parametrize("task", list(CLASSES))
@settings(max_examples=15)
@given(number=st.integers(0, 60), data=st.data())
def test_the_counts_of_any_split_add_to_those_of_the_whole(
    task: str, number: int, data: st.DataObject
) -> None:
    every, made_from = rows(number), reference(task)
    part = data.draw(st.lists(st.integers(0, 3), min_size=number, max_size=number))

    added: dict[Cell, hours.Counts] = {}
    for each in range(4):
        mine = every.filter(pl.Series(part, dtype=pl.Int64) == each)
        for cell, counted in count(mine, made_from, PLACE, RULES).items():
            added[cell] = hours.plus(added.get(cell), counted)

    whole = count(every, made_from, PLACE, RULES)
    assert {cell: stored.encode(each) for cell, each in added.items()} == {
        cell: stored.encode(each) for cell, each in whole.items()
    }
    assert all(is_outcome(cell.slice) for cell in whole)


def test_what_was_said_is_counted_by_the_hour_the_value_and_for_the_baseline() -> None:
    said = pl.DataFrame(
        {
            "event_time": [START, START, START + timedelta(hours=2), START],
            "score": [0.9, 0.3, 0.4, 0.9],  # from 0.4 on: 1
            TRUTH: ["1", "1", "0", None],
            "sex": ["f", "m:w", "f", "f"],
            "age": [40.0] * 4,
            "children": [0.0] * 4,
        },
        schema_overrides={"event_time": SCHEMA["event_time"]},
    )

    found = count(said, reference("binary"), PLACE)

    assert found[Cell(*PLACE, FIRST, "", ANSWERED)] == {"1,1:": 1, "1,0:": 1}
    assert found[Cell(*PLACE, FIRST + 2, "", ANSWERED)] == {"0,1:": 1}
    assert found[Cell(*PLACE, FIRST, "sex", ANSWERED)] == {"1,1:f": 1, "1,0:m:w": 1}
    assert found[Cell(*PLACE, FIRST, BASELINE, ANSWERED)] == {"1,1:": 2}  # it says yes to all
    assert not any(cell.column.startswith("age") for cell in found)


def _groups(values: Any, column: str, **profile: np.ndarray) -> dict[str, int]:
    said = rows(len(values)).with_columns(
        pl.Series(column, values, dtype=pl.Float64), pl.lit("1").alias(TRUTH)
    )
    rule = Fairness(by=column, metric="recall", difference_at_most=1)
    found: dict[str, int] = {}
    for cell, counted in count(said, reference("binary", **profile), PLACE, [rule]).items():
        if (cell.column, cell.slice) == (column, ANSWERED):
            assert isinstance(counted, dict)
            for key, number in counted.items():
                found[key.partition(":")[2]] = found.get(key.partition(":")[2], 0) + number
    return found


def test_numbers_are_grouped_by_the_quarters_of_what_the_version_was_made_from() -> None:
    # 200 ages from 20 to 60: quarters at 30, 40 and 50, to half a cell.
    found = _groups([10, 25, 29, 35, 45, 55, 99, None], "age")

    named = {tuple(round(float(end)) for end in name.split(" to ")): n for name, n in found.items()}
    assert named == {(20, 30): 3, (30, 40): 1, (40, 50): 1, (50, 60): 2}


def test_few_numbers_are_groups_by_themselves_and_others_are_together() -> None:
    assert _groups([0, 1, 1, 3.5, 0.1, 7, 8, None], "children") == {
        "0": 1, "1": 2, "3.5": 1, "0.1": 1, "other": 2,
    }  # fmt: skip
    years = {"age": np.array([2012.0, 2013.0, 2014.0] * 50), "children": np.array([-2.0, -1.0])}
    assert _groups([2012, 2014, 2014], "age", **years) == {"2012": 1, "2014": 2}
    assert _groups([-2, -1, 0], "children", **years) == {"-2": 1, "-1": 1, "other": 1}
