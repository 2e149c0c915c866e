"""Findings to actions: cool-down, label maturity."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Action:
    """What was done about findings, and why: the last record of the chain."""

    id: str
    kind: str
    """`alert`, `retrain` or `rollback`."""
    rule: str
    findings: tuple[str, ...]
    environment: str
    version: int
    outcome: str
    """`done`, `cooling down`, `refused` or `failed`."""
    detail: dict[str, Any]
    why: str
    at: str
