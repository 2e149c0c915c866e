"""Two columns together: pairs add, and their correlation is scipy's within its bound."""

import numpy as np
import pytest
from scipy import stats

from loopline.counts.kernel import ColumnCounts, count_column
from loopline.counts.pairs import PairCounts, correlation, count_pairs
from loopline.errors import CountsError

ROWS = 5000


def drawn(seed: int, tied: float, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=ROWS)
    y = tied * x + np.sqrt(1 - tied**2) * generator.normal(size=ROWS)
    return x + offset, y * 3 - 1


def grids(x: np.ndarray, y: np.ndarray) -> tuple[ColumnCounts, ColumnCounts]:
    return count_column(x), count_column(y)


@pytest.mark.parametrize(("tied", "offset"), [(0.0, 0.0), (0.6, 1e6), (-0.95, 0.0), (1.0, 0.0)])
def test_the_correlation_is_scipy_s_within_its_bound(tied: float, offset: float) -> None:
    x, y = drawn(1, tied, offset)

    found = correlation(count_pairs(x, y, grids(x, y)))

    assert found is not None
    assert abs(found.pearson - stats.pearsonr(x, y).statistic) <= found.pearson_bound
    assert found.pearson_bound < 0.2
    assert found.pearson == pytest.approx(stats.pearsonr(x, y).statistic, abs=0.005)
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic, abs=0.005)
    assert found.rows == ROWS


def test_pairs_of_two_parts_add_to_those_of_the_whole_in_any_order() -> None:
    x, y = drawn(2, 0.5)
    x[::7], y[::11], y[3] = np.nan, np.nan, np.inf
    like = grids(x, y)
    whole = count_pairs(x, y, like)

    first, second = (count_pairs(x[part], y[part], like) for part in (
        slice(1000), slice(1000, None)
    ))  # fmt: skip

    assert first + second == second + first == whole
    assert whole.rows == int((np.isfinite(x) & np.isfinite(y)).sum())


def test_ties_count_as_scipy_has_them() -> None:
    x, y = np.array([1.0, 2, 2, 3, 3, 3]), np.array([5.0, 5, 7, 7, 9, 9])

    found = correlation(count_pairs(x, y, (ColumnCounts("number"), ColumnCounts("number"))))

    assert found is not None
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic)


def test_what_has_no_correlation_has_none() -> None:
    plain = ColumnCounts("number")

    assert correlation(PairCounts((0.0, 0.0), {})) is None
    assert correlation(count_pairs(np.ones(5), np.arange(5.0), (plain, plain))) is None


def test_pairs_on_different_grids_and_of_categories_are_refused() -> None:
    x, y = drawn(3, 0.5)
    plain = ColumnCounts("number")
    one = count_pairs(x, y, (plain, plain))
    other = count_pairs(x, y, (ColumnCounts("number", offset=1.0), plain))

    with pytest.raises(CountsError, match="different grids"):
        one + other
    with pytest.raises(CountsError, match="columns of numbers"):
        count_pairs(x, y, (plain, ColumnCounts("category")))
