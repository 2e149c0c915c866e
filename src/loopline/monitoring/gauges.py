"""What the watcher saw last, as Prometheus reads it: promises, drift, findings, outcomes, the log.

Only what was judged has a gauge: a goal that lacks outcomes is absent, not zero, so that an alert
on it does not fire for want of them. Series do not come and go with the order of the columns: all
of a version's stand here, and of very many those that have drifted and the worst besides.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from loopline.monitoring.drift import Drift
from loopline.monitoring.findings import OPEN, Finding
from loopline.monitoring.fold import Waiting
from loopline.monitoring.survey import Watched
from loopline.serving.metrics import Family, Labels, Sample, render

COLUMNS = 100
"""Of each version at most: more would be a series for every column ever logged."""
_PROMISES = ("goal", "service", "fairness")
_KINDS = (
    "drift", "correlation", "multivariate", "goal", "service", "fairness", "log", "release",
    "importance", "quality",
)  # fmt: skip


def exposition(
    project: str,
    watched: Sequence[Watched],
    judged: Sequence[Finding],
    findings: Sequence[Finding],
    waiting: Waiting,
    at: float,
) -> bytes:
    """Return the gauges of one look in Prometheus' text format.

    Args:
        project: its name, the first label of each.
        watched: what was seen of each version where it serves.
        judged: each promise that could be judged, kept or not.
        findings: those open.
        waiting: what of the log is not folded.
        at: when the look was, in seconds since 1970.
    """
    own: Labels = (("project", project),)
    promises = [one for one in judged if one.kind in _PROMISES]
    families = [
        _gauge(
            "goal_value",
            "The figure that a goal or fairness rule is judged by, in its own unit; seconds.",
            {_promise(one): one.value for one in promises},
        ),
        _gauge(
            "goal_limit",
            "What that figure must keep to, now: a goal against the baseline moves with it.",
            {_promise(one): one.limit for one in promises},
        ),
        _gauge(
            "goal_met",
            "1 where it does, 0 where it does not.",
            {_promise(one): float(one.status != OPEN) for one in promises},
        ),
        _gauge(
            "estimated",
            "What a metric is to be expected to come to, before outcomes are known.",
            {
                (*_place(own, one), ("metric", name)): estimate.value
                for one in watched
                if one.estimation is not None
                for name, estimate in one.estimation.metrics.items()
                if name not in one.estimation.withdrawn
            },
        ),
        _gauge(
            "drift_psi",
            "Population stability index of each column against its reference.",
            {
                _column(own, one, each): each.figures["psi"]
                for one, each in _shown(watched, findings)
            },
        ),
        _gauge(
            "drift_psi_worst",
            "The largest of them, of inputs and of outputs.",
            _worst(own, watched),
        ),
        _gauge(
            "drifted",
            "1 for each of these columns that has drifted beyond its limits and chance.",
            {
                _column(own, one, each): float(_is_open(findings, one, each.column))
                for one, each in _shown(watched, findings)
            },
        ),
        _gauge(
            "findings_open",
            "Findings that are open, by kind.",
            _findings(own, watched, findings),
        ),
        _gauge(
            "labels_coverage",
            "Share of predictions whose outcome is known, where goals are judged.",
            {
                _place(own, one): one.performance.coverage
                for one in watched
                if one.performance is not None
            },
        ),
        _gauge(
            "window_predictions",
            "Predictions in the newest window, by the time of their event.",
            {_place(own, one): float(one.rows) for one in watched},
        ),
        _gauge("log_waiting_bytes", "Log that is not folded yet.", {own: float(waiting.size)}),
        _gauge(
            "log_waiting_seconds",
            "Age of the oldest segment with something that is not folded yet.",
            {own: max(0.0, at - waiting.since) if waiting.since is not None else 0.0},
        ),
        _gauge("watch_timestamp_seconds", "When the watcher looked last, since 1970.", {own: at}),
    ]
    return render(family for family in families if family.samples)


def _place(own: Labels, one: Watched) -> Labels:
    return (*own, ("environment", one.environment), ("version", str(one.version)))


def _promise(one: Finding) -> Labels:
    return (
        ("project", one.project),
        ("environment", one.environment),
        ("version", str(one.version)),
        ("kind", one.kind),
        ("goal", one.subject),
    )


def _column(own: Labels, one: Watched, each: Drift) -> Labels:
    return (*_place(own, one), ("kind", each.kind), ("column", each.column))


def _shown(watched: Iterable[Watched], findings: Sequence[Finding]) -> list[tuple[Watched, Drift]]:
    """Return the columns that have a series: what an alert is about is among them while it is."""
    found = []
    for one in watched:
        ranked = sorted(
            one.drift,
            key=lambda each, one=one: not _is_open(findings, one, each.column),  # type: ignore[misc]
        )
        found += [(one, each) for each in ranked[:COLUMNS]]
    return found


def _worst(own: Labels, watched: Iterable[Watched]) -> dict[Labels, float]:
    worst: dict[Labels, float] = {}
    for one in watched:
        for each in one.drift:
            place = (*_place(own, one), ("kind", each.kind))
            worst[place] = max(each.figures["psi"], worst.get(place, 0.0))
    return worst


def _is_open(findings: Iterable[Finding], one: Watched, column: str) -> bool:
    place = ("drift", one.environment, one.version)
    return any(
        (found.kind, found.environment, found.version) == place
        and column in (found.subject, *found.columns)
        for found in findings
    )


def _findings(
    own: Labels, watched: Iterable[Watched], findings: Iterable[Finding]
) -> dict[Labels, float]:
    """Return how many are open; 0 where there are none, so that an alert can end."""
    counted = Counter((one.environment, one.kind) for one in findings)
    environments = {one.environment for one in watched} | {place for place, _ in counted}
    kinds = dict.fromkeys([*_KINDS, *(kind for _, kind in counted)])
    return {
        (*own, ("environment", environment), ("kind", kind)): float(counted[environment, kind])
        for environment in sorted(environments)
        for kind in kinds
    }


def _gauge(name: str, text: str, samples: Mapping[Labels, float]) -> Family:
    found = [Sample(value, labels) for labels, value in samples.items() if math.isfinite(value)]
    return Family(f"loopline_{name}", "gauge", text, found)
