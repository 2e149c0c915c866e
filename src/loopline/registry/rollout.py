"""A version on its way to everybody, step by step: begin, go on, pause, resume.

Which step holds is part of the release, so servers, ledger and whoever watches cannot disagree
about it, and a step that was half taken is completed like any other release (`switch.py`). Whether
a step may be taken is decided elsewhere: `response/rollout.py` looks at what the version did.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from loopline.errors import MoveRefusedError
from loopline.registry import shares
from loopline.registry.release import WHOLE, Part, Release, Rollout, Served
from loopline.registry.switch import Draft, settle, switch
from loopline.registry.versions import Pause, Registry, State
from loopline.store.ledger import iso


def begun(
    last: Release | None, version: int, part: Part, steps: Sequence[float]
) -> tuple[Part, Rollout | None]:
    """Return what a promotion gives `version` now, and the rollout that the release is part of.

    One begins where a version is to get everybody, the contract has `steps` and others answer. A
    share given by hand ends whatever rollout goes on; a shadow leaves it as it is.

    Raises:
        MoveRefusedError: another version is being rolled out there.
    """
    going_on = None if last is None else going(last)
    if part.shadow:
        return part, going_on
    if last is None or part != WHOLE or not steps:
        return part, None
    if going_on is not None and going_on.version == version:
        return Part(share=going_on.steps[going_on.step - 1]), going_on
    if going_on is not None:
        raise MoveRefusedError(
            f"{last.environment} is being given to {last.project}:{going_on.version}, "
            f"{going_on.told}. Wait for its end, or end it: loopline rollout skip "
            f"{last.environment} --to-end --why '...', or: loopline model rollback "
            f"{last.environment} --why '...'"
        )
    answering = {served.version: served.share for served in last.serves if not served.shadow}
    present = answering.pop(version, 0.0)
    if not answering:
        return WHOLE, None  # nobody is there to compare with, or to go back to
    step = next(place for place, share in enumerate(steps, 1) if share >= present - 1e-9)
    taken = Rollout(version, tuple(float(share) for share in steps), step)
    return Part(share=taken.steps[step - 1]), taken


def going(last: Release) -> Rollout | None:
    """Return the rollout of a release, while there is a step ahead."""
    return last.rollout if last.rollout is not None and last.rollout.is_going_on else None


def began(history: Sequence[Release]) -> tuple[datetime, datetime]:
    """Return since when the rollout of the last of `history` goes on, and since when its step."""
    last = history[-1].rollout
    whole = step = history[-1].at
    for release in reversed(history):
        found = release.rollout
        if found is None or last is None or found.version != last.version:
            break
        if found.step > last.step:  # an earlier rollout of the same version
            break
        whole, last = release.at, found
        if found.step == history[-1].rollout.step:  # type: ignore[union-attr]
            step = release.at
    return datetime.fromisoformat(whole), datetime.fromisoformat(step)


def kept(last: Release, rest: Sequence[Served]) -> Rollout | None:
    """Return what becomes of a rollout when `rest` is what stays of `last`."""
    found = going(last)
    others = {served.version for served in rest if not served.shadow}
    return found if found and found.version in others and len(others) > 1 else None


def advance(  # noqa: PLR0913 - which step, who, why, on which evidence and when, by name
    registry: Registry,
    environment: str,
    *,
    after: int,
    by: str,
    why: str,
    now: datetime,
    evidence: Mapping[str, Any],
) -> Release:
    """Take the step that follows step `after`; once, however often it is asked.

    Raises:
        MoveRefusedError: no rollout goes on there.
    """

    def decide(state: State, _connection: Connection) -> Draft | Release:
        last, rollout = _going_on(registry, state, environment)
        if rollout.step != after:
            return last  # somebody was faster
        taken = replace(rollout, step=after + 1, evidence=dict(evidence))
        return _step(state, last, taken, by, why)

    released = switch(registry, environment, decide, now)
    assert isinstance(released, Release)  # noqa: S101 - a step asks for no approval
    return released


def skip(
    registry: Registry,
    environment: str,
    *,
    by: str,
    why: str,
    now: datetime,
    to_end: bool = False,
) -> Release:
    """Take the next step, or with `to_end` the last, whatever it waits for.

    Raises:
        MoveRefusedError: no rollout goes on there.
    """

    def decide(state: State, _connection: Connection) -> Draft:
        last, rollout = _going_on(registry, state, environment)
        step = len(rollout.steps) if to_end else rollout.step + 1
        return _step(state, last, replace(rollout, step=step, evidence={}), by, why)

    released = switch(registry, environment, decide, now)
    assert isinstance(released, Release)  # noqa: S101 - as above
    return released


def pause(registry: Registry, environment: str, *, by: str, why: str, now: datetime) -> Pause:
    """Have a rollout stay at its step until it is resumed; a bad version is taken out all the same.

    Raises:
        MoveRefusedError: no rollout goes on there.
    """
    with _settled(registry, environment) as (connection, state):
        last, rollout = _going_on(registry, state, environment)
        if environment in state.pauses:
            return state.pauses[environment]
        said = Pause(environment, rollout.version, by, why, iso(now))
        name = f"{last.project}:{rollout.version}"
        registry.ledger.append(
            "rollout.paused", name, said, now=now, actor=by, connection=connection
        )
        return said


def resume(registry: Registry, environment: str, *, by: str, why: str, now: datetime) -> Rollout:
    """Let a rollout go on; one that is not paused goes on as it does.

    Raises:
        MoveRefusedError: no rollout goes on there.
    """
    with _settled(registry, environment) as (connection, state):
        last, rollout = _going_on(registry, state, environment)
        if environment in state.pauses:
            name = f"{last.project}:{rollout.version}"
            payload = {"environment": environment, "version": rollout.version, "why": why}
            registry.ledger.append(
                "rollout.resumed", name, payload, now=now, actor=by, connection=connection
            )
        return rollout


def _step(state: State, last: Release, taken: Rollout, by: str, why: str) -> Draft:
    part = Part(share=taken.steps[taken.step - 1])
    serves = shares.placed(last.serves, state.version(taken.version), part)
    return Draft(serves, by, why, rollout=taken)


@contextmanager
def _settled(registry: Registry, environment: str) -> Iterator[tuple[Connection, State]]:
    settle(registry, environment)
    with registry.ledger.database.begin() as connection:
        yield connection, registry.state(connection)


def _going_on(registry: Registry, state: State, environment: str) -> tuple[Release, Rollout]:
    history = state.releases.get(environment)
    rollout = going(history[-1]) if history else None
    if history is None or rollout is None:
        serves = shares.told(registry.project, history[-1].serves) if history else "nothing"
        raise MoveRefusedError(
            f"No rollout goes on in {environment}, which serves {serves}. One begins with: "
            f"loopline model promote NAME --to {environment}, where loopline.yaml has "
            f"environments.{environment}.rollout."
        )
    return history[-1], rollout
