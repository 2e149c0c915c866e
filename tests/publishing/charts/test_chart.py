"""Every chart is Vega-Lite of the right shape, whatever the data calls its columns."""

import json
from xml.etree import ElementTree as ET

import altair as alt
import pytest

from loopline.publishing.charts import distributions, lanes, over_time
from loopline.publishing.charts.chart import Chart, Charts
from loopline.publishing.charts.look import BASELINE, LIMIT
from loopline.publishing.charts.marks import Mark
from loopline.publishing.charts.over_time import Value

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
    "over time": over_time.lines(LINES, MARKS, unit="roc_auc"),
    "logarithmic": over_time.lines(LINES, unit="ms", is_log=True),
    "bars": over_time.bars(LINES[:3], 8, MARKS, unit="USD"),
    "heat": lanes.heat([(HOUR, HOSTILE, 0.3), (2 * HOUR, "b", 1.5)], 1, 0.2, unit="PSI"),
    "histogram": distributions.histogram([(0, 1, 0.5, 0.2), (1, 2, 0.5, 0.8)], title=HOSTILE),
    "categories": distributions.categories([(HOSTILE, 0.5, 0.2), ("b", 0.5, 0.8)], title=HOSTILE),
    "calibration": distributions.calibration(POINTS),
    "spans": lanes.spans(BARS, first=0, last=9 * HOUR),
}


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
