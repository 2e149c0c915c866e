"""The compiled counter and its numpy twin give the same integers, whatever the numbers."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import loopline.kernels.count as kernel
from loopline.kernels.library import library

SHIFT = 44
LARGEST = np.finfo(np.float64).max
compiled = pytest.mark.skipif(library() is None, reason="no compiled kernel; run make setup")

hostile = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.2e-308, LARGEST, -LARGEST, 1e300, -1e300]),
    st.sampled_from([np.nan, np.inf, -np.inf, 1.0, 1 + 2**-8, 1 + 2**-9, -1.0]),
)
columns = npst.arrays(np.float64, st.integers(0, 60), elements=hostile)
offsets = st.sampled_from([0.0, -0.0, 1e9, -3.5, 5e-324, LARGEST, -LARGEST])


def as_lists(found: kernel.Cells) -> tuple[list[int], list[int], tuple[int, int, int]]:
    cells, counts, special = found
    return cells.tolist(), counts.tolist(), special


@compiled
@given(values=columns, offset=offsets, shift=st.sampled_from([42, 44, 0]))
def test_both_count_hostile_numbers_alike(values: np.ndarray, offset: float, shift: int) -> None:
    found = kernel.count(values, offset=offset, shift=shift)

    assert as_lists(found) == as_lists(kernel.twin(values, offset=offset, shift=shift))
    assert found[1].sum() + sum(found[2]) == len(values)


@compiled
def test_both_count_more_cells_than_the_first_table_holds_and_runs_of_one_alike() -> None:
    generator = np.random.default_rng(1)
    wide = generator.standard_normal(200_000) * 10.0 ** generator.integers(-300, 300, 200_000)
    sparse = np.where(generator.random(50_000) < 0.98, 0.0, generator.standard_normal(50_000))

    for values in (wide, sparse, np.repeat(wide[:3000], 7), np.zeros(70_000)):
        found = kernel.count(values, offset=0.0, shift=SHIFT)
        assert as_lists(found) == as_lists(kernel.twin(values, offset=0.0, shift=SHIFT))


@compiled
@given(
    values=columns,
    start=st.integers(0, 9),
    mask=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_what_an_arrow_bitmap_calls_null_is_missing(
    values: np.ndarray, start: int, mask: list[bool]
) -> None:
    valid = np.array(mask[: len(values)], bool)
    bitmap = np.packbits(np.concatenate([np.ones(start, bool), valid]), bitorder="little")
    functions = kernel._functions()
    assert functions is not None
    new, free, add, used, read = functions
    special, table = np.zeros(3, np.int64), new()

    add(
        table, values.ctypes.data, len(values), bitmap.ctypes.data, start, 0.0, SHIFT,
        special.ctypes.data,
    )  # fmt: skip
    cells, counts = np.empty(used(table), np.int64), np.empty(used(table), np.int64)
    read(table, cells.ctypes.data, counts.ctypes.data)
    free(ctypes.c_void_p(table))

    order = cells.argsort()
    wanted = kernel.twin(np.where(valid, values, np.nan), offset=0.0, shift=SHIFT)
    assert as_lists((cells[order], counts[order], tuple(special.tolist()))) == as_lists(wanted)


def test_a_view_with_gaps_is_counted_as_the_numbers_it_shows() -> None:
    numbers = np.arange(12.0)

    found = kernel.count(numbers[::3], offset=0.0, shift=SHIFT)

    assert as_lists(found) == as_lists(
        kernel.twin(np.array([0.0, 3.0, 6.0, 9.0]), offset=0, shift=SHIFT)
    )


def test_integers_and_float32_are_counted_by_their_value() -> None:
    for kind in (np.int64, np.int8, np.float32):
        found = kernel.count(np.array([1, 2, 2, 3], kind), offset=0.0, shift=SHIFT)
        assert found[1].tolist() == [1, 2, 1]


@given(
    values=npst.arrays(
        np.float64, st.integers(1, 40), elements=st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_cells_keep_the_order_of_the_numbers_and_hold_them(values: np.ndarray) -> None:
    ordered = np.sort(values)

    cells = kernel.cells_of(ordered, 0.0, SHIFT)

    assert (np.diff(cells) >= 0).all()
    low, high = kernel.lower_edges(cells, SHIFT), kernel.lower_edges(cells + 1, SHIFT)
    assert (low <= ordered).all()
    assert (ordered <= high).all()
    normal = (np.abs(ordered) >= 2.3e-308) & (np.abs(ordered) < 1e308)
    assert (high - low <= np.abs(ordered) / 256)[normal].all()


@pytest.mark.parametrize(
    ("number", "cell"),
    [
        (0.0, 0),
        (-0.0, 0),
        (5e-324, 0),
        (-5e-324, -1),
        (1.0, 0x3FF << 8),
        (1 + 2**-8, (0x3FF << 8) + 1),
        (1 + 2**-9, 0x3FF << 8),
        (-1.0, -(0x3FF << 8) - 1),
    ],
)
def test_a_cell_is_the_leading_bits_of_a_number(number: float, cell: int) -> None:
    assert kernel.cells_of(np.array([number]), 0.0, SHIFT).tolist() == [cell]


def test_no_room_for_the_table_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> int:
        return 0

    monkeypatch.setattr(kernel, "_functions", lambda: (none, none, none, none, none))

    with pytest.raises(MemoryError, match="no room for a table of cells"):
        kernel.count(np.ones(3), offset=0.0, shift=SHIFT)
