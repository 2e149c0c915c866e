"""The parts of the watch report about one environment, in their order."""

from collections.abc import Iterator
from dataclasses import dataclass

from loopline.monitoring.history import History
from loopline.publishing import shapes
from loopline.publishing.charts.chart import Chart
from loopline.publishing.watching import (
    calibration,
    drift,
    fairness,
    findings,
    goals,
    happened,
    money,
    outcomes,
    pairs,
    service,
)
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.stretches import span, spelled

_PAIRS = 9
"""Columns whose two distributions are drawn."""


@dataclass(frozen=True)
class Section:
    """One part of the page: its heading, a few words, its charts."""

    title: str
    note: str
    charts: tuple[Chart, ...]
    layout: str = "wide"
    """`wide`: below each other; `pair` and `grid`: beside each other; `beside`: with its table."""


def sections(past: Past, one: History) -> Iterator[Section]:
    """Yield the parts of the page about one environment, those that have something to show."""
    marks = happened.marks(past, one.environment)
    length = span(one)
    parts = (
        Section(
            "Promises over time",
            f"Each point is {length} of predictions, hollow with fewer outcomes than the "
            f"{past.contract.monitor.minimum_labels:,} that a judgement rests on. Red dashes are "
            "the goal; grey ones what the baseline does on the same rows. The band is where the "
            "figure was to be expected before any outcome was known (95 %, or wider where past "
            "estimates missed by more); it ends where they missed too often. What decides is the "
            "thick line: the figure over the whole shaded window, "
            f"{spelled(past.contract.monitor.window)}.",
            tuple(goals.charts(past, one, marks)),
        ),
        Section("Money", "", tuple(money.charts(past, one, marks))),
        Section(
            "Drift over time",
            f"The {drift.COLUMNS} columns that drifted most: how far {length} is from the rows "
            "that its version was trained on, at a time.",
            tuple(drift.charts(past, one)),
        ),
        Section(
            "Worst drifts now",
            f"Grey: the rows that {past.name(one.version)} was trained on. Blue: "
            f"{one.rows:,} predictions, {one.window}. Shares of the rows that have a value.",
            tuple(shapes.pair(each) for each in one.pairs[:_PAIRS]),
            "grid",
        ),
        Section(
            "Columns that go together",
            f"Pairs that the contract watches: how they went together in {length} at a time; "
            "dashes are the training rows. The table is of the newest window.",
            tuple(pairs.charts(past, one, marks)),
        ),
        Section("Calibration", "", tuple(calibration.charts(past, one)), "beside"),
        Section("Fairness", "", tuple(fairness.charts(past, one, marks)), "pair"),
        Section(
            "Outcomes",
            "Predictions whose outcome is known. Outcomes come late, so the newest are few.",
            tuple(outcomes.charts(one, marks)),
        ),
        Section("Service", "By the time of arrival.", tuple(service.charts(past, one, marks))),
        Section(
            "Findings",
            "",
            tuple(findings.charts(past, one)),
        ),
    )
    yield from (part for part in parts if part.charts)
