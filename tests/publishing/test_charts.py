"""Every chart is Vega-Lite of the right shape, whatever the data calls its columns."""

import json
from xml.etree import ElementTree as ET

import altair as alt
import pytest

from loopline.publishing import charts
from loopline.publishing.charts import BASELINE, LIMIT, Chart, Charts, Mark, Value

HOUR = 3_600_000
HOSTILE = "a.b['c'] <script>\" + datum.x + {{7*7}}"
MARKS = [Mark(2 * HOUR, "v1", "one serves"), Mark(3 * HOUR, "v2", "two serves")]
LINES = [
    Value(HOUR, HOSTILE, 0.7, "90 rows"),
    Value(9 * HOUR, HOSTILE, 0.8, "9 rows", is_firm=False),
    Value(HOUR, BASELINE, 0.5),
    Value(9 * HOUR, BASELINE, 0.5),
    Value(HOUR, LIMIT, 0.65),
]
POINTS = [
    {"predicted": 0.1, "observed": 0.2, "rows": 9},
    {"predicted": 0.9, "observed": 1.0, "rows": 1},
]
BARS = [(HOUR, 5 * HOUR, HOSTILE, "drift", "it drifted")]
DRAWN = {
    "over time": charts.over_time(LINES, MARKS, unit="roc_auc"),
    "logarithmic": charts.over_time(LINES, unit="ms", is_log=True),
    "bars": charts.bars_over_time(LINES[:3], 8, MARKS, unit="USD"),
    "heat": charts.heat([(HOUR, HOSTILE, 0.3), (2 * HOUR, "b", 1.5)], 1, 0.2, unit="PSI"),
    "histogram": charts.histogram([(0, 1, 0.5, 0.2), (1, 2, 0.5, 0.8)], title=HOSTILE),
    "categories": charts.categories([(HOSTILE, 0.5, 0.2), ("b", 0.5, 0.8)], title=HOSTILE),
    "calibration": charts.calibration(POINTS),
    "spans": charts.spans(BARS, first=0, last=9 * HOUR),
}


def rows(part: object) -> list[dict]:
    """Return the rows that are drawn, in order."""
    if isinstance(part, list):
        return [row for each in part for row in rows(each)]
    if not isinstance(part, dict):
        return []
    values = part.get("values")
    own = values if isinstance(values, list) and values and isinstance(values[0], dict) else []
    return own + [row for name, each in part.items() if name != "values" for row in rows(each)]


def strings(part: object, key: str) -> list[str]:
    if isinstance(part, dict):
        own = [part[key]] if isinstance(part.get(key), str) else []
        return own + [text for each in part.values() for text in strings(each, key)]
    return [text for each in part for text in strings(each, key)] if isinstance(part, list) else []


@pytest.mark.parametrize("name", DRAWN)
def test_a_chart_is_valid_and_needs_nothing_from_elsewhere(name):
    spec = DRAWN[name]

    alt.Chart.from_dict(spec, validate=True)
    assert "http" not in json.dumps(spec)


@pytest.mark.parametrize("name", DRAWN)
def test_a_name_from_data_is_never_a_field_or_an_expression(name):
    spec = DRAWN[name]

    for key in ("field", "expr", "filter", "calculate", "labelExpr"):
        assert not [text for text in strings(spec, key) if "script" in text or "7*7" in text]


@pytest.mark.parametrize("name", DRAWN)
def test_a_notebook_shows_a_chart_without_a_script(name):
    chart = Chart("a <b>", "b", DRAWN[name], note="c & d")
    shown = Charts([chart, chart])._repr_html_()

    root = ET.fromstring(shown)
    tags = {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
    assert {"svg", "path"} <= tags
    assert not {"script", "b"} & tags
    assert sum(element.tag.endswith("svg") for element in root.iter()) == 2


def test_what_rests_on_little_is_drawn_hollow():
    layers = DRAWN["over time"]["layer"]

    hollow = [layer for layer in layers if layer["mark"].get("filled") is False]
    assert [row["value"] for row in rows(hollow)] == [0.8]


def test_bars_of_one_time_stand_on_each_other_and_losses_hang_below():
    bars = [Value(0, "a", 3.0), Value(0, "b", 2.0), Value(0, "c", -4.0), Value(HOUR, "a", 1.0)]

    spec = charts.bars_over_time(bars, 1, unit="USD")

    assert [(row["bottom"], row["top"]) for row in rows(spec)] == [
        (0.0, 3.0), (3.0, 5.0), (0.0, -4.0), (0.0, 1.0)
    ]  # fmt: skip


def test_words_of_what_happened_do_not_lie_on_each_other():
    marks = [Mark(at * HOUR, "a long label", "told") for at in (1, 2, 3, 90)]
    lines = [Value(0, "a", 1.0), Value(100 * HOUR, "a", 2.0)]

    layers = charts.over_time(lines, marks, unit="x")["layer"]

    [line] = [layer for layer in layers if layer["mark"]["type"] == "rule"]
    # Each is a line; of three at nearly one time two have words, above each other.
    assert [row["lane"] for row in rows(line)] == [0, 1, -1, 0]
    words = [layer for layer in layers if layer["mark"]["type"] == "text"]
    assert len(rows(words)) == 3


def test_two_categories_that_are_cut_alike_stay_two_bars():
    spec = charts.categories([("a" * 30, 0.5, 0.5), ("a" * 31, 0.5, 0.5)], title="t")

    assert len({row["name"] for row in rows(spec)}) == 2
