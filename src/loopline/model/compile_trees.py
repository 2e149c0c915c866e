"""Trees of scikit-learn's models as the nodes of a scoring plan."""

from typing import TYPE_CHECKING, Any

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.score import NODE, Op
from loopline.model.signature import Signature

if TYPE_CHECKING:
    from loopline.model.compile import Draft, Values


def _add(draft: "Draft", nodes: np.ndarray, columns: list[int]) -> int:
    """Add one tree, its children and columns counted from zero; return its root's place."""
    inner = nodes["feature"] >= 0
    placed = nodes.copy()
    placed["feature"][inner] = np.array(columns, np.int32)[nodes["feature"][inner]]
    for side in ("left", "right"):
        placed[side][inner] += draft.node_count
    root = draft.node_count
    draft.nodes.append(placed)
    draft.node_count += len(placed)
    return root


def _histogram_boosting(draft: "Draft", model: Any, values: "Values", signature: Signature) -> None:
    from loopline.model.compile import transform

    prepare = getattr(model, "_preprocessor", None)
    if prepare is not None:
        values = transform(draft, prepare, values)
    elif any(value.codes is not None for value in values):
        raise PlanRefusedError(f"{type(model).__name__} is given texts")
    columns = [value.place for value in values]
    draft.step(Op.CONSTANT, np.ravel(model._baseline_prediction))
    roots, outputs = [], []
    for iteration in model._predictors:
        for output, tree in enumerate(iteration):
            nodes = np.zeros(len(tree.nodes), NODE)
            leaf = tree.nodes["is_leaf"].astype(bool)
            nodes["feature"] = np.where(leaf, -1, tree.nodes["feature_idx"])
            nodes["value"] = np.where(leaf, tree.nodes["value"], tree.nodes["num_threshold"])
            nodes["left"], nodes["right"] = tree.nodes["left"], tree.nodes["right"]
            is_set = ~leaf & tree.nodes["is_categorical"].astype(bool)
            places = len(draft.bits) + tree.nodes["bitset_idx"].astype(np.int32) + 1
            nodes["kind"] = tree.nodes["missing_go_to_left"] + 2 * np.where(is_set, places, 0)
            nodes["kind"][leaf] = 0
            draft.bits += list(tree.raw_left_cat_bitsets.astype(np.uint32))
            roots.append(_add(draft, nodes, columns))
            outputs.append(output)
    draft.step(Op.TREES, count=len(roots), integers=[*roots, *outputs])
    if signature.task == "binary":
        draft.step(Op.SIGMOID)
    elif signature.task == "multiclass":
        draft.step(Op.SOFTMAX)
    elif type(model._loss.link).__name__ == "LogLink":
        draft.step(Op.EXP)


def _nodes(tree: Any) -> np.ndarray:
    """Return a scikit-learn `Tree` as nodes, without the leaves' values."""
    state = tree.__getstate__()["nodes"]
    nodes = np.zeros(len(state), NODE)
    leaf = state["left_child"] < 0
    nodes["feature"] = np.where(leaf, -1, state["feature"])
    nodes["value"] = state["threshold"]
    nodes["left"] = np.where(leaf, 0, state["left_child"])
    nodes["right"] = np.where(leaf, 0, state["right_child"])
    nodes["kind"] = np.where(leaf, 0, state["missing_go_to_left"])
    return nodes


def _rounded(draft: "Draft", model: Any, values: "Values", *, gaps: bool) -> list[int]:
    """Return columns rounded to float32, which is all that these trees see.

    What is too large for it is infinite to them, and refused; and so is a gap unless `gaps`.
    """
    if any(value.codes is not None for value in values):
        raise PlanRefusedError(f"{type(model).__name__} is given texts")
    rounded = [draft.column(Op.FLOAT32, value) for value in values]
    for value in rounded:
        value.holds = "anything"
    if gaps:
        draft.refuse_infinite(rounded)
    else:
        draft.refuse_gaps(rounded)
    return [value.place for value in rounded]


def _forest(draft: "Draft", model: Any, values: "Values", signature: Signature) -> None:
    members = getattr(model, "estimators_", [model])
    gaps = bool(members[0]._support_missing_values(np.zeros((1, 1))))
    columns = _rounded(draft, model, values, gaps=gaps)
    trees = [each.tree_ for each in members]
    roots, outputs = [], []
    for tree in trees:
        nodes = _nodes(tree)
        leaf = nodes["feature"] < 0
        if tree.n_outputs != 1:
            raise PlanRefusedError(f"{type(model).__name__} has {tree.n_outputs} targets")
        if signature.task == "regression":
            nodes["value"][leaf] = tree.value[leaf, 0, 0]
            outputs.append(0)
        elif signature.task == "binary":
            nodes["value"][leaf] = tree.value[leaf, 0, 1]
            outputs.append(0)
        else:
            start = len(draft.numbers)
            draft.numbers += tree.value[leaf, 0, :].ravel().tolist()
            nodes["value"][leaf] = start + draft.outputs * np.arange(leaf.sum())
            outputs.append(-1)
        roots.append(_add(draft, nodes, columns))
    draft.step(Op.TREES, count=len(roots), integers=[*roots, *outputs])
    draft.step(Op.DIVIDE, [len(trees)])


def _gradient_boosting(draft: "Draft", model: Any, values: "Values", signature: Signature) -> None:
    if model.init_ != "zero" and type(model.init_).__name__ not in (
        "DummyClassifier",
        "DummyRegressor",
    ):
        raise PlanRefusedError(f"{type(model).__name__} starts from {type(model.init_).__name__}")
    columns = _rounded(draft, model, values, gaps=False)
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))
    draft.step(Op.CONSTANT, np.ravel(start))
    roots, outputs = [], []
    for iteration in model.estimators_:
        for output, each in enumerate(iteration):
            nodes = _nodes(each.tree_)
            leaf = nodes["feature"] < 0
            nodes["value"][leaf] = model.learning_rate * each.tree_.value[leaf, 0, 0]
            roots.append(_add(draft, nodes, columns))
            outputs.append(output)
    draft.step(Op.TREES, count=len(roots), integers=[*roots, *outputs])
    if signature.task == "binary":
        if model.loss == "exponential":
            draft.step(Op.DIVIDE, [0.5])
        draft.step(Op.SIGMOID)
    elif signature.task == "multiclass":
        draft.step(Op.SOFTMAX)


MODELS = {
    "HistGradientBoostingClassifier": _histogram_boosting,
    "HistGradientBoostingRegressor": _histogram_boosting,
    "DecisionTreeClassifier": _forest,
    "DecisionTreeRegressor": _forest,
    "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest,
    "ExtraTreesClassifier": _forest,
    "ExtraTreesRegressor": _forest,
    "GradientBoostingClassifier": _gradient_boosting,
    "GradientBoostingRegressor": _gradient_boosting,
}
"""Models whose trees have an exact plan."""
