"""How the columns that the contract watches together went with each other, over time."""

from collections.abc import Iterator, Sequence

from loopline.monitoring.history import History
from loopline.publishing.charts import over_time
from loopline.publishing.charts.chart import Chart
from loopline.publishing.charts.look import BASELINE
from loopline.publishing.charts.marks import Mark
from loopline.publishing.charts.over_time import Value
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.stretches import continuous, extent, middle, whole

_MEASURES = {
    "spearman": "rank correlation",
    "correlation_ratio": "correlation ratio of ranks",
    "cramers_v": "Cramér's V",
}


def charts(past: Past, one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    """Yield each pair of the contract over time, beside its training rows."""
    for each in one.together:
        was, now = each.moved.reference, each.moved.current
        found = [
            (point.window, point.version, point.together[each.name])
            for point in one.points
            if each.name in point.together
        ] or [(one.window, one.version, now)]  # of stretches that are each too small
        values = [
            Value(middle(window), past.series(version), here.value, f"{here.rows:,} predictions")
            for window, version, here in found
        ]
        line = {value.at: Value(value.at, BASELINE, was.value, "training rows") for value in values}
        first, second = each.columns
        interval = f"{each.moved.low:+.3f} to {each.moved.high:+.3f}"
        measure = _MEASURES[now.measure]
        yield Chart(
            title=f"{first} and {second}: {measure}",
            alt=f"How {first} and {second} go together over time: now {now.value:.3f}, and "
            f"{was.value:.3f} in the training rows of version {one.version}.",
            spec=over_time.lines(
                [*continuous(values), *whole(one, line)], marks, unit=measure, extent=extent(one)
            ),
            head=("pair", "training", "now", "change, 95 % interval", "predictions"),
            rows=((each.name, f"{was.value:.3f}", f"{now.value:.3f}", interval, f"{each.rows:,}"),),
        )
