"""Trees of scikit-learn's models as the nodes of a scoring plan."""

from typing import Any

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.score import NODE, Op
from loopline.model.compile.draft import Draft, Known, Values, Wants, outputs_of
from loopline.model.compile.linear import link


def _histogram_boosting(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    prepare = getattr(model, "_preprocessor", None)
    if prepare is not None:
        values = draft.transform(prepare, values)
    elif any(value.codes is not None for value in values):
        raise PlanRefusedError(f"{type(model).__name__} is given texts")
    columns = [value.place for value in values]
    draft.constant(np.ravel(model._baseline_prediction))
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
            roots.append(draft.tree(nodes, columns))
            outputs.append(output)
    draft.step(Op.TREES, count=len(roots), integers=[*roots, *outputs])
    if wants != "prediction":
        link(draft, model, wants)
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


def _rounded(draft: Draft, model: Any, values: Values, *, gaps: bool) -> list[int]:
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


def _forest(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if wants == "decision":
        raise PlanRefusedError(f"{type(model).__name__} has no decision function")
    members = getattr(model, "estimators_", [model])
    trees = [each.tree_ for each in members]
    if trees[0].n_outputs != 1:
        raise PlanRefusedError(f"{type(model).__name__} has {trees[0].n_outputs} targets")
    gaps = bool(members[0]._support_missing_values(np.zeros((1, 1))))
    columns = _rounded(draft, model, values, gaps=gaps)
    shares = [tree.value[:, 0, :] for tree in trees]
    if wants == "probability" and outputs_of(model) == 1:
        shares = [share[:, 1:] for share in shares]
    _add_trees(draft, trees, shares, columns)
    draft.step(Op.DIVIDE, [len(trees)])


def _add_trees(
    draft: Draft, trees: list[Any], answers: list[np.ndarray], columns: list[int]
) -> None:
    """Add trees, each with its nodes' answers: one number, or one for each output."""
    roots, outputs = [], []
    for tree, answer in zip(trees, answers, strict=True):
        nodes = _nodes(tree)
        leaf = nodes["feature"] < 0
        if answer.shape[1] == 1:
            nodes["value"][leaf] = answer[leaf, 0]
            outputs.append(0)
        else:
            start = len(draft.numbers)
            draft.numbers += answer[leaf].ravel().tolist()
            nodes["value"][leaf] = start + draft.outputs * np.arange(leaf.sum())
            outputs.append(-1)
        roots.append(draft.tree(nodes, columns))
    draft.step(Op.TREES, count=len(roots), integers=[*roots, *outputs])


def _adaptive_boosting(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    members, count = list(model.estimators_), len(model.classes_)
    for each in members:
        if type(each).__name__ != "DecisionTreeClassifier" or len(each.classes_) != count:
            raise PlanRefusedError(
                f"AdaBoostClassifier of {type(each).__name__}s; of decision trees that have seen "
                "every class it has an exact plan"
            )
    columns = _rounded(draft, model, values, gaps=False)
    votes = []
    for each, weight in zip(members, model.estimator_weights_.tolist(), strict=True):
        said = each.tree_.value[:, 0, :].argmax(axis=1)
        if count == 2:  # what is for one class is against the other
            votes.append(np.where(said == 1, 2 * weight, -2 * weight)[:, None])
        else:
            against = -1 / (count - 1) * weight
            votes.append(np.where(said[:, None] == np.arange(count), weight, against))
    _add_trees(draft, [each.tree_ for each in members], votes, columns)
    draft.step(Op.DIVIDE, [float(model.estimator_weights_.sum())])
    if wants == "probability":
        draft.step(Op.DIVIDE, [max(count - 1.0, 1.0)])
        link(draft, model, wants)


def _gradient_boosting(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if model.init_ != "zero" and type(model.init_).__name__ not in (
        "DummyClassifier",
        "DummyRegressor",
    ):
        raise PlanRefusedError(f"{type(model).__name__} starts from {type(model.init_).__name__}")
    columns = _rounded(draft, model, values, gaps=False)
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))
    draft.constant(np.ravel(start))
    roots, outputs = [], []
    for iteration in model.estimators_:
        for output, each in enumerate(iteration):
            nodes = _nodes(each.tree_)
            leaf = nodes["feature"] < 0
            nodes["value"][leaf] = model.learning_rate * each.tree_.value[leaf, 0, 0]
            roots.append(draft.tree(nodes, columns))
            outputs.append(output)
    draft.step(Op.TREES, count=len(roots), integers=[*roots, *outputs])
    if wants == "probability":
        if model.loss == "exponential":
            draft.step(Op.DIVIDE, [0.5])
        link(draft, model, wants)


_FORESTS = "Missing values where the trees learned from some."
_START = "From scikit-learn's own start, or zero."
MODELS = {
    "HistGradientBoostingClassifier": Known(
        _histogram_boosting, "With native categories, monotone constraints and missing values."
    ),
    "HistGradientBoostingRegressor": Known(
        _histogram_boosting, "Every loss, the Poisson and gamma ones with their log link."
    ),
    "DecisionTreeClassifier": Known(_forest, _FORESTS),
    "DecisionTreeRegressor": Known(_forest, _FORESTS),
    "ExtraTreeClassifier": Known(_forest, _FORESTS),
    "ExtraTreeRegressor": Known(_forest, _FORESTS),
    "RandomForestClassifier": Known(_forest, _FORESTS),
    "RandomForestRegressor": Known(_forest, _FORESTS),
    "ExtraTreesClassifier": Known(_forest, _FORESTS),
    "ExtraTreesRegressor": Known(_forest, _FORESTS),
    "AdaBoostClassifier": Known(_adaptive_boosting, "Of decision trees."),
    "GradientBoostingClassifier": Known(_gradient_boosting, _START),
    "GradientBoostingRegressor": Known(_gradient_boosting, _START),
}
"""Models of trees, by their class."""
