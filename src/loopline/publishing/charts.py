"""Every chart that Loopline draws, for pages and notebooks alike.

A chart is Vega-Lite made by Altair, from plain rows under names of our own: a column of the data is
a value in them and never a field, so that no name can be taken for an expression. Colours are CSS
variables with a fallback, so that one drawing is right in light, in dark and in print.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

WIDE, HALF, THIRD = 860, 400, 250
"""Widths in pixels, of what lies between the axes."""
_HEIGHT = 170
_INK, _FAINT, _LINE = "var(--ink, #1b1f24)", "var(--faint, #656d76)", "var(--line, #d8dee4)"
_BAD, _GROUND = "var(--bad, #cf222e)", "var(--ground, #ffffff)"
_SERIES = (
    "var(--series-1, #2f6fb3)", "var(--series-2, #c4731f)", "var(--series-3, #2f8a57)",
    "var(--series-4, #8a55a6)", "var(--series-5, #b0444c)", "var(--series-6, #4f7d8c)",
)  # fmt: skip
_HEAT = (
    "var(--heat-1, #e4eef7)", "var(--heat-2, #b9d3ea)", "var(--heat-3, #f3c08a)",
    "var(--heat-4, #df7a3d)", "var(--heat-5, #a8322a)",
)  # fmt: skip
LIMIT, BASELINE = "limit", "baseline"
"""Series that are drawn dashed: what was promised, and the answers without a model."""
_DASHES = {LIMIT: [6, 3], BASELINE: [3, 3]}
_LETTER = 5.6
"""Pixels that a letter of a mark's label takes, generously."""
_WHOLE = "format(datum.value, '~s')"
"""Labels of an axis of amounts: 0, 50k, 1.5M."""
_ROOM = 24
"""Letters that lie side by side under a small chart."""
_TIMES = {"year": "%Y", "quarter": "%B", "month": "%B", "week": "%b %d", "date": "%b %d",
          "hours": "%H:%M", "minutes": "%H:%M"}  # fmt: skip
"""Labels of an axis of time, by the step between them."""
_LONGEST = 26
"""Characters of a name on an axis."""


@dataclass(frozen=True)
class Chart:
    """One drawing, its words, and its figures as a table."""

    title: str
    alt: str
    """What it shows, for who cannot see it."""
    spec: Mapping[str, Any]
    """Vega-Lite."""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    """The figures, beside the drawing."""
    note: str = ""

    @cached_property
    def svg(self) -> str:
        """The drawing as it stands, without a script: what a notebook shows, offline too."""
        import vl_convert

        drawn: str = vl_convert.vegalite_to_svg(dict(self.spec), vl_version=vega_lite())
        return drawn

    def _repr_html_(self) -> str:
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return (
            '<div style="background:#fff;color:#1b1f24;padding:.5rem;overflow-x:auto">'
            f"<h4>{escape(self.title)}</h4>{self.svg}{note}</div>"
        )


class Charts(tuple[Chart, ...]):
    """Several charts, which a notebook draws below each other."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<div>{''.join(chart._repr_html_() for chart in self)}</div>"


@dataclass(frozen=True)
class Mark:
    """Something that happened, on the axis of time."""

    at: int
    """Milliseconds since 1970."""
    label: str
    told: str
    """In a sentence."""


@dataclass(frozen=True)
class Value:
    """One point of a line."""

    at: int
    """Milliseconds since 1970."""
    series: str
    value: float
    told: str = ""
    """What it rests on."""
    is_firm: bool = True
    """False: drawn hollow, for it rests on little."""


@dataclass(frozen=True)
class Band:
    """Between which values something was expected, at one time."""

    at: int
    """Milliseconds since 1970."""
    series: str
    low: float
    high: float
    told: str = ""


def vega_lite() -> str:
    """Return the version of Vega-Lite that Altair writes, as the renderer names it."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def over_time(  # noqa: PLR0913 - by name
    values: Sequence[Value],
    marks: Sequence[Mark] = (),
    *,
    unit: str,
    style: str = ",~r",
    width: int = WIDE,
    is_log: bool = False,
    bands: Sequence[Band] = (),
) -> dict[str, Any]:
    """Lines over time, one a series, with what happened as marks on the axis.

    `bands` are drawn behind the lines, in the colour of their series.
    """
    import altair as alt

    names = list(dict.fromkeys(one.series for one in values))
    rows = [_row(one, style) for one in values]
    color, dash = _legend(names)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=_time(),
        y=alt.Y(
            "value:Q",
            title=unit,
            axis=alt.Axis(format=style, values=_decades(values))
            if is_log
            else alt.Axis(format=style, tickCount=5),
            scale=alt.Scale(type="log") if is_log else alt.Scale(zero=False),
        ),
        tooltip=[
            alt.Tooltip("when:N", title="when"), alt.Tooltip("series:N", title="of"),
            alt.Tooltip("shown:N", title=unit), alt.Tooltip("told:N", title="on"),
        ],
    )  # fmt: skip
    lines = base.mark_line(strokeWidth=1.8).encode(color=color, strokeDash=dash)
    layers = [*_marks(marks, rows, width), *_bands(bands, unit, style, color), lines]
    for is_firm in (True, False):
        dots = [row for row in rows if row["dotted"] and row["firm"] == is_firm]
        if dots:
            plain = base.properties(data=alt.Data(values=dots)).encode(color=color)
            layers.append(
                plain.mark_point(filled=True, size=24, opacity=1)
                if is_firm
                else plain.mark_point(filled=False, size=24, strokeWidth=1.3, opacity=1)
            )
    return _finish(alt.layer(*layers), width, lanes=2 if marks else 0)


def _bands(bands: Sequence[Band], unit: str, style: str, color: "alt.Color") -> "list[alt.Chart]":
    import altair as alt

    if not bands:
        return []
    rows = [
        {"at": one.at, "series": one.series, "low": one.low, "high": one.high, "told": one.told,
         "when": _when(one.at), "shown": f"{spell(one.low, style)} to {spell(one.high, style)}"}
        for one in bands
    ]  # fmt: skip
    shape = (
        alt.Chart(alt.Data(values=rows))
        .mark_area(fillOpacity=0.2, strokeOpacity=0, opacity=1)
        .encode(
            x=_time(),
            y="low:Q",
            y2="high:Q",
            color=color,
            tooltip=[
                alt.Tooltip("when:N", title="when"), alt.Tooltip("series:N", title="of"),
                alt.Tooltip("shown:N", title=f"expected {unit}"), alt.Tooltip("told:N", title="on"),
            ],
        )
    )  # fmt: skip
    return [shape]


def _decades(values: Sequence[Value]) -> list[float]:
    """Return the ticks of a logarithmic axis: whole powers of ten, and their thirds."""
    from math import ceil, floor, log10

    found = [log10(one.value) for one in values if one.value > 0]
    if not found:
        return []
    return [
        mantissa * 10.0**power
        for power in range(floor(min(found)), ceil(max(found)) + 1)
        for mantissa in ((1, 3) if max(found) - min(found) < 3 else (1,))
    ]


def bars_over_time(
    values: Sequence[Value],
    hours: int,
    marks: Sequence[Mark] = (),
    *,
    unit: str,
    width: int = WIDE,
) -> dict[str, Any]:
    """Bars over time, the series stacked; each begins at its time and is `hours` wide."""
    import altair as alt

    names = list(dict.fromkeys(one.series for one in values))
    rows = [_row(one, ",~r") for one in values]
    gap = hours * 3_600_000 * 0.08
    for row, (bottom, top) in zip(rows, _stacked(values), strict=True):
        row |= {"end": row["at"] + hours * 3_600_000 - gap, "bottom": bottom, "top": top}
    color, _ = _legend(names, symbol="square")
    bars = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            x=_time(),
            x2="end:T",
            y=alt.Y("bottom:Q", title=unit, axis=alt.Axis(labelExpr=_WHOLE, tickCount=5)),
            y2="top:Q",
            color=color,
            tooltip=[
                alt.Tooltip("when:N", title="from"), alt.Tooltip("series:N", title="of"),
                alt.Tooltip("shown:N", title=unit), alt.Tooltip("told:N", title="on"),
            ],
        )
    )  # fmt: skip
    return _finish(alt.layer(*_marks(marks, rows, width), bars), width, lanes=2 if marks else 0)


def _stacked(values: Sequence[Value]) -> list[tuple[float, float]]:
    """Return where each bar begins and ends, upon those of the same time and sign."""
    tops: dict[tuple[int, bool], float] = {}
    found = []
    for one in values:
        key = (one.at, one.value >= 0)
        bottom = tops.get(key, 0.0)
        tops[key] = bottom + one.value
        found.append((bottom, tops[key]))
    return found


def heat(
    cells: Iterable[tuple[int, str, float]], hours: int, limit: float, *, unit: str
) -> dict[str, Any]:
    """A row a column and a cell a stretch of time, its colour by how far it is over the limit."""
    import altair as alt

    width = hours * 3_600_000
    rows = [
        {"at": at, "end": at + width, "name": _short(name), "value": value, "when": _when(at)}
        for at, name, value in cells
    ]
    order = list(dict.fromkeys(row["name"] for row in rows))
    steps = [limit / 2, limit, 2.5 * limit, 5 * limit]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_rect(stroke=_GROUND, strokeWidth=0.5)
        .encode(
            x=_time(),
            x2="end:T",
            y=alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelLimit=200)),
            color=alt.Color(
                "value:Q",
                title=f"{unit}, limit {limit:g}",
                scale=alt.Scale(type="threshold", domain=steps, range=list(_HEAT)),
                legend=alt.Legend(orient="top", gradientLength=260, format=".2~f"),
            ),
            tooltip=[
                alt.Tooltip("when:N", title="from"), alt.Tooltip("name:N", title="column"),
                alt.Tooltip("value:Q", title=unit, format=".3f"),
            ],
        )
    )  # fmt: skip
    return _finish(chart, WIDE - 90, height=22 * len(order))


def histogram(
    bins: Sequence[tuple[float, float, float, float]], *, title: str, unit: str = ""
) -> dict[str, Any]:
    """Two distributions of numbers: `low, high, share of reference, share of current` a bin."""
    import altair as alt

    rows = []
    for low, high, before, now in bins:
        span = {"low": low, "high": high, "floor": 0, "told": f"{low:.4g} to {high:.4g}"}
        rows.append({**span, "series": "reference", "share": before})
        rows.append({**span, "series": "now", "share": now})
    color = _two()
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "low:Q",
            title=unit or None,
            scale=alt.Scale(zero=False, nice=False, domain=[bins[0][0], bins[-1][1]]),
            axis=alt.Axis(tickCount=5, grid=False, labelOverlap=True, format=",~r"),
        ),
        x2="high:Q",
        y=_share(),
        y2="floor:Q",
        tooltip=[
            alt.Tooltip("series:N", title="of"), alt.Tooltip("told:N", title="between"),
            alt.Tooltip("share:Q", title="share", format=".2%"),
        ],
    )  # fmt: skip
    return _overlaid(base, color, title)


def categories(shares: Sequence[tuple[str, float, float]], *, title: str) -> dict[str, Any]:
    """Two distributions of categories: `name, share of reference, share of current` each."""
    import altair as alt

    names = [_short(name, 12) for name, _, _ in shares]
    # Two names that are cut alike would fall into one bar.
    names = [name if names.count(name) == 1 else f"{name}~{n}" for n, name in enumerate(names)]
    rows = []
    for name, (whole, before, now) in zip(names, shares, strict=True):
        rows.append({"name": name, "told": whole, "series": "reference", "share": before})
        rows.append({"name": name, "told": whole, "series": "now", "share": now})
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "name:N",
            sort=names,
            title=None,
            axis=alt.Axis(
                labelAngle=0 if sum(map(len, names)) < _ROOM else -45,
                labelOverlap=False,
                labelLimit=80,
            ),
        ),
        y=_share(),
        tooltip=[
            alt.Tooltip("series:N", title="of"), alt.Tooltip("told:N", title="value"),
            alt.Tooltip("share:Q", title="share", format=".2%"),
        ],
    )  # fmt: skip
    return _overlaid(base, _two(), title)


def calibration(points: Sequence[Mapping[str, Any]], *, is_number: bool = False) -> dict[str, Any]:
    """Predicted against observed, on the line where they are equal."""
    import altair as alt

    rows = [
        {key: float(point[key]) for key in ("predicted", "observed", "rows")} for point in points
    ]
    values = [row[side] for row in rows for side in ("predicted", "observed")]
    low, high = (min(values), max(values)) if is_number else (0.0, 1.0)
    if is_number:  # so that the outermost points are whole
        low, high = low - 0.06 * (high - low or 1.0), high + 0.06 * (high - low or 1.0)
    scale = alt.Scale(domain=[low, high], nice=False)
    line = (
        alt.Chart(alt.Data(values=[{"a": low}, {"a": high}]))
        .mark_line(color=_FAINT, strokeDash=[3, 3])
        .encode(x=alt.X("a:Q", scale=scale), y=alt.Y("a:Q", scale=scale))
    )
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("predicted:Q", scale=scale, title="predicted", axis=alt.Axis(tickCount=5)),
        y=alt.Y("observed:Q", scale=scale, title="observed", axis=alt.Axis(tickCount=5)),
        tooltip=[
            alt.Tooltip("predicted:Q", format=".4~g"), alt.Tooltip("observed:Q", format=".4~g"),
            alt.Tooltip("rows:Q", format=","),
        ],
    )  # fmt: skip
    dots = base.mark_circle(color=_SERIES[0], opacity=0.9).encode(
        size=alt.Size(
            "rows:Q", title="rows", scale=alt.Scale(range=[20, 300]),
            legend=alt.Legend(
                orient="right",
                offset=18,
                format=",.0f",
                values=_round(rows),
                symbolFillColor=_FAINT,
            ),
        )
    )  # fmt: skip
    return _finish(alt.layer(line, dots), 300, height=300)


def _round(rows: Sequence[Mapping[str, float]]) -> list[float]:
    """Return two or three round numbers up to the largest bin."""
    from math import floor, log10

    most = max(row["rows"] for row in rows)
    unit = 10.0 ** floor(log10(max(most, 1.0)))
    return sorted({unit / 10, unit, floor(most / unit) * unit} - {0.1})


def spans(
    bars: Sequence[tuple[int, int, str, str, str]], *, first: int, last: int
) -> dict[str, Any]:
    """What was open from when to when: `from, to, name, kind, sentence` each."""
    import altair as alt

    rows = [
        {"at": max(at, first), "end": min(end, last), "name": _short(name, 34), "series": kind,
         "told": told, "when": f"{_when(at)} to {_when(end)}"}
        for at, end, name, kind, told in bars
    ]  # fmt: skip
    kinds = sorted({kind for _, _, _, kind, _ in bars})
    color, _ = _legend(kinds, symbol="square")
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(height={"band": 0.62}, minBandSize=3, cornerRadius=2)
        .encode(
            x=_time(),
            x2="end:T",
            y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=260)),
            color=color,
            tooltip=[
                alt.Tooltip("name:N", title="what"),
                alt.Tooltip("when:N", title="open"),
                alt.Tooltip("told:N", title="found"),
            ],
        )
    )
    lanes = len({row["name"] for row in rows})
    return _finish(chart, WIDE - 150, height=20 * lanes)


def _row(one: Value, style: str) -> dict[str, Any]:
    return {
        "at": one.at,
        "series": one.series,
        "value": one.value,
        "shown": spell(one.value, style),
        "told": one.told,
        "when": _when(one.at),
        "firm": one.is_firm,
        "dotted": one.series not in _DASHES,
    }


def spell(value: float, style: str) -> str:
    """Return a figure as the axis of its chart would write it."""
    if style.endswith("%"):
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def _when(at: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M}"


def _short(name: str, longest: int = _LONGEST) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _time() -> "alt.X":
    import altair as alt

    axis = alt.Axis(grid=False, labelOverlap=True, tickCount=8, format=_TIMES)
    return alt.X("at:T", title=None, scale=alt.Scale(type="utc"), axis=axis)


def _share() -> "alt.Y":
    import altair as alt

    axis = alt.Axis(format=".0%", tickCount=3)
    return alt.Y("share:Q", title=None, stack=None, axis=axis)


def _legend(names: list[str], symbol: str = "stroke") -> "tuple[alt.Color, alt.StrokeDash]":
    """Return the colour and the dash of each series, in one legend above the chart."""
    import altair as alt

    own = [name for name in names if name not in _DASHES]
    paint = {LIMIT: _BAD, BASELINE: _FAINT}
    paint |= {name: _SERIES[place % len(_SERIES)] for place, name in enumerate(own)}
    legend = (
        alt.Legend(orient="top", title=None, symbolType=symbol, labelLimit=240, columns=6)
        if len(names) > 1
        else None
    )
    colors = alt.Scale(domain=names, range=[paint[name] for name in names])
    dashes = alt.Scale(domain=names, range=[_DASHES.get(name, [1, 0]) for name in names])
    return (
        alt.Color("series:N", scale=colors, legend=legend),
        alt.StrokeDash("series:N", scale=dashes, legend=legend),
    )


def _two() -> "alt.Color":
    import altair as alt

    return alt.Color(
        "series:N",
        scale=alt.Scale(domain=["reference", "now"], range=[_FAINT, _SERIES[0]]),
        legend=None,
    )


def _overlaid(base: "alt.Chart", color: "alt.Color", title: str) -> dict[str, Any]:
    """The reference as bars, and what is now as their outline in colour."""
    import altair as alt

    before = base.transform_filter("datum.series == 'reference'").mark_bar(opacity=0.35)
    now = base.transform_filter("datum.series == 'now'").mark_bar(
        fillOpacity=0.25, strokeWidth=1.2, binSpacing=0
    )
    drawn = alt.layer(
        before.encode(color=color), now.encode(color=color, stroke=alt.value(_SERIES[0]))
    ).properties(title=alt.TitleParams(_short(title, 44), anchor="start", fontSize=12))
    return _finish(drawn, THIRD, height=100)


def _marks(
    marks: Sequence[Mark], rows: Sequence[Mapping[str, Any]], width: int
) -> "list[alt.Chart]":
    """What happened in the time shown, as lines across the chart with their words above it."""
    import altair as alt

    if not rows:
        return []
    first, last = min(row["at"] for row in rows), max(row.get("end", row["at"]) for row in rows)
    within = [mark for mark in marks if first <= mark.at <= last]
    if not within or first == last:
        return []
    shown = _labelled(sorted(within, key=lambda one: one.at), width / (last - first))
    layers = []
    base = alt.Chart(alt.Data(values=shown)).encode(
        x=_time(),
        tooltip=[alt.Tooltip("when:N", title="when"), alt.Tooltip("told:N", title="what")],
    )
    layers.append(base.mark_rule(color=_FAINT, strokeDash=[2, 2], strokeWidth=1))
    for lane in (0, 1):
        words = [row for row in shown if row["lane"] == lane]
        if words:
            text = base.properties(data=alt.Data(values=words)).mark_text(
                align="left", baseline="bottom", dx=2, fontSize=10, color=_FAINT, clip=False
            )
            layers.append(text.encode(text="label:N", y=alt.value(-3 - 12 * lane)))
    return layers


def _labelled(marks: Sequence[Mark], pixels: float) -> list[dict[str, Any]]:
    """Return marks as rows, each label in a lane where it covers no other; else without one.

    `pixels` is how many of them a millisecond is.
    """
    ends = [float("-inf"), float("-inf")]
    rows = []
    for mark in marks:
        at = mark.at * pixels
        lane = next((lane for lane, end in enumerate(ends) if at > end), -1)
        if lane >= 0:
            ends[lane] = at + _LETTER * len(mark.label) + 6
        rows.append(
            {"at": mark.at, "label": mark.label, "told": mark.told, "when": _when(mark.at),
             "lane": lane}
        )  # fmt: skip
    return rows


def _finish(chart: Any, width: int, height: int = _HEIGHT, lanes: int = 0) -> dict[str, Any]:
    """Return the chart as Vega-Lite, its colours those of the page; `lanes` of words above it."""
    import altair as alt

    sized = chart.properties(width=width, height=height, background="transparent")
    text: dict[str, Any] = {"labelColor": _FAINT, "titleColor": _FAINT}
    finished = (
        sized.configure(
            font="system-ui, sans-serif",
            axis=alt.AxisConfig(
                **text, gridColor=_LINE, domainColor=_LINE, tickColor=_LINE,
                titleFontWeight="normal", titlePadding=8,
            ),
            axisY=alt.AxisConfig(minExtent=34),
            legend=alt.LegendConfig(**text, symbolStrokeWidth=2.2, offset=8 + 12 * lanes),
            title=alt.TitleConfig(color=_INK),
        )
        .configure_view(stroke=None)
    )  # fmt: skip
    spec: dict[str, Any] = finished.to_dict(
        validate=False
    )  # the tests do: it takes most of the time
    del spec["$schema"]  # an address of another host, which nothing here needs
    return spec
