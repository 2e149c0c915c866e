"""The watch report as one HTML page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loopline.monitoring.findings import Finding, spell
from loopline.monitoring.history import History
from loopline.publishing import page
from loopline.publishing.watching import headline, quality
from loopline.publishing.watching.past import Past
from loopline.publishing.watching.promises import promises
from loopline.publishing.watching.sections import sections
from loopline.registry.release import Release
from loopline.response.rules import COOLING
from loopline.store.ledger import iso

_MISSED = ("goal", "fairness", "service")
"""Findings that are a missed promise."""
_TONES = {True: "passed", False: "failed", None: "note"}
_ACTIONS = 200
"""Rows of what was done, the newest; the ledger has all."""


def write(past: Past, status: Mapping[str, Any], file: Path) -> Path:
    """Write the page to `file`, and return where that is; `status` is where the loop stands.

    Raises:
        StoreError: it cannot be written there.
    """
    return page.write(html(past, status), file)


def html(past: Past, status: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = {one.environment: list(sections(past, one)) for one in past.histories}
    places = [
        {
            "name": one.environment,
            "told": _told(past, one),
            "notes": one.notes,
            "promises": [_promise(row) for row in promises(past, one)],
            "tones": [_TONES[row["holds"]] for row in promises(past, one)],
            "sections": parts[one.environment],
        }
        for one in past.histories
    ]
    return page.html(
        "watching/page.html",
        [chart for each in parts.values() for part in each for chart in part.charts],
        contract=past.contract,
        at=iso(past.at)[:16].replace("T", " "),
        headline=headline.lines(past, status),
        open=sorted(past.open, key=lambda one: one.kind not in _MISSED),
        missed=_MISSED,
        environments=_environments(past),
        facts=_facts(status),
        places=places,
        quality=quality.table(past),
        past_notes=past.notes,
        actions=_actions(past),
        evidence=_evidence,
    )


def _told(past: Past, one: History) -> str:
    if not one.points:
        return "No predictions yet."
    first, last = one.points[0].window.start, one.points[-1].window.end
    total = sum(point.rows for point in one.points)
    versions = ", ".join(str(version) for version in one.versions)
    return (
        f"{total:,} predictions of version{'s' if len(one.versions) > 1 else ''} {versions}, "
        f"{first:%Y-%m-%d} to {last:%Y-%m-%d}. Figures of now are those of "
        f"{past.name(one.version)}, which answered last."
    )


def _environments(past: Past) -> list[tuple[str, ...]]:
    newest: dict[str, Release] = {release.environment: release for release in past.releases}
    rows: list[tuple[str, ...]] = []
    gone = sorted(set(newest) - set(past.contract.environments))
    for name in (*past.contract.environments, *gone):
        release = newest.get(name)
        found = str(sum(one.environment == name for one in past.open))
        serves = ("nothing", "", "", "") if release is None else (
            ", ".join(_served(release)), _minute(release.at), release.by, release.why
        )  # fmt: skip
        rows.append((name, *serves, found))
    return rows


def _promise(row: Mapping[str, Any]) -> tuple[str, ...]:
    state = {True: "✓ holds", False: "✗ missed", None: "not judged"}[row["holds"]]
    on = f"{row['on']}, {row['from']} to {row['to']}" if row["on"] else row["told"]
    return (state, row["what"], row["value"], row["limit"], row["version"], on)


def _minute(at: str) -> str:
    return at[:16].replace("T", " ")


def _served(release: Release) -> list[str]:
    alone = len(release.serves) == 1
    return [
        f"{release.project}:{one.version}"
        + ("" if alone else " as shadow" if one.shadow else f" ({one.share:.0%})")
        for one in release.serves
    ]


def _facts(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if snapshot := status.get("snapshot"):
        facts.append(
            ("Data", f"{snapshot['id']}: {snapshot['rows']:,} rows from {snapshot['source']}")
        )
    if newest := status.get("newest"):
        gate = "passed its gate" if newest["gate_passed"] else "did not pass its gate"
        name = f"{newest['project']}:{newest['number']}"
        facts.append(("Versions", f"{status['versions']}; the newest is {name}, which {gate}"))
    facts += [
        ("Waiting", f"version {request['version']} for approval in {request['environment']}")
        for request in status.get("waiting", ())
    ]
    if last := status.get("last_action"):
        facts.append(("Last action", f"{last['kind']}, {last['outcome']}: {last['why']}"))
    return facts


_TOLD = {
    "jensen_shannon": "Jensen-Shannon", "ks": "KS", "missing_rate": "missing",
    "reference_missing_rate": "missing in the reference", "new_category_rate": "new values",
    "roc_auc": "ROC AUC", "log_loss": "log loss", "calibration_error": "calibration error",
    "recall": "recall", "precision": "precision", "mae": "MAE", "rmse": "RMSE",
    "error_rate": "failed", "latency_p50": "median latency", "latency_p99": "p99 latency",
}  # fmt: skip
"""What of a finding's evidence is told beside its sentence, and in which words."""


def _evidence(finding: Finding) -> str:
    """Return what else a finding rests on, in a line."""
    found = finding.evidence.get("figures") or finding.evidence.get("metrics") or {}
    return ", ".join(
        f"{word} {spell(name, found[name])}"
        for name, word in _TOLD.items()
        if name in found and name != finding.metric
    )


def _actions(past: Past) -> list[tuple[str, ...]]:
    """Return releases and what rules did, the newest first."""
    rows: list[tuple[str, ...]] = [
        (
            _minute(release.at),
            release.environment,
            "release" if release.rolled_back is None else "rollback",
            f"{', '.join(_served(release))} by {release.by}",
            release.why,
        )
        for release in past.releases
    ]
    rows += [
        (_minute(action.at), action.environment, action.kind, action.outcome, action.why)
        for action in past.actions
        if action.outcome != COOLING
    ]
    return sorted(rows, key=lambda row: row[0], reverse=True)[:_ACTIONS]
