"""Money is counted against the baseline, on the outcomes that are known."""


def test_money_is_what_the_baseline_would_have_cost_more(past, chart, history, point):
    made = chart(past, history(point(0, 0.7), point(1, 0.7, labels=100)), "The answers cost")

    # Each outcome known saved 3 - 2 EUR.
    assert [row[4] for row in made.rows] == ["600", "100"]
    assert made.title == "The answers cost 700 EUR less than the baseline"
