"""Do what the rules decided, and write each decision to the ledger."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache

import msgspec

from loopline.contract.schema import Contract
from loopline.errors import LooplineError, MoveRefusedError
from loopline.registry.promotion import rollback
from loopline.registry.rollout import advance
from loopline.registry.versions import Registry
from loopline.response.retraining import Outcome, Retrain, challenge
from loopline.response.rules import DONE, FAILED, REFUSED, Action, Decision, action_id
from loopline.store.ledger import iso

_URGENT = ("service", "release")
"""Kinds of findings that people are woken for: callers are failed now."""
ACTOR = "loopline"
"""Who acts, as the ledger writes what a rule did."""


class Acting:
    """Acts for one project."""

    def __init__(
        self,
        contract: Contract,
        registry: Registry,
        retrain: Retrain | None,
        channels: Sequence[str],
    ) -> None:
        """`retrain` is None where nothing may be trained: such an action is refused.

        `channels` are the names of those that alerts go to.
        """
        self._contract = contract
        self._registry = registry
        # Two environments that ask in one pass get one challenger: what is known is the same.
        self._retrain = None if retrain is None else lru_cache(maxsize=1)(retrain)
        self._channels = channels
        self._history: list[Action] = []
        self._read = 0

    def history(self) -> list[Action]:
        """Return every action of the project, oldest first."""
        for event in self._registry.ledger.events(kinds=["action.taken"], after=self._read):
            self._history.append(msgspec.convert(event.payload, Action))
            self._read = event.number
        return list(self._history)

    def act(self, decision: Decision, environment: str, version: int, now: datetime) -> Action:
        """Do one thing, or only say why not; the ledger has it when this returns."""
        said = Outcome(decision.outcome or "", decision.why)
        if decision.outcome is None:
            said = self._do(decision, environment, version, now)
        at = iso(now)
        action = Action(
            id=action_id(decision.kind, decision.rule, environment, version, at),
            kind=decision.kind,
            rule=decision.rule,
            findings=tuple(finding.id for finding in decision.findings),
            environment=environment,
            version=version,
            outcome=said.outcome,
            detail=said.detail,
            why=said.why,
            at=at,
        )
        self._registry.ledger.append(
            "action.taken", action.id, asdict(action), now=now, actor=ACTOR
        )
        return action

    def _do(self, decision: Decision, environment: str, version: int, now: datetime) -> Outcome:
        if decision.kind == "alert":
            return self._alert(decision)
        if decision.kind == "rollback":
            return self._roll_back(decision, environment, version, now)
        if decision.kind == "advance":
            return self._advance(decision, environment, now)
        return self._challenge(decision, environment, version, now)

    def _alert(self, decision: Decision) -> Outcome:
        """Say who is to be told; `telling.py` tells them, together with what else is found now."""
        urgent = decision.rule == "rollout" or any(
            rule.when == decision.rule and "rollback" in rule.do for rule in self._contract.respond
        )
        urgent = urgent or any(finding.kind in _URGENT for finding in decision.findings)
        return Outcome(DONE, decision.why, {"to": list(self._channels), "urgent": urgent})

    def _roll_back(
        self, decision: Decision, environment: str, version: int, now: datetime
    ) -> Outcome:
        try:
            released = rollback(
                self._registry, environment, by=ACTOR, why=decision.why, now=now, bad=version
            )
        except MoveRefusedError as error:
            return Outcome(REFUSED, f"{decision.why} {error}")
        except LooplineError as error:  # a damaged bundle, say: people must hear of it all the same
            return Outcome(FAILED, f"{decision.why} Rolling back failed: {error}")
        return Outcome(DONE, decision.why, {"serves": released.version, "release": released.number})

    def _advance(self, decision: Decision, environment: str, now: datetime) -> Outcome:
        try:
            released = advance(
                self._registry,
                environment,
                after=decision.evidence["step"],
                by=ACTOR,
                why=decision.why,
                now=now,
                evidence=decision.evidence,
            )
        except MoveRefusedError as error:
            return Outcome(REFUSED, f"{decision.why} {error}")
        except LooplineError as error:
            return Outcome(FAILED, f"{decision.why} The next step failed: {error}")
        serves = [[served.version, served.share] for served in released.serves]
        detail = {"serves": serves, "release": released.number, "evidence": decision.evidence}
        return Outcome(DONE, decision.why, detail)

    def _challenge(
        self, decision: Decision, environment: str, version: int, now: datetime
    ) -> Outcome:
        if self._retrain is None:
            return Outcome(REFUSED, f"{decision.why} Retraining is switched off here.")
        champion = self._registry.get(version)
        found = challenge(
            self._registry, self._contract, self._retrain, champion, environment, by=ACTOR, now=now
        )
        return Outcome(found.outcome, f"{decision.why} {found.why}", found.detail)
