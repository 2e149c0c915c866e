"""Charts over time: lines, bars, a map of heat, and what was open from when to when.

They are Vega-Lite made by Altair, from plain rows under names of our own: a name of the data is a
value in them and never a field, so that none can be taken for an expression.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loopline.publishing.charts import marks as happened
from loopline.publishing.charts.look import (
    DASHES,
    GROUND,
    HEAT,
    WIDE,
    finish,
    legend,
    short,
    spell,
    time_axis,
    when,
)
from loopline.publishing.charts.marks import Mark

if TYPE_CHECKING:
    import altair as alt

_WHOLE = "format(datum.value, '~s')"
"""Labels of an axis of amounts: 0, 50k, 1.5M."""


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


def lines(  # noqa: PLR0913 - by name
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
    color, dash = legend(names)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=time_axis(),
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
    joined = base.mark_line(strokeWidth=1.8).encode(color=color, strokeDash=dash)
    layers = [*happened.drawn(marks, rows, width), *_bands(bands, unit, style, color), joined]
    for is_firm in (True, False):
        dots = [row for row in rows if row["dotted"] and row["firm"] == is_firm]
        if dots:
            plain = base.properties(data=alt.Data(values=dots)).encode(color=color)
            layers.append(
                plain.mark_point(filled=True, size=24, opacity=1)
                if is_firm
                else plain.mark_point(filled=False, size=24, strokeWidth=1.3, opacity=1)
            )
    return finish(alt.layer(*layers), width, lanes=2 if marks else 0)


def _bands(bands: Sequence[Band], unit: str, style: str, color: "alt.Color") -> "list[alt.Chart]":
    import altair as alt

    if not bands:
        return []
    rows = [
        {"at": one.at, "series": one.series, "low": one.low, "high": one.high, "told": one.told,
         "when": when(one.at), "shown": f"{spell(one.low, style)} to {spell(one.high, style)}"}
        for one in bands
    ]  # fmt: skip
    shape = (
        alt.Chart(alt.Data(values=rows))
        .mark_area(fillOpacity=0.2, strokeOpacity=0, opacity=1)
        .encode(
            x=time_axis(),
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


def bars(
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
    color, _ = legend(names, symbol="square")
    drawn = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            x=time_axis(),
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
    return finish(
        alt.layer(*happened.drawn(marks, rows, width), drawn), width, lanes=2 if marks else 0
    )


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
        {"at": at, "end": at + width, "name": short(name), "value": value, "when": when(at)}
        for at, name, value in cells
    ]
    order = list(dict.fromkeys(row["name"] for row in rows))
    steps = [limit / 2, limit, 2.5 * limit, 5 * limit]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_rect(stroke=GROUND, strokeWidth=0.5)
        .encode(
            x=time_axis(),
            x2="end:T",
            y=alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelLimit=200)),
            color=alt.Color(
                "value:Q",
                title=f"{unit}, limit {limit:g}",
                scale=alt.Scale(type="threshold", domain=steps, range=list(HEAT)),
                legend=alt.Legend(orient="top", gradientLength=260, format=".2~f"),
            ),
            tooltip=[
                alt.Tooltip("when:N", title="from"), alt.Tooltip("name:N", title="column"),
                alt.Tooltip("value:Q", title=unit, format=".3f"),
            ],
        )
    )  # fmt: skip
    return finish(chart, WIDE - 90, height=22 * len(order))


def spans(
    bars: Sequence[tuple[int, int, str, str, str]], *, first: int, last: int
) -> dict[str, Any]:
    """What was open from when to when: `from, to, name, kind, sentence` each."""
    import altair as alt

    rows = [
        {"at": max(at, first), "end": min(end, last), "name": short(name, 34), "series": kind,
         "told": told, "when": f"{when(at)} to {when(end)}"}
        for at, end, name, kind, told in bars
    ]  # fmt: skip
    kinds = sorted({kind for _, _, _, kind, _ in bars})
    color, _ = legend(kinds, symbol="square")
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(height={"band": 0.62}, minBandSize=3, cornerRadius=2)
        .encode(
            x=time_axis(),
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
    return finish(chart, WIDE - 150, height=20 * lanes)


def _row(one: Value, style: str) -> dict[str, Any]:
    return {
        "at": one.at,
        "series": one.series,
        "value": one.value,
        "shown": spell(one.value, style),
        "told": one.told,
        "when": when(one.at),
        "firm": one.is_firm,
        "dotted": one.series not in DASHES,
    }
