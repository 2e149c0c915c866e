"""Charts over time say how firm a figure is, and stack what belongs to one time."""

from loopline.publishing.charts import over_time
from loopline.publishing.charts.over_time import Value

HOUR = 3_600_000


def test_what_rests_on_little_is_drawn_hollow(rows_of):
    lines = [Value(HOUR, "v1", 0.7), Value(9 * HOUR, "v1", 0.8, is_firm=False)]

    spec = over_time.lines(lines, unit="roc_auc")

    [hollow] = [layer for layer in spec["layer"] if layer["mark"].get("filled") is False]
    assert hollow["transform"] == [{"filter": "datum.dotted && !datum.firm"}]
    assert [row["value"] for row in rows_of(spec) if row["dotted"] and not row["firm"]] == [0.8]


def test_bars_of_one_time_stand_on_each_other_and_losses_hang_below(rows_of):
    bars = [Value(0, "a", 3.0), Value(0, "b", 2.0), Value(0, "c", -4.0), Value(HOUR, "a", 1.0)]

    spec = over_time.bars(bars, 1, unit="USD")

    assert [(row["bottom"], row["top"]) for row in rows_of(spec)] == [
        (0.0, 3.0), (3.0, 5.0), (0.0, -4.0), (0.0, 1.0)
    ]  # fmt: skip
