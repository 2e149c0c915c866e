"""Where a project's loop stands, and what is next: read from the ledger, changed by nothing."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from loopline.monitoring.findings import Findings
from loopline.monitoring.held import Estimates
from loopline.pipeline.workspace import Workspace
from loopline.registry import rollout
from loopline.registry.versions import State
from loopline.store.ledger import Ledger, iso


def status(workspace: Workspace, now: datetime) -> dict[str, Any]:
    """Return what is known of each stage, and the commands that make sense now."""
    ledger = workspace.ledger
    state = workspace.registry.state()
    snapshots = ledger.events(kinds=["snapshot.frozen"])
    findings = list(Findings(ledger).open().values())
    actions = ledger.events(kinds=["action.taken"])
    versions = [state.version(number) for number in sorted(state.versions)]
    newest = versions[-1] if versions else None
    return {
        "project": workspace.contract.project,
        "at": iso(now),
        "snapshot": snapshots[-1].payload if snapshots else None,
        "versions": len(versions),
        "newest": None if newest is None else msgspec.to_builtins(newest),
        "serving": {name: state.serving(name) for name in workspace.contract.environments},
        "waiting": [msgspec.to_builtins(request) for request in state.requests.values()],
        "rollouts": _rollouts(workspace, state, now),
        "findings": [finding.message for finding in findings],
        "estimates": _estimates(ledger, state, workspace.contract.environments),
        "last_action": actions[-1].payload if actions else None,
        "next": list(_next(workspace, state, has_findings=bool(findings))),
    }


def _coming(state: State, environment: str) -> list[int]:
    """Return the versions that answer most in an environment, or are on their way to."""
    history = state.releases.get(environment)
    if not history:
        return []
    going = rollout.going(history[-1])
    return [history[-1].version, *([] if going is None else [going.version])]


def _rollouts(workspace: Workspace, state: State, now: datetime) -> list[dict[str, Any]]:
    """Return where the rollouts are that go on; reads the log's tables only where there is one."""
    going = [name for name, history in state.releases.items() if rollout.going(history[-1])]
    if not going:
        return []
    from loopline.response.rollout import progress

    contract, tables = workspace.contract, workspace.tables
    found = [progress(contract, tables, workspace.database, state, name, now) for name in going]
    return [{**msgspec.to_builtins(one), "told": one.told} for one in found if one is not None]


def _estimates(ledger: Ledger, state: State, environments: Iterable[str]) -> list[dict[str, Any]]:
    """Return how well the estimates of what serves held, where outcomes came."""
    estimates = Estimates(ledger)
    found = []
    for environment in environments:
        number = state.serving(environment)
        held = None if number is None else estimates.held(environment, number)
        if held is not None:
            found.append({"environment": environment, **msgspec.to_builtins(held)})
    return found


def _next(workspace: Workspace, state: State, *, has_findings: bool) -> Iterator[str]:
    if not state.versions:
        yield "loopline check    look at contract, data and code"
        yield "loopline run      train, prove and register a first version"
        return
    newest = state.version(max(state.versions))
    for request in state.requests.values():
        yield (
            f"loopline model approve {newest.project}:{request.version}    "
            f"it waits for {request.environment}; not for {request.by}"
        )
    if not newest.gate_passed:
        yield f"loopline model show {newest.name}    why its gate failed"
    else:
        ahead = [
            name
            for name in workspace.contract.environments
            if name != "dev" and newest.number not in _coming(state, name)
        ]
        if ahead:
            yield f"loopline model promote {newest.name} --to {ahead[0]}"
    if has_findings:
        yield "loopline watch --once    the findings in full, with their figures"
    yield "loopline up       serve and watch"
