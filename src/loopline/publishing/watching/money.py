"""What the answers saved against the baseline, over time and in all."""

from collections.abc import Iterator, Sequence

from loopline.monitoring.history import History
from loopline.publishing.charts import over_time
from loopline.publishing.charts.chart import Chart
from loopline.publishing.charts.look import BASELINE
from loopline.publishing.charts.marks import Mark
from loopline.publishing.charts.over_time import Value
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.stretches import extent, middle, on, per, start


def charts(past: Past, one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    """Yield what the answers cost, and what that saved against the baseline, in all."""
    metric, currency = "cost_per_prediction", past.currency
    if currency is None:
        return
    cost, saved, rows, sum_ = [], [], [], 0.0
    for point in one.points:
        found = point.performance
        if found is None or metric not in found.metrics or metric not in found.baseline_metrics:
            continue
        own, other = (
            each[metric] * found.labels for each in (found.metrics, found.baseline_metrics)
        )
        sum_ += other - own
        at = middle(point.window)
        told = on(point)
        cost.append(Value(at, "model", own, told))
        cost.append(Value(at, BASELINE, other, found.baseline or ""))
        saved.append(Value(start(point.window), "saved", other - own, told))
        rows.append(
            (
                f"{point.window.start:%Y-%m-%d %H:%M}",
                past.name(point.version),
                f"{own:,.0f}",
                f"{other:,.0f}",
                f"{other - own:,.0f}",
            )
        )
    if not saved:
        return
    word = "less" if sum_ >= 0 else "more"
    summed = f"{abs(sum_):,.0f} {currency} {word} than the baseline"
    yield Chart(
        title=f"The answers cost {summed}",
        alt=f"What the model's answers saved over time: {summed} in all.",
        spec=over_time.bars(
            _by_sign(saved),
            one.hours,
            marks,
            unit=f"{currency} saved per {per(one)}",
            extent=extent(one),
        ),
        head=("from", "version", f"cost, {currency}", f"baseline, {currency}", "saved"),
        rows=tuple(rows),
        note="In all, on the predictions whose outcome is known.",
    )


def _by_sign(values: Sequence[Value]) -> list[Value]:
    return [
        Value(one.at, "saved" if one.value >= 0 else "lost", one.value, one.told) for one in values
    ]
