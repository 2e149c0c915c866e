"""The reference of what has an exact plan: the tables of `compile.py`, and every refusal there.

Steps and models come from the tables that compile them, and the reasons from the lines that refuse,
so the page cannot say anything else. After a change:
`python -m loopline.model.reference docs/reference`.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from loopline.kernels.score import Op
from loopline.model import compile as steps
from loopline.model import compile_trees
from loopline.model.parity import TOLERANCE

_PAGE = """<!-- Made from compile.py by `python -m loopline.model.reference docs/reference`. -->

# What has an exact plan

A version answers by its **plan**, arrays that a small kernel runs in float64, where every step of
the estimator stands on this page and the plan is proven to agree. Else the **original** answers, in
a worker process of its own: the same routes, the same log, a slower answer. `loopline run` says
which: its line `plan` is either the proof or the reason why there is none, and `model list` shows
it as `runtime`. Nothing here is needed to train: any estimator of scikit-learn's kind will do.

## The proof

A plan is compared with its original on up to 20,000 held-out rows and on hostile ones: on a tree's
threshold and a float step either side of it, missing, unseen, infinite, far outside what was seen.
It stands if no label flips at the version's threshold and no probability differs by more than
{tolerance:g} (a regression's prediction: relative to its size). Where the original refuses a row,
the plan must too. A plan that fails is not used; the original answers, and the difference is the
reason.

## Steps

Those of scikit-learn, in a `Pipeline` or a `ColumnTransformer`, nested as you like, with
`passthrough` and `drop`.

| step | what to know |
| --- | --- |
{transformers}

## Models

| model | what to know |
| --- | --- |
{models}

## Why a plan is refused

These are the reasons as the code gives them; `...` stands for the name or number found.

{reasons}

Whatever is not of the package scikit-learn is among them: LightGBM, XGBoost, and your own
transformers and models. They are trained, judged and served all the same, by the original.

## What a plan can do

The steps of the kernel, for who reads a bundle's `plan.bin`:

| code | step | what it does |
| --- | --- | --- |
{operations}
"""

_STEPS = {
    "ColumnTransformer": "Columns by name, place, slice or mask; `remainder` too.",
    "SimpleImputer": "Any strategy, with `add_indicator`; missing is NaN.",
    "MissingIndicator": "Both `features`.",
    "StandardScaler": "Numbers.",
    "RobustScaler": "Numbers.",
    "MaxAbsScaler": "Numbers.",
    "MinMaxScaler": "Numbers; with `clip` too.",
    "OneHotEncoder": "With `drop`, infrequent categories and every `handle_unknown`.",
    "OrdinalEncoder": "Without infrequent categories.",
    "FunctionTransformer": "Only without a function: write the function as row SQL.",
}
_FORESTS = "One target; missing values where the trees learned from some."
_MODELS = {
    "SGDClassifier": "With `loss='log_loss'` and two classes.",
    "LogisticRegression": "With several classes: any solver but `liblinear`.",
    "PoissonRegressor": "Log link.",
    "GammaRegressor": "Log link.",
    "TweedieRegressor": "Log or identity link.",
    "HistGradientBoostingClassifier": "With native categories and missing values.",
    "HistGradientBoostingRegressor": "Every loss, the Poisson and gamma ones with their log link.",
    "GradientBoostingClassifier": "From scikit-learn's own start, or zero.",
    "GradientBoostingRegressor": "From scikit-learn's own start, or zero.",
    **dict.fromkeys(
        [
            "DecisionTreeClassifier",
            "DecisionTreeRegressor",
            "RandomForestClassifier",
            "RandomForestRegressor",
            "ExtraTreesClassifier",
            "ExtraTreesRegressor",
        ],
        _FORESTS,
    ),
}


def markdown() -> str:
    """Return the reference page."""
    models = [*sorted(steps._LINEAR), *compile_trees.MODELS]
    reasons = [*_reasons(steps), *_reasons(compile_trees)]
    return _PAGE.format(
        tolerance=TOLERANCE,
        transformers="\n".join(f"| `{name}` | {_STEPS[name]} |" for name in steps._TRANSFORMERS),
        models="\n".join(f"| `{name}` | {_MODELS.get(name, '')} |" for name in models),
        reasons="\n".join(f"- {reason}" for reason in dict.fromkeys(reasons)),
        operations="\n".join(_operations()),
    )


def _reasons(module: ModuleType) -> Iterator[str]:
    """Yield what each refusal of a module says, `...` for what it fills in."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            [message] = node.exc.args
            parts = message.values if isinstance(message, ast.JoinedStr) else [message]
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "..." for part in parts
            )


def _operations() -> Iterator[str]:
    """Yield a row per step of the kernel, with the docstring that stands below it in its class."""
    [body] = [n.body for n in ast.parse(inspect.getsource(Op)).body if isinstance(n, ast.ClassDef)]
    said: dict[str, str] = {}
    name = ""
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said[name] = " ".join(str(node.value.value).split())
    for op in Op:
        yield f"| {op.value} | `{op.name}` | {said.get(op.name, 'All outputs.')} |"


def pages() -> dict[str, str]:
    """Return each generated file's name and text."""
    return {"plans.md": markdown()}


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
