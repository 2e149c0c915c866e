"""The contract's shape: problem, goals, cost of errors, baseline, data, environments, responses.

Pydantic guards it. The models are frozen: `Contract` is the first record of the chain
`Contract → Snapshot → Run → Report → ModelVersion → Release → Prediction → Finding → Action`.
A field marked idle is accepted, but nothing acts on it yet; `loopline check` names it.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
    model_validator,
)

from loopline.contract.quantities import Amount, Duration, Quantity, Share, Text
from loopline.contract.quiet import Quiet
from loopline.notebooks import Shown

Task = Literal["binary", "multiclass", "regression"]
ColumnType = Literal["number", "integer", "boolean", "category", "text", "time"]
OnFail = Literal["block", "warn"]
Deed = Literal["alert", "retrain", "rollback"]

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
"""Project and environment names: they become keys, URLs and file names as they stand."""

Idle: Any = {"idle": True}


def _candidates(value: object) -> object:
    known = {"logistic": "linear"}  # the word most people use for it
    return [known.get(name, name) for name in value] if isinstance(value, list) else value


def _deeds(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _two(value: object) -> object:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("a pair is two columns, such as [distance, air_time]")
    return value


def _kind_of_source(value: object) -> str:
    return "place" if isinstance(value, str) else "parts"


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=False
    )


class Costs(_Part):
    """What one prediction costs: costs are positive, gains negative, per prediction."""

    currency: str = Field("USD", description="Said beside every amount.")
    false_positive: float = Field(0.0, description="Binary: predicted positive, was negative.")
    false_negative: float = Field(0.0, description="Binary: predicted negative, was positive.")
    true_positive: float = Field(0.0, description="Binary: rightly predicted positive.")
    true_negative: float = Field(0.0, description="Binary: rightly predicted negative.")
    matrix: dict[Text, dict[Text, float]] | None = Field(
        None, description="Multiclass: actual class to predicted class to cost."
    )
    under: float | None = Field(None, description="Regression: cost per unit predicted too low.")
    over: float | None = Field(None, description="Regression: cost per unit predicted too high.")


class Baseline(_Part):
    """The answer without machine learning that a model must beat."""

    rule: str | None = Field(
        None, description="Row SQL over columns and features; true means the positive class."
    )
    kind: Literal["majority", "mean", "last_value", "rule"] | None = Field(
        None, description="majority for classes, mean for numbers, last_value per data.key."
    )


class Problem(_Part):
    """The problem, and what an error costs."""

    question: str = Field("", description="What is asked of the data.")
    decision: str = Field("", description="What is done with the answer, by whom.")
    owner: str = Field("", description="Who answers for it.")
    task: Task = Field(description="What kind of answer: one of two, one of several, a number.")
    target: str = Field(description="A column, or row SQL such as `arr_delay > 15`.")
    positive: Text | None = Field(None, description="Binary: the class the probability is of.")
    costs: Costs | None = Field(None, description="What an error costs, in money.")
    baseline: Baseline | None = Field(
        None, description="What a model must beat; majority or mean when absent."
    )


class Goal(_Part):
    """What "good" means: one metric and one condition."""

    metric: str = Field(description="See the metrics below.")
    at_least: Quantity | None = Field(None, description="For metrics where more is better.")
    at_most: Quantity | None = Field(None, description="For metrics where less is better.")
    below_baseline_by: Quantity | None = Field(
        None, description="A share of the baseline's absolute value (5%), or an amount (0.2)."
    )
    above_baseline_by: Quantity | None = Field(None, description="Likewise, for the others.")

    @model_validator(mode="after")
    def _one_condition(self) -> "Goal":
        if len(self.conditions) != 1:
            raise ValueError(
                "a goal has one condition: at_least, at_most, below_baseline_by or "
                f"above_baseline_by. This one has {' and '.join(self.conditions) or 'none'}"
            )
        return self

    @property
    def conditions(self) -> dict[str, Amount]:
        """The conditions given, by key: one, once the goal is valid."""
        keys = ("at_least", "at_most", "below_baseline_by", "above_baseline_by")
        return {key: value for key in keys if (value := getattr(self, key)) is not None}


class Column(_Part):
    """One column of the data."""

    type: ColumnType | None = Field(None, description="Found out from the data when absent.")
    minimum: float | None = Field(None, description="The least value allowed.")
    maximum: float | None = Field(None, description="The greatest value allowed.")
    unit: str | None = Field(None, description="For people, such as km.")
    categories: list[Text] | None = Field(None, description="The values allowed.")
    missing_at_most: Share | None = Field(None, description="The share of rows allowed missing.")
    on_fail: OnFail = Field(
        "warn", description="block: rows that break these limits are quarantined."
    )
    feature: bool = Field(True, description="false: kept and checked, but no model sees it.")
    leaks: bool = Field(False, description="Known only afterwards: never a feature.")
    personal: Literal["direct", "indirect"] | None = Field(
        None, description="direct: never a feature and left out of the prediction log."
    )
    subject: bool = Field(False, description="Names the person.", json_schema_extra=Idle)
    description: str = Field("", description="For people.")


class Check(_Part):
    """One rule about rows or the whole."""

    rule: str | None = Field(None, description="Row SQL that must not be false.")
    fresh: Duration | None = Field(None, description="The newest row is at most this old.")
    rows_at_least: int | None = Field(None, description="Fewer rows are a failure.")
    suite: str | None = Field(
        None, description="A file of SQL that selects wrong rows, or a pandera suite.py:schema."
    )
    on_fail: OnFail = Field("block", description="block: such rows are quarantined.")

    @model_validator(mode="after")
    def _one_rule(self) -> "Check":
        given = (self.rule, self.fresh, self.rows_at_least, self.suite)
        if sum(value is not None for value in given) != 1:
            raise ValueError("a check has exactly one of rule, fresh, rows_at_least or suite")
        return self


class Split(_Part):
    """How rows become training, validation and test."""

    by: Literal["time", "group", "stratified", "hash"] = Field(
        "stratified",
        description="time: the newest are the test; group: a value is on one side only; "
        "stratified: by chance, classes alike; hash: by the key, the same for ever.",
    )
    group: str | None = Field(None, description="The column whose values stay together.")
    train: Share = Field(0.7, description="What the model learns from.")
    validation: Share = Field(0.15, description="What chooses the candidate and the threshold.")
    test: Share = Field(0.15, description="What the gate is judged on, never trained on.")

    @model_validator(mode="after")
    def _whole(self) -> "Split":
        parts = (self.train, self.validation, self.test)
        if abs(sum(parts) - 1) > 1e-9:
            raise ValueError(
                f"train, validation and test must add up to 100%, and are {sum(parts) * 100:g}%"
            )
        if min(parts) <= 0:
            raise ValueError("train, validation and test must each be above 0%")
        if (self.by == "group") != (self.group is not None):
            raise ValueError("`by: group` and `group: COLUMN` go together")
        return self


class Source(_Part):
    """Where the data is, when a path alone does not say it."""

    path: str | None = Field(None, description="A file, folder, glob or Delta table.")
    url: str | None = Field(None, description="A database, for example postgresql://${DB_HOST}/x.")
    query: str | None = Field(None, description="With url: the SQL to run.")
    format: Literal["csv", "parquet", "jsonl", "delta", "sql"] | None = None
    delimiter: str | None = Field(None, description="CSV: found out when absent.")
    encoding: str | None = Field(None, description="CSV: found out when absent.")

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        if (self.path is None) == (self.url is None):
            raise ValueError("a source has either path, or url and query")
        if (self.url is None) != (self.query is None):
            raise ValueError("url and query go together: the database, and the SQL to run there")
        return self


class Data(_Part):
    """The data: where it is, what its columns mean, how it is checked and split."""

    source: Annotated[
        Annotated[str, Tag("place")] | Annotated[Source, Tag("parts")],
        Discriminator(_kind_of_source),
    ] = Field(description="A file, folder, glob or Delta table; or the parts of a source.")
    key: str | None = Field(None, description="The column that names a row, for late labels.")
    time: str | None = Field(None, description="The column that says when a row happened.")
    columns: dict[str, Column] = Field(
        default_factory=dict, description="Only columns named here, and features, reach a model."
    )
    missing: list[Text] = Field(default_factory=list, description="Texts that mean missing.")
    features: dict[str, str] = Field(default_factory=dict, description="Name to row SQL.")
    checks: list[Check] = Field(default_factory=list, description="Rules about rows.")
    split: Split = Field(default_factory=Split, description="Training, validation, test.")
    window: Duration | None = Field(
        None, description="Train on rows no older than this before the newest; needs time."
    )
    retention: Duration | None = Field(
        None,
        description="How long predictions and outcomes are kept, by the time of their event; for "
        "ever when absent.",
    )


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
    trials: int = Field(10, ge=1, le=10_000, description="How many settings the search tries.")
    seed: int = Field(7, description="The same seed and data give the same model.")


class Fairness(_Part):
    """One metric that may not differ much between groups."""

    by: str = Field(description="The column whose values are the groups.")
    metric: str = Field(description="See the metrics below.")
    ratio_at_least: float | None = Field(
        None, gt=0, le=1, description="The least group's value over the greatest group's."
    )
    difference_at_most: float | None = Field(
        None, ge=0, description="Between the least and the greatest group's value."
    )
    minimum_rows: int = Field(100, ge=1, description="Smaller groups are not judged.")

    @model_validator(mode="after")
    def _bound(self) -> "Fairness":
        if (self.ratio_at_least is None) == (self.difference_at_most is None):
            raise ValueError("this must have exactly one of ratio_at_least and difference_at_most")
        return self


class Environment(_Part):
    """One place a model runs."""

    approvals: int = Field(0, ge=0, description="People other than the author who must approve.")
    rollout: list[Share] = Field(
        default_factory=list,
        description="Shares of the callers that a new version gets, step by step, up to 100%; "
        "everybody at once when absent.",
    )
    soak: Duration = Field(
        timedelta(hours=1),
        description="How long each step of the rollout lasts at least.",
        json_schema_extra={"default": "1 hour"},
    )
    shadow: bool = Field(False, description="Score beside, unseen.", json_schema_extra=Idle)
    platform: str = Field("local", description="Where it runs.", json_schema_extra=Idle)

    @model_validator(mode="after")
    def _steps(self) -> "Environment":
        steps = [float(share) for share in self.rollout]
        if steps and (min(steps) <= 0 or sorted(set(steps)) != steps or steps[-1] != 1):
            told = ", ".join(f"{step * 100:g}%" for step in steps)
            raise ValueError(
                "the steps of a rollout grow and end with everybody, as [5%, 50%, 100%]. "
                f"These are {told}"
            )
        return self


Distance = Literal["psi", "jensen_shannon", "ks", "correlation", "multivariate"]


_OF_COLUMNS = frozenset({"psi", "jensen_shannon", "ks"})


def _drift_limits() -> dict[Distance, float]:
    return {"psi": 0.2}


def _with_columns(limits: dict[Distance, float]) -> dict[Distance, float]:
    """Return limits with that of single columns, where only those of several are named."""
    return limits if not limits or _OF_COLUMNS & limits.keys() else {**_drift_limits(), **limits}


QuietHours = Annotated[
    Quiet,
    BeforeValidator(Quiet.parse),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "type": "string",
            "description": "Hours of each day and a time zone.",
            "examples": ["22:00-07:00 Europe/Berlin"],
        }
    ),
]


class Monitor(_Part):
    """What is watched."""

    window: Duration = Field(
        timedelta(days=7),
        description="How much of the newest traffic is judged at once.",
        json_schema_extra={"default": "7 days"},
    )
    drift: Annotated[dict[Distance, float], AfterValidator(_with_columns)] = Field(
        default_factory=_drift_limits,
        description="Limits per distance; psi 0.2 where none of psi, jensen_shannon and ks is "
        "named. correlation is how far a pair may move (0.1 when absent), multivariate the area by "
        "which a classifier may tell the window's rows from training rows, from 0.5 (not at all) "
        "to 1; not asked when absent.",
    )
    pairs: list[Annotated[tuple[str, str], BeforeValidator(_two)]] = Field(
        default_factory=list,
        description="Columns that go together, two and two: `[[distance, air_time]]`. How they do "
        "is kept with each version and watched.",
    )
    reference: Literal["training", "same_weekday", "same_month_last_year"] = Field(
        "training",
        description="What drift is measured from: the version's own rows, the same weekdays of the "
        "four weeks before, or the same month a year ago.",
    )
    minimum_rows: int = Field(200, ge=1, description="No drift is judged on fewer predictions.")
    minimum_labels: int = Field(500, ge=1, description="No goal is judged on fewer labels.")
    importance_shift: Share = Field(
        0.2,
        description="Of all that drives the model, the share that may move to other columns.",
    )
    minimum_explained: int = Field(
        100,
        ge=1,
        description="No shift of what drives it is judged on fewer explained predictions.",
    )
    judge_by: Literal["interval", "figure"] = Field(
        "interval",
        description="A finding opens when the whole 95 % interval of a figure misses its limit, "
        "and passes when all of it keeps it; or both as soon as the figure itself does.",
    )
    quiet: QuietHours | None = Field(
        None,
        description="Alerts wait in these hours, `22:00-07:00 Europe/Berlin`; urgent ones do not.",
    )


class Response(_Part):
    """When something is found, what is done."""

    when: str = Field(description="`METRIC OP NUMBER[%]`, `goal missed` or `drift`.")
    do: Annotated[
        list[Deed],
        Field(min_length=1),
        BeforeValidator(_deeds, json_schema_input_type=Deed | list[Deed]),
    ] = Field(description="One, or a list.")
    cool_down: Duration = Field(
        timedelta(days=1),
        description="The same thing is not done again within this.",
        json_schema_extra={"default": "1 day"},
    )


class Review(_Part):
    """Which predictions an expert looks at: they are stored with their reasons."""

    when: str | None = Field(
        None, description="Row SQL over inputs and `probability`, or `prediction` of a regression."
    )
    sample: Share = Field(0.0, description="Besides, this share of all, by chance.")


def _environments() -> dict[str, Environment]:
    return {"dev": Environment(), "staging": Environment(), "production": Environment()}


class Contract(_Part, Shown):
    """One project's `loopline.yaml`."""

    project: str = Field(description="Lower-case letters, digits and dashes.")
    problem: Problem = Field(description="The question, and what an error costs.")
    goals: list[Goal] = Field(min_length=1, description="The gate, and what is watched.")
    data: Data = Field(description="Where it is, and what its columns mean.")
    model: Model = Field(default_factory=Model, description="What to train.")
    fairness: list[Fairness] = Field(default_factory=list, description="Between groups.")
    environments: dict[str, Environment] = Field(
        default_factory=_environments, description="dev, staging and production when absent."
    )
    monitor: Monitor = Field(default_factory=Monitor, description="Drift, windows, minima.")
    respond: list[Response] = Field(default_factory=list, description="What is done then.")
    review: Review | None = Field(None, description="What experts look at, with its reasons.")
    compute: Literal["local", "spark"] = Field(
        "local",
        description="Where `loopline score` and `loopline check --data` run: threads of this "
        "machine, or Spark.",
    )
