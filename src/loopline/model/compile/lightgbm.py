"""LightGBM's models: trees over float64, and the function that follows their sum."""

from typing import Any

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.functions import Function, Pair
from loopline.kernels.score import NODE, Op
from loopline.model.compile.draft import Draft, Known, Values, Wants, numeric, outputs_of
from loopline.model.compile.sets import Sets

_ZERO = float(np.float32(1e-35))
"""LightGBM takes what is no further from 0 for 0."""
_IDENTITY = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")


def _booster(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if wants == "decision":
        raise PlanRefusedError(f"{type(model).__name__} has no decision function")
    head, trees = _read(model.booster_.model_to_string())
    columns = _Columns(draft, numeric(model, values))
    each = int(head["num_tree_per_iteration"])
    roots = [_tree(draft, tree, columns) for tree in trees]
    outputs = [place % each for place in range(len(roots))]
    draft.step(Op.TREES, count=len(roots), integers=[*roots, *outputs])
    if "average_output" in head:
        draft.step(Op.DIVIDE, [len(roots) // each])
    _link(draft, model, head.get("objective", ""), wants)


def _read(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Return the head of a model as LightGBM writes it, and its trees."""
    head, *trees = text.split("end of trees", 1)[0].split("\nTree=")
    parts = [
        dict(line.partition("=")[::2] for line in part.splitlines() if line)
        for part in (head, *trees)
    ]
    return parts[0], parts[1:]


class _Columns:
    """The columns that trees look at: as they are, with gaps for 0, or as whole numbers."""

    def __init__(self, draft: Draft, values: Values) -> None:
        self._draft, self._values = draft, values

    def number(self, feature: int) -> int:
        """Return the place of a column as it is."""
        return self._values[feature].place

    def gap_at_zero(self, feature: int) -> int:
        """Return the place of a column that is missing where it is 0."""
        return self._draft.gap_where(self._values[feature], -_ZERO, _ZERO).place

    def category(self, feature: int) -> int:
        """Return the place of a column without what follows the point; what is below 0 is none."""
        draft, value = self._draft, self._values[feature]
        sign = draft.apply(Function.SIGN, value)
        size = draft.apply(Function.FLOOR, draft.apply(Function.ABS, value))
        return draft.pair(Pair.MULTIPLY, sign, size).place


def _tree(draft: Draft, tree: dict[str, str], columns: _Columns) -> int:
    """Add one tree; return its root's place."""
    if tree.get("is_linear", "0") != "0":
        raise PlanRefusedError("LightGBM's linear_tree has no exact plan")
    leaves = _numbers(tree["leaf_value"], np.float64)
    inner = int(tree["num_leaves"]) - 1
    nodes = np.zeros(inner + len(leaves), NODE)
    nodes["feature"] = -1
    nodes["value"][inner:] = leaves
    if inner == 0:
        return draft.tree(nodes, [])
    sides = {}
    for side in ("left", "right"):
        child = _numbers(tree[f"{side}_child"], np.int64)
        sides[side] = np.where(child < 0, inner + ~child, child)
        nodes[side][:inner] = sides[side]
    features = _numbers(tree["split_feature"], np.int64).tolist()
    kinds = _numbers(tree["decision_type"], np.int64).tolist()
    thresholds = _numbers(tree["threshold"], np.float64)
    # A threshold so near to 0 has all that counts as 0 on one side.
    near = np.where(thresholds >= 0, _ZERO, np.nextafter(-_ZERO, -1.0))
    nodes["value"][:inner] = np.where(np.abs(thresholds) <= _ZERO, near, thresholds)
    sets = Sets(draft, nodes)
    bounds, words = (
        _numbers(tree.get(name, ""), np.int64) for name in ("cat_boundaries", "cat_threshold")
    )
    for place, (feature, kind) in enumerate(zip(features, kinds, strict=True)):
        if kind & 1:
            at = int(thresholds[place])
            column = columns.category(feature)
            codes = _members(words[bounds[at] : bounds[at + 1]])
            sets.split(place, column, codes, missing_left=False)
            continue
        missing = kind >> 2 & 3  # none, zero, NaN
        nodes["feature"][place] = (
            columns.gap_at_zero(feature) if missing == 1 else columns.number(feature)
        )
        # A gap counts as 0 where the feature had none in training.
        nodes["kind"][place] = kind >> 1 & 1 if missing else thresholds[place] >= 0
    return sets.add()


def _numbers(text: str, kind: Any) -> np.ndarray:
    return np.array(text.split(), kind)


def _members(words: np.ndarray) -> list[int]:
    """Return the numbers whose bits are set in words of 32."""
    return [
        32 * place + bit
        for place, word in enumerate(words.tolist())
        for bit in range(32)
        if word >> bit & 1
    ]


def _link(draft: Draft, model: Any, objective: str, wants: Wants) -> None:
    name, *options = objective.split() or [""]
    settings = dict(option.partition(":")[::2] for option in options)
    if name in ("binary", "multiclassova", "cross_entropy"):
        slope = float(settings.get("sigmoid", "1"))
        if slope != 1.0:
            kept = draft.keep(outputs_of(model))
            draft.linear(kept, np.eye(len(kept)) * slope)
        draft.step(Op.SIGMOID)
    elif name == "multiclass":
        draft.step(Op.SOFTMAX)
    elif name in ("poisson", "gamma", "tweedie"):
        draft.step(Op.EXP)
    elif name in _IDENTITY and "sqrt" in settings:
        [root] = draft.keep(1)
        size = draft.pair(Pair.MULTIPLY, root, root)
        draft.put([draft.pair(Pair.MULTIPLY, draft.apply(Function.SIGN, root), size)])
    elif name not in _IDENTITY:
        raise PlanRefusedError(f"LightGBM's objective '{objective}' has no exact plan")
    if wants == "probability" and outputs_of(model) == 1 and name in _IDENTITY:
        raise PlanRefusedError(f"LightGBM's objective '{objective}' gives no probability")


MODELS = {
    "lightgbm.LGBMClassifier": Known(
        _booster, "Binary, multiclass and one against the rest; categories, every missing type."
    ),
    "lightgbm.LGBMRegressor": Known(
        _booster, "Every objective of its own, with its link; boosted, `dart`, `goss` and `rf`."
    ),
}
"""LightGBM's models, by package and class."""
