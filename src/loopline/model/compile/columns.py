"""Steps that choose, fill, scale and project columns."""

from typing import Any

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.functions import Function, Pair
from loopline.kernels.score import Op
from loopline.model.compile.draft import Draft, Known, Values, numeric


def _pipeline(draft: Draft, step: Any, values: Values) -> Values:
    for _, each in step.steps:
        values = draft.transform(each, values)
    return values


def _table(draft: Draft, step: Any, values: Values) -> Values:
    made: Values = []
    by_name = {value.name: value for value in values if value.name is not None}
    for name, each, chosen in step.transformers_:
        if isinstance(chosen, slice):
            picked = values[chosen]
        else:
            listed: list[Any] = [chosen] if isinstance(chosen, str | int) else list(chosen)
            if listed and all(isinstance(item, bool | np.bool_) for item in listed):
                listed = np.flatnonzero(listed).tolist()
            picked = [by_name[i] if isinstance(i, str) else values[int(i)] for i in listed]
        if picked:
            weight = (step.transformer_weights or {}).get(name)
            made += _weighted(draft, draft.transform(each, picked), weight)
    return made


def _union(draft: Draft, step: Any, values: Values) -> Values:
    made: Values = []
    for name, each in step.transformer_list:
        weight = (step.transformer_weights or {}).get(name)
        made += _weighted(draft, draft.transform(each, values), weight)
    return made


def _weighted(draft: Draft, values: Values, weight: float | None) -> Values:
    if weight is None:
        return values
    return [draft.column(Op.SHIFT, value, [weight, 0.0]) for value in values]


def _impute(draft: Draft, step: Any, values: Values) -> Values:
    values = _with_gaps(draft, step, values)
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


def _with_gaps(draft: Draft, step: Any, values: Values) -> Values:
    """Return `values`, missing where the step takes them for that."""
    wanted = step.missing_values
    if isinstance(wanted, float) and np.isnan(wanted):
        draft.refuse_infinite(values)
        return values
    if not isinstance(wanted, int | float) or any(value.codes is not None for value in values):
        raise PlanRefusedError(
            f"{type(step).__name__} treats {wanted!r} as missing, neither NaN nor a number"
        )
    draft.refuse_gaps(values)
    return [draft.gap_where(value, wanted, wanted) for value in values]


def _missing(draft: Draft, step: Any, values: Values) -> Values:
    values = _with_gaps(draft, step, values)
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
    center = step.mean_ if step.with_mean else None
    return scaled(draft, step, values, center, step.scale_)


def _robust(draft: Draft, step: Any, values: Values) -> Values:
    center = step.center_ if step.with_centering else None
    return scaled(draft, step, values, center, step.scale_ if step.with_scaling else None)


def _max_abs(draft: Draft, step: Any, values: Values) -> Values:
    made = scaled(draft, step, values, None, step.scale_)
    if getattr(step, "clip", False):
        made = [draft.column(Op.CLIP, value, [-1.0, 1.0]) for value in made]
    return made


def scaled(draft: Draft, step: Any, values: Values, center: Any, scale: Any) -> Values:
    """Return `values` less their `center`, divided by their `scale`."""
    draft.refuse_infinite(values)
    centers = np.zeros(len(values)) if center is None else center
    scales = np.ones(len(values)) if scale is None else scale
    each = zip(numeric(step, values), zip(centers, scales, strict=True), strict=True)
    return [draft.column(Op.SCALE, value, pair) for value, pair in each]


def _min_max(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(values)
    each = zip(numeric(step, values), zip(step.scale_, step.min_, strict=True), strict=True)
    made = [draft.column(Op.SHIFT, value, pair) for value, pair in each]
    if step.clip:
        made = [draft.column(Op.CLIP, value, step.feature_range) for value in made]
    return made


def _row_norm(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_gaps(numeric(step, values))
    if step.norm == "l2":
        parts = [draft.pair(Pair.MULTIPLY, value, value) for value in values]
    else:
        parts = [draft.apply(Function.ABS, value) for value in values]
    if step.norm == "max":
        norm = parts[0]
        for part in parts[1:]:
            norm = draft.pair(Pair.MAXIMUM, norm, part)
    else:
        [norm] = draft.dot(parts, np.ones(len(parts)), 0.0)
    if step.norm == "l2":
        norm = draft.apply(Function.SQRT, norm)
    # A norm of nearly nothing counts as 1, as scikit-learn has it.
    least = 10 * np.finfo(np.float64).eps
    [norm] = draft.pieces(norm, [least], np.array([[[0.0, 1.0]], [[1.0, least]]]))
    made = [draft.pair(Pair.DIVIDE, value, norm) for value in values]
    draft.refuse_gaps(made)  # a norm may be too large for a number
    return made


def _chosen(draft: Draft, step: Any, values: Values) -> Values:
    tags = step.__sklearn_tags__()
    if not tags.input_tags.allow_nan:
        draft.refuse_gaps(numeric(step, values))
    return [value for value, kept in zip(values, step.get_support(), strict=True) if kept]


_FUNCTIONS = {
    "log": Function.LOG, "log1p": Function.LOG1P, "log2": Function.LOG2, "log10": Function.LOG10,
    "exp": Function.EXP, "expm1": Function.EXPM1, "sqrt": Function.SQRT, "cbrt": Function.CBRT,
    "absolute": Function.ABS, "fabs": Function.ABS, "sign": Function.SIGN,
    "reciprocal": Function.RECIPROCAL, "floor": Function.FLOOR, "ceil": Function.CEIL,
    "rint": Function.RINT, "sin": Function.SIN, "cos": Function.COS, "tan": Function.TAN,
    "arctan": Function.ARCTAN, "arcsinh": Function.ARCSINH, "tanh": Function.TANH,
    "expit": Function.LOGISTIC,
}  # fmt: skip
"""numpy's functions of one number, and scipy's `expit`."""


def apply_numpy(draft: Draft, step: Any, function: Any, values: Values) -> Values:
    """Return what one of numpy's functions makes of each of `values`.

    Raises:
        PlanRefusedError: it is not one of those that a plan has.
    """
    name = getattr(function, "__name__", type(function).__name__)
    if not isinstance(function, np.ufunc) or name not in {*_FUNCTIONS, "square", "negative"}:
        raise PlanRefusedError(
            f"{type(step).__name__} applies {name}, which has no plan: write it as row SQL"
        )
    made = []
    for value in numeric(step, values):
        if name == "square":
            one = draft.pair(Pair.MULTIPLY, value, value)
            one.holds = "anything"
        elif name == "negative":
            one = draft.column(Op.SHIFT, value, [-1.0, 0.0])
        else:
            one = draft.apply(_FUNCTIONS[name], value)
        one.name = value.name
        made.append(one)
    return made


def _function(draft: Draft, step: Any, values: Values) -> Values:
    function = step.func
    # The one inside histogram gradient boosting checks its input, and no more.
    if function is None or _is_check(function):
        if step.validate:
            draft.refuse_gaps(numeric(step, values))
        return values
    if step.kw_args:
        raise PlanRefusedError("FunctionTransformer has kw_args: write the function as row SQL")
    if step.validate:
        draft.refuse_gaps(numeric(step, values))
    return apply_numpy(draft, step, function, values)


def _is_check(function: Any) -> bool:
    return getattr(getattr(function, "func", None), "__name__", "") == "check_array"


def _principal(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_gaps(numeric(step, values))
    made = draft.dot(values, step.components_, -(step.mean_ @ step.components_.T))
    if not step.whiten:
        return made
    scale = np.maximum(np.sqrt(step.explained_variance_), np.finfo(np.float64).eps)
    return [
        draft.column(Op.SCALE, value, [0.0, one]) for value, one in zip(made, scale, strict=True)
    ]


def _projected(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_gaps(numeric(step, values))
    mean = getattr(step, "mean_", None)
    if mean is not None:
        each = zip(values, mean, strict=True)
        values = [draft.column(Op.SCALE, value, [one, 1.0]) for value, one in each]
    weights = step.components_
    return draft.dot(values, weights if isinstance(weights, np.ndarray) else weights.toarray(), 0.0)


_PROJECTION = "Sums in an order of its own: proven within the tolerance, not to the bit."
STEPS = {
    "Pipeline": Known(_pipeline, "Nested as you like."),
    "ColumnTransformer": Known(
        _table, "Columns by name, place, slice, mask or selector; `remainder`, weights."
    ),
    "FeatureUnion": Known(_union, "With weights."),
    "SimpleImputer": Known(
        _impute, "Any strategy, with `add_indicator`; missing is NaN or a number."
    ),
    "MissingIndicator": Known(_missing, "Both `features`."),
    "StandardScaler": Known(_standard, "Numbers."),
    "RobustScaler": Known(_robust, "Numbers."),
    "MaxAbsScaler": Known(_max_abs, "Numbers; with `clip` too."),
    "MinMaxScaler": Known(_min_max, "Numbers; with `clip` too."),
    "Normalizer": Known(_row_norm, "Every `norm`."),
    "FunctionTransformer": Known(
        _function,
        "Without a function, or with one of numpy's of one number: "
        + ", ".join(f"`{name}`" for name in sorted({*_FUNCTIONS, "square", "negative"}))
        + " (`expit` is scipy's). Write others as row SQL.",
    ),
    **dict.fromkeys(
        [
            "VarianceThreshold", "SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr",
            "SelectFwe", "GenericUnivariateSelect", "SelectFromModel", "RFE", "RFECV",
            "SequentialFeatureSelector",
        ],
        Known(_chosen, "The columns it chose."),
    ),
    "PCA": Known(_principal, f"With `whiten` too. {_PROJECTION}"),
    "IncrementalPCA": Known(_principal, f"With `whiten` too. {_PROJECTION}"),
    **dict.fromkeys(
        ["TruncatedSVD", "FastICA", "GaussianRandomProjection", "SparseRandomProjection"],
        Known(_projected, _PROJECTION),
    ),
}  # fmt: skip
"""What stands in a pipeline, by its class."""
