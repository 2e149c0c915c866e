"""One finding per cause: columns that drift together from one hour on are one.

A cause is named after the column that led it when it was opened, and keeps that name while any of
its columns drifts. What a cause is made of (since when, which release or snapshot coincides, which
part of the data) is found once, when a column joins it: an estimate that moved from look to look
would explain nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from loopline.monitoring.findings import OPEN, RESOLVED, Finding
from loopline.monitoring.onset import Onset
from loopline.monitoring.windows import HOUR, moment
from loopline.store.ledger import Event, iso

_NOTICED = 0.005
"""The least share of what the model relies on that is told."""
TOGETHER = 6
"""Hours apart that two onsets may be and still be one cause."""
BEFORE, AFTER = timedelta(hours=24), timedelta(hours=2)
"""How long before an onset, or after, something coincides with it: traffic follows a release."""
COINCIDING = ("release.written", "snapshot.frozen", "promotion.approved")


@dataclass(frozen=True)
class Seen:
    """What explains one column's drift."""

    onset: Onset | None
    slices: tuple[dict[str, Any], ...] = ()
    """Parts of the data that hold most of the change: `column`, `value`, `share` of it."""


@dataclass(frozen=True)
class Context:
    """What causes are explained by."""

    known: Mapping[str, Finding]
    """Open findings by id."""
    explain: Callable[[str], Seen]
    """Explains the drift of a column; asked once a column."""
    importances: Mapping[str, float] = field(default_factory=dict)
    events: Iterable[Event] = ()
    """What may coincide: releases and snapshots."""
    money: str = ""
    """What the drift is estimated to cost, in words; empty where that is not known."""


def gather(judged: list[Finding], context: Context) -> list[Finding]:
    """Return the judgements of columns as judgements of causes."""
    if not judged:
        return []
    first = judged[0]
    place = (first.project, first.environment, first.version)
    causes = {
        one.id: one
        for one in context.known.values()
        if one.kind == "drift" and (one.project, one.environment, one.version) == place
    }
    by_column = {one.subject: one for one in judged}
    member = {column: one.id for one in causes.values() for column in _columns(one)}
    members: dict[str, list[Finding]] = {key: [] for key in causes}
    fresh: dict[str, Seen] = {}
    since = {one.id: one.since for one in causes.values()}
    drifted = [one for one in judged if one.status == OPEN]
    for one in sorted(drifted, key=lambda each: -_weight(each, context.importances)):
        if one.subject not in member:
            fresh[one.subject] = seen = context.explain(one.subject)
            key = _joins(seen, since, members) or one.id
            member[one.subject] = key
            members.setdefault(key, [])
            since.setdefault(key, _since(seen))
        members[member[one.subject]].append(one)
    found = [
        _cause(key, columns, causes.get(key), fresh, context)
        for key, columns in members.items()
        if columns
    ]
    found += [
        _resolved(one, by_column)
        for one in causes.values()
        if not members[one.id] and all(column in by_column for column in _columns(one))
    ]
    held = {column for one in causes.values() for column in _columns(one)}
    found += [one for one in judged if one.status == RESOLVED and one.subject not in held]
    return found


def _columns(finding: Finding) -> tuple[str, ...]:
    return finding.columns or (finding.subject,)


def _since(seen: Seen) -> str | None:
    return None if seen.onset is None else iso(moment(seen.onset.hour * HOUR))


def _joins(
    seen: Seen, since: Mapping[str, str | None], members: Mapping[str, list[Finding]]
) -> str | None:
    """Return the cause that began when this did."""
    if seen.onset is None:
        return None
    own = moment(seen.onset.hour * HOUR)
    for key in members:
        other = since.get(key)
        if other is not None and abs(datetime.fromisoformat(other) - own) <= timedelta(
            hours=TOGETHER
        ):
            return key
    return None


def _weight(one: Finding, importances: Mapping[str, float]) -> float:
    """Drift times what the model makes of the column; any input counts a little."""
    excess = one.value / one.limit if one.limit > 0 else one.value
    return excess * (importances.get(one.subject, 0.0) + 0.01)


def _cause(
    key: str,
    columns: list[Finding],
    before: Finding | None,
    fresh: Mapping[str, Seen],
    context: Context,
) -> Finding:
    if before is not None:  # those it had stay in front
        had = _columns(before)
        columns = sorted(
            columns, key=lambda one: had.index(one.subject) if one.subject in had else len(had)
        )
    names = tuple(one.subject for one in columns)
    known = {} if before is None else before.evidence
    subject = names[0] if before is None else before.subject
    lead = next((one for one in columns if one.subject == subject), columns[0])
    seen = fresh.get(lead.subject)
    since = before.since if before is not None else None if seen is None else _since(seen)
    is_older = known.get("is_older", bool(seen and seen.onset and seen.onset.is_older))
    coincides = known.get("coincides")
    if coincides is None:
        coincides = [] if since is None or is_older else _coinciding(since, lead, context.events)
    slices = known.get("slices")
    if slices is None:
        slices = [] if seen is None else list(seen.slices)
    drivers: list[dict[str, Any]] = [
        {
            "column": one.subject,
            "metric": one.metric,
            "value": one.value,
            "limit": one.limit,
            "importance": context.importances.get(one.subject),
        }
        for one in columns
    ]
    told = [one.message for one in columns] if len(columns) == 1 else [_together(lead, columns)]
    if since is not None:
        when = f"{since[:16].replace('T', ' ')} UTC"
        told.append(f"Since {when} or before." if is_older else f"Since {when}.")
    told += [f"It coincides with {text}." for text in coincides]
    if slices:
        where = ", ".join(f"{each['column']} {each['value']}" for each in slices)
        told.append(f"{sum(each['share'] for each in slices):.0%} of it lies in {where}.")
    relied = [one for one in drivers if (one["importance"] or 0.0) >= _NOTICED]
    if relied:
        parts = ", ".join(f"{one['column']} {one['importance']:.0%}" for one in relied[:5])
        told.append(f"Of what the model relies on: {parts}.")
    told += [context.money] if context.money else []
    return replace(
        lead,
        id=key,
        subject=subject,
        columns=names,
        since=since,
        message=" ".join(told),
        evidence={
            **lead.evidence,
            "columns": {one.subject: one.evidence for one in columns},
            "drivers": drivers,
            "coincides": coincides,
            "slices": slices,
            "is_older": is_older,
        },
    )


def _together(lead: Finding, columns: list[Finding]) -> str:
    name = f"{lead.project}:{lead.version} in {lead.environment}"
    told = ", ".join(f"{one.subject} ({one.metric} {one.value:.3g})" for one in columns)
    start, end = (text[:16].replace("T", " ") for text in lead.window)
    return (
        f"{len(columns)} columns of {name} have drifted together on {lead.rows:,} predictions, "
        f"{start} to {end}: {told}."
    )


def _coinciding(since: str, lead: Finding, events: Iterable[Event]) -> list[str]:
    """Return which releases and snapshots lie near an onset, the nearest first."""
    onset = datetime.fromisoformat(since).astimezone(UTC)
    found = []
    for event in events:
        at = datetime.fromisoformat(event.at)
        if not -BEFORE <= at - onset <= AFTER:
            continue
        if event.kind == "release.written":
            if event.payload.get("environment") != lead.environment:
                continue
            versions = ", ".join(
                f"{lead.project}:{one['version']}" for one in event.payload["serves"]
            )
            text = f"release {event.payload['number']} ({versions})"
        else:
            text = f"{event.kind} {event.subject}"
        found.append((abs(at - onset), f"{text} of {at:%Y-%m-%d %H:%M} UTC"))
    return [text for _, text in sorted(found)]


def _resolved(cause: Finding, judged: Mapping[str, Finding]) -> Finding:
    now = judged[cause.subject] if cause.subject in judged else judged[_columns(cause)[0]]
    return replace(
        now,
        id=cause.id,
        subject=cause.subject,
        columns=cause.columns,
        since=cause.since,
        evidence={**cause.evidence, "figures": now.evidence.get("figures", {})},
        found_at=cause.found_at,
    )
