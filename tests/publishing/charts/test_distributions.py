"""Distributions keep apart what the data keeps apart."""

from loopline.publishing.charts import distributions


def test_two_categories_that_are_cut_alike_stay_two_bars(rows_of):
    spec = distributions.categories([("a" * 30, 0.5, 0.5), ("a" * 31, 0.5, 0.5)], title="t")

    assert len({row["name"] for row in rows_of(spec)}) == 2
