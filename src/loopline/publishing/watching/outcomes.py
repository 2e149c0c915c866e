"""Of how many predictions the outcome is known."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from loopline.monitoring.history import History
from loopline.publishing.charts import over_time
from loopline.publishing.charts.chart import Chart
from loopline.publishing.charts.look import UNKNOWN
from loopline.publishing.charts.marks import Mark
from loopline.publishing.charts.over_time import Value
from loopline.publishing.watching.stretches import extent, per, start

if TYPE_CHECKING:
    from loopline.monitoring.windows import Window


def charts(one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    """Yield how many predictions there were, and of how many the outcome is known."""
    values, rows = [], []
    total = known = 0
    merged: dict[Window, tuple[int, int]] = {}
    for point in one.points:
        labelled = 0 if point.performance is None else point.performance.labels
        before = merged.get(point.window, (0, 0))
        merged[point.window] = (before[0] + labelled, before[1] + point.rows)
    for window, (labelled, predictions) in merged.items():
        share = f"{labelled / predictions:.0%}" if predictions else ""
        told = f"{labelled:,} of {predictions:,} predictions"
        values.append(Value(start(window), "outcome known", labelled, told))
        values.append(Value(start(window), UNKNOWN, predictions - labelled, told))
        rows.append((f"{window.start:%Y-%m-%d %H:%M}", f"{predictions:,}", f"{labelled:,}", share))
        known, total = known + labelled, total + predictions
    if total:
        yield Chart(
            title=f"{known / total:.0%} of {total:,} predictions have their outcome",
            alt=f"Predictions over time: {total:,}, of which {known:,} have an outcome "
            f"({known / total:.0%}).",
            spec=over_time.bars(
                values, one.hours, marks, unit=f"predictions per {per(one)}", extent=extent(one)
            ),
            head=("from", "predictions", "with an outcome", "share"),
            rows=tuple(rows),
        )
