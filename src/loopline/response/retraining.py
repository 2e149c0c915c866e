"""Champion against challenger.

The pipeline trains the challenger as of `now` and proves it beside the champion on the same rows;
here it is promoted if its gate passed, and refused with the gate's reasons if not. Approvals that
the contract asks for are asked for: a machine promotes nothing that a person could not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loopline.contract.schema import Contract
from loopline.errors import GateFailedError, LooplineError, MoveRefusedError
from loopline.registry.promotion import promote
from loopline.registry.release import Release
from loopline.registry.versions import ModelVersion, Registry
from loopline.response.rules import DONE, FAILED, REFUSED, WAITING

Retrain = Callable[[datetime], ModelVersion]
"""Runs the pipeline on what is known at a moment, and returns the version it registered, which may
be an old one where nothing has changed. It releases nothing."""


@dataclass(frozen=True)
class Outcome:
    """How one attempt to do something ended."""

    outcome: str
    why: str
    detail: dict[str, Any] = field(default_factory=dict)


def challenge(  # noqa: PLR0913 - who, whom, where and when, by name
    registry: Registry,
    contract: Contract,
    retrain: Retrain,
    champion: ModelVersion,
    environment: str,
    *,
    by: str,
    now: datetime,
) -> Outcome:
    """Train a challenger and, if it is better, have `environment` serve it instead."""
    try:
        challenger = retrain(now)
    except Exception as error:  # noqa: BLE001 - the team's own code runs there; watching goes on
        kind = "" if isinstance(error, LooplineError) else f"{type(error).__name__}: "
        return Outcome(FAILED, f"Retraining failed: {kind}{error}")
    detail = {
        "challenger": challenger.number,
        "champion": champion.number,
        "reasons": list(challenger.reasons),
    }
    if challenger.digest == champion.digest:
        why = f"Retraining gave {champion.name} again: there is nothing new to learn from."
        return Outcome(REFUSED, why, detail)
    if (bad := _known_bad(registry, challenger, environment)) is not None:
        return Outcome(REFUSED, bad, detail)
    if not challenger.gate_passed:
        reasons = " ".join(challenger.reasons)
        return Outcome(REFUSED, f"{challenger.name} did not pass its gate. {reasons}", detail)
    why = f"challenger of {champion.name}"
    try:
        promoted = promote(
            registry, challenger.number, environment, by=by, why=why, now=now, contract=contract
        )
    except (GateFailedError, MoveRefusedError) as error:
        return Outcome(REFUSED, str(error), detail)
    except LooplineError as error:
        why = f"{challenger.name} passed its gate, but could not be promoted: {error}"
        return Outcome(FAILED, why, detail)
    if isinstance(promoted, Release):
        going = promoted.rollout
        did = f"is at {going.told} of its rollout" if going is not None else "took over"
        return Outcome(DONE, f"{challenger.name} passed its gate and {did}.", detail)
    return Outcome(
        WAITING,
        f"{challenger.name} passed its gate and waits for {promoted.needed} approval(s): loopline "
        f"model approve {challenger.name}",
        detail,
    )


def _known_bad(registry: Registry, challenger: ModelVersion, environment: str) -> str | None:
    """Return why a model that `environment` took out for being bad must not come back by itself.

    Its gate passed then, and would again: the same data and seed make the same model.
    """
    state = registry.state()
    for number, because in state.rolled_back(environment).items():
        if state.versions[number].digest == challenger.digest:
            return (
                f"Retraining gave {registry.project}:{number} again, which was rolled back from "
                f"{environment}: {because}"
            )
    return None
