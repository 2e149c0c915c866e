"""Everything measured about one version, in one record."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One metric of this version against another answer, paired on the same rows."""

    metric: str
    against: str
    """`baseline` or the champion's name, such as `churn:3`."""
    own: float
    other: float
    difference: Estimate
    """own - other, by paired bootstrap."""
    better: bool
    """The whole interval lies on the good side."""


@dataclass(frozen=True)
class GateResult:
    """One goal, fairness rule, behavioural test or comparison, and whether it holds."""

    name: str
    """As a person would say it: `roc_auc at least 0.65`."""
    passed: bool
    value: float | None
    reason: str
    """What was found and what was needed; a sentence."""
    kind: str = "goal"
    """`goal`, `fairness`, `behaviour`, `champion` or `parity`."""


@dataclass(frozen=True)
class Report:
    """The evaluation of one run on rows it never saw: the fourth record of the chain."""

    run: str
    project: str
    task: str
    rows: int
    threshold: float | None
    metrics: dict[str, Estimate]
    baseline: str
    """The baseline's name: `majority`, `mean`, `last_value` or the rule."""
    baseline_metrics: dict[str, Estimate]
    champion: str | None
    champion_metrics: dict[str, Estimate]
    comparisons: tuple[Comparison, ...]
    gates: tuple[GateResult, ...]
    calibration: tuple[dict[str, Any], ...] = ()
    """Per bin: mean predicted, observed rate, rows."""
    slices: tuple[dict[str, Any], ...] = ()
    fairness: tuple[dict[str, Any], ...] = ()
    importance: tuple[dict[str, Any], ...] = ()
    """Per feature: mean loss of the objective when shuffled, and its spread."""
    behaviour: tuple[dict[str, Any], ...] = ()
    currency: str | None = None
    latency: dict[str, float] = field(default_factory=dict)
    """Seconds per single row in the runtime: p50, p95, p99."""
    created_at: str = ""

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return all(gate.passed for gate in self.gates)
