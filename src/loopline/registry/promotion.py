"""Promote, approve, roll back, retire: who may, and what follows.

Every decision is taken inside the ledger's write transaction (`switch.py`), so of two at once the
second sees what the first did. All can be repeated safely after a process was killed.
"""

import re
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from loopline.contract.schema import Contract
from loopline.errors import BundleRefusedError, MoveRefusedError
from loopline.registry import lifecycle, release, rollout, shares
from loopline.registry.release import WHOLE, Part, Release, Rollout
from loopline.registry.shares import Serves
from loopline.registry.switch import Draft, settle, switch
from loopline.registry.versions import ModelVersion, Registry, Request, State
from loopline.store.ledger import iso

_ARM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Callers read it in a header."""


def release_to_dev(
    registry: Registry, name: str | int, *, by: str, why: str, now: datetime
) -> Release:
    """Have dev serve a version, whether or not its gate passed."""

    def decide(state: State, _connection: Connection) -> Draft | Release:
        version = registry.find(name, state)
        _check_fit(state, version, "dev")
        serves = shares.placed((), version)
        return _present(registry, state, serves, None, "dev") or Draft(serves, by, why)

    released = switch(registry, "dev", decide, now)
    assert isinstance(released, Release)  # noqa: S101 - dev asks for no approval here
    return released


def promote(  # noqa: PLR0913 - who, what, where, why and when, by name
    registry: Registry,
    name: str | int,
    to: str,
    *,
    by: str,
    why: str = "",
    now: datetime,
    contract: Contract,
    part: Part = WHOLE,
) -> Release | Request:
    """Have environment `to` serve a version, or ask for the approvals that the contract wants.

    With `part` it gets a share of the callers beside what answers there, or none as a shadow,
    which needs no approval. Where the contract has a rollout, everybody is the last of its steps,
    and this is the first. Safe to repeat: what serves or waits already is returned as it is.

    Raises:
        UnknownVersionError, MoveRefusedError: there is no such version, or no such move.
        GateFailedError: `to` is beyond dev, and the version did not pass; lists the reasons.
        BrokenLedgerError: the ledger was changed, so nobody knows what was approved.
    """
    registry.ledger.verify()  # 40 µs an event: nothing beside what follows from a false one

    if part.arm and not _ARM.fullmatch(part.arm):
        raise MoveRefusedError(
            f"{part.arm!r} is no arm of a test: at most 63 letters, digits and . _ -, such as bold."
        )

    def decide(state: State, connection: Connection) -> Draft | Release | Request:
        version = registry.find(name, state)
        lifecycle.check_move(version.name, to, contract.environments)
        _check_fit(state, version, to)
        history = state.releases.get(to)
        last = history[-1] if history else None
        steps = contract.environments[to].rollout
        given, taken = rollout.begun(last, version.number, part, steps)
        serves = shares.placed(last.serves if last else (), version, given)
        if (present := _present(registry, state, serves, taken, to)) is not None:
            return present
        if (because := state.rolled_back(to).get(version.number)) is not None:
            lifecycle.check_return(version.name, to, because=because, why=why)
        needed = contract.environments[to].approvals
        if needed == 0 or part.shadow:
            return Draft(serves, by, why, rollout=taken)
        request = state.requests.get((to, version.number))
        if request is None or request.part != part:
            request = Request(version.number, to, needed, by, why, iso(now), part=part)
            registry.ledger.append(
                "promotion.requested",
                version.name,
                request,
                now=now,
                actor=by,
                connection=connection,
            )
        return _approved(Draft(serves, by, why, rollout=taken), request, needed)

    return switch(registry, to, decide, now)


def approve(
    registry: Registry,
    name: str | int,
    *,
    by: str,
    now: datetime,
    contract: Contract,
    environment: str | None = None,
) -> Release | Request:
    """Approve a promotion that waits; the last approval needed releases the version.

    Raises:
        MoveRefusedError: nothing waits, or `by` asked for it or made the version.
    """
    settled = settle(registry)
    with registry.ledger.database.begin() as connection:
        state = registry.state(connection)
        version = registry.find(name, state)
        for released in settled:
            answers = any(served.version == version.number for served in released.serves)
            if answers and environment in (None, released.environment):
                return released  # the last approval was cut short, and is complete now
        request = _waiting(state, version, environment)
        _check_approver(version, request, by)
        if by not in request.approved_by:
            registry.ledger.append(
                "promotion.approved",
                version.name,
                {"version": version.number, "environment": request.environment},
                now=now,
                actor=by,
                connection=connection,
            )
    # The approval is kept whatever happens now; killed here, either side's next call goes on.
    return promote(
        registry,
        version.number,
        request.environment,
        by=request.by,
        why=request.why,
        now=now,
        contract=contract,
        part=request.part,
    )


def rollback(
    registry: Registry,
    environment: str,
    *,
    by: str,
    why: str,
    now: datetime,
    bad: int | None = None,
) -> Release:
    """Take out what `environment` got last, or the version `bad`. No approval is needed.

    The others that answer there get its callers. Where there is none, the last different version it
    served that was neither taken out for being bad nor retired. Those whose bundle is damaged are
    passed over, and the release says so. With `bad`, only if that version still serves there: one
    found bad by two observers is rolled back once.

    Raises:
        MoveRefusedError: nothing serves there, nothing good came before, or no reason is given.
        BundleRefusedError: what came before is damaged.
    """
    if not why:
        raise MoveRefusedError("A rollback needs a reason: --why '...'")
    for settled in settle(registry, environment):
        if settled.rolled_back is not None and bad in (None, settled.rolled_back):
            return settled  # an earlier call was cut short, and is complete now

    def decide(state: State, _connection: Connection) -> Draft | Release:
        history = state.releases.get(environment)
        if history is None:
            raise MoveRefusedError(f"{environment} serves nothing, so there is nothing to undo.")
        last, project = history[-1], registry.project
        if bad is not None and all(served.version != bad for served in last.serves):
            if last.rolled_back == bad:
                return last
            raise MoveRefusedError(
                f"{environment} no longer serves {project}:{bad}, but "
                f"{shares.told(project, last.serves)}. Look again before rolling back."
            )
        out = shares.newest([one.serves for one in history]) if bad is None else bad
        rest, damage = shares.without(last.serves, out), dict[int, str]()
        for served in rest:
            if not _is_whole(registry, state, served.version, damage):
                rest = shares.without(rest, served.version)
        if all(served.shadow for served in rest):
            good = _last_good(registry, state, environment, out, damage)
            rest = shares.placed((), state.version(good))
        said = " ".join([why, *(f"Passed over {project}:{n}: {damage[n]}" for n in damage)])
        return Draft(rest, by, said, rolled_back=out, rollout=rollout.kept(last, rest))

    released = switch(registry, environment, decide, now)
    assert isinstance(released, Release)  # noqa: S101 - a rollback never waits
    return released


def retire(
    registry: Registry, name: str | int, *, by: str, why: str, now: datetime
) -> ModelVersion:
    """Retire a version that serves nowhere; it stays on record, and never serves again.

    Raises:
        MoveRefusedError: some environment serves it.
    """
    settle(registry)
    with registry.ledger.database.begin() as connection:
        state = registry.state(connection)
        version = registry.find(name, state)
        lifecycle.check_retirement(version.name, state.served_in(version.number))
        if version.stage != "retired":
            payload = {"version": version.number, "why": why}
            registry.ledger.append(
                "version.retired", version.name, payload, now=now, actor=by, connection=connection
            )
    return registry.get(version.number)


def _check_fit(state: State, version: ModelVersion, to: str) -> None:
    lifecycle.check_fit(
        version.name,
        to,
        is_retired=version.number in state.retired,
        reasons=None if version.gate_passed else version.reasons,
    )


def _present(
    registry: Registry, state: State, serves: Serves, taken: Rollout | None, to: str
) -> Release | None:
    """Return the release by which `to` serves just this already, if it does.

    Not where a document that is not ours has a higher number: servers refuse it, and only another
    release takes its place.
    """
    history = state.releases.get(to)
    if not history:
        return None
    last = history[-1]
    if last.serves != serves or rollout.going(last) != taken:
        return None
    there = release.numbers(registry.objects, registry.project, to)
    return last if max(there, default=0) <= last.number else None


def _approved(draft: Draft, request: Request, needed: int) -> Draft | Request:
    if len(request.approved_by) < needed:
        return request
    approvers = " and ".join(request.approved_by)
    why = f"{request.why or 'promoted'} (asked for by {request.by}, approved by {approvers})"
    return replace(draft, by=request.approved_by[-1], why=why)


def _waiting(state: State, version: ModelVersion, environment: str | None) -> Request:
    waiting = [one for one in state.requests.values() if one.version == version.number]
    fitting = [one for one in waiting if environment in (None, one.environment)]
    if len(fitting) != 1:
        places = " and ".join(one.environment for one in fitting)
        found = f"waits for {places}; say which: --env" if places else "waits for no approval"
        raise MoveRefusedError(
            f"{version.name} {found}. Ask for one with: loopline model promote {version.name} "
            "--to ENVIRONMENT"
        )
    return fitting[0]


def _check_approver(version: ModelVersion, request: Request, by: str) -> None:
    for role, person in (("asked for this promotion", request.by), ("made it", version.author)):
        if by.casefold() == person.casefold():
            raise MoveRefusedError(
                f"{by} cannot approve {version.name} for {request.environment}, having {role}. "
                f"Another person must: loopline model approve {version.name}"
            )


def _last_good(
    registry: Registry, state: State, environment: str, present: int, damage: dict[int, str]
) -> int:
    """Return the version that served last and can serve again; `damage` gathers why others cannot.

    Raises:
        MoveRefusedError: there is none.
        BundleRefusedError: there is, but damaged.
    """
    avoid = {present, *state.rolled_back(environment), *state.retired}
    for earlier in reversed(state.releases[environment]):
        number = earlier.version
        if number not in avoid | damage.keys() and _is_whole(registry, state, number, damage):
            return number
    name, project = f"{registry.project}:{present}", registry.project
    if damage:
        told = " ".join(f"{project}:{number}: {why}" for number, why in damage.items())
        raise BundleRefusedError(f"{environment} cannot go back from {name}. {told}")
    raise MoveRefusedError(
        f"{environment} has no earlier version to go back to from {name}: none that is neither "
        "retired nor was itself rolled back. Promote one: "
        f"loopline model promote NAME --to {environment}"
    )


def _is_whole(registry: Registry, state: State, number: int, damage: dict[int, str]) -> bool:
    """Return whether a version's bundle can be loaded; else `damage` has why not."""
    try:
        registry.prove(state.version(number))
    except BundleRefusedError as error:
        damage[number] = str(error)
        return False
    return True
