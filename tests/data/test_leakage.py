import dataclasses

import numpy as np
import polars as pl
import pytest

from loopline.contract.schema import Contract
from loopline.data.columns import from_frame
from loopline.data.leakage import leakage
from loopline.data.splits import split
from loopline.data.target import truth
from loopline.errors import SplitError

TYPES = {
    "id": "integer", "carrier": "category", "distance": "number", "arr_delay": "integer",
    "dep_delay": "integer", "mail": "text", "band": "category",
}  # fmt: skip


@pytest.fixture(scope="module")
def late(flights):
    known = flights.drop_nulls(["arr_delay"]).sample(8000, seed=3)
    return known.select(
        pl.int_range(pl.len()).alias("id"), "carrier", "distance", "arr_delay", "dep_delay",
        mail=pl.lit("a@b"), band=(pl.col("arr_delay") // 16).cast(pl.String),
    )  # fmt: skip


def found(contract, frame, columns, moved=None, **data):
    data = {"columns": {name: {} for name in columns}, "key": "id", **data}
    data["columns"] |= {"mail": {"personal": "direct"}, "dep_delay": {"leaks": True}}
    whole = contract(data, target="arr_delay > 15")
    values = from_frame(frame, TYPES)
    target = truth(whole, values, TYPES).values
    parts = split(frame, values, whole, target, 7)
    parts = moved(parts) if moved else parts
    return leakage(frame, values, whole, TYPES, target, parts)


def test_honest_features_raise_no_word(contract, late):
    unique = late.with_columns(distance=pl.col("id") + pl.col("distance") / 1e6)

    assert found(contract, unique, ["carrier", "distance"]) == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("dep_delay > 5", "data.features.f uses dep_delay, but it is known only afterwards"),
        ("arr_delay / 60", "data.features.f uses arr_delay, but the target is made of it"),
        ("length(mail)", "data.features.f uses mail, but it is directly personal"),
    ],
)
def test_a_feature_made_of_what_is_forbidden_is_refused(contract, late, sql, message):
    with pytest.raises(SplitError, match=message):
        found(contract, late, ["carrier"], features={"f": sql})


def test_a_column_that_alone_tells_the_target_is_named(contract, late):
    [message] = [m for m in found(contract, late, ["band", "distance"]) if "alone" in m]

    assert message.startswith("band alone predicts the target almost perfectly: it leaves ")
    assert message.endswith("write leaks: true.")


def test_twins_and_keys_on_both_sides_are_counted(contract, late):
    doubled = pl.concat([late, late])

    def move(parts):
        return dataclasses.replace(parts, test=np.append(parts.test, parts.train[:3]))

    messages = found(contract, doubled, ["carrier", "distance"], moved=move)

    assert "held-out rows" in messages[0]
    assert "equal a training row in every feature and in the target" in messages[0]
    assert "have a id that training rows have too. Split by hash" in messages[1]
    # Without that, a row and its twin draw the same chance, whatever splits them.
    for by in ("hash", "stratified"):
        unmoved = found(contract, doubled, ["carrier", "distance"], split={"by": by})
        assert not any("have a id" in message for message in unmoved)


def test_a_group_on_both_sides_is_refused(contract, late):
    how = {"by": "group", "group": "carrier"}

    def move(parts):
        return dataclasses.replace(parts, test=np.append(parts.test, parts.train[:1]))

    found(contract, late, ["distance"], split=how)
    with pytest.raises(SplitError, match="1 values of carrier are in training and beyond"):
        found(contract, late, ["distance"], split=how, moved=move)


@pytest.mark.parametrize("skew", [0.1, 3.0])
def test_a_feature_in_step_with_the_target_is_named_however_skewed_it_is(skew):
    generator = np.random.default_rng(4)
    prices = generator.lognormal(3, skew, 300)
    frame = pl.DataFrame(
        {
            "taxed": prices * 1.19,
            "guess": np.log(prices) + skew * generator.standard_normal(300),
            "price": prices,
        }
    )
    made = Contract.model_validate(
        {
            "project": "prices",
            "problem": {"task": "regression", "target": "price"},
            "goals": [{"metric": "mae", "at_most": 1}],
            "data": {"source": "x", "columns": {"taxed": {}, "guess": {}}},
        }
    )
    types = dict.fromkeys(frame.columns, "number")
    columns = from_frame(frame, types)
    parts = split(frame, columns, made, prices, 7)

    [said] = leakage(frame, columns, made, types, prices, parts)

    assert said.startswith("taxed alone predicts the target almost perfectly")
