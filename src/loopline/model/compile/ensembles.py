"""Models made of models: pipelines, searches, votes, stacks, bags, boosts and calibrations."""

from typing import Any

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.functions import Function
from loopline.kernels.score import Op
from loopline.model.compile.columns import apply_numpy
from loopline.model.compile.curves import lines
from loopline.model.compile.draft import Draft, Known, Value, Values, Wants, outputs_of


def _pipeline(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    *before, (_, last) = model.steps
    for _, step in before:
        values = draft.transform(step, values)
    draft.answer(last, values, wants)


def _best(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if not hasattr(model, "best_estimator_"):
        raise PlanRefusedError(f"{type(model).__name__} has no best estimator: use refit=True")
    draft.answer(model.best_estimator_, values, wants)


def _inner(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    fitted = model.estimator_ if hasattr(model, "estimator_") else model.estimator
    draft.answer(fitted, values, wants)


def _alike(model: Any, members: list[Any]) -> None:
    """Refuse members that learned from fewer classes than their ensemble."""
    for member in members:
        if outputs_of(member) != outputs_of(model):
            raise PlanRefusedError(
                f"a {type(member).__name__} within {type(model).__name__} has seen "
                f"{len(getattr(member, 'classes_', ()))} classes of {len(model.classes_)}"
            )


def _average(draft: Draft, answers: list[Values], weights: Any, total: float) -> None:
    """Put the weighted sum of answers, divided by `total`, to the outputs."""
    for answer, weight in zip(answers, weights, strict=True):
        draft.linear(answer, np.eye(len(answer)) * weight)
    draft.step(Op.DIVIDE, [total])


def _vote(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if wants == "decision":
        raise PlanRefusedError(f"{type(model).__name__} has no decision function")
    members = list(model.estimators_)
    _alike(model, members)
    weights = model._weights_not_none
    if weights is None:
        weights = [1.0] * len(members)
    answers = [draft.member(each, values, wants) for each in members]
    _average(draft, answers, weights, float(np.sum(weights)))


def _stack(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    made: Values = []
    asked: dict[str, Wants] = {"predict_proba": "probability", "decision_function": "decision"}
    members = [each for each in model.estimators_ if each != "drop"]
    for each, method in zip(members, model.stack_method_, strict=True):
        if method == "predict" and hasattr(each, "classes_"):
            raise PlanRefusedError(
                f"{type(model).__name__} is given the labels of {type(each).__name__}, "
                "not its probabilities"
            )
        answers = draft.member(each, values, asked.get(method, "prediction"))
        made += answers
    if model.passthrough:
        made += values
    draft.answer(model.final_estimator_, made, wants)


def _bag(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if wants == "decision":
        raise PlanRefusedError(f"{type(model).__name__} is asked for decisions")
    members = list(model.estimators_)
    _alike(model, members)
    answers = []
    for each, places in zip(members, model.estimators_features_, strict=True):
        answers.append(draft.member(each, [values[place] for place in places], wants))
    _average(draft, answers, [1.0] * len(members), float(len(members)))


def _against_rest(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    members = list(model.estimators_)
    if wants != "probability" or any(outputs_of(each) != 1 for each in members):
        raise PlanRefusedError(f"{type(model).__name__} is asked for decisions")
    made = [draft.member(each, values, "probability")[0] for each in members]
    draft.put(made)
    if len(made) > 1:
        draft.step(Op.NORMALISE, [0.0])


def _calibrated(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    if wants != "probability":
        raise PlanRefusedError("CalibratedClassifierCV has no decision function")
    members = list(model.calibrated_classifiers_)
    answers = [_one_calibrated(draft, model, each, values) for each in members]
    for answer in answers:
        draft.put(answer)
    draft.step(Op.DIVIDE, [float(len(members))])


def _one_calibrated(draft: Draft, model: Any, each: Any, values: Values) -> Values:
    fitted = each.estimator
    _alike(model, [fitted])
    decides = hasattr(fitted, "decision_function")
    answers = draft.member(fitted, values, "decision" if decides else "probability")
    if each.method == "temperature":
        if not decides:
            raise PlanRefusedError("CalibratedClassifierCV(method='temperature') of probabilities")
        beta = float(each.calibrators[0].beta_)
        draft.linear(answers, np.eye(len(answers)) * (2.0 * beta if len(answers) == 1 else beta))
        draft.step(Op.SIGMOID if len(answers) == 1 else Op.SOFTMAX)
        return draft.keep(len(answers))
    made = [
        _calibration(draft, calibrator, answer)
        for calibrator, answer in zip(each.calibrators, answers, strict=True)
    ]
    if len(made) == 1:
        return made
    draft.put(made)
    draft.step(Op.NORMALISE, [1.0 / len(made)])
    return draft.keep(len(made))


def _calibration(draft: Draft, calibrator: Any, answer: Value) -> Value:
    if type(calibrator).__name__ == "IsotonicRegression":
        return _isotonic(draft, calibrator, answer)
    turned = draft.column(Op.SHIFT, answer, [calibrator.a_, calibrator.b_])
    return draft.apply(Function.LOGISTIC, draft.column(Op.SHIFT, turned, [-1.0, 0.0]))


def _isotonic(draft: Draft, step: Any, value: Value) -> Value:
    x, y = step.X_thresholds_, step.y_thresholds_
    if x.dtype != np.float64 or (step.out_of_bounds != "clip" and len(x) > 1):
        raise PlanRefusedError(
            f"IsotonicRegression(out_of_bounds='{step.out_of_bounds}') of {x.dtype}; with 'clip' "
            "and float64 it has an exact plan"
        )
    clipped = draft.column(Op.CLIP, value, [x[0], x[-1]])
    return draft.pieces(clipped, x, lines(x, y))[0]


def _isotonic_alone(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    draft.refuse_gaps(values)
    draft.put([_isotonic(draft, model, value) for value in values])


def _target(draft: Draft, model: Any, values: Values, wants: Wants) -> None:
    [answer] = draft.member(model.regressor_, values, wants)
    step = model.transformer_
    name = type(step).__name__
    if name == "FunctionTransformer":
        inverse = step.inverse_func
        made = answer
        if inverse is not None:
            [made] = apply_numpy(draft, model, inverse, [answer])
    elif name == "StandardScaler":
        scale = step.scale_[0] if step.with_std else 1.0
        mean = step.mean_[0] if step.with_mean else 0.0
        made = draft.column(Op.SHIFT, answer, [scale, mean])
    else:
        raise PlanRefusedError(f"TransformedTargetRegressor turns {name} back")
    draft.put([made])


_MEMBERS = "Its members must be models of this table."
MODELS = {
    "Pipeline": Known(_pipeline, "Nested as you like."),
    **dict.fromkeys(
        ["GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"],
        Known(_best, "The best estimator, refitted."),
    ),
    **dict.fromkeys(
        ["FixedThresholdClassifier", "TunedThresholdClassifierCV"],
        Known(_inner, "Its estimator; the threshold is the version's own."),
    ),
    "FrozenEstimator": Known(_inner),
    "RANSACRegressor": Known(_inner, "Its estimator."),
    "VotingClassifier": Known(_vote, f"Soft, with weights. {_MEMBERS}"),
    "VotingRegressor": Known(_vote, f"With weights. {_MEMBERS}"),
    "StackingClassifier": Known(_stack, f"With and without `passthrough`. {_MEMBERS}"),
    "StackingRegressor": Known(_stack, f"With and without `passthrough`. {_MEMBERS}"),
    "BaggingClassifier": Known(_bag, f"Of classifiers that know every class. {_MEMBERS}"),
    "BaggingRegressor": Known(_bag, _MEMBERS),
    "OneVsRestClassifier": Known(_against_rest, _MEMBERS),
    "CalibratedClassifierCV": Known(
        _calibrated, f"Every `method`; ensemble or not. {_MEMBERS}"
    ),
    "IsotonicRegression": Known(_isotonic_alone, "With `out_of_bounds='clip'`, of one column."),
    "TransformedTargetRegressor": Known(
        _target, "Turned back by one of numpy's functions, or by `StandardScaler`."
    ),
}  # fmt: skip
"""What is made of models, by its class."""
