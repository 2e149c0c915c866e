"""XGBoost's models: trees over float32, added up in float32 as XGBoost does."""

import json
from typing import Any

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.functions import Function
from loopline.kernels.score import NODE, Op
from loopline.model.compile.draft import Draft, Known, Values, Wants, numeric, outputs_of
from loopline.model.compile.sets import Sets

_SIGMOID = ("binary:logistic", "reg:logistic")
_EXP = ("count:poisson", "reg:gamma", "reg:tweedie")
_IDENTITY = (
    "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
    "reg:quantileerror",
)  # fmt: skip


def _booster(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if wants == "decision":
        raise PlanRefusedError(f"{type(model).__name__} has no decision function")
    learner = json.loads(model.get_booster().save_raw("json"))["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise PlanRefusedError(f"XGBoost's booster '{booster['name']}' has no exact plan")
    objective = learner["objective"]["name"]
    code = _link(model, objective)
    columns = _columns(draft, model, numeric(model, values))
    draft.constant(_start(learner, objective, outputs_of(model)))
    roots, outputs = [], []
    for tree, output in _answering(model, booster["model"]):
        roots.append(_tree(draft, tree, columns))
        outputs.append(output)
    draft.step(Op.TREES, count=len(roots), integers=[*roots, *outputs], kind=1)
    if code is not None:
        draft.step(code, kind=1)


def _columns(draft: Draft, model: Any, values: Values) -> Values:
    """Return the columns as trees see them: float32, and missing where the model says so."""
    narrow = [draft.column(Op.FLOAT32, value) for value in values]
    missing = float(model.missing)
    if missing != missing:  # noqa: PLR0124 - NaN
        return narrow
    return [draft.gap_where(value, missing, missing) for value in narrow]


def _start(learner: dict[str, Any], objective: str, outputs: int) -> np.ndarray:
    """Return what the trees are added to: the base score, before the link."""
    said = learner["learner_model_param"]["base_score"]
    base = np.array(json.loads(said) if said.startswith("[") else [float(said)], np.float32)
    # In float64 and rounded, as C's logf does it; numpy's own of float32 is coarser.
    if objective in _SIGMOID:
        odds = np.float32(1.0) / base - np.float32(1.0)
        base = -np.log(odds.astype(np.float64)).astype(np.float32)
    elif objective in _EXP:
        base = np.log(base.astype(np.float64)).astype(np.float32)
    return np.broadcast_to(base, outputs)


def _answering(model: Any, booster: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """Return the trees that answer, and the output of each: those until the best iteration."""
    trees, groups = booster["trees"], booster["tree_info"]
    best = getattr(model, "best_iteration", None) if model.early_stopping_rounds else None
    if best is not None:
        end = int(booster["iteration_indptr"][best + 1])
        trees, groups = trees[:end], groups[:end]
    return list(zip(trees, groups, strict=True))


def _tree(draft: Draft, tree: dict[str, Any], columns: Values) -> int:
    """Add one tree; return its root's place."""
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise PlanRefusedError("XGBoost's trees of several outputs have no exact plan")
    left, right = (np.array(tree[f"{side}_children"], np.int32) for side in ("left", "right"))
    conditions = np.array(tree["split_conditions"], np.float32)
    leaf = left < 0
    features = np.array(tree["split_indices"], np.int32)
    nodes = np.zeros(len(left), NODE)
    # Less than the condition goes left, which among float32 is up to the one before it.
    before = np.nextafter(conditions, np.float32(-np.inf))
    nodes["value"] = np.where(leaf, conditions, before)
    places = np.array([value.place for value in columns], np.int32)
    nodes["feature"] = np.where(leaf, -1, places[np.where(leaf, 0, features)])
    nodes["left"], nodes["right"] = np.where(leaf, 0, left), np.where(leaf, 0, right)
    default_left = np.array(tree["default_left"], np.int32)
    nodes["kind"] = np.where(leaf, 0, default_left)
    sets = Sets(draft, nodes)
    sizes = zip(
        tree["categories_nodes"],
        tree["categories_segments"],
        tree["categories_sizes"],
        strict=True,
    )
    for place, start, size in sizes:
        whole = draft.apply(Function.FLOOR, columns[int(features[place])])
        # What is in XGBoost's set goes right, and here left.
        nodes["left"][place], nodes["right"][place] = right[place], left[place]
        codes = tree["categories"][start : start + size]
        sets.split(place, whole.place, codes, missing_left=not default_left[place])
    return sets.add()


def _link(model: Any, objective: str) -> Op | None:
    if objective in _SIGMOID:
        return Op.SIGMOID
    if objective == "multi:softprob":
        return Op.SOFTMAX
    if objective in _EXP:
        return Op.EXP
    if objective not in _IDENTITY:
        raise PlanRefusedError(f"XGBoost's objective '{objective}' has no exact plan")
    return None


_NOTE = "`gbtree`, every objective but ranking and survival; categories; in float32 as XGBoost."
MODELS = {
    **dict.fromkeys(
        ["xgboost.XGBClassifier", "xgboost.XGBRegressor", "xgboost.XGBRFClassifier",
         "xgboost.XGBRFRegressor"],
        Known(_booster, _NOTE),
    ),
}  # fmt: skip
"""XGBoost's models, by package and class."""
