"""Train one model from one snapshot, and record it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Trial:
    """One point of a search."""

    number: int
    candidate: str
    parameters: dict[str, Any]
    value: float
    """What the search minimises, on validation rows."""
    seconds: float


@dataclass(frozen=True)
class Run:
    """One training: the third record of the chain."""

    id: str
    project: str
    snapshot: str
    """The snapshot's id."""
    contract: str
    """SHA-256 of loopline.yaml as it stood."""
    split: dict[str, Any]
    """How the parts were made, their sizes and their bounds."""
    candidate: str
    parameters: dict[str, Any]
    objective: str
    metrics: dict[str, float]
    """On validation rows."""
    trials: tuple[Trial, ...]
    seed: int
    code: dict[str, Any]
    """`commit` and `dirty`, or both None outside Git; `files`: hash of the team's own code."""
    environment: dict[str, str]
    """Python and package versions."""
    started_at: str
    seconds: float
    tags: dict[str, str] = field(default_factory=dict)
