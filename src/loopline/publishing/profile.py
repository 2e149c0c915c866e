"""A table's profile, or the drift of one from another, as one self-contained HTML page."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from loopline.counts.kernel import ColumnCounts
from loopline.counts.saved import Profiled
from loopline.counts.summary import Change
from loopline.monitoring.drift import Drift
from loopline.monitoring.history import Pair
from loopline.publishing import page, shapes
from loopline.publishing.charts.chart import Chart
from loopline.publishing.sheets import Sheet

MOST = 120
"""Columns that are drawn; every one is in the tables."""


def html(
    tables: Sequence[Profiled], changes: Sequence[Change], shown: Sequence[tuple[str, Sheet]]
) -> str:
    """Return the page; the sheets are what the terminal shows."""
    drawn = list(charts(tables, changes))
    return page.html(
        "profile.html",
        drawn,
        tables=tables,
        changes=changes,
        drifted=sum(one.drifted for one in changes),
        sheets=shown,
        charts=drawn,
        more=max(len(tables[0].types) - MOST, 0),
    )


def charts(
    tables: Sequence[Profiled], changes: Sequence[Change], most: int = MOST
) -> Iterator[Chart]:
    """Yield the distributions of the columns, at most so many, the worst first."""
    reference = tables[0].profile.columns
    if not changes:
        for column in list(reference)[:most]:
            yield _alone(column, reference[column])
        return
    for one in changes[:most]:
        current = tables[1].profile.columns[one.column]
        figures = {
            "psi": one.psi,
            "missing_rate": one.figures.missing_rate,
            "reference_missing_rate": one.figures.reference_missing_rate,
        }
        drift = Drift(one.column, "input", current.rows, figures, {})
        yield shapes.pair(Pair(drift, reference[one.column], current))


def _alone(column: str, counted: ColumnCounts) -> Chart:
    """Draw one distribution: that of nothing lies over it, and is not seen."""
    none = np.empty(0, np.int64)
    nothing = replace(counted, missing=0, cells=none, counts=none, low=0, high=0, named={})
    figures = {"psi": 0.0, "missing_rate": 0.0, "reference_missing_rate": 0.0}
    chart = shapes.pair(Pair(Drift(column, "input", 0, figures, {}), counted, nothing))
    spec: dict[str, Any] = {**chart.spec, "title": {**chart.spec["title"], "text": column}}
    return Chart(
        title=column,
        alt=f"The distribution of {column}.",
        spec=spec,
        head=(chart.head[0], "share"),
        rows=tuple(row[:2] for row in chart.rows),
    )
