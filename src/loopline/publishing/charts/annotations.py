"""What lies under and on lines over time: where a figure was expected, and what was judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loopline.publishing.charts.look import (
    BAD,
    FAINT,
    GOOD,
    GROUND,
    Extent,
    spell,
    time_axis,
    when,
)

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class Band:
    """Between which values something was expected, at one time."""

    at: int
    """Milliseconds since 1970."""
    series: str
    low: float
    high: float
    told: str = ""


@dataclass(frozen=True)
class Judged:
    """The figure that a promise was judged by, over the whole window that it was judged on."""

    first: int
    """Milliseconds since 1970."""
    last: int
    value: float
    label: str
    holds: bool
    told: str = ""


def bands(expected: Sequence[Band], unit: str, style: str, color: "alt.Color") -> "list[alt.Chart]":
    """Return where figures were to be expected, in the colour of their series."""
    import altair as alt

    if not expected:
        return []
    rows = [
        {"at": one.at, "series": one.series, "low": one.low, "high": one.high, "told": one.told,
         "when": when(one.at), "shown": f"{spell(one.low, style)} to {spell(one.high, style)}"}
        for one in expected
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


def shades(judged: Sequence[Judged], extent: Extent | None) -> "list[alt.Chart]":
    """Return the windows that were judged, shaded."""
    import altair as alt

    if not judged:
        return []
    rows = [_within(one, extent) for one in judged]
    shade = alt.Chart(alt.Data(values=rows)).mark_rect(color=FAINT, opacity=0.1)
    return [shade.encode(x=time_axis(), x2="end:T")]


def verdicts(
    judged: Sequence[Judged], unit: str, style: str, extent: Extent | None, top: float
) -> "list[alt.Chart]":
    """Return what was judged, as thick lines with their figures, those above `top` below them."""
    import altair as alt

    layers = []
    for one in judged:
        color = GOOD if one.holds else BAD
        row = {
            **_within(one, extent),
            "value": one.value,
            "label": one.label,
            "shown": spell(one.value, style),
            "told": one.told,
            "when": f"{when(one.first)} to {when(one.last)}",
        }
        base = alt.Chart(alt.Data(values=[row])).encode(
            y="value:Q",
            tooltip=[
                alt.Tooltip("when:N", title="judged"), alt.Tooltip("shown:N", title=unit),
                alt.Tooltip("told:N", title="on"),
            ],
        )  # fmt: skip
        line = base.mark_rule(color=color, strokeWidth=4, strokeCap="butt")
        layers.append(line.encode(x=time_axis(), x2="end:T"))
        ground = {"stroke": GROUND, "strokeWidth": 3, "strokeJoin": "round"}
        side: dict[str, Any] = {"baseline": "bottom", "dy": -5}
        if one.value > top:
            side = {"baseline": "top", "dy": 6}  # above it are the words of what happened
        for outline in (ground, {}):  # so that no line runs through the words
            words = base.mark_text(
                align="right", dx=-2, fontSize=11, fontWeight=600, color=color, **side, **outline
            )
            layers.append(words.encode(x=time_axis("end"), text="label:N"))
    return layers


def _within(one: Judged, extent: Extent | None) -> dict[str, Any]:
    """Return a window as a row, no longer than the axis: it may begin before the first point."""
    first, last = extent or (one.first, one.last)
    return {"at": max(one.first, first), "end": min(one.last, last)}
