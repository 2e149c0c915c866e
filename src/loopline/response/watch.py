"""One pass over everything: fold, compare with what was promised, find, respond.

Only one watcher judges at a time, under a lease that it renews while it works; whatever it was
doing when it was killed, the next one does again or finds done. Any number of others help it to
fold. All judgement is by `now`: the lease alone goes by the real clock.
"""

import os
import secrets
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

from loopline.compute.base import Compute
from loopline.errors import (
    AccessError,
    BundleRefusedError,
    ReleaseError,
    StoreError,
    UnknownVersionError,
)
from loopline.governance import tokens
from loopline.governance.access import Access
from loopline.monitoring import goals, pairs, performance
from loopline.monitoring.channels.base import Channel
from loopline.monitoring.findings import Finding, Findings
from loopline.monitoring.fold import Fold, Folded, Waiting
from loopline.monitoring.held import Estimates
from loopline.monitoring.reference import Reference, References
from loopline.monitoring.retention import expire
from loopline.monitoring.settled import Settling
from loopline.monitoring.survey import Survey, Watched
from loopline.notebooks import Shown
from loopline.pipeline.workspace import Workspace
from loopline.registry import release
from loopline.registry import rollout as registered
from loopline.registry.release import Release
from loopline.response import rollout
from loopline.response.acting import ACTOR, Acting
from loopline.response.retraining import Retrain
from loopline.response.rollout import Progress
from loopline.response.rules import Action, Situation, decide
from loopline.response.telling import DELIVERED, Delivery, Telling
from loopline.store.ledger import iso

LEASE_SECONDS = 60.0
_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pass(Shown):
    """One look at everything, and what was done."""

    project: str
    at: str
    folded: Folded
    corrected: int = 0
    """Predictions and keys whose outcome was corrected, ever."""
    unknown: int = 0
    """Outcomes whose prediction is not in the log."""
    watched: tuple[Watched, ...] = ()
    findings: tuple[Finding, ...] = ()
    """Those open now."""
    judged: tuple[Finding, ...] = ()
    """Each promise that could be judged, kept or not."""
    waiting: Waiting = field(default_factory=Waiting)
    """What of the log could not be folded."""
    news: tuple[Finding, ...] = ()
    """Those opened, updated or resolved by this pass."""
    actions: tuple[Action, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    """What people were told by this pass, or could not be."""
    held: int = 0
    """Alerts that wait for the end of quiet hours."""
    rollouts: tuple[Progress, ...] = ()
    """Where the rollouts are that wait, and for what."""
    notes: tuple[str, ...] = ()
    """What could not be looked at, and why."""
    is_judged: bool = True
    """False where another watcher is at work: this one only folded."""


class Watch:
    """Watches one project, pass after pass."""

    def __init__(
        self,
        workspace: Workspace,
        retrain: Retrain | None,
        channels: Sequence[Channel],
        compute: Compute | None = None,
    ) -> None:
        """`retrain` is None where nothing may be trained: such an action is refused.

        `compute` folds the log and joins outcomes, where this process is not to do it alone.
        """
        contract, registry = workspace.contract, workspace.registry
        self._space = workspace
        self._project = contract.project
        self._references = References(registry, workspace.settings)
        self._fold = Fold(
            workspace.settings.home / "log",
            contract.project,
            self._references,
            workspace.tables,
            workspace.database,
            contract=contract,
            uploaded=workspace.objects,
            compute=compute,
        )
        self._survey = Survey(contract, workspace.tables, workspace.database, workspace.ledger)
        self._settle = Settling(
            contract,
            self._references,
            workspace.tables,
            workspace.database,
            compute,
        )
        self._estimates = Estimates(workspace.ledger)
        self._findings = Findings(workspace.ledger)
        names = [channel.name for channel in channels]
        self._acting = Acting(contract, registry, retrain, names)
        self._telling = Telling(contract, workspace.ledger, channels)
        self._holder = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
        self._expired: datetime | None = None
        self._access = Access(workspace.settings.home)

    def once(self, now: datetime) -> Pass:
        """Look at everything once, as of `now`."""
        with self._lease() as is_alone:
            if is_alone:
                return self._look(now)
        note = (
            "Another watcher judges and responds, or was killed within the last minute; this one "
            "helps it to fold."
        )
        return Pass(self._project, iso(now), self._folded(), notes=(note,), is_judged=False)

    def _folded(self) -> Folded:
        """Fold what is new; the workers of originals that were asked for reasons do not stay."""
        try:
            return self._fold()
        finally:
            self._references.rest()

    def _look(self, now: datetime) -> Pass:
        folded = self._folded()
        notes = [f"{segment} waits: {why}" for segment, why in folded.held.items()]
        notes += [
            f"Reviewed predictions of {self._project}:{version} lack reasons: {why}"
            for version, why in folded.unexplained.items()
        ]
        try:
            self._settle()  # before anything goes for its age
        except (BundleRefusedError, UnknownVersionError) as error:
            notes.append(f"Outcomes that came since the last look are not counted: {error}")
        self._expire(now)
        notes += self._note_tokens(now)
        counted = self._settle.state()
        self._note_corrections(counted.corrected, now)
        watched: list[Watched] = []
        judged: list[Finding] = []
        serving: dict[str, set[int]] = {}
        released: list[Release] = []
        opened = self._findings.open()
        for environment in release.environments(self._space.objects, self._project):
            try:
                last = self._latest(environment)
                released += [] if last is None else [last]
                serves = () if last is None else last.serves
                serving[environment] = {served.version for served in serves}
                for served in serves:
                    reference = self._references(served.version)
                    seen, found = self._survey.look(environment, served, reference, now, opened)
                    watched.append(self._note_estimates(seen, now))
                    judged += found
                    notes += self._unjudged(environment, reference)
            except (ReleaseError, BundleRefusedError, UnknownVersionError) as error:
                notes.append(f"{environment} cannot be watched: {error}")
        judged += self._compare(released, watched, now)
        judged += rollout.over(self._findings.open().values(), released)
        news = self._findings.record(judged, now=now)
        promised = goals.promised(self._space.contract)
        news += self._findings.close(serving, promised, now=now)
        actions = [
            action for one in watched for action in self._respond(one, now, ("rollback", "alert"))
        ]
        rollouts, taken = self._roll_out(released, watched, now)
        # Before anything is trained, which may take its time; and all of it in one message.
        deliveries = self._telling.tell(now)
        notes += [
            f"An alert was not delivered by {one.channel}: {one.why}"
            for one in deliveries
            if one.outcome != DELIVERED
        ]
        taken += [action for one in watched for action in self._respond(one, now, ("retrain",))]
        return Pass(
            project=self._project,
            at=iso(now),
            folded=folded,
            corrected=counted.corrected,
            unknown=counted.unknown,
            watched=tuple(watched),
            findings=tuple(self._findings.open().values()),
            judged=tuple(judged),
            waiting=self._fold.waiting(),
            news=tuple(news),
            actions=(*actions, *taken),
            deliveries=tuple(deliveries),
            held=self._telling.held(now),
            rollouts=tuple(rollouts),
            notes=tuple(notes),
        )

    def _unjudged(self, environment: str, reference: Reference) -> list[str]:
        """Say what the contract asks of a version that was made for something else."""
        contract = self._space.contract
        name = f"{self._project}:{reference.version} in {environment}"
        why = performance.misfit(contract.problem, reference.signature)
        notes = [] if why is None else [f"The goals of {name} are not judged: {why}."]
        lacking = pairs.lacking(contract, reference)
        if "multivariate" in contract.monitor.drift and reference.rows is None:
            lacking.append("multivariate")
        if lacking:
            notes.append(
                f"{name} was made before loopline.yaml asked for {', '.join(lacking)}, and kept "
                "nothing to compare with. Train it again with: loopline run"
            )
        return notes

    def _latest(self, environment: str) -> Release | None:
        space = self._space
        return release.latest(space.objects, space.keys, self._project, environment)

    def _compare(
        self, released: Sequence[Release], watched: Sequence[Watched], now: datetime
    ) -> list[Finding]:
        """Judge each version that is rolled out beside the one it is to replace."""
        judged = []
        for last in released:
            going = registered.going(last)
            if going is None:
                continue
            own = rollout.of(watched, last.environment, going.version)
            other = rollout.beside(watched, last.environment, going.version)
            if own is not None and other is not None:
                judged.append(rollout.compare(self._space.contract, own, other, now))
        return judged

    def _roll_out(
        self,
        released: Sequence[Release],
        watched: Sequence[Watched],
        now: datetime,
    ) -> tuple[list[Progress], list[Action]]:
        """Take each rollout a step further, or its version out; or say what it waits for."""
        contract, found, actions = self._space.contract, [], []
        if all(registered.going(last) is None for last in released):
            return [], []
        state = self._space.registry.state()  # a rule may just have rolled back
        for last in released:
            environment = last.environment
            seen = rollout.progress(
                contract, self._space.tables, self._space.database, state, environment, now
            )
            if seen is None:
                continue
            history = state.releases[environment]
            seen, decision = rollout.decide(
                contract,
                seen,
                watched,
                self._findings.open().values(),
                is_returned=any(one.rolled_back == seen.version for one in history),
            )
            if decision is None or not rollout.is_due(decision, seen, self._acting.history(), now):
                found.append(seen)
                continue
            done = self._acting.act(decision, environment, seen.version, now)
            actions.append(done)
            if decision.kind == "rollback":
                told = replace(decision, kind="alert", why=done.why)
                actions.append(self._acting.act(told, environment, seen.version, now))
        return found, actions

    def _respond(self, seen: Watched, now: datetime, kinds: Collection[str]) -> list[Action]:
        """Do what rules ask for of these kinds."""
        if seen.shadow or seen.share == 0:
            return []  # it answers nobody: findings are enough
        situation = Situation(
            environment=seen.environment,
            version=seen.version,
            figures=seen.figures,
            findings=tuple(
                finding
                for finding in self._findings.open().values()
                if (finding.environment, finding.version) == (seen.environment, seen.version)
            ),
            history=self._acting.history(),
        )
        decisions = decide(self._space.contract, situation, now)
        return [
            self._acting.act(decision, seen.environment, seen.version, now)
            for decision in decisions
            if decision.kind in kinds
        ]

    def _expire(self, now: datetime) -> None:
        """Delete what is older than the contract keeps it, once a day, and tell the ledger."""
        retention = self._space.contract.data.retention
        if retention is None or (self._expired is not None and now < self._expired + _A_DAY):
            return
        gone = expire(self._space.tables, self._space.database, self._project, retention, now)
        self._expired = now
        if gone.predictions or gone.labels:
            self._space.ledger.append(
                "rows.expired", self._project, asdict(gone), now=now, actor=ACTOR
            )

    def _note_estimates(self, seen: Watched, now: datetime) -> Watched:
        """Write to the ledger how estimates held whose outcomes came, and count them in."""
        if not seen.compared:
            return seen
        for compared in seen.compared:
            self._estimates.record(compared, now=now)
        return replace(seen, held=self._estimates.held(seen.environment, seen.version))

    def _note_tokens(self, now: datetime) -> list[str]:
        """Tell the ledger which tokens of this home have run out; return what to tell people."""
        try:
            gone = tokens.note_expired(self._access, self._space.ledger, now)
        except AccessError as error:  # a file that is no token's
            return [str(error)]
        return [f"The token '{token.name}' has run out." for token in gone]

    def _note_corrections(self, corrected: int, now: datetime) -> None:
        """Write to the ledger that outcomes were corrected, when there are more than it knows."""
        ledger = self._space.ledger
        before = ledger.events(kinds=["labels.corrected"])
        known = before[-1].payload["corrected"] if before else 0
        if corrected > known:
            payload = {"corrected": corrected, "new": corrected - known}
            ledger.append("labels.corrected", self._project, payload, now=now, actor=ACTOR)

    @contextmanager
    def _lease(self) -> Iterator[bool]:
        """Hold the watcher's lease, renewed by a thread: retraining takes its time."""
        name, done = f"watch/{self._project}", threading.Event()

        def take() -> bool:
            return self._space.database.take_lease(
                name, self._holder, now=datetime.now(UTC), seconds=LEASE_SECONDS
            )

        def renew() -> None:
            while not done.wait(LEASE_SECONDS / 3):
                with suppress(StoreError):  # a database that is away for a moment is asked again
                    take()

        if not take():
            yield False
            return
        renewing = threading.Thread(target=renew, name="lease", daemon=True)
        renewing.start()
        try:
            yield True
        finally:
            done.set()
            renewing.join()
            self._space.database.give_lease(name, self._holder)
