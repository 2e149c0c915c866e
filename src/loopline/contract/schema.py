"""The contract's shape: problem, goals, cost of errors, baseline, data, environments, responses.

Pydantic guards it. The models are frozen: `Contract` is the first record of the chain
`Contract → Snapshot → Run → Report → ModelVersion → Release → Prediction → Finding → Action`.
A field marked idle is accepted, but nothing acts on it yet; `loopline check` names it.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

Task = Literal["binary", "multiclass", "regression"]
ColumnType = Literal["number", "integer", "boolean", "category", "text", "time"]
OnFail = Literal["block", "warn"]

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
"""Project and environment names: they become keys, URLs and file names as they stand."""

_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "second": 1.0, "seconds": 1.0,
    "minute": 60.0, "minutes": 60.0, "hour": 3600.0, "hours": 3600.0,
    "day": 86400.0, "days": 86400.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip


class Amount(float):
    """A number as the contract writes it: `0.65`, `5%` (0.05) or `25 ms` (0.025 seconds)."""

    unit: str
    """`""`, `"%"` or `"s"`."""

    def __new__(cls, value: float, unit: str = "") -> "Amount":
        """Make an amount from a plain number and its unit."""
        amount = super().__new__(cls, value)
        amount.unit = unit
        return amount

    @classmethod
    def parse(cls, value: object) -> "Amount":
        """Read `0.65`, `"5%"`, `"25 ms"` or `"7 days"`.

        Raises:
            ValueError: it is none of these.
        """
        if isinstance(value, bool):
            raise ValueError("expected a number, a percentage such as 5% or a time such as 25 ms")
        if isinstance(value, Amount):
            return value
        if isinstance(value, int | float):
            return cls(value)
        match = re.fullmatch(r"\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([a-z]*|%)\s*", str(value).lower())
        if match is None:
            raise ValueError(
                f"'{value}' is not a number, a percentage such as 5% or a time such as 25 ms"
            )
        number, unit = float(match[1]), match[2]
        if unit == "%":
            return cls(number / 100, "%")
        if not unit:
            return cls(number)
        if unit not in _UNITS:
            raise ValueError(f"'{value}' has the unit '{unit}'. Units: %, {', '.join(_UNITS)}")
        return cls(number * _UNITS[unit], "s")

    def __str__(self) -> str:
        if self.unit == "%":
            return f"{float(self) * 100:g}%"
        if self.unit == "s":
            return f"{float(self) * 1000:g} ms" if self < 1 else f"{float(self):g} s"
        return f"{float(self):g}"


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    amount = Amount.parse(value)
    if amount.unit != "s":
        raise ValueError(f"'{value}' is not a time. Write one such as 7 days or 12 hours")
    return timedelta(seconds=float(amount))


def _share(value: object) -> float:
    amount = Amount.parse(value)
    if not 0 <= amount <= 1:
        raise ValueError(f"'{value}' is not a share between 0% and 100%")
    return float(amount)


def _candidates(value: object) -> object:
    known = {"logistic": "linear"}  # the word most people use for it
    return [known.get(name, name) for name in value] if isinstance(value, list) else value


def _written_as(description: str, *examples: object) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": ["number", "string"], "description": description, "examples": list(examples)}
    )


Quantity = Annotated[
    Amount,
    BeforeValidator(Amount.parse),
    _written_as("A number, a percentage or a time.", 0.65, "5%", "25 ms"),
]
Duration = Annotated[timedelta, BeforeValidator(_duration), _written_as("A time.", "7 days")]
Share = Annotated[float, BeforeValidator(_share), _written_as("A share.", "70%", 0.7)]
Idle: Any = {"idle": True}


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=False
    )


class Costs(_Part):
    """What one prediction costs: costs are positive, gains negative, per prediction."""

    currency: str = "USD"
    false_positive: float = 0.0
    false_negative: float = 0.0
    true_positive: float = 0.0
    true_negative: float = 0.0
    matrix: dict[str, dict[str, float]] | None = Field(
        None, description="Multiclass: actual class to predicted class to cost."
    )
    under: float | None = Field(None, description="Regression: cost per unit predicted too low.")
    over: float | None = Field(None, description="Regression: cost per unit predicted too high.")


class Baseline(_Part):
    """The answer without machine learning that a model must beat."""

    rule: str | None = Field(
        None, description="Row SQL over columns and features; true means the positive class."
    )
    kind: Literal["majority", "mean", "last_value", "rule"] | None = None


class Problem(_Part):
    """The problem, and what an error costs."""

    question: str = ""
    decision: str = ""
    owner: str = ""
    task: Task
    target: str = Field(description="A column, or row SQL such as `arr_delay > 15`.")
    positive: str | None = Field(None, description="Binary: the class the probability is of.")
    costs: Costs | None = None
    baseline: Baseline | None = None


class Goal(_Part):
    """What "good" means: one metric and one condition."""

    metric: str
    at_least: Quantity | None = None
    at_most: Quantity | None = None
    below_baseline_by: Quantity | None = Field(
        None, description="A share of the baseline's absolute value (5%), or an amount (0.2)."
    )
    above_baseline_by: Quantity | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> "Goal":
        given = [self.at_least, self.at_most, self.below_baseline_by, self.above_baseline_by]
        if sum(value is not None for value in given) != 1:
            raise ValueError(
                "a goal has one condition: at_least, at_most, below_baseline_by "
                "or above_baseline_by"
            )
        return self


class Column(_Part):
    """One column of the data."""

    type: ColumnType | None = Field(None, description="Found out from the data when absent.")
    minimum: float | None = None
    maximum: float | None = None
    unit: str | None = None
    categories: list[str] | None = Field(None, description="The values allowed.")
    missing_at_most: Share | None = Field(None, description="The share of rows allowed missing.")
    on_fail: OnFail = "warn"
    feature: bool = Field(True, description="false: kept and checked, but no model sees it.")
    leaks: bool = Field(False, description="Known only afterwards: never a feature.")
    personal: Literal["direct", "indirect"] | None = Field(
        None, description="direct: never a feature and left out of the prediction log."
    )
    subject: bool = Field(False, description="Names the person.", json_schema_extra=Idle)
    description: str = ""


class Check(_Part):
    """One rule about rows or the whole."""

    rule: str | None = Field(None, description="Row SQL that must not be false.")
    fresh: Duration | None = Field(None, description="The newest row is at most this old.")
    rows_at_least: int | None = None
    on_fail: OnFail = "block"

    @model_validator(mode="after")
    def _one_rule(self) -> "Check":
        if sum(value is not None for value in (self.rule, self.fresh, self.rows_at_least)) != 1:
            raise ValueError("a check has one of rule, fresh or rows_at_least")
        return self


class Split(_Part):
    """How rows become training, validation and test."""

    by: Literal["time", "group", "stratified", "hash"] = "stratified"
    group: str | None = Field(None, description="The column whose values stay together.")
    train: Share = 0.7
    validation: Share = 0.15
    test: Share = 0.15

    @model_validator(mode="after")
    def _whole(self) -> "Split":
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("train, validation and test must add up to 100%")
        if min(self.train, self.validation, self.test) <= 0:
            raise ValueError("train, validation and test must each be above 0%")
        if (self.by == "group") != (self.group is not None):
            raise ValueError("group goes with by: group, and names the column")
        return self


class Source(_Part):
    """Where the data is, when a path or URL alone does not say it."""

    path: str | None = Field(None, description="A file, folder, glob or Delta table.")
    url: str | None = Field(None, description="A database, for example postgresql://${DB_HOST}/x.")
    query: str | None = Field(None, description="With url: the SQL to run.")
    format: Literal["csv", "parquet", "jsonl", "delta", "sql"] | None = None
    delimiter: str | None = Field(None, description="CSV: found out when absent.")
    encoding: str | None = Field(None, description="CSV: found out when absent.")


class Data(_Part):
    """The data: where it is, what its columns mean, how it is checked and split."""

    source: str | Source
    key: str | None = Field(None, description="The column that names a row, for late labels.")
    time: str | None = Field(None, description="The column that says when a row happened.")
    columns: dict[str, Column] = Field(
        default_factory=dict, description="Only columns named here, and features, reach a model."
    )
    missing: list[str] = Field(default_factory=list, description="Texts that mean missing.")
    features: dict[str, str] = Field(default_factory=dict, description="Name to row SQL.")
    checks: list[Check] = Field(default_factory=list)
    split: Split = Field(default_factory=Split)
    window: Duration | None = Field(
        None, description="Train on rows no older than this before the newest; needs time."
    )
    retention: Duration | None = Field(None, json_schema_extra=Idle)


class Model(_Part):
    """What to train, and how long to search."""

    candidates: Annotated[list[str], BeforeValidator(_candidates)] = Field(
        default_factory=lambda: ["linear", "boosted_trees"],
        min_length=1,
        description="linear (also written logistic) and boosted_trees.",
    )
    train: str | None = Field(
        None, description="`model.py:build`: a function that returns an unfitted estimator."
    )
    trials: int = Field(10, ge=1, le=10_000)
    seed: int = 7


class Fairness(_Part):
    """One metric that may not differ much between groups."""

    by: str
    metric: str
    ratio_at_least: float | None = Field(None, gt=0, le=1)
    difference_at_most: float | None = Field(None, ge=0)
    minimum_rows: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _bound(self) -> "Fairness":
        if (self.ratio_at_least is None) == (self.difference_at_most is None):
            raise ValueError("fairness has one of ratio_at_least or difference_at_most")
        return self


class Environment(_Part):
    """One place a model runs."""

    approvals: int = Field(0, ge=0, description="People other than the author who must approve.")
    rollout: list[Share] = Field(default_factory=list, json_schema_extra=Idle)
    shadow: bool = Field(False, json_schema_extra=Idle)
    platform: str = Field("local", json_schema_extra=Idle)


def _drift_limits() -> dict[Literal["psi", "jensen_shannon", "ks"], float]:
    return {"psi": 0.2}


class Monitor(_Part):
    """What is watched."""

    window: Duration = timedelta(days=7)
    drift: dict[Literal["psi", "jensen_shannon", "ks"], float] = Field(
        default_factory=_drift_limits
    )
    minimum_rows: int = Field(200, ge=1, description="No drift is judged on fewer predictions.")
    minimum_labels: int = Field(500, ge=1, description="No goal is judged on fewer labels.")


class Response(_Part):
    """When something is found, what is done."""

    when: str = Field(description="`METRIC OP NUMBER[%]`, `goal missed` or `drift`.")
    do: list[Literal["alert", "retrain", "rollback"]]
    cool_down: Duration = timedelta(days=1)

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("do"), str):
            return {**value, "do": [value["do"]]}
        return value


class Review(_Part):
    """Which predictions an expert looks at."""

    when: str | None = None
    sample: Share = 0.0


def _environments() -> dict[str, Environment]:
    return {"dev": Environment(), "staging": Environment(), "production": Environment()}


class Contract(_Part):
    """One project's `loopline.yaml`."""

    project: str = Field(description="Lower-case letters, digits and dashes.")
    problem: Problem
    goals: list[Goal] = Field(min_length=1)
    data: Data
    model: Model = Field(default_factory=Model)
    fairness: list[Fairness] = Field(default_factory=list)
    environments: dict[str, Environment] = Field(default_factory=_environments)
    monitor: Monitor = Field(default_factory=Monitor)
    respond: list[Response] = Field(default_factory=list)
    review: Review | None = Field(None, json_schema_extra=Idle)
    compute: Literal["local"] = "local"
