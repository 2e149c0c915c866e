"""Two columns together: pairs add, and what they say is scipy's within its bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from loopline.counts import pairs
from loopline.counts.pairs import PairCounts, association, count_pairs, grid_for, moved
from loopline.errors import CountsError

ROWS = 5000


def drawn(seed: int, tied: float, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=ROWS)
    y = tied * x + np.sqrt(1 - tied**2) * generator.normal(size=ROWS)
    return x + offset, y * 3 - 1


def counted(x: np.ndarray, y: np.ndarray) -> PairCounts:
    return count_pairs(x, y, (grid_for(x), grid_for(y)))


@pytest.mark.parametrize(("tied", "offset"), [(0.0, 0.0), (0.6, 1e6), (-0.95, 0.0), (1.0, 0.0)])
def test_the_correlations_are_scipy_s_within_their_bounds(tied: float, offset: float) -> None:
    x, y = drawn(1, tied, offset)

    found = association(counted(x, y))

    assert found is not None
    assert found.pearson is not None
    assert found.pearson_bound is not None
    pearson, spearman = stats.pearsonr(x, y).statistic, stats.spearmanr(x, y).statistic
    assert (found.measure, found.rows) == ("spearman", ROWS)
    assert abs(found.pearson - pearson) <= found.pearson_bound < 0.06
    assert abs(found.value - spearman) <= found.bound < 0.06
    assert found.pearson == pytest.approx(pearson, abs=0.005)
    assert found.value == pytest.approx(spearman, abs=0.005)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False, width=32),
            st.floats(-1e3, 1e3) | st.sampled_from([0.0, 1.0, 2.0]),
        ),
        min_size=3,
        max_size=40,
    )
)
def test_no_numbers_are_beyond_the_bounds(rows: list[tuple[float, float]]) -> None:
    x, y = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    found = association(counted(x, y))
    if found is None or found.pearson is None or found.pearson_bound is None:
        return

    assert abs(found.value - stats.spearmanr(x, y).statistic) <= found.bound + 1e-9
    scaled = [each / (np.abs(each).max() or 1.0) for each in (x, y)]
    # Of numbers that differ by less than a float64 of their mean holds, numpy knows no correlation.
    if min(each.std() for each in scaled) > 1e-7:
        exact = np.corrcoef(*scaled)[0, 1]
        assert abs(found.pearson - exact) <= found.pearson_bound + 1e-6


def test_cramer_s_v_is_that_of_the_table_less_what_chance_adds() -> None:
    draw = np.random.default_rng(3)
    first = draw.choice(["a", "b", "c"], 900).astype(object)
    second = np.where(draw.random(900) < 0.5, first, draw.choice(["x", "y"], 900)).astype(object)
    table = stats.contingency.crosstab(first.astype(str), second.astype(str)).count
    square = stats.chi2_contingency(table, correction=False).statistic / 900
    r, c = table.shape
    less = max(0, square - (r - 1) * (c - 1) / 899)
    r, c = r - (r - 1) ** 2 / 899, c - (c - 1) ** 2 / 899

    found = association(counted(first, second))

    assert found is not None
    assert (found.measure, found.bound, found.pearson) == ("cramers_v", 0.0, None)
    assert found.value == pytest.approx(np.sqrt(less / (min(r, c) - 1)))


def test_a_category_and_a_number_have_the_ratio_of_kruskal_s_ranks() -> None:
    draw = np.random.default_rng(4)
    group = draw.choice(["a", "b", "c"], 600).astype(object)
    size = draw.integers(0, 12, 600) + np.where(group == "b", 3.0, 0.0)  # each number its own cell
    h = stats.kruskal(*(size[group == name] for name in "abc")).statistic
    exact = np.sqrt((h - 2) / (600 - 3))

    either = [association(counted(group, size)), association(counted(size, group))]

    assert either[0] == either[1]
    assert either[0] is not None
    assert either[0].measure == "correlation_ratio"
    assert either[0].value == pytest.approx(exact)


def test_pairs_of_parts_add_to_those_of_the_whole_in_any_order() -> None:
    x, y = drawn(2, 0.5)
    x[::7], y[::11], y[3] = np.nan, np.nan, np.inf
    c = np.array(["a", None, "b", "z"] * (ROWS // 4), object)
    whole = counted(x, y), counted(c, x)
    groups = np.random.default_rng(1).integers(0, 5, ROWS)

    for total, (first, second) in zip(whole, ((x, y), (c, x)), strict=True):
        parts = pairs.count_groups(first, second, groups, 6, total.grids)
        assert pairs.total(parts) == pairs.total(parts[::-1]) == total
        assert parts[0] + parts[1] == parts[1] + parts[0]
        assert parts[0] == count_pairs(first[groups == 0], second[groups == 0], total.grids)
        assert parts[5].rows == 0
        assert PairCounts.from_bytes(total.to_bytes()) == total
    assert whole[0].rows == int((np.isfinite(x) & np.isfinite(y)).sum())
    assert whole[1].rows == int(((c != None) & np.isfinite(x)).sum())  # noqa: E711 - by element


def test_several_pairs_are_kept_as_bytes() -> None:
    x, y = drawn(2, 0.5)
    kept = {("x", "y"): counted(x, y)}

    assert pairs.decode(pairs.encode(kept)) == kept


def test_values_beyond_the_most_frequent_are_one() -> None:
    names = np.array([f"v{n:03}" for n in range(60)] * 3 + [f"v{n:03}" for n in range(50)], object)

    assert grid_for(names) == tuple(f"v{n:03}" for n in range(50))
    places, _ = counted(names, names).places
    assert places.max() == 50


def test_ties_count_as_scipy_has_them() -> None:
    x, y = np.array([1.0, 2, 2, 3, 3, 3]), np.array([5.0, 5, 7, 7, 9, 9])

    found = association(count_pairs(x, y, (0.0, 0.0)))

    assert found is not None
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)


def test_what_goes_together_with_nothing_has_no_figure() -> None:
    nothing = count_pairs(np.array([np.nan]), np.array([1.0]), (0.0, 0.0))

    assert association(nothing) is None
    assert association(count_pairs(np.ones(5), np.arange(5.0), (0.0, 0.0))) is None
    assert moved(nothing, nothing) is None
    assert nothing.spread == 0.0


def test_a_change_beyond_chance_is_told_from_one_that_chance_brings() -> None:
    reference = counted(*drawn(1, 0.6))
    alike = [count_pairs(*drawn(seed, 0.6), reference.grids) for seed in range(10, 30)]
    other = count_pairs(*drawn(5, 0.2), reference.grids)

    quiet = [moved(reference, each) for each in alike]
    found = moved(reference, other)

    assert found is not None
    assert found.is_beyond(0.1)
    assert not found.is_beyond(0.5)
    assert (
        found.low < stats.spearmanr(*drawn(5, 0.2)).statistic - found.reference.value < found.high
    )
    assert not any(each is None or each.is_beyond(0.02) for each in quiet)
    inside = sum(each is not None and each.low < 0 < each.high for each in quiet)
    assert inside >= 17


def test_a_handful_of_rows_is_chance() -> None:
    reference = counted(*drawn(1, 0.6))
    x, y = drawn(5, 0.0)

    found = moved(reference, count_pairs(x[:20], y[:20], reference.grids))

    assert found is not None
    assert abs(found.change) > 0.1
    assert not found.is_beyond(0.1)


def test_the_error_of_a_correlation_is_that_of_theory() -> None:
    # Bonett and Wright (2000): of a Spearman correlation, in Fisher's z.
    found = counted(*drawn(8, 0.6))
    value = stats.spearmanr(*drawn(8, 0.6)).statistic
    theory = np.sqrt((1 + value**2 / 2) / (ROWS - 3)) * (1 - value**2)

    assert found.spread == pytest.approx(theory, rel=0.25)


def test_pairs_on_different_grids_and_of_other_kinds_are_refused() -> None:
    x, y = drawn(3, 0.5)
    one, other = count_pairs(x, y, (0.0, 0.0)), count_pairs(x, y, (1.0, 0.0))

    with pytest.raises(CountsError, match="different grids"):
        one + other
    with pytest.raises(CountsError, match="has a category here, and this is numbers"):
        count_pairs(x, y, (0.0, ("a",)))


def test_a_pair_is_named_by_its_columns_also_where_these_hold_colons() -> None:
    assert pairs.pair_of("a:b", ["a", "b"]) == ("a", "b")
    assert pairs.pair_of("a:b:c", ["a:b", "c"]) == ("a:b", "c")
    assert pairs.pair_of("a:a", ["a"]) is None
    assert pairs.pair_of("a:z", ["a", "b"]) is None
    assert pairs.spelled(("a:b", "c")) == "a:b:c"
