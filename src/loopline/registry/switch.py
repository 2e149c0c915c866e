"""Write a release so that servers and ledger never part for good.

The release document is the switch: the moment it is there, servers follow it. It is written inside
the ledger's write transaction, of which there is one at a time, and its event is committed right
after. A process killed in between leaves a document without its event; whatever comes next records
that first (`settle`), so a second call finds its work done and the history has no hole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from loopline.errors import ReleaseError
from loopline.registry import release
from loopline.registry.release import Release, Rollout
from loopline.registry.shares import Serves
from loopline.registry.versions import Registry, Request, State
from loopline.store.ledger import iso


@dataclass(frozen=True)
class Draft:
    """A release that is decided, and not written yet."""

    serves: Serves
    by: str
    why: str
    rolled_back: int | None = None
    rollout: Rollout | None = None


Decision = Callable[[State, Connection], Draft | Release | Request]
"""Takes the state, as the transaction sees it; gives a draft, or what holds already."""


def settle(registry: Registry, environment: str | None = None) -> list[Release]:
    """Make ledger and documents agree again, in one environment or all; return what was recorded.

    A document without its event was left by a process that was killed, and gets it. An event
    without its document was left by a store that lost some, and gets it. A document that is not
    ours is passed over: the next release takes its place.
    """
    objects, keys, project = registry.objects, registry.keys, registry.project
    if environment is None:
        there = release.environments(objects, project)
        return [one for environment in there for one in settle(registry, environment)]
    recorded = []
    with registry.ledger.database.begin() as connection:
        history = registry.state(connection).releases.get(environment, [])
        known = {one.number: one for one in history}
        kept = set(release.numbers(objects, project, environment))
        for number in sorted(kept - known.keys()):
            try:
                found = release.read(objects, keys, project, environment, number)
            except ReleaseError:
                continue
            _record(registry, found, datetime.fromisoformat(found.at), connection)
            recorded.append(found)
        for number in sorted(known.keys() - kept):
            release.write(objects, keys, known[number])
    return recorded


def switch(
    registry: Registry, environment: str, decide: Decision, now: datetime
) -> Release | Request:
    """Write the release that `decide` wants, if it wants one.

    Raises:
        BundleRefusedError: the version's bundle is damaged, so that no server could load it.
    """
    settle(registry, environment)
    with registry.ledger.database.begin() as connection:
        decided = decide(registry.state(connection), connection)
        if not isinstance(decided, Draft):
            return decided
        state = registry.state(connection)
        for served in decided.serves:
            registry.prove(state.version(served.version))
        number, digest = registry.ledger.head(connection)
        there = release.numbers(registry.objects, registry.project, environment)
        written = release.write(
            registry.objects,
            registry.keys,
            Release(
                project=registry.project,
                environment=environment,
                number=max(there, default=0) + 1,
                serves=decided.serves,
                by=decided.by,
                why=decided.why,
                at=iso(now),
                rolled_back=decided.rolled_back,
                ledger=f"{number}:{digest}",
                rollout=decided.rollout,
            ),
        )
        _record(registry, written, now, connection)
    return written


def _record(registry: Registry, written: Release, now: datetime, connection: Connection) -> None:
    registry.ledger.append(
        "release.written",
        written.environment,
        written,
        now=now,
        actor=written.by,
        connection=connection,
    )
