"""Steps that bend numbers: bins, powers, quantiles, splines and polynomials."""

from collections.abc import Callable
from typing import Any

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.functions import Function, Pair
from loopline.kernels.score import Op
from loopline.model.compile.columns import scaled
from loopline.model.compile.draft import Draft, Known, Value, Values, numeric
from loopline.model.compile.encoders import hot_columns


def _bins(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_gaps(numeric(step, values))
    made: Values = []
    for place, (value, edges) in enumerate(zip(values, step.bin_edges_, strict=True)):
        inner = edges[1:-1]
        numbers = np.arange(len(inner) + 1.0).reshape(-1, 1, 1)
        [binned] = draft.pieces(value, inner, numbers)
        if step.encode == "ordinal":
            made.append(binned)
        else:
            keys = [float(key) for key in step._encoder.categories_[place]]
            made += hot_columns(draft, binned, keys, [*range(len(keys)), -1, -1])
    return made


def _binary(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_gaps(numeric(step, values))
    above = [np.nextafter(step.threshold, np.inf)]
    powers = np.array([0.0, 1.0]).reshape(2, 1, 1)
    return [draft.pieces(value, above, powers)[0] for value in values]


def _power(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(numeric(step, values))
    function = Function.YEO_JOHNSON
    if step.method == "box-cox":
        function = Function.BOX_COX
        for value in values:
            draft.refuse_outside(value, float(np.nextafter(0.0, 1.0)), np.inf)
    made = [
        draft.apply(function, value, float(power))
        for value, power in zip(values, step.lambdas_, strict=True)
    ]
    if not step.standardize:
        return made
    return scaled(draft, step, made, step._scaler.mean_, step._scaler.scale_)


def _quantiles(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(numeric(step, values))
    to_normal = step.output_distribution == "normal"
    made = []
    for value, quantiles in zip(values, step.quantiles_.T, strict=True):
        if not np.isfinite(quantiles).all():
            raise PlanRefusedError("QuantileTransformer was fitted to a column without numbers")
        # Both ways, for a value that repeats has several quantiles: the mean of the outermost.
        up = _interpolated(draft, value, quantiles, step.references_)
        turned = draft.column(Op.SHIFT, value, [-1.0, 0.0])
        down = _interpolated(draft, turned, -quantiles[::-1], -step.references_[::-1])
        half = draft.column(Op.SHIFT, draft.pair(Pair.SUBTRACT, up, down), [0.5, 0.0])
        made.append(_between_ends(draft, value, half, quantiles, to_normal=to_normal))
    return made


def _interpolated(draft: Draft, value: Value, x: np.ndarray, y: np.ndarray) -> Value:
    """Return what numpy's `interp` does: lines between points, and the ends beyond them."""
    return draft.pieces(value, x, lines(x, y))[0]


def lines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the pieces of straight lines between points; constant beyond them."""
    with np.errstate(all="ignore"):
        slopes = np.diff(y) / np.diff(x)
    slopes = np.where(np.isfinite(slopes), slopes, 0.0)
    return np.column_stack(
        [np.concatenate([[0.0], slopes, [0.0]]), np.concatenate([y[:1], y])]
    ).reshape(-1, 1, 2)


_NEAR_AN_END = 1e-7
"""Within this of the lowest and highest quantile, a normal output is at its end."""


def _between_ends(
    draft: Draft, value: Value, inner: Value, quantiles: np.ndarray, *, to_normal: bool
) -> Value:
    """Return `inner`, but 0 and 1 where `value` is at the ends of the quantiles."""
    low, high = float(quantiles[0]), float(quantiles[-1])
    after_low, after_high = (float(np.nextafter(end, np.inf)) for end in (low, high))
    # What `inner` is multiplied by, and what is added: itself, 0, or 1.
    own, zero, one = (1.0, 0.0), (0.0, 0.0), (0.0, 1.0)
    if not to_normal:
        breaks, ends = [low, after_low, high, after_high], [own, zero, own, one, own]
        if low == high:
            breaks, ends = breaks[:2], ends[:3]
        elif after_low == high:
            breaks, ends = [low, high, after_high], [own, zero, one, own]
        return _times_and_plus(draft, value, inner, breaks, ends)
    from scipy.special import ndtri

    from_low = _first(lambda x: x - _NEAR_AN_END >= low, low + _NEAR_AN_END)
    from_high = _first(lambda x: x + _NEAR_AN_END > high, high - _NEAR_AN_END)
    breaks, ends = [from_low, from_high], [zero, own, one]
    if from_high <= from_low:
        breaks, ends = [from_low], [zero, one]
    normal = draft.apply(Function.NORMAL, _times_and_plus(draft, value, inner, breaks, ends))
    normal.holds = value.holds
    least = _NEAR_AN_END - np.spacing(1)
    return draft.column(Op.CLIP, normal, [ndtri(least), ndtri(1 - least)])


def _times_and_plus(
    draft: Draft,
    value: Value,
    inner: Value,
    breaks: list[float],
    ends: list[tuple[float, float]],
) -> Value:
    times, plus = draft.pieces(value, breaks, np.array(ends).reshape(-1, 2, 1))
    return draft.pair(Pair.ADD, draft.pair(Pair.MULTIPLY, inner, times), plus)


def _first(holds: Callable[[float], bool], near: float) -> float:
    """Return the first float64 for which a condition holds, which is a few steps from `near`."""
    while holds(near):
        near = float(np.nextafter(near, -np.inf))
    while not holds(near):
        near = float(np.nextafter(near, np.inf))
    return near


def _splines(draft: Draft, step: Any, values: Values) -> Values:
    made: Values = []
    passes = getattr(step, "handle_missing", "error") == "zeros"
    for value, spline in zip(numeric(step, values), step.bsplines_, strict=True):
        if not passes:
            draft.refuse_gaps([value])
        columns = _spline(draft, step.extrapolation, value, spline)
        if not step.include_bias:
            columns = columns[:-1]
        if passes:
            columns = [draft.column(Op.FILL, column, [0.0]) for column in columns]
        for column in columns:
            column.holds = "anything" if passes else "numbers"
        made += columns
    return made


def _spline(draft: Draft, extrapolation: str, value: Value, spline: Any) -> Values:
    """Return a B-spline basis as polynomials between its knots."""
    from scipy.interpolate import PPoly

    degree, knots = spline.k, spline.t
    last = len(knots) - degree - 1
    low, high = float(knots[degree]), float(knots[last])
    each = [PPoly.from_spline((knots, basis, degree)).c for basis in spline.c.T]
    inner = np.stack(each).transpose(2, 0, 1)[degree:last]
    breaks, powers = knots[degree:last], np.concatenate([inner[:1], inner])
    if extrapolation == "error":
        draft.refuse_outside(value, low, high)
    elif extrapolation == "constant":
        value = draft.column(Op.CLIP, value, [low, high])
    elif extrapolation == "periodic":
        value = draft.column(Op.FUNCTION, value, [low, high - low], kind=Function.PERIOD)
    elif extrapolation == "linear":
        below, above = np.zeros_like(inner[:1]), np.zeros_like(inner[:1])
        reach = max(degree, 1)
        for piece, at, splines in (below, low, slice(reach)), (above, high, slice(-reach, None)):
            piece[0, splines, -1] = spline(at)[splines]
            if degree > 0:
                piece[0, splines, -2] = spline(at, nu=1)[splines]
        breaks, powers = knots[degree : last + 1], np.concatenate([below, inner, above])
    return draft.pieces(value, breaks, powers)


def _polynomials(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_gaps(numeric(step, values))

    def product(places: tuple[int, ...]) -> Value:
        if not places:
            [one] = draft.dot([], np.empty((1, 0)), 1.0)
            return one
        first, *others = places
        if not others:
            return values[first]
        # In scikit-learn's order: the first column multiplies what the others made.
        return draft.pair(Pair.MULTIPLY, product(tuple(others)), values[first])

    made = [
        product(tuple(np.repeat(np.arange(len(values)), powers).tolist()))
        for powers in step.powers_
    ]
    draft.refuse_gaps([copied for copied in made if copied.holds != "numbers"])
    return made


STEPS = {
    "KBinsDiscretizer": Known(_bins, "Every `encode` and `strategy`."),
    "Binarizer": Known(_binary, "Numbers."),
    "PowerTransformer": Known(_power, "Both methods, standardized or not."),
    "QuantileTransformer": Known(_quantiles, "Uniform and normal."),
    "SplineTransformer": Known(
        _splines, "Every `extrapolation`, with `handle_missing`; proven within the tolerance."
    ),
    "PolynomialFeatures": Known(
        _polynomials, "Any degree, `interaction_only`, with and without 1."
    ),
}
"""What bends numbers, by its class."""
