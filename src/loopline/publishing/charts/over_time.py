"""Charts over time: lines and bars, with what happened meanwhile.

They are Vega-Lite made by Altair, from plain rows under names of our own: a name of the data is a
value in them and never a field, so that none can be taken for an expression.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loopline.publishing.charts import annotations
from loopline.publishing.charts import marks as happened
from loopline.publishing.charts.annotations import Band, Judged
from loopline.publishing.charts.look import (
    DASHES,
    WIDE,
    Extent,
    finish,
    legend,
    reach,
    spell,
    time_axis,
    when,
)
from loopline.publishing.charts.marks import Mark

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


def lines(  # noqa: PLR0913 - by name
    values: Sequence[Value],
    marks: Sequence[Mark] = (),
    *,
    unit: str,
    style: str = ",~r",
    width: int = WIDE,
    is_log: bool = False,
    bands: Sequence[Band] = (),
    judged: Sequence[Judged] = (),
    extent: Extent | None = None,
) -> dict[str, Any]:
    """Lines over time, one a series, with what happened as marks on the axis.

    `bands` are drawn behind the lines, in the colour of their series; `judged` as a thick line over
    its whole window, which is shaded.
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
    layers = [
        *reach(extent),
        *happened.drawn(marks, rows, width, extent),
        *annotations.shades(judged, extent),
        *annotations.bands(bands, unit, style, color),
        joined,
    ]
    for is_firm in (True, False):
        if any(row["dotted"] and row["firm"] == is_firm for row in rows):
            which = "datum.firm" if is_firm else "!datum.firm"
            plain = base.transform_filter(f"datum.dotted && {which}").encode(color=color)
            layers.append(
                plain.mark_point(filled=True, size=24, opacity=1)
                if is_firm
                else plain.mark_point(filled=False, size=24, strokeWidth=1.3, opacity=1)
            )
    layers += annotations.verdicts(judged, unit, style, extent, _near_top(values))
    return finish(alt.layer(*layers), width, lanes=2 if marks else 0)


def _near_top(values: Sequence[Value]) -> float:
    """Return above which value words would reach out of the chart."""
    low, high = min(one.value for one in values), max(one.value for one in values)
    return high - 0.15 * (high - low)


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
    extent: Extent | None = None,
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
    layers = [*reach(extent), *happened.drawn(marks, rows, width, extent), drawn]
    return finish(alt.layer(*layers), width, lanes=2 if marks else 0)


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
