"""Each goal over time: what was found, what was expected, what the baseline does, and the limit."""

from collections.abc import Iterator, Sequence

from loopline.contract.metrics import METRICS
from loopline.contract.schema import Goal
from loopline.evaluation.gates import RELATIONS, limit
from loopline.monitoring.findings import Finding, spell
from loopline.monitoring.history import History, Point
from loopline.publishing.charts import over_time
from loopline.publishing.charts.annotations import Band
from loopline.publishing.charts.chart import Chart
from loopline.publishing.charts.look import BASELINE, LIMIT
from loopline.publishing.charts.marks import Mark
from loopline.publishing.charts.over_time import Value
from loopline.publishing.watching import judged
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.stretches import end, extent, middle, on, start, whole


def charts(past: Past, one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    """Yield a chart for each goal that outcomes or estimates say something of."""
    seen = set()
    for goal in past.contract.goals:
        if METRICS[goal.metric].service or goal.metric in seen:
            continue
        seen.add(goal.metric)
        values = list(_lines(past, one, goal))
        bands = list(_expected(past, one, goal))
        if bands and not any(value.series not in (LIMIT, BASELINE) for value in values):
            values = [*_alone(past, one, goal), *values]
        if any(value.series not in (LIMIT, BASELINE) for value in values):
            yield _chart(past, one, goal, values, bands, marks)


def _expected(past: Past, one: History, goal: Goal) -> Iterator[Band]:
    """Yield between which values a goal's figure was to be expected, outcomes known or not."""
    for point in one.points:
        found = _interval(point, goal.metric)
        if found is not None and point.estimated is not None:
            told = f"{point.estimated.rows:,} predictions, before any outcome"
            name = past.series(point.version)
            alone = len(one.points) == 1
            ends = (start(point.window), end(point.window)) if alone else (middle(point.window),)
            yield from (Band(at, name, *found, told) for at in ends)


def _alone(past: Past, one: History, goal: Goal) -> Iterator[Value]:
    """Yield the estimates themselves, hollow, where no outcome is known at all."""
    for point in one.points:
        found = None if point.estimated is None else point.estimated.metrics.get(goal.metric)
        if found is not None and _interval(point, goal.metric) is not None:
            told = f"an estimate on {point.rows:,} predictions"
            name = past.series(point.version)
            yield Value(middle(point.window), name, found.value, told, is_firm=False)


def _interval(point: Point, metric: str) -> tuple[float, float] | None:
    """Return where a figure was expected to come to lie; None where nothing was stated."""
    return None if point.estimated is None else point.estimated.interval(metric)


def _withdrawn(one: History, metric: str) -> str:
    """Return why the newest estimate is not stated; empty where it is."""
    newest = [point.estimated for point in one.points if point.estimated is not None][-1:]
    return "".join(each.withdrawn.get(metric, "") for each in newest)


def _lines(past: Past, one: History, goal: Goal) -> Iterator[Value]:
    """Yield a goal's points: of each version, of the baseline, and the limit."""
    [(condition, amount)] = goal.conditions.items()
    is_relative = condition.endswith("baseline_by")
    versions, others, limits = [], {}, {}
    for point in one.points:
        found = point.performance
        value = None if found is None else found.metrics.get(goal.metric)
        if found is None or value is None:
            continue
        at = middle(point.window)
        name = past.series(point.version)
        versions.append(Value(at, name, value, on(point), point.is_mature))
        baseline = found.baseline_metrics.get(goal.metric)
        if baseline is not None:
            others[at] = Value(at, BASELINE, baseline, found.baseline or "")
        if not is_relative or baseline is not None:
            limits[at] = Value(at, LIMIT, limit(condition, amount, baseline), "")
    yield from (*versions, *whole(one, others), *whole(one, limits))


def _chart(
    past: Past,
    one: History,
    goal: Goal,
    values: list[Value],
    bands: list[Band],
    marks: Sequence[Mark],
) -> Chart:
    unit = goal.metric
    if METRICS[goal.metric].needs_costs and past.currency:
        unit = f"{past.currency} per prediction"
    finding = judged.newest(one, goal.metric)
    asked = _asked(past, goal, finding)
    figure = "" if finding is None else spell(goal.metric, finding.value, past.currency)
    rows = tuple(_table_row(past, point, goal.metric) for point in one.points)
    own = [value for value in values if value.series not in (LIMIT, BASELINE)]
    low, high = min(value.value for value in own), max(value.value for value in own)
    return Chart(
        title=f"{goal.metric} {figure or 'not judged yet'}, promised {asked}",
        alt=f"{goal.metric} over time, between {spell(goal.metric, low, past.currency)} and "
        f"{spell(goal.metric, high, past.currency)}; the goal is {asked}.",
        spec=over_time.lines(
            values,
            marks,
            unit=unit,
            bands=bands,
            judged=judged.drawn(finding, figure),
            extent=extent(one),
        ),
        head=("from", "version", goal.metric, "expected", "baseline", "outcomes"),
        rows=rows,
        note=_withdrawn(one, goal.metric),
        holds=judged.holds(finding),
    )


def _asked(past: Past, goal: Goal, finding: Finding | None) -> str:
    """Return what was promised; against the baseline also as the amount that came to, if judged."""
    [(condition, amount)] = goal.conditions.items()
    relation = RELATIONS[condition]
    if not condition.endswith("baseline_by"):
        return f"{relation} {spell(goal.metric, float(amount), past.currency)}"
    if finding is None:
        return f"{amount} {relation.removesuffix(' by')}"
    bound = "at least" if METRICS[goal.metric].direction == "higher" else "at most"
    needed = spell(goal.metric, finding.limit, past.currency)
    return f"{bound} {needed} ({amount} {relation.removesuffix(' by')})"


def _table_row(past: Past, point: Point, metric: str) -> tuple[str, ...]:
    def told(value: float | None) -> str:
        return "" if value is None else spell(metric, value, past.currency)

    found = point.performance
    interval = _interval(point, metric)
    expected = "" if interval is None else " to ".join(map(told, interval))
    return (
        f"{point.window.start:%Y-%m-%d %H:%M}",
        past.name(point.version),
        told(None if found is None else found.metrics.get(metric)),
        expected,
        told(None if found is None else found.baseline_metrics.get(metric)),
        f"{0 if found is None else found.labels:,}",
    )
