"""Latency and failed requests, by the time of arrival."""

from collections.abc import Iterator, Sequence

from loopline.contract.metrics import METRICS
from loopline.monitoring.findings import spell
from loopline.monitoring.history import History
from loopline.publishing.charts import over_time
from loopline.publishing.charts.chart import Chart
from loopline.publishing.charts.look import LIMIT
from loopline.publishing.charts.marks import Mark
from loopline.publishing.charts.over_time import Value
from loopline.publishing.watching import judged
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.stretches import continuous, extent, middle, whole


def charts(past: Past, one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    """Yield latency, and failed requests where any failed or a goal speaks of them."""
    latency: list[Value] = []
    failed: list[Value] = []
    rows = []
    goals = {
        goal.metric: float(next(iter(goal.conditions.values())))
        for goal in past.contract.goals
        if METRICS[goal.metric].service
    }
    for point in one.points:
        found, at = point.service, middle(point.window)
        if not found.requests:
            continue
        told = f"{found.requests:,} requests"
        latency += [
            Value(at, name, seconds * 1000, told) for name, seconds in found.latency.items()
        ]
        failed.append(Value(at, "failed", found.error_rate, told))
        rows.append(
            (f"{point.window.start:%Y-%m-%d %H:%M}", past.name(point.version),
             f"{found.requests:,}", f"{found.failed:,}", f"{found.refused:,}",
             *(f"{found.latency[name] * 1000:.3g}" if name in found.latency else ""
               for name in ("p50", "p95", "p99")))
        )  # fmt: skip
    if not rows:
        return
    latency, failed = continuous(latency), continuous(failed)
    limits = {name: value for name, value in goals.items() if name.startswith("latency")}
    named = f"The slowest hundredth of requests took {_slowest(one)} or more"
    figure, finding = "", None
    for name, seconds in limits.items():
        finding = judged.newest(one, name)
        figure = "not judged yet" if finding is None else spell(name, finding.value)
        named = f"{name} {figure}, promised at most {seconds * 1000:g} ms"
        bounds = {each.at: Value(each.at, LIMIT, seconds * 1000) for each in latency}
        latency += whole(one, bounds)
        break  # one red line is a limit, two are a riddle; the table of promises has all
    if latency:
        yield Chart(
            title=named,
            alt=f"Latency of requests over time: median, 95th and 99th percentile; {named}.",
            spec=over_time.lines(
                latency,
                marks,
                unit="ms (log scale)",
                is_log=True,
                judged=judged.drawn(finding, figure, 1000),
                extent=extent(one),
            ),
            holds=judged.holds(finding),
            head=("from", "version", "requests", "failed", "refused", "p50 ms", "p95 ms", "p99 ms"),
            rows=tuple(rows),
        )
    if any(each.value for each in failed) or "error_rate" in goals:
        share = f"{one.service.error_rate:.2%}"
        finding, asked = judged.newest(one, "error_rate"), ""
        if "error_rate" in goals:
            asked = f", promised at most {goals['error_rate']:.2%}"
            bounds = {each.at: Value(each.at, LIMIT, goals["error_rate"]) for each in failed}
            failed += whole(one, bounds)
        yield Chart(
            title=f"{share} of {one.service.requests:,} requests failed{asked}",
            alt=f"Share of requests that failed over time, lately {share}.",
            spec=over_time.lines(
                failed,
                marks,
                unit="share failed",
                style=".2~%",
                extent=extent(one),
                judged=judged.drawn(finding, share),
            ),
            holds=judged.holds(finding),
        )


def _slowest(one: History) -> str:
    found = one.service.latency
    return spell("latency_p99", found["p99"]) if "p99" in found else "an unknown time"
