"""Whether what was predicted came true as often as it was predicted."""

from collections.abc import Iterator

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
    yield Chart(
        title=f"Predicted and observed, {past.name(one.performing)}",
        alt="Calibration: "
        + "; ".join(f"{each['predicted']:.2g} predicted, {each['observed']:.2g} observed"
                    for each in found.calibration),
        spec=distributions.calibration(found.calibration, is_number=is_number),
        head=("predicted", "observed", "rows"),
        rows=tuple(
            (f"{each['predicted']:.4g}", f"{each['observed']:.4g}", f"{each['rows']:,}")
            for each in found.calibration
        ),
        note=f"{found.labels:,} outcomes, {found.window}. On the dashed line both are equal; above "
        f"it {'outcomes were higher' if is_number else 'more came true'} than predicted.",
    )  # fmt: skip
