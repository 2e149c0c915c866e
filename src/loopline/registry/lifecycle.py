"""Stages, and the moves allowed between them.

A version may go to any environment of the contract, forwards or back, with three exceptions: beyond
dev only what passed its gate, nothing that is retired, and where a version was taken out for being
bad it returns only with a reason. What serves somewhere cannot be retired.
"""

from collections.abc import Collection

from loopline.errors import GateFailedError, MoveRefusedError

STAGES = ("none", "dev", "staging", "production", "retired")
"""Where a version can stand; another environment of the contract ranks beside staging."""


def rank(environment: str) -> int:
    """Return how far from a laptop `environment` is."""
    return STAGES.index(environment if environment in STAGES else "staging")


def stage(serving: Collection[str], *, is_retired: bool) -> str:
    """Return the stage of a version that these environments serve: the furthest."""
    if is_retired:
        return "retired"
    return max(serving, key=rank, default="none")


def check_move(name: str, to: str, environments: Collection[str]) -> None:
    """Refuse an environment that the contract does not have.

    Raises:
        MoveRefusedError: as it says.
    """
    if to not in environments:
        raise MoveRefusedError(
            f"{name} cannot go to '{to}': loopline.yaml has no such environment. "
            f"It has: {', '.join(environments)}."
        )


def check_fit(name: str, to: str, *, is_retired: bool, reasons: Collection[str] | None) -> None:
    """Refuse a version that may not serve in `to`; `reasons` are those its gate failed for.

    Raises:
        MoveRefusedError: it is retired.
        GateFailedError: its gate failed, and `to` is beyond dev.
    """
    if is_retired:
        raise MoveRefusedError(
            f"{name} is retired, and a retired version serves nowhere. Train and register a new "
            "one with: loopline run --fresh"
        )
    if reasons is not None and rank(to) > rank("dev"):
        listed = "".join(f"\n- {reason}" for reason in reasons)
        raise GateFailedError(
            f"{name} did not pass its gate, so it cannot go to {to}:{listed}\n"
            "Improve the model or, if a goal is wrong, loopline.yaml; then run again."
        )


def check_return(name: str, to: str, *, because: str, why: str) -> None:
    """Refuse, without a reason, a version that `to` took out for being bad.

    Raises:
        MoveRefusedError: no reason is given.
    """
    if not why:
        raise MoveRefusedError(
            f"{name} was rolled back from {to}: {because}. To serve it there again all the same, "
            "say why: --why '...'"
        )


def check_retirement(name: str, serving: Collection[str]) -> None:
    """Refuse to retire what is served.

    Raises:
        MoveRefusedError: some environment serves it.
    """
    if serving:
        raise MoveRefusedError(
            f"{name} serves {', '.join(serving)}, so it cannot be retired. Promote another "
            "version there first, or roll back: loopline model rollback --env "
            f"{next(iter(serving))} --why '...'"
        )
