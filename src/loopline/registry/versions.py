"""Register, look up, walk lineage.

What the registry knows is what the ledger's events add up to: it is replayed at every question, and
kept nowhere else, so it cannot disagree with the ledger. A thousand versions replay in about 30 ms.
"""

from bisect import insort
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, select

from loopline.errors import RegistryError, UnknownVersionError
from loopline.governance.signing import Keys
from loopline.notebooks import Shown
from loopline.registry import lifecycle
from loopline.registry.release import WHOLE, Part, Release
from loopline.store.database import runs
from loopline.store.ledger import Event, Ledger, iso
from loopline.store.objects import Objects
from loopline.store.tables import Tables

if TYPE_CHECKING:
    from loopline.model.bundle import Bundle

KINDS = (
    "version.registered",
    "promotion.requested",
    "promotion.approved",
    "release.written",
    "version.retired",
    "rollout.paused",
    "rollout.resumed",
)
"""The kinds of event that the registry is made of."""


@dataclass(frozen=True)
class ModelVersion(Shown):
    """One registered model: the fifth record of the chain."""

    project: str
    number: int
    digest: str
    """SHA-256 over plan, signature and threshold: the same answers are the same digest."""
    bundle: str
    """Key prefix of the bundle in the store."""
    bundle_digest: str
    """SHA-256 of the bundle's manifest, which lists every file's own."""
    run: str
    snapshot: str
    runtime: str
    """`plan` or `original`."""
    gate_passed: bool
    reasons: tuple[str, ...]
    """Why the gate failed; empty when it passed."""
    author: str
    created_at: str
    stage: str = "none"
    """The furthest environment that serves it now; `none` or `retired` when none does."""

    @property
    def name(self) -> str:
        """`project:number`."""
        return f"{self.project}:{self.number}"


@dataclass(frozen=True)
class Request:
    """A promotion that waits for approval."""

    version: int
    environment: str
    needed: int
    """How many must approve."""
    by: str
    why: str
    at: str
    approved_by: tuple[str, ...] = ()
    part: Part = WHOLE


@dataclass(frozen=True)
class Pause:
    """A rollout that somebody stopped at its step."""

    environment: str
    version: int
    by: str
    why: str
    at: str


@dataclass
class State:
    """What the registry's events add up to."""

    versions: dict[int, ModelVersion] = field(default_factory=dict)
    """As registered; their stage is not filled in."""
    releases: dict[str, list[Release]] = field(default_factory=dict)
    """Per environment, by number; the last one holds."""
    requests: dict[tuple[str, int], Request] = field(default_factory=dict)
    """By environment and version: what waits for approval."""
    retired: set[int] = field(default_factory=set)
    pauses: dict[str, Pause] = field(default_factory=dict)
    """By environment: the rollouts that stay where they are."""

    def add(self, event: Event) -> None:
        """Take in the next event."""
        payload = event.payload
        match event.kind:
            case "version.registered":
                version = msgspec.convert(payload, ModelVersion)
                self.versions[version.number] = version
            case "promotion.requested":
                request = msgspec.convert(payload, Request)
                self.requests[request.environment, request.version] = request
            case "promotion.approved":
                place = payload["environment"], payload["version"]
                request = self.requests[place]
                approvers = (*request.approved_by, event.actor)
                self.requests[place] = replace(request, approved_by=approvers)
            case "release.written":
                written = msgspec.convert(payload, Release)
                history = self.releases.setdefault(written.environment, [])
                if not history or history[-1].rollout != written.rollout:
                    self.pauses.pop(written.environment, None)
                insort(history, written, key=lambda one: one.number)
                # Whoever asked before had another state in mind, and must ask again.
                for place in [place for place in self.requests if place[0] == written.environment]:
                    del self.requests[place]
            case "rollout.paused":
                self.pauses[payload["environment"]] = msgspec.convert(payload, Pause)
            case "rollout.resumed":
                self.pauses.pop(payload["environment"], None)
            case "version.retired":
                self.retired.add(payload["version"])
                for place in [place for place in self.requests if place[1] == payload["version"]]:
                    del self.requests[place]

    def serving(self, environment: str) -> int | None:
        """Return the version that answers in `environment`."""
        history = self.releases.get(environment)
        return history[-1].version if history else None

    def served_in(self, number: int) -> list[str]:
        """Return the environments whose present release has version `number`, shadows included."""
        return self._in_release(number, shadows=True)

    def _in_release(self, number: int, *, shadows: bool) -> list[str]:
        return [
            environment
            for environment, history in self.releases.items()
            if any(
                served.version == number and (shadows or not served.shadow)
                for served in history[-1].serves
            )
        ]

    def rolled_back(self, environment: str) -> dict[int, str]:
        """Return the versions `environment` took out for being bad, and why each.

        One that was promoted there again afterwards is no longer among them.
        """
        bad: dict[int, str] = {}
        for written in self.releases.get(environment, []):
            for served in written.serves:
                bad.pop(served.version, None)
            if written.rolled_back is not None:
                bad[written.rolled_back] = written.why
        return bad

    def version(self, number: int) -> ModelVersion:
        """Return version `number` with its stage."""
        answers_in = self._in_release(number, shadows=False)
        stage = lifecycle.stage(answers_in, is_retired=number in self.retired)
        return replace(self.versions[number], stage=stage)


class Registry:
    """The versions of one project, and where they serve."""

    def __init__(self, ledger: Ledger, objects: Objects, keys: Keys) -> None:
        self.ledger = ledger
        self.objects = objects
        self.keys = keys
        self.project = ledger.project

    def state(self, connection: Connection | None = None) -> State:
        """Replay the ledger; with `connection`, as that transaction sees it."""
        state = State()
        for event in self.ledger.events(KINDS, connection=connection):
            state.add(event)
        return state

    def register(  # noqa: PLR0913 - the fields of a record, by name
        self,
        *,
        digest: str,
        bundle: str,
        bundle_digest: str,
        run: str,
        snapshot: str,
        runtime: str,
        reasons: tuple[str, ...],
        now: datetime,
        author: str | None = None,
    ) -> ModelVersion:
        """Give a whole bundle the next number; `reasons` are why its gate failed, if it did.

        Raises:
            BundleRefusedError: the bundle is not in the store, or not signed here.
        """
        self._open(bundle, bundle_digest)
        author = author or self.ledger.actor
        with self.ledger.database.begin() as connection:
            self._announce_key(connection, now)
            number = len(self.ledger.events(KINDS[:1], connection=connection)) + 1
            version = ModelVersion(
                project=self.project,
                number=number,
                digest=digest,
                bundle=bundle,
                bundle_digest=bundle_digest,
                run=run,
                snapshot=snapshot,
                runtime=runtime,
                gate_passed=not reasons,
                reasons=tuple(reasons),
                author=author,
                created_at=iso(now),
            )
            payload = {name: value for name, value in asdict(version).items() if name != "stage"}
            self.ledger.append(
                "version.registered",
                version.name,
                payload,
                now=now,
                actor=author,
                connection=connection,
            )
        return version

    def get(self, name: str | int) -> ModelVersion:
        """Return the version called `churn:7`, `7` or `latest`.

        Raises:
            UnknownVersionError: there is none; the message says which there are.
        """
        return self.find(name, self.state())

    def find(self, name: str | int, state: State) -> ModelVersion:
        """Return the version called `name` in `state`; see `get`."""
        text = str(name).removeprefix(f"{self.project}:")
        number = max(state.versions, default=0) if text == "latest" else -1
        if text.isascii() and text.isdecimal():
            number = int(text)
        if number not in state.versions:
            there = [f"{self.project}:{number}" for number in sorted(state.versions)[-5:]]
            known = f"The last ones: {', '.join(there)}." if there else "There is none yet."
            hint = "" if there else " Make one with: loopline run"
            raise UnknownVersionError(f"There is no version '{name}'. {known}{hint}")
        return state.version(number)

    def all(self) -> list[ModelVersion]:
        """Return every version, oldest first."""
        state = self.state()
        return [state.version(number) for number in sorted(state.versions)]

    def serving(self, environment: str) -> ModelVersion | None:
        """Return the version that answers in `environment`."""
        state = self.state()
        number = state.serving(environment)
        return None if number is None else state.version(number)

    def champion(self) -> ModelVersion | None:
        """Return the version to beat: what the furthest environment beyond dev serves."""
        state = self.state()
        beyond = [name for name in state.releases if lifecycle.rank(name) > lifecycle.rank("dev")]
        furthest = max(beyond, key=lifecycle.rank, default=None)
        return None if furthest is None else state.version(state.releases[furthest][-1].version)

    def prove(self, version: ModelVersion) -> None:
        """Check every file of the version's bundle.

        Raises:
            BundleRefusedError: one is missing or changed, or nobody trusted signed the bundle.
        """
        bundle = self._open(version.bundle, version.bundle_digest)
        for name in bundle.listed:
            bundle.file(name)

    def lineage(self, prediction_id: str, tables: Tables) -> dict[str, Any]:
        """Walk from a prediction back to the data: prediction, version, run, snapshot.

        Raises:
            RegistryError: the prediction is not in the log.
        """
        import polars as pl

        key = f"predictions/{self.project}"
        rows = []
        if tables.exists(key):
            found = tables.scan(key).filter(pl.col("prediction_id") == prediction_id)
            rows = found.head(1).collect().to_dicts()
        if not rows:
            raise RegistryError(
                f"There is no prediction '{prediction_id}' in the log of {self.project}. It is "
                "there once it was folded, so if it is new, run: loopline watch --once"
            )
        version = self.get(int(rows[0]["version"]))
        with self.ledger.database.read() as connection:
            run = connection.execute(select(runs.c.payload).where(runs.c.id == version.run)).first()
        frozen = [
            event.payload
            for event in self.ledger.events(("snapshot.frozen",))
            if event.payload.get("id") == version.snapshot
        ]
        return {
            "prediction": rows[0],
            "version": asdict(version),
            "run": None if run is None else msgspec.json.decode(run.payload),
            "snapshot": frozen[0] if frozen else None,
        }

    def _open(self, prefix: str, digest: str) -> "Bundle":
        from loopline.model.bundle import open_bundle  # numpy: half the time of `model list`

        return open_bundle(self.objects, self.keys, prefix, digest)

    def _announce_key(self, connection: Connection, now: datetime) -> None:
        """Write into the ledger which key signs from now on, once."""
        kind = "key.created"
        if not self.ledger.events((kind,), subject=self.keys.id, connection=connection):
            payload = {"public_key": self.keys.public_pem}
            self.ledger.append(kind, self.keys.id, payload, now=now, connection=connection)
