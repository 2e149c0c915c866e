"""A fitted estimator to an exact float64 scoring plan, or the reason why there is none.

Each step does what scikit-learn does, in its order of operations; `model/parity.py` proves it for
the model at hand. What the original refuses (a gap it never learned from, an infinite number) the
plan leaves without an answer, for a tree would find one anyhow. docs/reference/plans.md lists the
steps. Imports scikit-learn where it is used: the server never comes here.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.score import NODE, STEP, Op, Program
from loopline.model import compile_trees
from loopline.model.plan import Plan, Shape
from loopline.model.signature import Signature

Takes = Literal["matrix", "frame"]
Holds = Literal["anything", "gaps", "numbers"]
"""Also infinite numbers and missing ones; missing ones; neither."""
Values = list["Value"]


class Value:
    """One column of the workspace while a plan is made: where it is, and what it holds."""

    def __init__(
        self,
        place: int,
        name: str | None = None,
        codes: dict[Any, float] | None = None,
        holds: Holds = "gaps",
    ) -> None:
        self.place = place
        self.name = name
        self.codes = codes
        """For a text column of a frame: each text's code."""
        self.holds = holds
        """In the rows that are answered."""


class Draft:
    """The arrays of a plan while it is made."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.inputs = self.width = inputs
        self.outputs = outputs
        self.steps: list[tuple[int, ...]] = []
        self.numbers: list[float] = []
        self.integers: list[int] = []
        self.nodes: list[np.ndarray] = []
        self.node_count = 0
        self.bits: list[np.ndarray] = []
        self.summary: list[str] = []
        self.guards: list[int] = []
        """Columns that are finite in every row that is answered."""

    def step(
        self,
        op: Op,
        numbers: Sequence[float] | np.ndarray = (),
        *,
        source: int = 0,
        to: int = 0,
        count: int = 0,
        integers: Sequence[int] = (),
    ) -> None:
        """Add a step with its numbers and integers."""
        a, b = len(self.numbers), len(self.integers)
        self.numbers += [float(number) for number in numbers]
        self.integers += [int(number) for number in integers]
        self.steps.append((int(op), to, source, count, a, b, 0, 0))

    def column(
        self, op: Op, source: Value, numbers: Sequence[float] = (), *, count: int = 0
    ) -> Value:
        """Add a step that makes one new column; it holds what its source does."""
        self.width += 1
        self.step(op, numbers, source=source.place, to=self.width - 1, count=count)
        return Value(self.width - 1, holds=source.holds)

    def refuse_infinite(self, values: Values) -> None:
        """Leave rows without an answer where one of `values` is infinite."""
        for value in values:
            if value.holds == "anything":
                self.guards.append(self.column(Op.FILL, value, [0.0]).place)
                value.holds = "gaps"

    def refuse_gaps(self, values: Values) -> None:
        """Leave rows without an answer where one of `values` is missing or infinite."""
        for value in values:
            if value.holds != "numbers":
                self.guards.append(value.place)
                value.holds = "numbers"

    def refuse_unknown(self, value: Value, keys: list[float], *, gaps: bool) -> None:
        """Leave rows without an answer where `value` is none of `keys`, nor a gap if those pass."""
        numbers = [*keys, *[0.0] * len(keys), 0.0 if gaps else np.nan, np.nan]
        self.guards.append(self.column(Op.LOOK_UP, value, numbers, count=len(keys)).place)

    def plan(self, shape: Shape) -> Plan:
        """Return the finished plan."""
        if self.guards:
            # Nothing times a finite number is nothing, and times any other it is NaN.
            weights = np.zeros(len(self.guards) * self.outputs)
            self.step(Op.LINEAR, weights, count=len(self.guards), integers=self.guards)
        # A step reads two numbers from where its own begin, whether or not it has any.
        numbers = np.array([*self.numbers, 0.0, 0.0])
        program = Program(
            np.array(self.steps, dtype=STEP),
            numbers,
            np.array(self.integers, dtype=np.int32),
            np.concatenate(self.nodes) if self.nodes else np.empty(0, NODE),
            np.concatenate(self.bits) if self.bits else np.empty(0, np.uint32),
            self.inputs,
            self.width,
            self.outputs,
        )
        return Plan(program, shape, tuple(self.summary))


def compile_plan(estimator: Any, signature: Signature, takes: Takes = "matrix") -> Plan:
    """Return the plan of a fitted `estimator`.

    Raises:
        PlanRefusedError: a step has no exact plan; the message names it and says why.
    """
    shapes: dict[str, Shape] = {"binary": "probability", "multiclass": "probabilities"}
    shape = shapes.get(signature.task, "prediction")
    draft = Draft(
        len(signature.features), len(signature.classes) if shape == "probabilities" else 1
    )
    values = [
        Value(
            place,
            feature.name,
            {text: at + 1.0 for at, text in enumerate(feature.categories)}
            if takes == "frame" and feature.kind == "category"
            else None,
            "gaps" if feature.kind == "category" else "anything",
        )
        for place, feature in enumerate(signature.features)
    ]
    found = getattr(estimator, "classes_", None)
    if found is not None and list(found) != list(range(max(len(signature.classes), 2))):
        raise PlanRefusedError(f"its classes are {list(found)}, not 0 to {len(found) - 1}")
    *before, model = _flat(estimator)
    for each in before:
        values = transform(draft, each, values)
    _predict(draft, model, values, signature)
    return draft.plan(shape)


def _flat(estimator: Any) -> list[Any]:
    """Return the steps of nested pipelines in their order."""
    if type(estimator).__name__ != "Pipeline":
        return [estimator]
    steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
    return [flat for step in steps for flat in _flat(step)]


def transform(draft: Draft, step: Any, values: Values) -> Values:
    """Add what the transformer `step` does to `values`.

    Raises:
        PlanRefusedError: it is not one of those below.
    """
    if step == "passthrough":
        return values
    if step == "drop":
        return []
    name = type(step).__name__
    if name == "Pipeline":
        for each in _flat(step):
            values = transform(draft, each, values)
        return values
    if name not in _TRANSFORMERS or not type(step).__module__.startswith("sklearn."):
        raise PlanRefusedError(f"{name} is not among the steps that have an exact plan")
    draft.summary.append(f"{name} of {len(values)} columns")
    return _TRANSFORMERS[name](draft, step, values)


def _numeric(step: Any, values: Values) -> Values:
    texts = [value.name for value in values if value.codes is not None]
    if texts:
        raise PlanRefusedError(f"{type(step).__name__} is applied to the texts of {texts[0]}")
    return values


def _columns(draft: Draft, step: Any, values: Values) -> Values:
    made: Values = []
    by_name = {value.name: value for value in values if value.name is not None}
    for _, each, chosen in step.transformers_:
        if isinstance(chosen, slice):
            picked = values[chosen]
        else:
            listed: list[Any] = [chosen] if isinstance(chosen, str | int) else list(chosen)
            if listed and all(isinstance(item, bool | np.bool_) for item in listed):
                listed = np.flatnonzero(listed).tolist()
            picked = [by_name[i] if isinstance(i, str) else values[int(i)] for i in listed]
        if picked:
            made += transform(draft, each, picked)
    return made


def _impute(draft: Draft, step: Any, values: Values) -> Values:
    if not (isinstance(step.missing_values, float) and np.isnan(step.missing_values)):
        raise PlanRefusedError(f"SimpleImputer treats {step.missing_values!r} as missing, not NaN")
    draft.refuse_infinite(values)
    made: Values = []
    for value, fill in zip(values, step.statistics_.tolist(), strict=True):
        if value.codes is not None:
            codes = dict(value.codes)
            code = codes.setdefault(fill, 1.0 + len(codes))
            filled = draft.column(Op.FILL, value, [code])
            filled.codes = codes
        elif fill != fill:  # noqa: PLR0124 - a column that was all missing is dropped
            continue
        else:
            filled = draft.column(Op.FILL, value, [fill])
        filled.name = value.name
        filled.holds = "numbers"
        made.append(filled)
    if step.indicator_ is not None:
        made += _flags(draft, [values[int(place)] for place in step.indicator_.features_])
    return made


def _missing(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(values)
    flagged = [values[int(place)] for place in step.features_]
    if step.error_on_new and step.features == "missing-only":
        draft.refuse_gaps([value for value in values if value not in flagged])
    return _flags(draft, flagged)


def _flags(draft: Draft, values: Values) -> Values:
    made = [draft.column(Op.MISSING, value) for value in values]
    for flag in made:
        flag.holds = "numbers"
    return made


def _standard(draft: Draft, step: Any, values: Values) -> Values:
    return _scaled(draft, step, values, step.mean_ if step.with_mean else None, step.scale_)


def _robust(draft: Draft, step: Any, values: Values) -> Values:
    center = step.center_ if step.with_centering else None
    return _scaled(draft, step, values, center, step.scale_ if step.with_scaling else None)


def _max_abs(draft: Draft, step: Any, values: Values) -> Values:
    return _scaled(draft, step, values, None, step.scale_)


def _scaled(draft: Draft, step: Any, values: Values, center: Any, scale: Any) -> Values:
    draft.refuse_infinite(values)
    centers = np.zeros(len(values)) if center is None else center
    scales = np.ones(len(values)) if scale is None else scale
    return [
        draft.column(Op.SCALE, value, pair)
        for value, pair in zip(
            _numeric(step, values), zip(centers, scales, strict=True), strict=True
        )
    ]


def _min_max(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(values)
    made = [
        draft.column(Op.SHIFT, value, pair)
        for value, pair in zip(
            _numeric(step, values), zip(step.scale_, step.min_, strict=True), strict=True
        )
    ]
    if step.clip:
        made = [draft.column(Op.CLIP, value, step.feature_range) for value in made]
    return made


def _keys(value: Value, categories: np.ndarray) -> tuple[list[float], list[int], int | None]:
    """Return an encoder's categories as sorted keys, their places, and the place of missing."""
    keys, missing = [], None
    for place, category in enumerate(categories.tolist()):
        if category is None or category != category:  # noqa: PLR0124 - NaN
            missing = place
        elif value.codes is None:
            keys.append((float(category), place))
        elif category not in value.codes:
            raise PlanRefusedError(
                f"{value.name} has {len(categories):,} categories, and only the most frequent "
                f"{len(value.codes)} have a code of their own"
            )
        else:
            keys.append((value.codes[category], place))
    keys.sort()
    return [key for key, _ in keys], [place for _, place in keys], missing


def _one_hot(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(values)
    made: Values = []
    infrequent = getattr(step, "_default_to_infrequent_mappings", None) or [None] * len(values)
    ignores = step.handle_unknown in ("ignore", "error")
    for i, (value, categories) in enumerate(zip(values, step.categories_, strict=True)):
        keys, places, missing = _keys(value, categories)
        if step.handle_unknown == "error":
            draft.refuse_unknown(value, keys, gaps=missing is not None)
        columns = list(range(len(categories)))
        rare = None
        if infrequent[i] is not None:
            columns = infrequent[i].tolist()
            rare = max(columns)
        drops = step._drop_idx_after_grouping
        dropped = None if drops is None else drops[i]
        if dropped is not None:
            columns = [-1 if c == dropped else c - (c > dropped) for c in columns]
            rare = None if rare is None else -1 if rare == dropped else rare - (rare > dropped)
        unknown = -1 if ignores or rare is None else rare
        hot = [columns[place] for place in places]
        hot += [unknown if missing is None else columns[missing], unknown]
        count = max(max(columns, default=-1), unknown) + 1
        start = draft.width
        draft.width += count
        draft.step(
            Op.ONE_HOT,
            keys,
            source=value.place,
            to=start,
            count=len(keys),
            integers=[count, *hot],
        )
        made += [Value(start + place, holds="numbers") for place in range(count)]
    return made


def _ordinal(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(values)
    if getattr(step, "_infrequent_enabled", False):
        raise PlanRefusedError("OrdinalEncoder with infrequent categories has no exact plan yet")
    made: Values = []
    for value, categories in zip(values, step.categories_, strict=True):
        keys, places, missing = _keys(value, categories)
        if step.handle_unknown == "error":
            draft.refuse_unknown(value, keys, gaps=missing is not None)
            unknown = 0.0
        else:
            unknown = float(step.unknown_value)
        absent = float(step.encoded_missing_value) if missing is not None else unknown
        numbers = [*keys, *places, absent, unknown]
        encoded = draft.column(Op.LOOK_UP, value, numbers, count=len(keys))
        encoded.holds = "gaps" if np.isnan([absent, unknown]).any() else "numbers"
        made.append(encoded)
    return made


def _unchanged(draft: Draft, step: Any, values: Values) -> Values:
    """A FunctionTransformer without a function, or the one inside histogram gradient boosting."""
    function = step.func
    inner = getattr(getattr(function, "func", None), "__name__", "")
    if function is not None and inner != "check_array":
        raise PlanRefusedError("a FunctionTransformer's function has no plan: write it as row SQL")
    return values


_TRANSFORMERS: dict[str, Callable[[Draft, Any, Values], Values]] = {
    "ColumnTransformer": _columns,
    "SimpleImputer": _impute,
    "MissingIndicator": _missing,
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MaxAbsScaler": _max_abs,
    "MinMaxScaler": _min_max,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "FunctionTransformer": _unchanged,
}


def _predict(draft: Draft, model: Any, values: Values, signature: Signature) -> None:
    name = type(model).__name__
    draft.summary.append(f"{name} of {len(values)} columns")
    if not type(model).__module__.startswith("sklearn."):
        raise PlanRefusedError(f"{name} is not among the models that have an exact plan")
    if name in _LINEAR:
        _linear(draft, model, _numeric(model, values), signature)
    elif name in compile_trees.MODELS:
        make = cast("Callable[..., None]", compile_trees.MODELS[name])
        make(draft, model, values, signature)
    else:
        raise PlanRefusedError(f"{name} is not among the models that have an exact plan")


_LINEAR = {
    "LogisticRegression", "LogisticRegressionCV", "LinearRegression", "Ridge", "RidgeCV", "Lasso",
    "LassoCV", "ElasticNet", "ElasticNetCV", "Lars", "LassoLars", "BayesianRidge",
    "SGDClassifier", "SGDRegressor", "HuberRegressor", "TheilSenRegressor",
    "QuantileRegressor", "PoissonRegressor", "GammaRegressor", "TweedieRegressor",
}  # fmt: skip


def _linear(draft: Draft, model: Any, values: Values, signature: Signature) -> None:
    weights = np.atleast_2d(model.coef_)
    if weights.shape != (draft.outputs, len(values)):
        raise PlanRefusedError(
            f"{type(model).__name__} has weights of shape {weights.shape}, and "
            f"({draft.outputs}, {len(values)}) is expected"
        )
    if type(model).__name__ == "SGDClassifier" and (
        model.loss != "log_loss" or signature.task == "multiclass"
    ):
        raise PlanRefusedError(
            f"SGDClassifier(loss='{model.loss}') for a {signature.task} target; with 'log_loss' "
            "and two classes it has an exact plan"
        )
    draft.refuse_gaps(values)
    places = [value.place for value in values]
    draft.step(Op.LINEAR, weights.ravel(), count=len(places), integers=places)
    draft.step(Op.CONSTANT, np.broadcast_to(model.intercept_, draft.outputs))
    if signature.task == "binary":
        draft.step(Op.SIGMOID)
    elif signature.task == "multiclass":
        if getattr(model, "solver", "") == "liblinear":
            raise PlanRefusedError("LogisticRegression(solver='liblinear') with several classes")
        draft.step(Op.SOFTMAX)
    elif type(getattr(getattr(model, "_base_loss", None), "link", None)).__name__ == "LogLink":
        draft.step(Op.EXP)
