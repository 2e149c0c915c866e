"""What happened, as lines across a chart over time with their words above it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loopline.publishing.charts.look import FAINT, Extent, time_axis, when

if TYPE_CHECKING:
    import altair as alt

_LETTER = 5.6
"""Pixels that a letter of a mark's label takes, generously."""
_NARROW = 280
"""Pixels of a chart's width on a phone, where fewer labels have room."""


@dataclass(frozen=True)
class Mark:
    """Something that happened, on the axis of time."""

    at: int
    """Milliseconds since 1970."""
    label: str
    told: str
    """In a sentence."""


def drawn(
    marks: Sequence[Mark],
    rows: Sequence[Mapping[str, Any]],
    width: int,
    extent: Extent | None = None,
) -> "list[alt.Chart]":
    """What happened in the time shown, as lines across the chart with their words above it."""
    import altair as alt

    if not rows:
        return []
    first, last = extent or (
        min(row["at"] for row in rows),
        max(row.get("end", row["at"]) for row in rows),
    )
    within = [mark for mark in marks if first <= mark.at <= last]
    if not within or first == last:
        return []
    within.sort(key=lambda one: one.at)
    shown = _labelled(within, width / (last - first))
    for row, narrow in zip(shown, _labelled(within, _NARROW / (last - first)), strict=True):
        row["crowded"] = narrow["lane"] != row["lane"]
    layers = []
    base = alt.Chart(alt.Data(values=shown)).encode(
        x=time_axis(),
        tooltip=[alt.Tooltip("when:N", title="when"), alt.Tooltip("told:N", title="what")],
    )
    layers.append(base.mark_rule(color=FAINT, strokeDash=[2, 2], strokeWidth=1))
    for lane in (0, 1):
        words = [row for row in shown if row["lane"] == lane]
        if words:
            text = base.properties(data=alt.Data(values=words)).mark_text(
                align="left", baseline="bottom", dx=2, fontSize=10, color=FAINT, clip=False
            )
            layers.append(
                text.encode(
                    text="label:N",
                    y=alt.value(-3 - 12 * lane),
                    opacity=alt.condition("narrow && datum.crowded", alt.value(0), alt.value(1)),
                )
            )
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
            {"at": mark.at, "label": mark.label, "told": mark.told, "when": when(mark.at),
             "lane": lane}
        )  # fmt: skip
    return rows
