"""Who answers which share of an environment's callers: alone, a canary beside others, a shadow.

Each function takes what a release serves, and says it or gives what the next one will. The shares
of those that answer add up to 1; a shadow has none.
"""

from collections.abc import Sequence
from dataclasses import replace

from loopline.errors import MoveRefusedError
from loopline.registry.release import WHOLE, Part, Served
from loopline.registry.versions import ModelVersion

Serves = tuple[Served, ...]


def placed(present: Sequence[Served], version: ModelVersion, part: Part = WHOLE) -> Serves:
    """Return what is served once `version` has its `part`; the others keep their proportions.

    Raises:
        MoveRefusedError: nothing else answers there to share with, or to shadow.
    """
    others = without(present, version.number)
    answering = [served for served in others if not served.shadow]
    own = Served(version.number, version.bundle, version.bundle_digest)
    if part.shadow:
        if len(answering) < sum(not served.shadow for served in present) or not answering:
            raise MoveRefusedError(
                f"{version.name} can only be the shadow of a version that answers there, beside "
                "itself. Promote another first, or roll this one back."
            )
        return (*others, replace(own, share=0.0, shadow=True))
    if part.share == 1:
        return (replace(own, arm=part.arm),)  # everybody: nobody else answers, nor shadows
    if not answering:
        raise MoveRefusedError(
            f"Nothing else answers there beside which {version.name} could have {part.share:.4g} "
            "of the callers. Promote it without --share."
        )
    return (*_filling(others, 1 - part.share), replace(own, share=part.share, arm=part.arm))


def without(present: Sequence[Served], number: int) -> Serves:
    """Return that version `number` is gone, and the others that answer have all callers."""
    return _filling([served for served in present if served.version != number], 1.0)


def newest(history: Sequence[Sequence[Served]]) -> int:
    """Return the version that came last among those that answer now, the last of `history`."""
    *before, present = history
    answering = [served for served in present if not served.shadow]
    for earlier in reversed(before):
        known = {served.version for served in earlier if not served.shadow}
        if any(served.version not in known for served in answering):
            answering = [served for served in answering if served.version not in known]
            break
    return min(answering, key=lambda served: (served.share, -served.version)).version


def told(project: str, serves: Sequence[Served]) -> str:
    """Return who answers, as people say it: `churn:3 (90%) and churn:4 (10%), shadow churn:5`."""
    answering = [served for served in serves if not served.shadow]
    names = [f"{project}:{served.version}" for served in answering]
    if len(answering) > 1:
        parts = [f"{served.share * 100:.4g}%" for served in answering]
        arms = [f", arm {served.arm}" if served.arm else "" for served in answering]
        names = [f"{n} ({part}{arm})" for n, part, arm in zip(names, parts, arms, strict=True)]
    shadows = [f"shadow {project}:{served.version}" for served in serves if served.shadow]
    return ", ".join([" and ".join(names), *shadows])


def _filling(serves: Sequence[Served], whole: float) -> Serves:
    """Scale the shares of those that answer so that they add up to `whole`."""
    total = sum(served.share for served in serves if not served.shadow)
    return tuple(
        served if served.shadow else replace(served, share=whole * served.share / total)
        for served in serves
    )
