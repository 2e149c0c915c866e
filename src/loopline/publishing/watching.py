"""What `loopline watch --report` shows: the loop's past and present, as charts and tables.

Everything is read: the contract, the ledger's events, the counts by the hour, the outcomes.
Nothing is judged here that `monitoring` does not judge.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from loopline.contract.metrics import METRICS
from loopline.contract.schema import Contract, Goal
from loopline.evaluation.gates import limit
from loopline.monitoring import history, labels
from loopline.monitoring.findings import RESOLVED, Finding, Findings, spell
from loopline.monitoring.history import History, Point
from loopline.monitoring.reference import References
from loopline.monitoring.windows import HOUR, Window
from loopline.pipeline.workspace import Workspace
from loopline.publishing import charts, shapes
from loopline.publishing.charts import BASELINE, LIMIT, Band, Chart, Mark, Value
from loopline.registry.release import Release
from loopline.response.rules import COOLING, Action

_COLUMNS = 12
"""Columns in the chart of drift over time, the worst ones; the table has all."""
_PAIRS = 9
"""Columns whose two distributions are drawn."""
_LANES = 24
"""Findings in the chart of what was open when, the newest ones."""
_GROUPS = 6


@dataclass(frozen=True)
class Stay:
    """One finding from when it opened to when it passed."""

    finding: Finding
    """As it was told last."""
    opened: str
    closed: str | None


@dataclass(frozen=True)
class Past:
    """Everything the page is made from."""

    contract: Contract
    at: datetime
    histories: tuple[History, ...]
    releases: tuple[Release, ...]
    actions: tuple[Action, ...]
    stays: tuple[Stay, ...]

    @property
    def currency(self) -> str | None:
        """What money is in, where the contract says what errors cost."""
        costs = self.contract.problem.costs
        return None if costs is None else costs.currency

    @property
    def open(self) -> list[Finding]:
        """The findings that are open."""
        return [stay.finding for stay in self.stays if stay.closed is None]


def gather(workspace: Workspace, now: datetime) -> Past:
    """Read what the page shows, as of `now`; changes nothing."""
    contract, project = workspace.contract, workspace.contract.project
    known = labels.read(workspace.tables, project)
    events = workspace.ledger.events(
        kinds=["release.written", "action.taken", *_FINDINGS],
    )
    opened = Findings(workspace.ledger).open()
    until = now.astimezone(UTC).isoformat()
    events = [event for event in events if event.at[:19] <= until[:19]]
    return Past(
        contract=contract,
        at=now,
        histories=tuple(
            history.read(
                contract,
                workspace.database,
                workspace.tables,
                References(workspace.registry),
                known,
                now,
            )
        ),
        releases=tuple(
            msgspec.convert(event.payload, Release)
            for event in events
            if event.kind == "release.written"
        ),
        actions=tuple(
            msgspec.convert(event.payload, Action)
            for event in events
            if event.kind == "action.taken"
        ),
        stays=tuple(
            _acknowledged(opened, stay)
            for stay in _stays(
                [
                    (event.at, msgspec.convert(event.payload, Finding))
                    for event in events
                    if event.kind in _FINDINGS
                ]
            )
        ),
    )


_FINDINGS = ("finding.opened", "finding.updated", "finding.resolved")


def _acknowledged(opened: Mapping[str, Finding], stay: Stay) -> Stay:
    """Return a stay with what somebody said of it."""
    known = opened.get(stay.finding.id)
    if known is None or known.acknowledged is None or stay.closed is not None:
        return stay
    return replace(stay, finding=replace(stay.finding, acknowledged=known.acknowledged))


def _stays(told: Sequence[tuple[str, Finding]]) -> list[Stay]:
    """Return each finding's stay; one that came back has several."""
    done: list[Stay] = []
    here: dict[str, Stay] = {}
    for at, finding in told:
        before = here.get(finding.id)
        opened = at if before is None else before.opened
        if finding.status == RESOLVED:
            if before is not None:
                done.append(Stay(before.finding, before.opened, at))
                del here[finding.id]
        else:
            here[finding.id] = Stay(finding, opened, None)
    return sorted([*done, *here.values()], key=lambda stay: stay.opened)


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
    marks = _marks(past, one.environment)
    span = _span(one)
    parts = (
        Section(
            "Promises over time",
            f"Each point is {span} of predictions, hollow with fewer outcomes than the "
            f"{past.contract.monitor.minimum_labels:,} that a judgement rests on. Red dashes are "
            "the goal; grey ones what the baseline does on the same rows. The band is where the "
            "figure was to be expected before any outcome was known (95 %).",
            tuple(_goals(past, one, marks)),
        ),
        Section("Money", "", tuple(_money(past, one, marks))),
        Section(
            "Drift over time",
            f"The {_COLUMNS} columns that drifted most: how far {span} is from the rows that "
            "its version was trained on, at a time.",
            tuple(_drift(past, one)),
        ),
        Section(
            "Worst drifts now",
            f"Grey: the rows that {past.contract.project}:{one.version} was trained on. Blue: "
            f"{one.rows:,} predictions, {one.window}. Shares of the rows that have a value.",
            tuple(shapes.pair(each) for each in one.pairs[:_PAIRS]),
            "grid",
        ),
        Section("Calibration", "", tuple(_calibration(past, one)), "beside"),
        Section("Fairness", "", tuple(_fairness(past, one, marks)), "pair"),
        Section(
            "Outcomes",
            "Predictions whose outcome is known. Outcomes come late, so the newest are few.",
            tuple(_coverage(one, marks)),
        ),
        Section("Service", "By the time of arrival.", tuple(_service(past, one, marks))),
        Section(
            "Findings",
            "",
            tuple(_findings(past, one)),
        ),
    )
    yield from (part for part in parts if part.charts)


def _span(one: History) -> str:
    if one.hours % 168 == 0:
        return "a week" if one.hours == 168 else f"{one.hours // 168} weeks"
    if one.hours % 24 == 0:
        return "a day" if one.hours == 24 else f"{one.hours // 24} days"
    return "an hour" if one.hours == 1 else f"{one.hours} hours"


def _per(one: History) -> str:
    return _span(one).removeprefix("a ").removeprefix("an ")


def _start(window: Window) -> int:
    return window.first * HOUR // 1000


def _end(window: Window) -> int:
    return window.last * HOUR // 1000


def _middle(window: Window) -> int:
    return (window.first + window.last) * HOUR // 2000


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _name(past: Past, version: int) -> str:
    return f"{past.contract.project}:{version}"


def _marks(past: Past, environment: str) -> list[Mark]:
    """Return the releases here, and what rules did besides releasing."""
    found = []
    for release in past.releases:
        if release.environment != environment:
            continue
        back = release.rolled_back
        label = f"v{release.version}" if back is None else f"back to v{release.version}"
        told = f"{_name(past, release.version)} serves, by {release.by}: {release.why}"
        found.append(Mark(_milliseconds(release.at), label, told))
    for action in past.actions:
        if action.environment != environment or action.kind == "alert":
            continue
        if action.outcome in (COOLING, "done"):  # done ones are releases, which are marked
            continue
        label = f"{action.kind} {action.outcome}"
        found.append(Mark(_milliseconds(action.at), label, action.why))
    return found


def _on(point: Point) -> str:
    known = 0 if point.performance is None else point.performance.labels
    return f"{known:,} outcomes of {point.rows:,} predictions"


def _goals(past: Past, one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    seen = set()
    for goal in past.contract.goals:
        if METRICS[goal.metric].service or goal.metric in seen:
            continue
        seen.add(goal.metric)
        values = list(_goal(past, one, goal))
        bands = list(_expected(past, one, goal))
        if bands and not any(value.series not in (LIMIT, BASELINE) for value in values):
            values = [*_alone(past, one, goal), *values]
        if any(value.series not in (LIMIT, BASELINE) for value in values):
            yield _goal_chart(past, one, goal, values, bands, marks)


def _expected(past: Past, one: History, goal: Goal) -> Iterator[Band]:
    """Yield between which values a goal's figure was to be expected, outcomes known or not."""
    for point in one.points:
        found = None if point.estimated is None else point.estimated.metrics.get(goal.metric)
        if found is not None and point.estimated is not None:
            told = f"{point.estimated.rows:,} predictions, before any outcome"
            name = _name(past, point.version)
            alone = len(one.points) == 1
            ends = (_start(point.window), _end(point.window)) if alone else (_middle(point.window),)
            yield from (Band(at, name, found.low, found.high, told) for at in ends)


def _alone(past: Past, one: History, goal: Goal) -> Iterator[Value]:
    """Yield the estimates themselves, hollow, where no outcome is known at all."""
    for point in one.points:
        found = None if point.estimated is None else point.estimated.metrics.get(goal.metric)
        if found is not None:
            told = f"an estimate on {point.rows:,} predictions"
            name = _name(past, point.version)
            yield Value(_middle(point.window), name, found.value, told, is_firm=False)


def _goal(past: Past, one: History, goal: Goal) -> Iterator[Value]:
    """Yield a goal's points: of each version, of the baseline, and the limit."""
    [(condition, amount)] = goal.conditions.items()
    is_relative = condition.endswith("baseline_by")
    versions, others, limits = [], {}, {}
    for point in one.points:
        found = point.performance
        value = None if found is None else found.metrics.get(goal.metric)
        if found is None or value is None:
            continue
        at = _middle(point.window)
        name = _name(past, point.version)
        versions.append(Value(at, name, value, _on(point), point.is_mature))
        baseline = found.baseline_metrics.get(goal.metric)
        if baseline is not None:
            others[at] = Value(at, BASELINE, baseline, found.baseline or "")
        if not is_relative or baseline is not None:
            limits[at] = Value(at, LIMIT, limit(condition, amount, baseline), "")
    yield from (*versions, *_whole(one, others), *_whole(one, limits))


def _whole(one: History, values: Mapping[int, Value]) -> list[Value]:
    """Return a line's points; of a single one two, for no line goes through one."""
    if len(values) != 1 or not one.points:
        return list(values.values())
    [value] = values.values()
    window = one.points[0].window
    return [replace(value, at=at) for at in (_start(window), _end(window))]


def _goal_chart(
    past: Past,
    one: History,
    goal: Goal,
    values: list[Value],
    bands: list[Band],
    marks: Sequence[Mark],
) -> Chart:
    [(condition, amount)] = goal.conditions.items()
    unit = goal.metric
    if METRICS[goal.metric].needs_costs and past.currency:
        unit = f"{past.currency} per prediction"
    asked = f"{condition.replace('_', ' ')} {amount}"
    rows = tuple(_goal_row(past, point, goal.metric) for point in one.points)
    own = [value for value in values if value.series not in (LIMIT, BASELINE)]
    low, high = min(value.value for value in own), max(value.value for value in own)
    return Chart(
        title=f"{goal.metric}: {asked}",
        alt=f"{goal.metric} over time, between {spell(goal.metric, low, past.currency)} and "
        f"{spell(goal.metric, high, past.currency)}; the goal is {asked}.",
        spec=charts.over_time(values, marks, unit=unit, bands=bands),
        head=("from", "version", goal.metric, "expected", "baseline", "outcomes"),
        rows=rows,
    )


def _goal_row(past: Past, point: Point, metric: str) -> tuple[str, ...]:
    def told(value: float | None) -> str:
        return "" if value is None else spell(metric, value, past.currency)

    found = point.performance
    estimate = None if point.estimated is None else point.estimated.metrics.get(metric)
    expected = "" if estimate is None else f"{told(estimate.low)} to {told(estimate.high)}"
    return (
        f"{point.window.start:%Y-%m-%d %H:%M}",
        _name(past, point.version),
        told(None if found is None else found.metrics.get(metric)),
        expected,
        told(None if found is None else found.baseline_metrics.get(metric)),
        f"{0 if found is None else found.labels:,}",
    )


def _money(past: Past, one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    """What the answers cost, and what that saved against the baseline, in all."""
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
        at = _middle(point.window)
        told = _on(point)
        cost.append(Value(at, "model", own, told))
        cost.append(Value(at, BASELINE, other, found.baseline or ""))
        saved.append(Value(_start(point.window), "saved", other - own, told))
        rows.append(
            (
                f"{point.window.start:%Y-%m-%d %H:%M}",
                _name(past, point.version),
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
        title=f"Saved against the baseline, {currency} per {_per(one)}",
        alt=f"What the model's answers saved over time: {summed} in all.",
        spec=charts.bars_over_time(_by_sign(saved), one.hours, marks, unit=currency),
        head=("from", "version", f"cost, {currency}", f"baseline, {currency}", "saved"),
        rows=tuple(rows),
        note=f"On the predictions whose outcome is known, the answers cost {summed} in all.",
    )


def _by_sign(values: Sequence[Value]) -> list[Value]:
    return [
        Value(one.at, "saved" if one.value >= 0 else "lost", one.value, one.told) for one in values
    ]


def _drift(past: Past, one: History) -> Iterator[Chart]:
    most: dict[str, float] = {}
    for point in one.points:
        for each in point.drift:
            most[each.column] = max(most.get(each.column, 0.0), each.figures["psi"])
    worst = sorted(most, key=lambda name: -most[name])[:_COLUMNS]
    cells: dict[tuple[int, str], float] = {}
    for point in one.points:
        for each in point.drift:
            if each.column in worst:
                key = (_start(point.window), each.column)
                cells[key] = max(cells.get(key, 0.0), each.figures["psi"])
    if not cells:
        return
    ordered = sorted(((at, name, psi) for (at, name), psi in cells.items()),
                     key=lambda cell: (worst.index(cell[1]), cell[0]))  # fmt: skip
    allowed = past.contract.monitor.drift.get("psi", 0.2)
    rows = tuple(
        (
            pair.drift.column,
            pair.drift.kind,
            f"{pair.drift.figures['psi']:.3f}",
            f"{pair.drift.figures['psi_by_chance']:.3f}",
            f"{pair.drift.figures['jensen_shannon']:.3f}",
            f"{pair.drift.figures['ks']:.3f}" if "ks" in pair.drift.figures else "",
            f"{pair.drift.figures['missing_rate']:.2%}",
        )
        for pair in one.pairs
    )
    yield Chart(
        title="Population stability index (PSI)",
        alt=f"Drift of {len(worst)} columns over time; the worst is {worst[0]} with a PSI of "
        f"{most[worst[0]]:.2f}, where {allowed:g} is allowed.",
        spec=charts.heat(ordered, one.hours, allowed, unit="PSI"),
        head=("column", "kind", "PSI", "by chance", "Jensen-Shannon", "KS", "missing"),
        rows=rows,
        note=f"The table has all columns in the newest window, {one.window}.",
    )


def _calibration(past: Past, one: History) -> Iterator[Chart]:
    found = one.performance
    if found is None or not found.calibration:
        return
    is_number = past.contract.problem.task == "regression"
    yield Chart(
        title=f"Predicted and observed, {_name(past, one.performing)}",
        alt="Calibration: "
        + "; ".join(f"{each['predicted']:.2g} predicted, {each['observed']:.2g} observed"
                    for each in found.calibration),
        spec=charts.calibration(found.calibration, is_number=is_number),
        head=("predicted", "observed", "rows"),
        rows=tuple(
            (f"{each['predicted']:.4g}", f"{each['observed']:.4g}", f"{each['rows']:,}")
            for each in found.calibration
        ),
        note=f"{found.labels:,} outcomes, {found.window}. On the dashed line both are equal; above "
        f"it {'outcomes were higher' if is_number else 'more came true'} than predicted.",
    )  # fmt: skip


def _fairness(past: Past, one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
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
                at, told = _middle(point.window), _on(point)
                judged = [each for each in measured["groups"] if each["judged"]]
                groups += [
                    Value(at, str(each["group"]), each["figure"], f"{each['rows']:,} outcomes")
                    for each in sorted(judged, key=lambda each: -each["rows"])[:_GROUPS]
                ]
                if measured[key] is not None:
                    gaps.append(Value(at, key, measured[key], told))
                rows += [
                    (f"{point.window.start:%Y-%m-%d %H:%M}", _name(past, point.version),
                     str(each["group"]), spell(rule.metric, each["figure"], past.currency),
                     f"{each['rows']:,}")
                    for each in judged
                ]  # fmt: skip
        if not groups:
            continue
        what = f"{rule.metric} by {rule.by}"
        yield Chart(
            title=what,
            alt=f"{what} over time, a line for each of "
            f"{', '.join(dict.fromkeys(each.series for each in groups))}.",
            spec=charts.over_time(_continuous(groups), marks, unit=rule.metric, width=charts.HALF),
            head=("from", "version", "group", rule.metric, "outcomes"),
            rows=tuple(rows),
        )
        if gaps:
            bounds = {each.at: Value(each.at, LIMIT, float(needed or 0.0)) for each in gaps}
            gaps += _whole(one, bounds)
            asked = f"{'at least' if key == 'ratio' else 'at most'} {needed:g}"
            worst = (min if key == "ratio" else max)(
                each.value for each in gaps if each.series == key
            )
            what = "least over greatest group" if key == "ratio" else "greatest less least group"
            yield Chart(
                title=f"{what}: {asked}",
                alt=f"{key} of {rule.metric} by {rule.by} over time, at its worst {worst:.3g}; the "
                f"rule is {asked}.",
                spec=charts.over_time(_continuous(gaps), marks, unit=key, width=charts.HALF),
            )


def _continuous(values: Sequence[Value]) -> list[Value]:
    """Return one point a time and series, the later version's: two would make a zigzag."""
    return list({(one.at, one.series): one for one in values}.values())


def _coverage(one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    values, rows = [], []
    total = known = 0
    merged: dict[Window, tuple[int, int]] = {}
    for point in one.points:
        labelled = 0 if point.performance is None else point.performance.labels
        before = merged.get(point.window, (0, 0))
        merged[point.window] = (before[0] + labelled, before[1] + point.rows)
    for window, (labelled, predictions) in merged.items():
        share = f"{labelled / predictions:.0%}" if predictions else ""
        told = f"{labelled:,} of {predictions:,} predictions"
        values.append(Value(_start(window), "outcome known", labelled, told))
        values.append(Value(_start(window), "not yet", predictions - labelled, told))
        rows.append((f"{window.start:%Y-%m-%d %H:%M}", f"{predictions:,}", f"{labelled:,}", share))
        known, total = known + labelled, total + predictions
    if total:
        yield Chart(
            title=f"Predictions per {_per(one)}",
            alt=f"Predictions over time: {total:,}, of which {known:,} have an outcome "
            f"({known / total:.0%}).",
            spec=charts.bars_over_time(values, one.hours, marks, unit="predictions"),
            head=("from", "predictions", "with an outcome", "share"),
            rows=tuple(rows),
        )


def _service(past: Past, one: History, marks: Sequence[Mark]) -> Iterator[Chart]:
    latency: list[Value] = []
    failed: list[Value] = []
    rows = []
    goals = {
        goal.metric: float(next(iter(goal.conditions.values())))
        for goal in past.contract.goals
        if METRICS[goal.metric].service
    }
    for point in one.points:
        found, at = point.service, _middle(point.window)
        if not found.requests:
            continue
        told = f"{found.requests:,} requests"
        latency += [
            Value(at, name, seconds * 1000, told) for name, seconds in found.latency.items()
        ]
        failed.append(Value(at, "failed", found.error_rate, told))
        rows.append(
            (f"{point.window.start:%Y-%m-%d %H:%M}", _name(past, point.version),
             f"{found.requests:,}", f"{found.failed:,}", f"{found.refused:,}",
             *(f"{found.latency[name] * 1000:.3g}" if name in found.latency else ""
               for name in ("p50", "p95", "p99")))
        )  # fmt: skip
    if not rows:
        return
    latency, failed = _continuous(latency), _continuous(failed)
    limits = {name: value for name, value in goals.items() if name.startswith("latency")}
    asked = ""
    for name, seconds in limits.items():
        asked = f"; the goal is {name} at most {seconds * 1000:g} ms"
        bounds = {each.at: Value(each.at, LIMIT, seconds * 1000) for each in latency}
        latency += _whole(one, bounds)
        break  # one red line is a limit, two are a riddle; the table of promises has all
    if latency:
        yield Chart(
            title=f"Latency, ms{asked}",
            alt=f"Latency of requests over time: median, 95th and 99th percentile{asked}.",
            spec=charts.over_time(latency, marks, unit="ms (log scale)", is_log=True),
            head=("from", "version", "requests", "failed", "refused", "p50 ms", "p95 ms", "p99 ms"),
            rows=tuple(rows),
        )
    if any(each.value for each in failed) or "error_rate" in goals:
        if "error_rate" in goals:
            bounds = {each.at: Value(each.at, LIMIT, goals["error_rate"]) for each in failed}
            failed += _whole(one, bounds)
        yield Chart(
            title="Requests that failed",
            alt="Share of requests that failed over time.",
            spec=charts.over_time(failed, marks, unit="share failed", style=".2~%"),
        )


def _findings(past: Past, one: History) -> Iterator[Chart]:
    here = [stay for stay in past.stays if stay.finding.environment == one.environment]
    here = here[-_LANES:]
    if not here:
        return
    first, last = _extent(past, one, here)
    bars, rows = [], []
    for stay in here:
        finding = stay.finding
        what = f"{finding.subject}, v{finding.version}"
        end = last if stay.closed is None else _milliseconds(stay.closed)
        bars.append((_milliseconds(stay.opened), end, what, finding.kind, finding.message))
        rows.append(
            (stay.opened[:16].replace("T", " "),
             "open" if stay.closed is None else stay.closed[:16].replace("T", " "),
             finding.kind, finding.message)
        )  # fmt: skip
    yield Chart(
        title="What was open when",
        alt=f"{len(here)} findings over time, {sum(s.closed is None for s in here)} of them open.",
        spec=charts.spans(bars, first=first, last=last),
        head=("opened", "passed", "kind", "found"),
        rows=tuple(rows),
    )


def _extent(past: Past, one: History, here: Sequence[Stay]) -> tuple[int, int]:
    """Return from when to when findings are shown; a look long after the last prediction would
    squeeze all else to the left.
    """
    opened = [_milliseconds(stay.opened) for stay in here]
    told = [*opened, *(_milliseconds(stay.closed) for stay in here if stay.closed)]
    if not one.points:
        return min(opened), max(told)
    end = _start(one.points[-1].window) + one.hours * 3_600_000
    first, now = min(_start(one.points[0].window), *opened), int(past.at.timestamp() * 1000)
    last = max(*told, min(now, end), first + 1)
    return first, last + (last - first) // 40  # so that what opened just now is seen


def promises(past: Past, one: History) -> list[dict[str, Any]]:
    """Return a row per goal and fairness rule: what was promised, what is, on what."""
    rows = []
    for finding in one.judged:
        is_money = finding.metric == "cost_per_prediction"
        currency = past.currency if is_money else None
        on = f"{finding.labels:,} outcomes" if finding.labels is not None else (
            f"{finding.rows:,} requests"
        )  # fmt: skip
        rows.append(
            {
                "what": finding.subject,
                "holds": finding.status == RESOLVED,
                "value": _figure(finding, finding.value, currency),
                "limit": _figure(finding, finding.limit, currency),
                "version": _name(past, finding.version),
                "on": on,
                "from": finding.window[0][:10],
                "to": finding.window[1][:10],
                "told": finding.message,
            }
        )
    judged = {finding.subject for finding in one.judged}
    wanted = [goal.metric for goal in past.contract.goals]
    wanted += [f"{rule.metric} by {rule.by}" for rule in past.contract.fairness]
    rows += [
        {"what": name, "holds": None, "value": "", "limit": "", "version": "", "on": "",
         "from": "", "to": "", "told": _lacking(past, one, name)}
        for name in dict.fromkeys(wanted)
        if name not in judged
    ]  # fmt: skip
    return rows


def _lacking(past: Past, one: History, name: str) -> str:
    """Return what a promise still lacks to be judged."""
    monitor = past.contract.monitor
    if name in METRICS and METRICS[name].service:
        return f"{one.service.requests:,} requests, and a judgement needs {monitor.minimum_rows:,}"
    return f"Not judged yet: it needs {monitor.minimum_labels:,} outcomes of one window"


def _figure(finding: Finding, value: float, currency: str | None) -> str:
    # A fairness finding's figure is a ratio or a difference of its metric.
    return f"{value:.3g}" if finding.kind == "fairness" else spell(finding.metric, value, currency)
