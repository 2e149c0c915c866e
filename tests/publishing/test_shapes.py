"""Two distributions from counts: the shares are those of the values themselves."""

import numpy as np
import pytest

from loopline.counts.kernel import count_column
from loopline.monitoring.drift import Drift
from loopline.monitoring.history import Pair
from loopline.publishing.shapes import pair

FIGURES = {"psi": 0.3, "missing_rate": 0.5, "reference_missing_rate": 0.0}


def drawn(reference, current):
    before = count_column(reference)
    now = count_column(current, before)
    return pair(Pair(Drift("income", "input", now.rows, FIGURES, {}), before, now))


def share(text: str) -> float:
    return float(text.removesuffix("%")) / 100


def test_the_shares_of_numbers_are_those_of_a_histogram_of_the_values():
    chance = np.random.default_rng(3)
    before, now = chance.normal(100, 5, 4000), chance.normal(110, 5, 3000)

    chart = drawn(before, now)

    assert len(chart.rows) == 24
    edges = [float(row[0].split(" to ")[0]) for row in chart.rows]
    edges.append(float(chart.rows[-1][0].split(" to ")[1]))
    for values, column in ((before, 1), (now, 2)):
        expected = np.histogram(values, edges)[0] / len(values)
        found = np.array([share(row[column]) for row in chart.rows])
        # A cell is 0.4 % wide, and the edges in the table have four digits.
        assert np.abs(found - expected).max() < 0.03
        assert found.sum() == pytest.approx(1.0, abs=0.02)


def test_a_few_whole_numbers_have_a_bar_each():
    chart = drawn(np.array([1.0] * 6 + [2.0] * 3 + [7.0]), np.array([2.0, 7.0]))

    assert [row[1] for row in chart.rows] == [
        "60.00%", "30.00%", "0.00%", "0.00%", "0.00%", "0.00%", "10.00%"
    ]  # fmt: skip
    assert [row[2] for row in chart.rows if row[2] != "0.00%"] == ["50.00%", "50.00%"]


def test_one_far_value_does_not_squeeze_the_rest_into_one_bar():
    usual = np.random.default_rng(3).uniform(0, 30, 2000)

    chart = drawn(np.append(usual, 1048.0), usual)

    assert max(share(row[1]) for row in chart.rows) < 0.1


def test_one_value_and_none_at_all_are_drawn_too():
    assert drawn(np.array([5.5] * 3), np.array([5.5])).rows
    assert drawn(np.array([np.nan]), np.array([np.nan])).rows


def test_categories_are_the_most_frequent_and_the_rest_is_said():
    names = [f"c{n:02}" for n in range(20)]
    before = np.array(names * 10 + ["a"] * 100, object)

    chart = drawn(before, np.array(["new"] * 3 + ["a"], object))

    assert chart.rows[0] == ("a", "33.33%", "25.00%")
    assert len(chart.rows) == 10
    # Nine other names of 3.33 % each stand in the chart; the new value is in no name's count.
    assert "Other values: 36.7% then, 75.0% now." in chart.note
    assert "Missing: 0.0% then, 50.0% now." in chart.note
    assert chart.alt.startswith("income is apart from its reference by a PSI of 0.30.")
