"""A past made by hand: a contract, and stretches with the figures that a test gives them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loopline.contract.load import load
from loopline.evaluation.report import Estimate
from loopline.monitoring.estimation import Estimation
from loopline.monitoring.findings import Subject
from loopline.monitoring.history import History, Point
from loopline.monitoring.performance import Performance
from loopline.monitoring.service import Service
from loopline.monitoring.windows import Window
from loopline.publishing.charts.chart import Chart
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.sections import sections

CONTRACT = """
project: credit
problem: {task: binary, target: y, costs: {currency: EUR, false_positive: 1}}
goals:
  - {metric: roc_auc, at_least: 0.65}
  - {metric: cost_per_prediction, below_baseline_by: 10%}
data: {source: x.csv}
"""


@pytest.fixture
def past(tmp_path: Path) -> Past:
    (tmp_path / "loopline.yaml").write_text(CONTRACT)
    now = datetime(2026, 3, 3, tzinfo=UTC)
    return Past(load(tmp_path / "loopline.yaml"), now, (), (), (), ())


@pytest.fixture
def point() -> Callable[..., Point]:
    """Make the day of a number."""

    def make(number: int, auc: float | None, *, labels: int = 600, version: int = 1) -> Point:
        window = Window(number * 24, number * 24 + 24)
        figures = {"roc_auc": auc, "cost_per_prediction": 2.0}
        found = None
        if auc is not None:
            found = Performance(
                window, 1000, labels, figures, "majority",
                {"roc_auc": 0.5, "cost_per_prediction": 3.0}, (), (),
            )  # fmt: skip
        estimated = Estimation(
            window, 1000, "isotonic", 500, {"roc_auc": Estimate(0.7, 0.66, 0.74)}
        )
        service = Service(window, 1000, 0, 0, {}, {})
        return Point(version, window, 1000, (), service, found, labels >= 500, estimated)

    return make


@pytest.fixture
def history() -> Callable[..., History]:
    """Make a past of points."""

    def make(*points: Point) -> History:
        window = points[-1].window
        return History(
            "production", 24, points, 1, window, 1000, (), Service(window, 0, 0, 0, {}, {}), (),
            None, 0, (),
        )  # fmt: skip

    return make


@pytest.fixture
def chart() -> Callable[[Past, History, str], Chart]:
    """Find the chart whose title begins so."""

    def find(past: Past, one: History, title: str) -> Chart:
        found = [each for part in sections(past, one) for each in part.charts]
        return next(each for each in found if each.title.startswith(title))

    return find


@pytest.fixture
def judgement() -> Callable[..., History]:
    """Judge a goal of a past, in the days from the first up to and without the last."""

    def make(
        one: History, metric: str, value: float, limit: float, *, first: int, last: int
    ) -> History:
        subject = Subject("credit", "production", 1, datetime(2026, 3, 3, tzinfo=UTC))
        good = value >= limit if metric == "roc_auc" else value <= limit
        finding = subject.judge(
            "goal", metric, holds=good, metric=metric, value=value, limit=limit,
            window=Window(first * 24, last * 24).text, rows=6000, labels=5000, message="told",
            evidence={},
        )  # fmt: skip
        return replace(one, judged=(*one.judged, finding))

    return make
