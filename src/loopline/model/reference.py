"""The reference of what has an exact plan: the tables of `compile/`, and every refusal there.

Steps and models come from the tables that compile them, and the reasons from the lines that refuse,
so the page cannot say anything else. After a change:
`python -m loopline.model.reference docs/reference`.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from loopline.kernels.functions import Function, Pair
from loopline.kernels.score import Op
from loopline.model.compile import (
    columns,
    curves,
    draft,
    encoders,
    ensembles,
    estimator,
    lightgbm,
    linear,
    trees,
    xgboost,
)
from loopline.model.compile.draft import Known
from loopline.model.compile.refused import REFUSED
from loopline.model.parity import TOLERANCE

_PAGE = """<!-- Made from compile/ by `python -m loopline.model.reference docs/reference`. -->

# What has an exact plan

A version answers by its **plan**, arrays that a small kernel runs in float64, where every step of
the estimator stands on this page and the plan is proven to agree. Else the **original** answers, in
a worker process of its own: the same routes, the same log, a slower answer; or a
[network](../how-to/your-own-estimator.md#a-network) that the estimator exports. `loopline run` says
which: its line `plan` is either the proof or the reason why there is none, and `model list` shows
it as `runtime`. Nothing here is needed to train: any estimator of scikit-learn's kind will do.

## The proof

A plan is compared with its original on up to 20,000 held-out rows and on hostile ones: on a tree's
threshold and a float step either side of it, missing, unseen, infinite, far outside what was seen.
It stands if no label flips at the version's threshold and no probability differs by more than
{tolerance:g} (a regression's prediction: relative to its size). Where the original refuses a row,
the plan must too. A plan that fails is not used; the original answers, and the difference is the
reason.

Some pipelines are exact but for values that lie on a turn to the last bit. Where trees or bins come
after a logarithm or a power, the plan puts their question before it, at the very number where it
turns. Where bins, quantiles or trees come after splines, projections or products, the proof finds
such values or it does not; if it does, the original answers. Splines are the likeliest: a plan has
them as polynomials between their knots, which differ from SciPy's recursion in the last bit, and
bins are cut at the very values that training rows had.

## Steps

Those of scikit-learn, in a `Pipeline`, a `ColumnTransformer` or a `FeatureUnion`, nested as you
like, with `passthrough` and `drop`, and with `set_output` where a later step chooses by name.

| step | what to know |
| --- | --- |
{transformers}

## Models

| model | what to know |
| --- | --- |
{models}

## Models of other libraries

Install what trains them: `pip install "loopline[lightgbm]"` or `pip install "loopline[xgboost]"`. A
plan needs neither to answer. XGBoost works in float32 throughout, and its plan does the same
operations in the same order, so its answers are equal; without the compiled kernel the last float32
digit may differ, and then the original answers.

| model | what to know |
| --- | --- |
{others}

## Without a plan

The original answers for these, and for all that stands nowhere here.

| step or model | why |
| --- | --- |
{refused}

A contract has one target, so a regression of several is refused where it is written.

## Why a plan is refused

These are the reasons as the code gives them; `...` stands for the name or number found.

{reasons}

Your own transformers and models are among them, also those derived from a class above: a plan
cannot know what they changed. They are trained, judged and served all the same, by the original.

## What a plan can do

The steps of the kernel, for who reads a bundle's `plan.bin`:

| code | step | what it does |
| --- | --- | --- |
{operations}

`FUNCTION`, by c: {functions}.

`PAIR`, by c: {pairs}.
"""

_MODULES = (
    estimator,
    columns,
    encoders,
    curves,
    linear,
    trees,
    ensembles,
    lightgbm,
    xgboost,
    draft,
)


def markdown() -> str:
    """Return the reference page."""
    own = {name: known for name, known in estimator.MODELS.items() if "." not in name}
    others = {name: known for name, known in estimator.MODELS.items() if "." in name}
    reasons = [reason for module in _MODULES for reason in _reasons(module)]
    return _PAGE.format(
        tolerance=TOLERANCE,
        transformers=_rows(estimator.STEPS),
        models=_rows(own),
        others=_rows(others),
        refused="\n".join(f"| `{name}` | {why} |" for name, why in REFUSED.items()),
        reasons="\n".join(f"- {reason}" for reason in dict.fromkeys(reasons)),
        operations="\n".join(_operations()),
        functions=", ".join(f"{each.value} {each.name}" for each in Function),
        pairs=", ".join(f"{each.value} {each.name}" for each in Pair),
    )


def _rows(table: Mapping[str, Known]) -> str:
    return "\n".join(f"| `{name}` | {known.note} |" for name, known in table.items())


def _reasons(module: ModuleType) -> Iterator[str]:
    """Yield what each refusal of a module says, `...` for what it fills in."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "PlanRefusedError":
            [message] = node.args
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
