"""Charts with a lane for each thing: how far columns drifted, and what was open when."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from loopline.publishing.charts.look import (
    GROUND,
    HEAT,
    WIDE,
    Extent,
    by_room,
    finish,
    legend,
    reach,
    short,
    time_axis,
    when,
)


def heat(
    cells: Iterable[tuple[int, str, float]],
    hours: int,
    limit: float,
    *,
    unit: str,
    extent: Extent | None = None,
) -> dict[str, Any]:
    """A row a column and a cell a stretch of time, its colour by how far it is over the limit."""
    import altair as alt

    width = hours * 3_600_000
    steps = [limit / 2, limit, 2.5 * limit, 5 * limit]
    levels = [f"below {steps[0]:.3g}"]
    levels += [f"{low:.3g} to {high:.3g}" for low, high in pairwise(steps)]
    levels += [f"{steps[-1]:.3g} and more"]
    rows = [
        {
            "at": at,
            "end": at + width,
            "name": short(name),
            "value": round(value, 4),
            "level": levels[bisect_right(steps, value)],
            "when": when(at),
        }
        for at, name, value in cells
    ]
    order = list(dict.fromkeys(row["name"] for row in rows))
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_rect(stroke=GROUND, strokeWidth=0.5)
        .encode(
            x=time_axis(),
            x2="end:T",
            y=alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelLimit=by_room(110, 200))),
            color=alt.Color(
                "level:N",
                title=f"{unit}, {limit:g} allowed",
                scale=alt.Scale(domain=levels, range=list(HEAT)),
                legend=alt.Legend(
                    orient="top",
                    symbolType="square",
                    symbolSize=160,
                    symbolStrokeWidth=0,
                    columns=by_room(2, 5),
                    titleFontWeight="normal",
                    titleLimit=by_room(260, 400),
                ),
            ),
            tooltip=[
                alt.Tooltip("when:N", title="from"), alt.Tooltip("name:N", title="column"),
                alt.Tooltip("value:Q", title=unit, format=".3f"),
            ],
        )
    )  # fmt: skip
    return finish(alt.layer(*reach(extent), chart), WIDE - 90, height=22 * len(order))


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
            y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=by_room(120, 260))),
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
