"""Everything measured about one version, in one record."""

from dataclasses import dataclass, field
from typing import Any

from loopline.notebooks import Shown


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
    """`goal`, `fairness`, `behaviour`, `baseline`, `champion` or `parity`."""


@dataclass(frozen=True)
class Report(Shown):
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
    """On the rows that did not teach the champion: `champion_rows` of them."""
    comparisons: tuple[Comparison, ...]
    gates: tuple[GateResult, ...]
    calibration: tuple[dict[str, Any], ...] = ()
    """Per bin: `predicted` (mean), `observed` (rate, or mean of a regression) and `rows`."""
    slices: tuple[dict[str, Any], ...] = ()
    """The worst parts of the data: `column`, `value`, `rows` and `figure` of the primary metric."""
    fairness: tuple[dict[str, Any], ...] = ()
    """Per rule: `by`, `metric`, `groups` (each `group`, `rows`, `figure`), `ratio`, `difference`;
    the last two are None where fewer than two groups could be judged."""
    importance: tuple[dict[str, Any], ...] = ()
    """Per input: `name`, how much the objective's `loss` grows when it is shuffled, its `spread`,
    and where errors have a price how much the `cost` of a prediction does."""
    behaviour: tuple[dict[str, Any], ...] = ()
    """Per behavioural test: `name`, `file`, `passed` and `message`."""
    currency: str | None = None
    latency: dict[str, float] = field(default_factory=dict)
    """Seconds per single row in the runtime: p50, p95, p99."""
    created_at: str = ""
    primary: str = ""
    """The metric that decides between two models."""
    classes: tuple[str, ...] = ()
    distribution: tuple[dict[str, Any], ...] = ()
    """Binary: per twentieth of the score, its ends and how many were `negative` and `positive`."""
    confusion: tuple[dict[str, Any], ...] = ()
    """Of classes: `actual`, `answered` and `rows`."""
    parity: dict[str, Any] = field(default_factory=dict)
    """The plan against the original; empty where the original itself serves."""
    champion_rows: int = 0
    """Of `rows`, those that neither trained the champion nor chose its threshold."""

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return all(gate.passed for gate in self.gates)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the gate failed; empty when it passed."""
        return tuple(gate.reason for gate in self.gates if not gate.passed)
