"""One pass over everything: fold, compare with what was promised, find, respond.

Only one watcher works at a time, under a lease that it renews; whatever it was doing when it was
killed, the next one does again or finds done. All judgement is by `now`; only the lease goes by
the real clock.
"""

import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import msgspec
import polars as pl

from loopline.errors import BundleRefusedError, ChannelError, LooplineError, MoveRefusedError, ReleaseError
from loopline.monitoring import drift, goals, hours, labels, performance, service
from loopline.monitoring.channels.base import Alert, Channel
from loopline.monitoring.drift import Drift
from loopline.monitoring.findings import Finding, Findings, Subject
from loopline.monitoring.fold import Fold, Folded, table
from loopline.monitoring.labels import Labels
from loopline.monitoring.performance import Performance
from loopline.monitoring.reference import References
from loopline.monitoring.service import Service
from loopline.monitoring.windows import Window, current, earlier
from loopline.pipeline.workspace import Workspace
from loopline.registry import release
from loopline.registry.promotion import rollback
from loopline.registry.release import Served
from loopline.response.retraining import Outcome, Retrain, challenge
from loopline.response.rules import (
    DONE, FAILED, REFUSED, Action, Decision, Figure, Situation, action_id, decide,
)  # fmt: skip
from loopline.store.ledger import iso

ACTOR = "loopline"
"""Who acts, as the ledger writes what a rule did."""
LEASE_SECONDS = 60.0
_ORDER = ("rollback", "alert", "retrain")
"""What is urgent first: a dead webhook must not hold up a rollback, nor a retraining an alert."""


@dataclass(frozen=True)
class Watched:
    """What was seen of one version where it serves."""

    environment: str
    version: int
    share: float
    shadow: bool
    window: tuple[str, str]
    rows: int
    """Predictions in the window, by the time of their event."""
    drift: tuple[Drift, ...]
    """Of inputs and outputs, worst first; empty below the contract's minimum_rows."""
    service: Service
    performance: Performance | None
    """In the newest window with enough labels; None while there is none."""
    figures: dict[str, Figure]
    """What rules may name."""


@dataclass(frozen=True)
class Pass:
    """One look at everything, and what was done."""

    project: str
    at: str
    folded: Folded
    corrected: int
    """Predictions and keys whose outcome was corrected, ever."""
    unknown: int
    """Outcomes of predictions that are not in the log."""
    watched: tuple[Watched, ...]
    findings: tuple[Finding, ...]
    """Those open now."""
    news: tuple[Finding, ...]
    """Those opened, updated or resolved by this pass."""
    actions: tuple[Action, ...]
    notes: tuple[str, ...]
    """What could not be looked at, and why."""


class Watch:
    """Watches one project, pass after pass."""

    def __init__(
        self, workspace: Workspace, retrain: Retrain | None, channels: Sequence[Channel]
    ) -> None:
        """`retrain` is None where nothing may be trained: such a rule's action is refused."""
        self._space = workspace
        self._contract = workspace.contract
        self._project = workspace.contract.project
        self._retrain = retrain
        self._channels = channels
        self._references = References(workspace.registry)
        self._findings = Findings(workspace.ledger)
        self._judged: dict[tuple[str, int], tuple[object, Performance | None]] = {}
        self._holder = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"

    def once(self, now: datetime) -> Pass:
        """Look at everything once, as of `now`."""
        with self._alone() as is_alone:
            if not is_alone:
                note = "Another watcher is at work, or was killed within the last minute."
                return self._pass(now, Folded(is_alone=False), [], [], [], [note])
            folded = Fold(
                self._space.settings.home / "log",
                self._project,
                self._references,
                self._space.tables,
                self._space.database,
            )()
            known = labels.read(self._space.tables, self._project)
            self._note_corrections(known, now)
            watched: list[Watched] = []
            judged: list[Finding] = []
            notes = [f"{segment} waits: {why}" for segment, why in folded.held.items()]
            for environment in release.environments(self._space.objects, self._project):
                self._look_at(environment, known, now, (watched, judged, notes))
            news = self._findings.record(judged, now=now)
            news += self._findings.close({(one.environment, one.version) for one in watched}, now=now)
            actions = [action for one in watched for action in self._respond(one, now)]
            return self._pass(now, folded, watched, news, actions, notes, known)
