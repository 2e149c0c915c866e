"""How far each column is from what its version was trained on, over time."""

from collections.abc import Iterator

from loopline.monitoring.history import History
from loopline.publishing.charts import lanes
from loopline.publishing.charts.chart import Chart
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.stretches import extent, start

COLUMNS = 12
"""Columns in the chart of drift over time, the worst ones; the table has all."""


def charts(past: Past, one: History) -> Iterator[Chart]:
    """Yield the worst columns' drift as a map of heat; its table has every column as it is now."""
    most: dict[str, float] = {}
    for point in one.points:
        for each in point.drift:
            most[each.column] = max(most.get(each.column, 0.0), each.figures["psi"])
    worst = sorted(most, key=lambda name: -most[name])[:COLUMNS]
    cells: dict[tuple[int, str], float] = {}
    for point in one.points:
        for each in point.drift:
            if each.column in worst:
                key = (start(point.window), each.column)
                cells[key] = max(cells.get(key, 0.0), each.figures["psi"])
    if not cells:
        return
    ordered = sorted(((at, name, psi) for (at, name), psi in cells.items()),
                     key=lambda cell: (worst.index(cell[1]), cell[0]))  # fmt: skip
    allowed = past.contract.monitor.drift.get("psi", 0.2)
    beyond = [pair for pair in one.pairs if pair.drift.figures["psi"] > allowed]
    title = f"{len(beyond)} of {len(one.pairs)} columns are beyond a PSI of {allowed:g} now"
    if beyond:
        title += f", most of all {beyond[0].drift.column} with {beyond[0].drift.figures['psi']:.2f}"
    rows = tuple(
        (
            pair.drift.column,
            pair.drift.kind,
            f"{pair.drift.figures['psi']:.3f}",
            f"{pair.drift.figures['psi_by_chance']:.3f}",
            f"{pair.drift.figures['jensen_shannon']:.3f}",
            f"{pair.drift.figures['ks']:.3f}" if "ks" in pair.drift.figures else "",
            f"{pair.drift.figures['missing_rate']:.2%}",
        )
        for pair in one.pairs
    )
    yield Chart(
        title=title,
        alt=f"Drift of {len(worst)} columns over time; the worst is {worst[0]} with a PSI of "
        f"{most[worst[0]]:.2f}, where {allowed:g} is allowed.",
        spec=lanes.heat(
            ordered, one.hours, allowed, unit="population stability index", extent=extent(one)
        ),
        head=("column", "kind", "PSI", "by chance", "Jensen-Shannon", "KS", "missing"),
        rows=rows,
        note=f"The table has all columns in the newest window, {one.window}.",
    )
