"""The compiled counter and its numpy twin give the same integers, whatever the numbers."""

import zlib

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
@given(values=columns, offset=offsets, shift=st.sampled_from([42, 44, 51]))
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


def bitmap(valid: list[bool], start: int) -> np.ndarray:
    return np.packbits([True] * start + valid, bitorder="little")


def buffer_of(dtype: str) -> st.SearchStrategy[np.ndarray]:
    kind = np.dtype(dtype)
    elements = hostile if kind == np.float64 else npst.from_dtype(kind)
    return npst.arrays(kind, st.integers(1, 700), elements=elements)


@compiled
@pytest.mark.parametrize("form", kernel.Form)
@given(drawn=st.data(), start=st.integers(0, 9), nulls=st.sampled_from([0, 0.03, 0.5, 0.97, 1]))
def test_every_form_of_numbers_with_its_nulls_is_counted_as_the_twin_does(
    form: kernel.Form, drawn: st.DataObject, start: int, nulls: float
) -> None:
    values = drawn.draw(buffer_of(kernel._DTYPES[form]))
    offset = drawn.draw(offsets)
    start = min(start, len(values) - 1)
    rows = len(values) - start
    valid = np.random.default_rng(len(values)).random(rows) >= nulls
    numbers = kernel.Numbers(values, form, start, rows, bitmap(valid.tolist(), start))
    compiled_table, twin_table = kernel._CompiledTable(SHIFT), kernel._TwinTable(SHIFT)

    for table in (compiled_table, twin_table):
        table.add(numbers, offset)
        table.add(numbers._replace(valid=None), offset)

    found = compiled_table.read()
    assert as_lists(found) == as_lists(twin_table.read())
    assert found[1].sum() + sum(found[2]) == 2 * rows


def test_times_of_every_unit_are_their_seconds() -> None:
    forms = {
        kernel.Form.DAYS: [1, -1], kernel.Form.MILLISECONDS: [86_400_000, -86_400_000],
        kernel.Form.MICROSECONDS: [86_400_000_000, -86_400_000_000],
        kernel.Form.NANOSECONDS: [86_400_000_000_999, -86_400_000_000_000],
    }  # fmt: skip
    for form, values in forms.items():
        numbers = kernel.Numbers(np.array(values, kernel._DTYPES[form]), form, 0, 2)
        assert kernel.as_numbers(numbers).tolist() == [86_400.0, -86_400.0], form


tables = pytest.mark.parametrize(
    "make", [pytest.param(kernel._CompiledTable, marks=compiled), kernel._TwinTable]
)


@tables
@given(values=columns, offset=offsets, cut=st.integers(0, 60))
def test_the_cells_of_two_tables_add_to_those_of_one(
    make: type, values: np.ndarray, offset: float, cut: int
) -> None:
    whole, first, second, total = (make(SHIFT) for _ in range(4))
    for table, part in ((whole, values), (first, values[:cut]), (second, values[cut:])):
        table.add(kernel.Numbers(part, kernel.Form.F64, 0, len(part)), offset)
    for table in (second, first):
        total.sum(*table.read()[:2])

    assert [part.tolist() for part in total.read()[:2]] == [
        part.tolist() for part in whole.read()[:2]
    ]


@tables
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_stored_cells_add_as_those_in_memory(make: type, width: int) -> None:
    cells, most = np.array([-7, 0, 9]), 2 ** (8 * min(width, 5)) - 1
    counts = np.array([1, most, 3])
    found, wanted = make(SHIFT), make(SHIFT)

    found.sum_stored(cells.astype("<i4").tobytes(), counts.astype(f"<u{width}").tobytes(), width)
    wanted.sum(cells, counts)

    assert (
        as_lists(found.read()) == as_lists(wanted.read()) == ([-7, 0, 9], [1, most, 3], (0, 0, 0))
    )


both = pytest.mark.parametrize("library", [pytest.param("compiled", marks=compiled), "twin"])


def use(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "twin":
        monkeypatch.setattr(kernel, "library", lambda: None)


def texts(values: list[str], start: int = 0, *, wide: bool = False) -> kernel.Texts:
    encoded = [value.encode() for value in ["before"] * start + values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64 if wide else np.int32)
    content = np.frombuffer(b"".join(encoded) or b"-", np.uint8)
    return kernel.Texts(ends, content, start, len(values), wide)


@both
@pytest.mark.parametrize("wide", [False, True])
def test_texts_are_measured_in_characters_and_their_classes(
    library: str, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(library, monkeypatch)
    values = ["Grüße, 世界!", "", "4\t2 €", "😀\x00", "skipped", "\U00020000"]
    weights = np.array([2, 5, 1, 1, 0, 1])
    totals = np.zeros(len(kernel.CLASSES), np.int64)

    lengths = kernel.measure(texts(values, 3, wide=wide), weights, totals)

    assert lengths.tolist() == [10, 0, 5, 2, 0, 1]
    assert dict(zip(kernel.CLASSES, totals.tolist(), strict=True)) == {
        "letters": 2 * 7 + 1, "digits": 2, "spaces": 2 * 1 + 2, "punctuation": 2 * 2,
        "symbols": 2, "others": 1,
    }  # fmt: skip


@both
def test_a_text_s_hashed_cell_is_its_crc(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(library, monkeypatch)
    counts = np.zeros(256, np.int64)

    kernel.tail(texts(["", "churn", "é", "no"], 1), np.array([1, 3, 4, 0]), counts)

    assert {cell: int(counts[cell]) for cell in np.flatnonzero(counts)} == {
        zlib.crc32(text.encode()) % 256: number
        for text, number in (("", 1), ("churn", 3), ("é", 4))
    }


@both
@pytest.mark.parametrize(
    "form", [kernel.Form.I8, kernel.Form.U16, kernel.Form.I32, kernel.Form.I64]
)
def test_places_in_a_dictionary_are_tallied_and_nulls_are_not(
    library: str, form: kernel.Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(library, monkeypatch)
    places = np.array([9, 9, 0, 2, 2, 1, 2] * 20, kernel._DTYPES[form])
    valid = [True, True, False, True, True, True, True] * 20
    counts = np.array([100, 0, 0])
    numbers = kernel.Numbers(places, form, 2, 138, bitmap(valid[2:], 2))

    assert kernel.tally(numbers, np.append(counts, np.zeros(7, np.int64))) == 20
    found = np.append(counts, np.zeros(7, np.int64))
    kernel.tally(numbers, found)
    assert found.tolist() == [100, 20, 60, 0, 0, 0, 0, 0, 0, 38]


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


@compiled
def test_no_room_for_the_table_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    full = kernel._functions()._replace(new=lambda _: 0)
    monkeypatch.setattr(kernel, "_functions", lambda: full)

    with pytest.raises(MemoryError, match="no room for a table of cells"):
        kernel.count(np.ones(3), offset=0.0, shift=SHIFT)


@compiled
def test_no_room_for_more_cells_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    full = kernel._functions()._replace(used=lambda *_: -1)
    monkeypatch.setattr(kernel, "_functions", lambda: full)

    with pytest.raises(MemoryError, match="no room for a larger table"):
        kernel.count(np.ones(3), offset=0.0, shift=SHIFT)
