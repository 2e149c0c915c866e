"""Arrow's arrays to counts: whatever their types, slices, parts and order, the same integers."""

import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import loopline.kernels.count as kernel
from loopline.counts import arrow
from loopline.counts.arrow import Counter, Draft, Grid, first_grid, settle
from loopline.counts.kernel import ColumnCounts, count_column, count_values
from loopline.errors import CountsError
from loopline.kernels.library import library

libraries = pytest.mark.parametrize(
    "which",
    [
        pytest.param(
            "compiled", marks=pytest.mark.skipif(library() is None, reason="no compiled kernel")
        ),
        "twin",
    ],
)


def counted(array: pa.Array, grid: Grid | None = None) -> ColumnCounts:
    return settle(draft(array, grid or first_grid(array)))


def draft(array: pa.Array, grid: Grid) -> Draft:
    counter = Counter(grid)
    counter.add(array)
    return counter.draft()


INTEGERS = [1, None, -3, 100, 0, 0]
SECONDS = [0, None, 86_400, -86_400, 172_800]
MOMENTS = [None if s is None else datetime.fromtimestamp(s, UTC) for s in SECONDS]
SAME = {
    "int8": pa.array(INTEGERS, pa.int8()),
    "int16": pa.array(INTEGERS, pa.int16()),
    "int32": pa.array(INTEGERS, pa.int32()),
    "int64": pa.array(INTEGERS, pa.int64()),
    "float16": pa.array([None if n is None else np.float16(n) for n in INTEGERS], pa.float16()),
    "float32": pa.array(INTEGERS, pa.float32()),
    "decimal": pa.array([None if n is None else Decimal(n) for n in INTEGERS], pa.decimal128(9)),
    "a dictionary": pa.array(INTEGERS, pa.int64()).dictionary_encode(),
    "float64": pa.array(INTEGERS, pa.float64()),
}
TIMES = {
    "seconds": pa.array(MOMENTS, pa.timestamp("s")),
    "milliseconds": pa.array(MOMENTS, pa.timestamp("ms", "UTC")),
    "nanoseconds": pa.array(MOMENTS, pa.timestamp("ns")),
    "days": pa.array([None if m is None else m.date() for m in MOMENTS], pa.date32()),
    "days in milliseconds": pa.array(
        [None if m is None else m.date() for m in MOMENTS], pa.date64()
    ),
    "microseconds": pa.array(MOMENTS, pa.timestamp("us")),
}


@libraries
@pytest.mark.parametrize("name", SAME)
def test_a_number_counts_the_same_however_it_is_kept(
    which: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if which == "twin":
        monkeypatch.setattr(kernel, "library", lambda: None)
    values = np.array([np.nan if n is None else n for n in INTEGERS], np.float64)

    assert counted(SAME[name], Grid("number")) == count_column(values, ColumnCounts("number"))


@libraries
@pytest.mark.parametrize("name", TIMES)
def test_a_time_counts_as_its_seconds_however_it_is_kept(
    which: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if which == "twin":
        monkeypatch.setattr(kernel, "library", lambda: None)
    values = np.array([np.nan if s is None else s for s in SECONDS], np.float64)

    assert arrow.type_of(TIMES[name].type) == "time"
    assert counted(TIMES[name], Grid("time", 7.0)) == count_column(
        values, ColumnCounts("number", offset=7.0)
    )


def test_a_time_of_day_and_a_duration_are_numbers_of_seconds() -> None:
    for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")):
        array = pa.array([time(0, 1), time(0, 2), None], kind)
        assert counted(array, Grid("number")) == counted(
            pa.array([60.0, 120.0, None]), Grid("number")
        )
    array = pa.array([timedelta(minutes=1), None, timedelta(minutes=2)], pa.duration("ms"))
    assert counted(array, Grid("number")) == counted(pa.array([60.0, 120.0, None]), Grid("number"))


def test_unsigned_integers_beyond_the_signed_ones_keep_their_size() -> None:
    array = pa.array([2**64 - 1, 1], pa.uint64())

    assert counted(array, Grid("integer")) == count_column(
        np.array([2.0**64, 1.0]), ColumnCounts("number")
    )


def test_a_boolean_is_a_category_of_two_values_whatever_occurs() -> None:
    array = pa.array([True, None, True, False]).slice(1)

    found = counted(array)

    assert found.named == {"false": 1, "true": 1}
    assert found.missing == 1
    only = counted(pa.array([True]))
    assert counted(pa.array([False]), Grid.of("boolean", only)).named == {"false": 1}
    assert (only + found).named == {"false": 1, "true": 2}


WORDS = ["a", "b", None, "é", "b", "", "a", "a"]
KEPT = {
    "string": pa.array(WORDS),
    "large_string": pa.array(WORDS, pa.large_string()),
    "string_view": pa.array(WORDS, pa.string_view()),
    "dictionary": pa.array(WORDS).dictionary_encode(),
    "small dictionary": pa.array(WORDS, pa.dictionary(pa.int8(), pa.large_string())),
    "dictionary with a null inside": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, 3, 1, 4, 0, 0], pa.int64()), pa.array(["a", "b", None, "é", ""])
    ),
}


@libraries
@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("cut", [0, 1, 3])
def test_a_text_counts_the_same_however_it_is_kept_and_sliced(
    which: str, name: str, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if which == "twin":
        monkeypatch.setattr(kernel, "library", lambda: None)
    array = KEPT[name].slice(cut, 4)

    whole = count_values({"a": 3, "b": 2, "é": 1, "": 1, None: 1})
    like = Grid.of("category", whole)
    found = settle(draft(array, like), whole)
    wanted = count_column(np.array(WORDS[cut : cut + 4], object), whole)
    measured = counted(array, Grid("text"))
    present = [word for word in WORDS[cut : cut + 4] if word is not None]

    assert found == wanted
    assert measured.missing == 4 - len(present)
    assert int(measured.counts[measured.cells == 0].sum()) == present.count("")
    assert measured.named == {"letters": sum(map(len, present))}
    assert measured.rows == 4


numbers = st.lists(
    st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 1e300, 5e-324])), max_size=40
)
words = st.lists(st.one_of(st.none(), st.text("abé ", max_size=2)), max_size=40)
cuts = st.lists(st.integers(0, 40), max_size=4)


def parts(array: pa.Array, places: list[int]) -> list[pa.Array]:
    edges = sorted({0, len(array), *(min(place, len(array)) for place in places)})
    return [array.slice(a, b - a) for a, b in pairwise(edges)] or [array]


@given(values=numbers, places=cuts, seed=st.integers(0, 9), offset=st.sampled_from([0.0, 3.5]))
def test_numbers_in_any_parts_and_any_order_give_the_same_integers(
    values: list[float | None], places: list[int], seed: int, offset: float
) -> None:
    array, grid = pa.array(values, pa.float64()), Grid("number", offset)
    cut = parts(array, places)
    random.Random(seed).shuffle(cut)
    several = Counter(grid)
    for part in cut:
        several.add(part)

    whole = counted(array, grid)

    assert settle(several.draft()) == whole
    assert settle(arrow.add([draft(part, grid) for part in cut])) == whole


@given(
    values=words, places=cuts, seed=st.integers(0, 9), most=st.integers(0, 6),
    encoded=st.booleans(),
)  # fmt: skip
def test_categories_in_any_parts_and_any_order_give_the_same_integers(
    values: list[str | None], places: list[int], seed: int, most: int, encoded: bool
) -> None:
    array = pa.array(values, pa.string())
    grid = Grid("category", kept=("a", "é"), is_open=True)
    cut = [part.dictionary_encode() if encoded else part for part in parts(array, places)]
    random.Random(seed).shuffle(cut)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arrow, "DISTINCT", most)
        several = Counter(grid)
        for part in cut:
            several.add(part)

        whole = counted(array, grid)
        drafts = [draft(part, grid) for part in cut]

        assert settle(several.draft()) == whole
        assert settle(arrow.add(drafts)) == whole
        assert settle(arrow.add([arrow.add(drafts[:1]), *drafts[1:]])) == whole
    distinct = set(values) - {None}
    assert set(whole.named) == (distinct if len(distinct) <= most else distinct & {"a", "é"})
    assert whole.rows == len(values)


def test_a_category_of_very_many_values_keeps_those_that_were_frequent_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrow, "DISTINCT", 5000)
    first = pa.array(["often"] * 300 + ["seldom"] * 200 + [f"v{n % 90}" for n in range(900)])
    grid = first_grid(first)
    many = pa.array([f"key {n}" for n in range(9000)])

    found = settle(arrow.add([draft(first, grid), draft(many, grid)]))

    assert grid.is_open
    assert (found.named["often"], found.named["seldom"], found.named["v7"]) == (300, 200, 10)
    assert int(found.counts.sum()) == 9000
    assert len(found.cells) == 256


def test_texts_are_told_from_categories_by_how_seldom_they_repeat() -> None:
    assert first_grid(pa.array([f"k{n}" for n in range(100)])).type == "text"
    assert first_grid(pa.array([f"k{n % 9}" for n in range(100)])).type == "category"
    assert first_grid(pa.array([f"k{n % 60} " + "long " * 20 for n in range(200)])).type == "text"
    assert first_grid(pa.array([None, None], pa.string())).type == "category"


def test_a_column_far_from_zero_gets_its_offset_from_the_first_rows() -> None:
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(30)]

    grid = first_grid(pa.array(days))

    assert grid == Grid("time", datetime(2026, 1, 15, tzinfo=UTC).timestamp())
    assert first_grid(pa.nulls(3)) == Grid("number")


def test_a_column_without_values_is_missing_whatever_its_type() -> None:
    found = settle(draft(pa.nulls(3), Grid("category", kept=("a",), is_open=True)))

    assert (found.rows, found.missing) == (3, 3)
    assert counted(pa.array([], pa.int64())).rows == 0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array(["x"]), "the reference has numbers here, and this has texts"),
        (pa.array([True]), "this has booleans"),
        (pa.array([[1]]), "this has list"),
        (pa.array([b"x"]), "this has binary"),
    ],
)
def test_a_column_of_another_kind_is_refused(array: pa.Array, message: str) -> None:
    with pytest.raises(CountsError, match=message):
        Counter(Grid("number")).add(array)


def test_what_has_no_counts_is_said_by_its_type() -> None:
    for array in (pa.array([[1]]), pa.array([{"a": 1}]), pa.array([b"x"])):
        assert arrow.type_of(array.type) is None
        with pytest.raises(CountsError, match="has no counts"):
            first_grid(array)


def test_drafts_on_different_grids_do_not_add() -> None:
    with pytest.raises(CountsError, match="different grids"):
        arrow.add([draft(pa.array([1.0]), Grid("number", offset)) for offset in (0.0, 1.0)])


def test_new_values_are_told_by_name_the_most_frequent_first() -> None:
    like = count_values({"a": 5, "b": 5})
    found = draft(pa.array(["a", "z", "y", "z"]), Grid.of("category", like))

    assert arrow.new(found) == {"z": 2, "y": 1}
    assert settle(found, like).named == {"a": 1}
    assert arrow.new(draft(pa.array(["zz"]), Grid("text"))) == {}


def test_a_reference_that_lacks_some_of_its_values_is_refused() -> None:
    like = count_values({"a": 5, "b": 5})
    partly = count_values({"a": 1}, like)

    with pytest.raises(CountsError, match="Count against the reference itself"):
        Grid.of("category", partly)
