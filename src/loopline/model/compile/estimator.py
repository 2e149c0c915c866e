"""A fitted estimator to an exact float64 scoring plan, or the reason why there is none.

Each step does what its library does, in its order of operations; `model/parity.py` proves it for
the model at hand. What the original refuses (a gap it never learned from, an infinite number) the
plan leaves without an answer, for a tree would find one anyhow. docs/reference/plans.md lists the
steps. Nothing here imports scikit-learn, LightGBM or XGBoost: a fitted estimator is read.
"""

from typing import Any, Literal

from loopline.errors import PlanRefusedError
from loopline.model.compile import (
    columns,
    curves,
    encoders,
    ensembles,
    lightgbm,
    linear,
    trees,
    xgboost,
)
from loopline.model.compile.draft import Draft, Value
from loopline.model.plan import Plan, Shape
from loopline.model.signature import Signature

Takes = Literal["matrix", "frame"]

STEPS = {**columns.STEPS, **encoders.STEPS, **curves.STEPS}
"""Every transformer that has an exact plan."""
MODELS = {
    **linear.MODELS,
    **trees.MODELS,
    **ensembles.MODELS,
    **lightgbm.MODELS,
    **xgboost.MODELS,
}
"""Every model that has an exact plan."""


def compile_plan(estimator: Any, signature: Signature, takes: Takes = "matrix") -> Plan:
    """Return the plan of a fitted `estimator`.

    Raises:
        PlanRefusedError: a step has no exact plan; the message names it and says why.
    """
    shapes: dict[str, Shape] = {"binary": "probability", "multiclass": "probabilities"}
    shape = shapes.get(signature.task, "prediction")
    outputs = len(signature.classes) if shape == "probabilities" else 1
    draft = Draft(len(signature.features), outputs, STEPS, MODELS)
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
    draft.answer(
        estimator, values, "prediction" if signature.task == "regression" else "probability"
    )
    return draft.plan(shape)
