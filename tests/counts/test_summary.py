"""What a table's counts say, beside what numpy says of its values."""

import numpy as np
import pytest

from loopline.counts.kernel import Profile, count_column
from loopline.counts.saved import Profiled
from loopline.counts.summary import changes, spell, summaries


def table(like: Profiled | None = None, /, **columns: np.ndarray) -> Profiled:
    known = {} if like is None else like.profile.columns
    counts = {name: count_column(values, known.get(name)) for name, values in columns.items()}
    types = {
        name: "category" if values.dtype == object else "number" for name, values in columns.items()
    }
    return Profiled("t", len(next(iter(columns.values()))), types, Profile(counts))


def test_a_column_of_numbers_is_described_as_numpy_does() -> None:
    values = np.append(np.random.default_rng(1).normal(5, 2, 5000), [0, 0, np.nan, np.inf])

    [found] = summaries(table(x=values))

    assert (found.rows, found.missing, found.zero, found.infinite) == (5004, 1, 2, 1)
    for share, value in found.quantiles.items():
        exact = np.quantile(values[np.isfinite(values)], float(share), method="inverted_cdf")
        assert value == pytest.approx(exact, rel=found.quantile_bound)


def test_a_category_is_described_by_its_most_frequent_values() -> None:
    [found] = summaries(table(c=np.array(["b"] * 3 + ["a"] * 3 + ["c", None], object)))

    assert list(found.top.items()) == [("a", 3), ("b", 3), ("c", 1)]
    assert (found.distinct, found.tail, found.missing, found.zero) == (3, 0, 1, None)
    assert found.quantiles == {}


def test_the_zeros_of_a_column_with_an_offset_are_not_told() -> None:
    [found] = summaries(table(x=1e9 + np.arange(50.0)))

    assert found.zero is None
    assert found.quantiles["0.5"] == pytest.approx(1e9 + 24, abs=1)


def test_what_drifted_comes_first_and_what_chance_does_last() -> None:
    generator = np.random.default_rng(2)
    few = np.array([f"v{n}" for n in generator.integers(0, 30, 200)], object)
    many = np.array([f"v{n}" for n in generator.integers(0, 30, 200)], object)
    before = table(same=generator.normal(size=200), moved=generator.normal(size=200), few=few)
    now = table(
        before, same=generator.normal(size=200), moved=generator.normal(1, size=200), few=many
    )

    found = changes(before, now)

    by_column = {one.column: one for one in found}
    assert (found[0].column, found[0].drifted) == ("moved", True)
    assert not by_column["same"].drifted
    assert not by_column["few"].drifted
    assert by_column["few"].psi > 0.15  # two hundred rows of thirty values: chance alone
    assert not changes(before, now, limit=0.15)[2].drifted
    assert not any(one.drifted for one in changes(before, now, limit=5.0))


def test_new_and_vanished_values_are_named_unless_they_may_be_rare_old_ones() -> None:
    before = table(c=np.array(["a"] * 9 + ["b"], object))
    now = table(before, c=np.array(["a"] * 5 + ["z"] * 5, object))
    named = Profiled(now.name, now.rows, now.types, now.profile, {"c": {"z": 5}})

    [found] = changes(before, named)

    assert (found.new, found.gone, found.figures.new_rate) == ({"z": 5}, ("b",), 0.5)


def test_a_time_is_spelled_as_a_date() -> None:
    assert spell("time", 86_400.0) == "1970-01-02"
    assert spell("time", 86_400.4) == "1970-01-02"
    assert spell("time", -0.6) == "1969-12-31 23:59:59"
    assert spell("time", 1e18) == "1e+18 s"
    assert spell("number", 0.123456) == "0.1235"


def test_a_quantile_is_spelled_by_the_roundest_number_that_it_may_be() -> None:
    assert spell("number", 1.001953125, 0.00196) == "1"
    assert spell("number", 2316.0, 4.5) == "2320"
    assert spell("number", -0.7034, 0.0014) == "-0.703"
    assert spell("number", 0.0, 0.0) == "0"
