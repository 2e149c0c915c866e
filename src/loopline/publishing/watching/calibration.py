"""Whether what was predicted came true as often as it was predicted."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loopline.monitoring.history import History
from loopline.publishing.charts import distributions
from loopline.publishing.charts.chart import Chart
from loopline.publishing.watching.past import Past


def charts(past: Past, one: History) -> Iterator[Chart]:
    """Yield what was predicted beside what came true, of the newest window with enough outcomes."""
    found = one.performance
    if found is None or not found.calibration:
        return
    is_number = past.contract.problem.task == "regression"
    above = "outcomes were higher" if is_number else "more came true"
    yield Chart(
        title=_title(found.calibration, is_number=is_number),
        alt="Calibration: "
        + "; ".join(f"{each['predicted']:.2g} predicted, {each['observed']:.2g} observed"
                    for each in found.calibration),
        spec=distributions.calibration(found.calibration, is_number=is_number),
        head=("predicted", "observed", "rows"),
        rows=tuple(
            (
                _figure(each["predicted"], is_number=is_number),
                _figure(each["observed"], is_number=is_number),
                f"{each['rows']:,}",
            )
            for each in found.calibration
        ),
        note=f"{past.name(one.performing)}, {found.labels:,} outcomes, {found.window}. On the "
        f"dashed line both are equal; above it {above} "
        "than predicted.",
    )  # fmt: skip


def _title(points: Sequence[Mapping[str, Any]], *, is_number: bool) -> str:
    """Return the means of both sides: whether the answers are too high or too low altogether."""
    rows = sum(each["rows"] for each in points)
    predicted, observed = (
        _figure(sum(each[side] * each["rows"] for each in points) / rows, is_number=is_number)
        for side in ("predicted", "observed")
    )
    word = "was observed" if is_number else "came true"
    return f"{observed} {word} where {predicted} was predicted, on average"


def _figure(value: float, *, is_number: bool) -> str:
    return f"{value:.4g}" if is_number else f"{value:.1%}"
