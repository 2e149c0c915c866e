"""Charts of what values there are: two distributions over each other, and predicted by observed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loopline.publishing.charts.look import FAINT, SERIES, THIRD, finish, short

if TYPE_CHECKING:
    import altair as alt

_ROOM = 24
"""Letters that lie side by side under a small chart."""


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

    names = [short(name, 12) for name, _, _ in shares]
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
        .mark_line(color=FAINT, strokeDash=[3, 3])
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
    dots = base.mark_circle(color=SERIES[0], opacity=0.9).encode(
        size=alt.Size(
            "rows:Q", title="rows", scale=alt.Scale(range=[20, 300]),
            legend=alt.Legend(
                orient="top",
                direction="horizontal",
                format=",.0f",
                values=_round(rows),
                symbolFillColor=FAINT,
            ),
        )
    )  # fmt: skip
    return finish(alt.layer(line, dots), 300, height=300)


def _round(rows: Sequence[Mapping[str, float]]) -> list[float]:
    """Return two or three round numbers up to the largest bin."""
    from math import floor, log10

    most = max(row["rows"] for row in rows)
    unit = 10.0 ** floor(log10(max(most, 1.0)))
    return sorted({unit / 10, unit, floor(most / unit) * unit} - {0.1})


def _share() -> "alt.Y":
    import altair as alt

    axis = alt.Axis(format=".0%", tickCount=3)
    return alt.Y("share:Q", title=None, stack=None, axis=axis)


def _two() -> "alt.Color":
    import altair as alt

    return alt.Color(
        "series:N",
        scale=alt.Scale(domain=["reference", "now"], range=[FAINT, SERIES[0]]),
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
        before.encode(color=color), now.encode(color=color, stroke=alt.value(SERIES[0]))
    ).properties(title=alt.TitleParams(short(title, 44), anchor="start", fontSize=12))
    return finish(drawn, THIRD, height=100)
