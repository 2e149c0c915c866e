"""What was found, once, with its evidence."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something that is not as promised: the record before the last."""

    id: str
    """Hash of project, environment, version, kind and subject: one finding per cause."""
    project: str
    environment: str
    version: int
    kind: str
    """`drift`, `goal`, `fairness`, `service` or `log`."""
    subject: str
    """The column, goal or figure concerned."""
    metric: str
    value: float
    limit: float
    window: tuple[str, str]
    """Start and end (ISO, UTC) of the time looked at."""
    rows: int
    labels: int | None
    message: str
    evidence: dict[str, Any]
    status: str
    """`open` or `resolved`."""
    found_at: str
