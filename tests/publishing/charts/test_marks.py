"""What happened stands above the chart in words that can be read."""

from loopline.publishing.charts import over_time
from loopline.publishing.charts.marks import Mark
from loopline.publishing.charts.over_time import Value

HOUR = 3_600_000


def test_words_of_what_happened_do_not_lie_on_each_other(rows_of):
    marks = [Mark(at * HOUR, "a long label", "told") for at in (1, 2, 3, 90)]
    lines = [Value(0, "a", 1.0), Value(100 * HOUR, "a", 2.0)]

    layers = over_time.lines(lines, marks, unit="x")["layer"]

    [line] = [layer for layer in layers if layer["mark"]["type"] == "rule"]
    # Each is a line; of three at nearly one time two have words, above each other.
    assert [row["lane"] for row in rows_of(line)] == [0, 1, -1, 0]
    words = [layer for layer in layers if layer["mark"]["type"] == "text"]
    assert len(rows_of(words)) == 3
