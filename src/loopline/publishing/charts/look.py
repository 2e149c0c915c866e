"""How every chart looks: colours, axes, legends, sizes, and how figures and times are written.

Colours are CSS variables with a fallback, so that one drawing is right in light, in dark and in
print.
"""

from typing import TYPE_CHECKING, Any

from loopline.evaluation.page import still

if TYPE_CHECKING:
    import altair as alt

WIDE, HALF, THIRD = 860, 400, 250
"""Widths in pixels, of what lies between the axes."""
HEIGHT = 170
INK, FAINT, LINE = "var(--ink, #1b1f24)", "var(--faint, #656d76)", "var(--line, #d8dee4)"
GOOD, BAD = "var(--good, #1a7f37)", "var(--bad, #cf222e)"
GROUND = "var(--ground, #ffffff)"
SERIES = (
    "var(--series-1, #2f6fb3)", "var(--series-2, #c4731f)", "var(--series-3, #2f8a57)",
    "var(--series-4, #8a55a6)", "var(--series-5, #b0444c)", "var(--series-6, #4f7d8c)",
)  # fmt: skip
HEAT = (
    "var(--heat-1, #e4eef7)", "var(--heat-2, #b9d3ea)", "var(--heat-3, #f3c08a)",
    "var(--heat-4, #df7a3d)", "var(--heat-5, #a8322a)",
)  # fmt: skip
LIMIT, BASELINE = "limit", "baseline"
"""Series that are drawn dashed: what was promised, and the answers without a model."""
UNKNOWN = "not known yet"
"""A series that is drawn pale."""
DASHES = {LIMIT: [6, 3], BASELINE: [3, 3]}
TIMES = {"year": "%Y", "quarter": "%B", "month": "%B", "week": "%b %d", "date": "%b %d",
          "hours": "%H:%M", "minutes": "%H:%M"}  # fmt: skip
"""Labels of an axis of time, by the step between them."""
Extent = tuple[int, int]
"""From when to when, in milliseconds since 1970."""
_BRIEF = 10
"""Letters of a name of which four fit beside each other on a phone."""
LONGEST = 26
"""Characters of a name on an axis."""


def spell(value: float, style: str) -> str:
    """Return a figure as the axis of its chart would write it."""
    if style.endswith("%"):
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def when(at: int) -> str:
    """Return a time of the axis as a tooltip writes it."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M}"


def short(name: str, longest: int = LONGEST) -> str:
    """Return a name that fits beside an axis."""
    seen = name if name.strip() else "(empty)"
    return seen if len(seen) <= longest else f"{seen[: longest - 1]}…"


def by_room(narrow: float, wide: float) -> "alt.ExprRef":
    """Return a size that depends on how much room the page has: on a phone, or elsewhere."""
    import altair as alt

    return alt.ExprRef(f"narrow ? {narrow:g} : {wide:g}")


def time_axis(field: str = "at") -> "alt.X":
    """Return the axis of time, in UTC."""
    import altair as alt

    ticks: Any = by_room(4, 8)
    axis = alt.Axis(grid=False, labelOverlap=True, tickCount=ticks, format=TIMES)
    return alt.X(f"{field}:T", title=None, scale=alt.Scale(type="utc"), axis=axis)


def reach(extent: Extent | None) -> "list[alt.Chart]":
    """Return what makes the axis of time go from when to when: two points that nobody sees.

    A domain of its own would be refused by charts whose layers have ends as well as beginnings.
    """
    import altair as alt

    if extent is None:
        return []
    ends = alt.Chart(alt.Data(values=[{"at": at} for at in extent]))
    return [ends.mark_rule(opacity=0, aria=False, tooltip=None).encode(x=time_axis())]


def legend(names: list[str], symbol: str = "stroke") -> "tuple[alt.Color, alt.StrokeDash]":
    """Return the colour and the dash of each series, in one legend above the chart."""
    import altair as alt

    paint = {LIMIT: BAD, BASELINE: FAINT, UNKNOWN: LINE}
    own = [name for name in names if name not in paint]
    paint |= {name: SERIES[place % len(SERIES)] for place, name in enumerate(own)}
    above = (
        alt.Legend(
            orient="top",
            title=None,
            symbolType=symbol,
            labelLimit=by_room(130, 240),
            columns=by_room(4 if max(map(len, names)) < _BRIEF else 2, 6),
        )
        if len(names) > 1
        else None
    )
    colors = alt.Scale(domain=names, range=[paint[name] for name in names])
    dashes = alt.Scale(domain=names, range=[DASHES.get(name, [1, 0]) for name in names])
    return (
        alt.Color("series:N", scale=colors, legend=above),
        alt.StrokeDash("series:N", scale=dashes, legend=above),
    )


def finish(chart: Any, width: int, height: int = HEIGHT, lanes: int = 0) -> dict[str, Any]:
    """Return the chart as Vega-Lite, its colours those of the page; `lanes` of words above it."""
    import altair as alt

    sized = chart.properties(width=width, height=height, background="transparent")
    text: dict[str, Any] = {
        "labelColor": FAINT, "titleColor": FAINT, "labelFontSize": 11, "titleFontSize": 11,
    }  # fmt: skip
    finished = (
        sized.configure(
            font="system-ui, sans-serif",
            axis=alt.AxisConfig(
                **text, gridColor=LINE, domainColor=LINE, tickColor=LINE,
                titleFontWeight="normal", titlePadding=8,
            ),
            axisY=alt.AxisConfig(minExtent=34),
            legend=alt.LegendConfig(**text, symbolStrokeWidth=2.2, offset=8 + 12 * lanes),
            title=alt.TitleConfig(color=INK),
        )
        .configure_view(stroke=None)
    )  # fmt: skip
    spec: dict[str, Any] = finished.to_dict(
        validate=False
    )  # the tests do: it takes most of the time
    del spec["$schema"]  # an address of another host, which nothing here needs
    spec["params"] = [{"name": "narrow", "value": False}]  # the page sets it where it is
    stilled: dict[str, Any] = _stilled(spec)
    return stilled


def _stilled(part: Any) -> Any:
    """Return a chart in which no text hides or turns around what stands beside it."""
    if isinstance(part, str):
        return still(part)
    if isinstance(part, dict):
        return {name: _stilled(each) for name, each in part.items()}
    return [_stilled(each) for each in part] if isinstance(part, list) else part
