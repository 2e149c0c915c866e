"""Statistics from counts, beside what scipy finds in the values themselves."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats
from scipy.spatial import distance

from loopline.counts import statistics
from loopline.counts.kernel import ColumnCounts, count_column
from loopline.counts.statistics import drift, histogram, psi, quantiles
from loopline.errors import CountsError

ROWS = 20_000
CELL = 2.0**-8
"""The width of a cell, as a share of its numbers."""

Draw = Callable[[np.random.Generator, float], np.ndarray]
SHAPES: dict[str, Draw] = {
    "normal": lambda rng, by: rng.normal(by, 1.0, ROWS),
    "log-normal": lambda rng, by: rng.lognormal(by, 2.0, ROWS),
    "heavy tail": lambda rng, by: rng.standard_cauchy(ROWS) * (1 + by),
    "discrete": lambda rng, by: rng.poisson(3 + by, ROWS).astype(float),
    "mostly zero": lambda rng, by: np.where(rng.random(ROWS) < 0.9 - by / 5, 0.0, rng.random(ROWS)),
    "far from zero": lambda rng, by: 1.7e9 + rng.normal(by, 5.0, ROWS),
    "tiny": lambda rng, by: rng.exponential(1e-300 * (1 + by), ROWS),
}


def both(before: np.ndarray, now: np.ndarray) -> tuple[ColumnCounts, ColumnCounts]:
    reference = count_column(before)
    return reference, count_column(now, reference)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_distances_of_numbers_are_scipy_s_within_the_bound_that_is_told(shape: str) -> None:
    generator = np.random.default_rng(5)
    before, now = (SHAPES[shape](generator, by) for by in (0.0, 0.4))
    reference, current = both(before, now)

    found = drift(reference, current)

    exact = stats.ks_2samp(before, now).statistic
    assert found.ks is not None
    # Within a cell the two may part by what the cell holds, and never come closer than at edges.
    assert found.ks <= exact + 1e-12 <= found.ks + found.ks_bound + 2e-12
    moved = stats.wasserstein_distance(before, now)
    widest = np.abs(np.concatenate([before, now]) - reference.offset).mean() * CELL
    assert found.wasserstein == pytest.approx(moved, abs=2 * widest)


@pytest.mark.parametrize("shape", SHAPES)
def test_binned_distances_are_scipy_s_on_the_same_bins(shape: str) -> None:
    generator = np.random.default_rng(6)
    reference, current = both(*(SHAPES[shape](generator, by) for by in (0.0, 0.2)))
    expected, actual = statistics.binned(reference, current)

    found = drift(reference, current)

    table = np.array([expected, actual])
    wanted = stats.chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False)
    assert (expected.sum(), actual.sum()) == (ROWS, ROWS)
    assert found.jensen_shannon == pytest.approx(distance.jensenshannon(expected, actual, base=2))
    assert found.chi_square == pytest.approx(wanted.statistic)
    assert found.p_value == pytest.approx(wanted.pvalue)
    cramers_v = stats.contingency.association(table.astype(int), method="cramer")
    assert found.cramers_v == pytest.approx(cramers_v)


def test_the_distances_of_a_category_are_scipy_s() -> None:
    reference, current = both(
        np.array(["a"] * 60 + ["b"] * 40, object),
        np.array(["a"] * 30 + ["b"] * 50 + ["new"] * 20 + [None] * 25, object),
    )

    found = drift(reference, current)

    before, now = np.array([60, 40, 0, 0]), np.array([30, 50, 20, 25])  # the last ones are missing
    wanted = stats.chi2_contingency([before, now], correction=False)
    assert found.chi_square == pytest.approx(wanted.statistic)
    assert found.jensen_shannon == pytest.approx(distance.jensenshannon(before, now, base=2))
    assert found.new_rate == 0.2
    assert (found.missing_rate, found.reference_missing_rate) == (0.2, 0.0)
    assert (found.ks, found.wasserstein, found.rows) == (None, None, 125)


def test_psi_is_worked_out_by_hand() -> None:
    found = psi(np.array([50.0, 50.0]), np.array([25.0, 75.0]))

    e, a = np.array([50.5, 50.5]) / 101, np.array([25.5, 75.5]) / 101
    by_hand = (a[0] - e[0]) * math.log(a[0] / e[0]) + (a[1] - e[1]) * math.log(a[1] / e[1])
    assert found == pytest.approx(by_hand)
    assert psi(np.array([10.0, 0.0]), np.array([0.0, 10.0])) < math.inf


@pytest.mark.parametrize("shape", SHAPES)
def test_a_column_is_at_no_distance_from_itself(shape: str) -> None:
    values = SHAPES[shape](np.random.default_rng(7), 0.0)
    reference, current = both(values, np.random.default_rng(8).permutation(values))

    found = drift(reference, current)

    assert (found.psi, found.jensen_shannon, found.ks, found.wasserstein) == (0, 0, 0, 0)
    assert (found.chi_square, found.p_value, found.cramers_v) == (0, 1, 0)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ([5.0], [4.0]),
        ([5.0], [6.0]),
        ([5.0], [-5.0]),
        ([0.0], [-1.0]),
        ([0.0], [1e-300]),
        ([0.0, 0.0, 10.0, 10.0], [-5.0, -5.0, 10.0, 10.0]),
        ([0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 5.0, 5.0]),
        ([0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 15.0, 15.0]),
        ([0.0, 10.0], [0.0, np.inf]),
        ([0.0, 10.0], [-np.inf, 10.0]),
    ],
)
def test_a_value_that_many_rows_have_is_told_from_whatever_lies_beside_it(
    before: list[float], now: list[float]
) -> None:
    found = drift(*both(np.repeat(before, 500), np.repeat(now, 500)))

    assert found.psi > 1
    assert found.cramers_v > 0.3
    assert found.ks is not None
    assert found.ks >= 0.5


def test_a_column_of_few_values_has_a_bin_for_each() -> None:
    reference, current = both(np.repeat([1.0, 2, 3, 4], 250), np.repeat([4.0, 1, 2, 3], 250))

    expected, actual = statistics.binned(reference, current)

    assert expected.tolist() == actual.tolist() == [250, 250, 250, 250]


@given(
    before=npst.arrays(np.float64, st.integers(0, 40), elements=st.floats()),
    now=npst.arrays(np.float64, st.integers(0, 40), elements=st.floats()),
)
def test_whatever_the_numbers_the_figures_are_finite_and_in_their_range(
    before: np.ndarray, now: np.ndarray
) -> None:
    reference, current = both(before, now)
    expected, actual = statistics.binned(reference, current)

    found = drift(reference, current)

    assert (expected.sum(), actual.sum()) == (reference.rows, current.rows)
    assert found.ks is not None
    assert found.wasserstein is not None
    for figure in (found.ks, found.ks_bound, found.jensen_shannon, found.cramers_v):
        assert 0 <= figure <= 1 + 1e-12
    assert 0 <= found.psi < math.inf
    assert 0 <= found.wasserstein < math.inf
    assert 0 <= found.p_value <= 1


@pytest.mark.parametrize("values", [np.arange(1000.0), np.array(list("abcde") * 200, object)])
def test_a_column_that_falls_silent_has_drifted(values: np.ndarray) -> None:
    silent = values.copy()
    silent[::2] = None
    reference, current = both(values, silent)

    found = drift(reference, current)

    bins = len(statistics.binned(reference, current)[0]) - 1
    before, now = np.array([1000 / bins] * bins + [0]), np.array([500 / bins] * bins + [500])
    wanted = stats.chi2_contingency([before, now], correction=False)
    assert found.chi_square == pytest.approx(wanted.statistic)
    assert found.psi == pytest.approx(psi(before, now))
    assert found.psi > 0.2


def test_nothing_is_said_of_columns_without_a_row_or_where_both_lack_every_value() -> None:
    full, empty = np.arange(10.0), np.full(10, np.nan)
    for pair in ((empty, empty), (full, full[:0])):
        found = drift(*both(*pair))
        assert (found.psi, found.ks, found.wasserstein, found.p_value) == (0, 0, 0, 1)

    assert drift(*both(full, empty)).missing_rate == 1.0
    assert quantiles(count_column(empty), [0.5]) == [None]
    assert quantiles(count_column(np.array(["a"], object)), [0.5]) == [None]


def test_infinities_alone_have_no_distance_in_the_column_s_unit() -> None:
    found = drift(*both(np.array([1.0, 2.0]), np.array([np.inf, -np.inf])))

    assert found.wasserstein == 0.0
    assert found.ks == 0.5


def test_counts_on_different_grids_are_not_compared() -> None:
    with pytest.raises(CountsError, match="count both against one"):
        drift(count_column(np.ones(2)), count_column(np.array([1e9])))


@pytest.mark.parametrize("shape", SHAPES)
def test_quantiles_are_numpy_s_within_half_a_cell(shape: str) -> None:
    values = SHAPES[shape](np.random.default_rng(9), 0.0)
    shares = [0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0]

    counted = count_column(values)

    exact = np.quantile(values, shares, method="inverted_cdf")
    for found, wanted in zip(quantiles(counted, shares), exact, strict=True):
        assert found == pytest.approx(
            wanted, abs=max(CELL / 2 * abs(wanted - counted.offset), 1e-307, abs(wanted) * 1e-15)
        )


def test_a_histogram_counts_every_number_between_its_edges() -> None:
    counted = count_column(np.array([-2.5, -1.0, 0.0, 0.0, 0.5, 3.0, np.nan, np.inf]))

    assert histogram(counted, [-3.0, -0.5, 0.25, 1.0, 4.0]) == [2, 2, 1, 1]


def test_zero_is_one_value_and_hides_no_gap() -> None:
    before, now = np.repeat([0.0, 5.0], 500), np.repeat([0.0, 6.0], 500)

    found = drift(*both(before, now))

    # Half of the rows are zero in both: none of the gap can lie there.
    assert (found.ks, found.ks_bound) == (0.5, 0.0)
    tiny = drift(*both(np.array([0.0, 1e-310]), np.array([1e-311, 1e-310])))
    assert tiny.ks_bound > 0


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 99, 1256])
@pytest.mark.parametrize("times", [0.0, 1e-9, 0.5, 1.0, 1.3, 3.0, 40.0])
def test_the_tail_of_a_chi_square_is_scipy_s(freedom: int, times: float) -> None:
    found = statistics.chi_square_tail(freedom, freedom * times)

    assert found == pytest.approx(stats.chi2.sf(freedom * times, freedom), rel=1e-11, abs=1e-300)
    assert statistics.chi_square_tail(freedom, math.inf) == 0.0


def test_values_that_are_rare_in_the_reference_are_one_bin() -> None:
    generator = np.random.default_rng(9)
    rare = [np.array([f"v{n}" for n in generator.integers(0, 1000, 2000)], object) for _ in "ab"]
    reference, current = both(*rare)
    wanted = {"often": 90, "four": 4, "five": 5}
    few = np.array([name for name, n in wanted.items() for _ in range(n)], object)

    found = drift(reference, current)
    assert found.new_rate > 0.1  # by chance alone: a thousand values, two rows each
    assert not statistics.is_more_than_chance(
        found.psi, found.psi_by_chance, found.p_value, limit=0.1
    )
    expected, _ = statistics.binned(*both(few, few))
    assert expected.tolist() == [5, 90, 4]
