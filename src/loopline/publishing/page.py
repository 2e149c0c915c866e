"""The watch report as one HTML page: self-contained, offline, under two megabytes.

Vega's JavaScript stands in the page, as vl-convert bundles it, and the page's policy names its
hash: no other script runs, nothing is fetched, and no text is ever read as code, for Vega evaluates
its expressions itself. Every name is escaped by the template; what the charts show is JSON in a
block that no browser runs.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from loopline import __version__
from loopline.errors import StoreError
from loopline.evaluation.page import template
from loopline.monitoring.findings import Finding, spell
from loopline.monitoring.history import History
from loopline.publishing import watching
from loopline.publishing.charts import vega_lite
from loopline.publishing.watching import Past
from loopline.registry.release import Release
from loopline.response.rules import COOLING
from loopline.store.ledger import iso

_ACTIONS = 200
"""Rows of what was done, the newest; the ledger has all."""


def write(past: Past, status: Mapping[str, Any], file: Path) -> Path:
    """Write the page to `file`, and return where that is; `status` is where the loop stands.

    Raises:
        StoreError: it cannot be written there.
    """
    content = html(past, status)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"The page cannot be written to {file}: {error.strerror}.") from error
    return file


def html(past: Past, status: Mapping[str, Any]) -> str:
    """Return the page."""
    style, script = _style(), _script()
    parts = {one.environment: list(watching.sections(past, one)) for one in past.histories}
    drawn = [chart for each in parts.values() for part in each for chart in part.charts]
    numbers = {id(chart): number for number, chart in enumerate(drawn)}
    places = [
        {
            "name": one.environment,
            "told": _told(past, one),
            "notes": one.notes,
            "promises": watching.promises(past, one),
            "sections": parts[one.environment],
        }
        for one in past.histories
    ]
    return template("loopline.publishing", "watching.html").render(
        contract=past.contract,
        at=iso(past.at)[:16].replace("T", " "),
        open=past.open,
        environments=_environments(past),
        facts=_facts(status),
        places=places,
        actions=_actions(past),
        evidence=_evidence,
        number=lambda chart: numbers[id(chart)],
        specs=embedded([chart.spec for chart in drawn]),
        style=style,
        script=script,
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'",
        version=__version__,
    )


def embedded(content: Any) -> str:
    """Return JSON that may stand in a page: no sign in it can end the block it is in."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _told(past: Past, one: History) -> str:
    if not one.points:
        return "No predictions yet."
    first, last = one.points[0].window.start, one.points[-1].window.end
    total = sum(point.rows for point in one.points)
    versions = ", ".join(str(version) for version in one.versions)
    return (
        f"{total:,} predictions of version{'s' if len(one.versions) > 1 else ''} {versions}, "
        f"{first:%Y-%m-%d} to {last:%Y-%m-%d}. Figures of now are those of "
        f"{past.contract.project}:{one.version}, which answered last."
    )


def _environments(past: Past) -> list[dict[str, Any]]:
    newest: dict[str, Release] = {release.environment: release for release in past.releases}
    rows = []
    for name in [*past.contract.environments, *(set(newest) - set(past.contract.environments))]:
        release = newest.get(name)
        row = {"environment": name, "serves": "nothing", "since": "", "by": "", "why": ""}
        if release is not None:
            row |= {
                "serves": ", ".join(_served(release)),
                "since": release.at[:16].replace("T", " "),
                "by": release.by,
                "why": release.why,
            }
        rows.append({**row, "open": sum(one.environment == name for one in past.open)})
    return rows


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


def _actions(past: Past) -> list[dict[str, str]]:
    """Return releases and what rules did, the newest first."""
    rows = [
        {
            "at": release.at[:16].replace("T", " "),
            "where": release.environment,
            "what": "release" if release.rolled_back is None else "rollback",
            "outcome": f"{', '.join(_served(release))} by {release.by}",
            "why": release.why,
        }
        for release in past.releases
    ]
    rows += [
        {
            "at": action.at[:16].replace("T", " "),
            "where": action.environment,
            "what": action.kind,
            "outcome": action.outcome,
            "why": action.why,
        }
        for action in past.actions
        if action.outcome != COOLING
    ]
    return sorted(rows, key=lambda row: row["at"], reverse=True)[:_ACTIONS]


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _style() -> str:
    from importlib.resources import files

    return (files("loopline.publishing") / "watching.css").read_text(encoding="utf-8")


@cache
def _script() -> str:
    """Return Vega and what draws with it, as one script."""
    from importlib.resources import files

    import vl_convert

    own = (files("loopline.publishing") / "watching.js").read_text(encoding="utf-8")
    bundle: str = vl_convert.javascript_bundle(own, vl_version=vega_lite())
    return bundle.replace("</script", "<\\/script")
