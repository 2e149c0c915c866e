"""Each fairness rule over time: the groups, and the gap between them."""

from collections.abc import Iterator, Sequence

from loopline.monitoring.findings import spell
from loopline.monitoring.history import History
from loopline.publishing.charts import over_time
from loopline.publishing.charts.chart import Chart
from loopline.publishing.charts.look import HALF, LIMIT
from loopline.publishing.charts.marks import Mark
from loopline.publishing.charts.over_time import Value
from loopline.publishing.watching import judged
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.stretches import continuous, extent, middle, on, whole

_GROUPS = 6


def charts(past: Past, one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    """Yield two charts a rule: each group's figure, and the gap between the groups."""
    for rule in past.contract.fairness:
        groups: list[Value] = []
        gaps: list[Value] = []
        rows: list[tuple[str, ...]] = []
        key = "ratio" if rule.ratio_at_least is not None else "difference"
        needed = rule.ratio_at_least if rule.ratio_at_least is not None else rule.difference_at_most
        for point in one.points:
            for measured in () if point.performance is None else point.performance.fairness:
                if (measured["by"], measured["metric"]) != (rule.by, rule.metric):
                    continue
                at, told = middle(point.window), on(point)
                large = [each for each in measured["groups"] if each["judged"]]
                groups += [
                    Value(at, str(each["group"]), each["figure"], f"{each['rows']:,} outcomes")
                    for each in sorted(large, key=lambda each: -each["rows"])[:_GROUPS]
                ]
                if measured[key] is not None:
                    gaps.append(Value(at, key, measured[key], told))
                rows += [
                    (f"{point.window.start:%Y-%m-%d %H:%M}", past.name(point.version),
                     str(each["group"]), spell(rule.metric, each["figure"], past.currency),
                     f"{each['rows']:,}")
                    for each in large
                ]  # fmt: skip
        if not groups:
            continue
        what = f"{rule.metric} by {rule.by}"
        finding = judged.newest(one, what)
        yield Chart(
            title=what,
            alt=f"{what} over time, a line for each of "
            f"{', '.join(dict.fromkeys(each.series for each in groups))}.",
            spec=over_time.lines(
                continuous(groups), marks, unit=rule.metric, width=HALF, extent=extent(one)
            ),
            head=("from", "version", "group", rule.metric, "outcomes"),
            rows=tuple(rows),
        )
        if gaps:
            bounds = {each.at: Value(each.at, LIMIT, float(needed or 0.0)) for each in gaps}
            gaps += whole(one, bounds)
            asked = f"{'at least' if key == 'ratio' else 'at most'} {needed:g}"
            worst = (min if key == "ratio" else max)(
                each.value for each in gaps if each.series == key
            )
            gap = "least over greatest group" if key == "ratio" else "greatest less least group"
            figure = "not judged yet" if finding is None else f"{finding.value:.3g}"
            yield Chart(
                title=f"{gap} {figure}, promised {asked}",
                alt=f"{key} of {rule.metric} by {rule.by} over time, at its worst {worst:.3g}; the "
                f"rule is {asked}.",
                spec=over_time.lines(
                    continuous(gaps),
                    marks,
                    unit=key,
                    width=HALF,
                    judged=judged.drawn(finding, figure),
                    extent=extent(one),
                ),
                holds=judged.holds(finding),
            )
