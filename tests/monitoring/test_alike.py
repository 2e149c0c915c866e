"""Chance among days: what a week of one weather makes of a PSI, and what it does not."""

import numpy as np
import pytest
from scipy import stats

from loopline.counts import statistics
from loopline.counts.groups import count_groups
from loopline.counts.kernel import ColumnCounts, count_column
from loopline.monitoring import alike
from loopline.monitoring.alike import ALONE, Alike
from loopline.monitoring.windows import Window

END = 24 * 28
DAYS = np.arange(28)


def by_day(values: np.ndarray, like: ColumnCounts) -> dict[int, ColumnCounts]:
    """Return the rows of `values`, one line a day, all of them at noon."""
    at = np.repeat(np.arange(len(values)), values.shape[1])
    found = count_groups(values.ravel(), at, len(values), like)
    return {24 * day + 12: each for day, each in enumerate(found)}


def test_days_that_are_all_of_one_kind_count_as_one_row_each() -> None:
    values = np.where(DAYS % 2 == 0, "dry", "wet").astype(object)[:, None].repeat(100, axis=1)

    like = count_column(values.ravel())
    found = alike.measure(like, by_day(values, like), END)

    # Four dry and three wet days of 100 rows: all 700 of the chi-square, over 6 degrees.
    assert found.values == pytest.approx(700 / 6)
    assert found.missing == 1


def test_rows_that_are_drawn_on_their_own_count_as_rows() -> None:
    values = np.random.default_rng(1).normal(size=(28, 500))

    like = count_column(values.ravel())
    found = alike.measure(like, by_day(values, like), END)

    assert 1 <= found.values < 1.3
    assert found.missing == 1


def test_gaps_have_an_effect_of_their_own() -> None:
    generator = np.random.default_rng(2)
    values = generator.normal(size=(28, 500))
    values[:, :250] = np.where((DAYS % 2 == 0)[:, None], np.nan, values[:, :250])

    like = count_column(values.ravel())
    found = alike.measure(like, by_day(values, like), END)

    assert found.values < 1.3
    assert found.missing > 100


def test_one_week_with_a_fault_teaches_no_patience() -> None:
    values = np.random.default_rng(3).normal(size=(28, 500))
    like = count_column(values.ravel())
    values[25:] += 9  # three days of the newest week

    found = alike.measure(like, by_day(values, like), END)

    assert found.values < 1.3


def test_without_days_there_is_nothing_to_learn() -> None:
    values = np.random.default_rng(3).normal(size=(3, 500))
    like = count_column(values.ravel())

    assert alike.measure(like, by_day(values, like), 72) == ALONE
    assert alike.before(Window(1000, 1168)) == Window(1000 - 672, 1000)


def test_rows_on_their_own_have_the_chance_of_rows() -> None:
    expected, actual = np.array([400.0, 300, 300]), np.array([90.0, 50, 60])

    found = alike.beyond(expected, actual, silent=False, alike=ALONE)

    assert found.by_chance == pytest.approx(statistics.psi_by_chance(expected, actual))
    assert found.p_value == pytest.approx(stats.chi2_contingency([expected, actual]).pvalue)


def test_an_effect_makes_chance_larger_and_the_chi_square_smaller() -> None:
    expected, actual = np.array([400.0, 300, 300]), np.array([90.0, 50, 60])
    alone = alike.beyond(expected, actual, silent=False, alike=ALONE)

    found = alike.beyond(expected, actual, silent=False, alike=Alike(values=5.0))

    square = stats.chi2_contingency([expected, actual]).statistic
    assert found.by_chance == pytest.approx(5 * alone.by_chance)
    assert found.p_value == pytest.approx(stats.chi2.sf(square / 5, 2))
    assert found.margin > alone.margin


def test_values_that_change_by_the_day_hide_no_gap() -> None:
    expected, actual = np.array([4000.0, 3000, 3000, 0]), np.array([1500.0, 200, 300, 20])

    found = alike.beyond(expected, actual, silent=True, alike=Alike(values=2000.0))

    psi = statistics.psi(expected, actual)
    values = statistics.psi(expected[:-1], actual[:-1])
    assert psi - found.by_chance == pytest.approx(psi - values, abs=0.01)
    assert found.p_value < 1e-9


def test_a_gap_that_makes_a_third_of_a_psi_is_judged_as_rows_are() -> None:
    expected, actual = np.array([4000.0, 3000, 3000, 0]), np.array([900.0, 500, 600, 60])
    fewer = np.array([900.0, 500, 600, 1])

    new, none = (
        alike.beyond(expected, now, silent=True, alike=Alike(values=200.0))
        for now in (actual, fewer)
    )

    alone = alike.beyond(expected, actual, silent=True, alike=ALONE)
    assert (new.by_chance, new.p_value, new.margin) == (
        alone.by_chance, alone.p_value, alone.margin,
    )  # fmt: skip
    assert new.margin_of_days == 0
    assert none.margin_of_days > 0


def test_what_is_beyond_chance_lies_in_its_margin_as_often_as_it_should() -> None:
    generator = np.random.default_rng(4)
    usual, now = np.full(10, 0.1), np.array([0.2, 0.05, *[0.09375] * 8])
    truth = float(((now - usual) * np.log(now / usual)).sum())
    inside, tries = 0, 400
    for _ in range(tries):
        expected, actual = generator.multinomial(9000, usual), generator.multinomial(3000, now)
        found = alike.beyond(expected, actual, silent=False, alike=ALONE)
        off = statistics.psi(expected, actual) - found.by_chance - truth
        inside += abs(off) <= found.margin

    assert 0.92 <= inside / tries <= 0.98


def test_weeks_of_ten_weathers_are_no_drift_though_rows_say_so() -> None:
    """Each day has one weather of ten; the year has them all alike."""
    generator = np.random.default_rng(5)
    days = generator.integers(0, 10, 400)
    values = (days[:, None] + generator.uniform(0, 1, (400, 100))).astype(float)
    expected = count_column(values[:300].ravel())
    by_rows = by_days = weeks = 0
    for first in range(328, 394, 7):
        now = count_column(values[first : first + 7].ravel(), expected)
        earlier = by_day(values[first - 28 : first], expected)
        effect = alike.measure(expected, earlier, 28 * 24)
        bins = statistics.binned(expected, now)
        psi = statistics.psi(*bins)
        weeks += 1
        for known in (ALONE, effect):
            found = alike.beyond(*bins, silent=False, alike=known)
            is_drift = psi - found.by_chance > 0.2 and found.p_value < statistics.CHANCE
            by_rows += is_drift and known is ALONE
            by_days += is_drift and known is effect

    assert (by_rows, by_days, weeks) == (weeks, 0, 10)
