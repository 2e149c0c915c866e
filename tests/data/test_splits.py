import numpy as np
import polars as pl
import pytest

from loopline.data.columns import from_frame
from loopline.data.splits import split
from loopline.errors import SplitError

TYPES = {"day": "time", "plane": "category", "id": "integer"}


def rows(count, seed=1):
    random = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "day": random.integers(0, 100, count).astype("datetime64[D]").astype("datetime64[us]"),
            "plane": [f"N{n}" for n in random.integers(0, max(count // 10, 1), count)],
            "id": np.arange(count),
        }
    ).with_columns(pl.col("day").dt.replace_time_zone("UTC"))
    truth = (random.random(count) < 0.2).astype(float)
    return frame, truth


def parts_of(contract, frame, truth, *, seed=7, task="binary", **data):
    whole = contract({"time": "day", "key": "id", **data}, task=task)
    return split(frame, from_frame(frame, TYPES), whole, truth, seed)


def sizes(parts):
    return [len(parts.train), len(parts.validation), len(parts.test)]


@pytest.mark.parametrize(
    "how", [{"by": "time"}, {"by": "group", "group": "plane"}, {"by": "stratified"}, {"by": "hash"}]
)
def test_every_row_with_a_target_is_in_one_part_and_the_same_seed_gives_the_same(contract, how):
    frame, truth = rows(5000)
    truth[::50] = np.nan

    first = parts_of(contract, frame, truth, split=how)
    again = parts_of(contract, frame, truth, split=how)

    together = np.sort(np.concatenate([first.train, first.validation, first.test]))
    np.testing.assert_array_equal(together, np.flatnonzero(~np.isnan(truth)))
    np.testing.assert_allclose(np.array(sizes(first)) / 4900, [0.7, 0.15, 0.15], atol=0.03)
    assert first.description == again.description
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert getattr(first, name).dtype == np.int64
    assert first.description["left_out"] == {"target unknown": 100}
    assert sum(first.description["rows"].values()) == 4900


def test_by_time_the_past_never_sees_the_future_and_one_moment_stays_together(contract):
    frame, truth = rows(5000)
    days = from_frame(frame, TYPES)["day"]

    parts = parts_of(contract, frame, truth, split={"by": "time"})

    assert days[parts.train].max() < days[parts.validation].min()
    assert days[parts.validation].max() < days[parts.test].min()
    assert parts.description["bounds"]["train"][0] == "1970-01-01T00:00:00.000000Z"
    assert "seed" not in parts.description


def test_rows_of_the_moment_of_a_cut_are_on_its_later_side(contract):
    days = np.repeat(np.arange(10), 2).astype("datetime64[D]").astype("datetime64[us]")
    frame = pl.DataFrame({"day": days, "plane": ["N1"] * 20, "id": range(20)})

    parts = parts_of(contract, frame, np.tile([0.0, 1.0], 10), split={"by": "time"})

    assert sizes(parts) == [14, 2, 4]  # cut before day 7 and, through the middle of it, day 8


def test_a_window_leaves_out_what_is_older(contract):
    frame, truth = rows(5000)
    frame = frame.with_columns(day=pl.when(pl.col("id") > 9).then(pl.col("day")))
    days = from_frame(frame, TYPES)["day"]

    parts = parts_of(contract, frame, truth, split={"by": "time"}, window="10 days")

    assert days[parts.train].min() == days[10:].max() - np.timedelta64(10, "D")
    old = int((days < days[parts.train].min()).sum())
    assert parts.description["left_out"] == {"older than the window": old, "time unknown": 10}


def test_by_group_a_plane_is_on_one_side(contract):
    frame, truth = rows(5000)
    how = {"by": "group", "group": "plane"}

    parts = parts_of(contract, frame, truth, split=how)
    other = parts_of(contract, frame, truth, split=how, seed=8)

    planes = [set(frame["plane"][places]) for places in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, planes)) == len(set.union(*planes))
    assert set(other.train) != set(parts.train)


def test_by_hash_a_key_keeps_its_part_when_rows_are_added_or_moved(contract):
    frame, truth = rows(3000)
    more, more_truth = rows(4000, seed=2)
    mixed = more.reverse()

    before = parts_of(contract, frame, truth, split={"by": "hash"})
    after = parts_of(contract, mixed, more_truth[::-1], split={"by": "hash"}, seed=99)

    train_before = set(frame["id"][before.train])
    train_after = {key for key in mixed["id"][after.train] if key < 3000}
    assert train_before == train_after
    first = sorted(train_before)[:7]
    assert first == [0, 2, 3, 4, 5, 6, 8]  # recorded: a key may never change its part


@pytest.mark.parametrize("how", [{"by": "stratified"}, {"by": "group", "group": "plane"}])
def test_by_chance_too_nearly_every_row_keeps_its_part_when_rows_are_added(contract, how):
    frame, truth = rows(10_000)
    order = np.random.default_rng(5).permutation(10_000)[:8_000]

    before = parts_of(contract, frame[order], truth[order], split=how)
    after = parts_of(contract, frame, truth, split=how)

    left = set(frame["id"][order][before.train].to_list())
    test = set(frame["id"][after.test].to_list())
    assert len(left & test) < 0.02 * len(left)
    other = parts_of(contract, frame, truth, split=how, seed=8)
    assert len(test & set(frame["id"][other.train].to_list())) > 0.5 * len(test)


def test_stratified_parts_have_the_same_share_of_each_class(contract):
    frame, truth = rows(5000)
    shares = parts_of(contract, frame, truth, split={"by": "stratified"}).description[
        "positive_share"
    ]

    assert max(shares.values()) - min(shares.values()) < 0.002

    skewed = np.exp(np.random.default_rng(3).normal(size=5000) * 2)
    parts = parts_of(contract, frame, skewed, split={"by": "stratified"}, task="regression")
    middles = [np.median(np.log(skewed[places])) for places in (parts.train, parts.test)]
    assert abs(middles[0] - middles[1]) < 0.05


@pytest.mark.parametrize(
    ("data", "positives", "message"),
    [
        ({"split": {"by": "time"}}, slice(0, 0), "train part .* holds one class only"),
        ({"split": {"by": "time"}, "time": None}, slice(0, 9), "split by time needs data.time"),
        ({"split": {"by": "hash"}, "key": None}, slice(0, 9), "split by hash needs data.key"),
    ],
)
def test_parts_that_measure_nothing_are_refused(contract, data, positives, message):
    frame, truth = rows(300)
    truth[:] = 0
    truth[positives] = 1

    with pytest.raises(SplitError, match=message):
        parts_of(contract, frame, truth, **data)


def test_too_few_moments_or_groups_leave_a_part_empty_and_say_so(contract):
    frame, truth = rows(300)
    frame = frame.with_columns(day=pl.col("day").first(), plane=pl.lit("N1"))

    for how in ({"by": "time"}, {"by": "group", "group": "plane"}):
        with pytest.raises(SplitError, match=f"part of the split by {how['by']} is empty"):
            parts_of(contract, frame, truth, split=how)


@pytest.mark.parametrize(
    ("rows", "expected"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1]), (6, [4, 1, 1])]
)
def test_a_class_of_few_rows_is_in_every_part(contract, rows, expected):
    frame = pl.DataFrame({"id": range(200)})
    truth = (np.arange(200) < rows).astype(float)

    whole = contract({"key": "id"})
    parts = split(frame, from_frame(frame, {"id": "integer"}), whole, truth, 7)

    assert [int(truth[part].sum()) for part in (parts.train, parts.validation, parts.test)] == (
        expected
    )


@pytest.mark.parametrize("rows", [3, 7, 16, 20, 25, 99])
def test_few_rows_of_a_regression_are_dealt_to_every_part(contract, rows):
    frame = pl.DataFrame({"id": range(rows)})
    whole = contract({"key": "id"}, task="regression")

    parts = split(frame, from_frame(frame, {"id": "integer"}), whole, np.arange(rows) * 1.0, 7)

    train, validation, test = sizes(parts)
    assert train + validation + test == rows
    assert train >= validation >= 1
    assert test >= 1
    assert train >= rows // 2 or rows == 3
