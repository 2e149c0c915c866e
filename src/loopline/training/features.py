"""Which columns reach a model, and as what: the signature, before a threshold is chosen."""

from collections import Counter
from typing import cast

import numpy as np

from loopline.contract.schema import ColumnType, Contract
from loopline.data.row_sql import Expression, evaluate, parse
from loopline.errors import TrainingError
from loopline.model.signature import Feature, Input, Signature
from loopline.training.material import Material

LEVELS = 200
"""The most frequent values of a category get a code of their own; the rest share code 0."""
_NUMBERS = frozenset({"number", "integer", "boolean"})


def sign(material: Material) -> Signature:
    """Return inputs and features, with the categories of the training rows.

    Raises:
        TrainingError: no feature is left, or one gives a time.
    """
    contract = material.contract
    derived = {name: parse(sql, material.types) for name, sql in contract.data.features.items()}
    plain = [name for name in material.types if _is_feature(name, material)]
    features = [_plain(name, material) for name in plain]
    features += [_derived(name, found, material) for name, found in derived.items()]
    needed = set(plain).union(*(found.columns for found in derived.values()))
    if not needed:
        raise TrainingError(
            "No column is left for a model to learn from. List some under data.columns in "
            "loopline.yaml with type number, integer, boolean or category."
        )
    inputs = _inputs(material, needed)
    _check_pairs(material, inputs)
    return Signature(
        project=contract.project,
        task=contract.problem.task,
        inputs=inputs,
        features=tuple(features),
        classes=material.target.classes,
        missing=tuple(contract.data.missing),
        key=contract.data.key,
        time=contract.data.time,
    )


def target_columns(material: Material) -> frozenset[str]:
    """Return the columns that say or make the target."""
    target = material.contract.problem.target
    if target in material.types:
        return frozenset([target])
    return frozenset(parse(target, material.types).columns)


def _is_feature(name: str, material: Material) -> bool:
    data = material.contract.data
    column = data.columns.get(name)
    return (
        column is not None
        and column.feature
        and not column.leaks
        and column.personal != "direct"
        and name not in {data.key, data.time, data.split.group}
        and name not in target_columns(material)
        and (material.types[name] in _NUMBERS or material.types[name] == "category")
    )


def _plain(name: str, material: Material) -> Feature:
    if material.types[name] in _NUMBERS:
        return Feature(name, "number")
    return Feature(name, "category", _levels(material.columns[name][material.parts.train]))


def _derived(name: str, found: Expression, material: Material) -> Feature:
    if found.type in _NUMBERS:
        return Feature(name, "number", sql=found.sql, steps=found.steps)
    if found.type == "time":
        raise TrainingError(
            f"data.features.{name} gives a time, and a model takes numbers and categories. "
            f"Take a part of it, such as: extract(hour from {found.columns[0]})"
        )
    rows = material.rows(material.parts.train)
    values = evaluate(found.steps, rows, len(material.parts.train))
    return Feature(name, "category", _levels(values), sql=found.sql, steps=found.steps)


def _levels(values: np.ndarray) -> tuple[str, ...]:
    counts = Counter(value for value in values.tolist() if value is not None)
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:LEVELS]
    return tuple(sorted(frequent))


def _inputs(material: Material, needed: set[str]) -> tuple[Input, ...]:
    """Return what the model needs and, not required, what monitoring looks at."""
    contract = material.contract
    beside = {contract.data.key, contract.data.time, contract.data.split.group}
    beside |= {rule.by for rule in contract.fairness}
    beside |= {name for pair in contract.monitor.pairs for name in pair}
    return tuple(
        Input(
            name,
            cast("ColumnType", kind),
            required=name in needed,
            logged=not _is_personal(contract, name),
        )
        for name, kind in material.types.items()
        if name in needed or name in beside
    )


def _check_pairs(material: Material, inputs: tuple[Input, ...]) -> None:
    """Refuse pairs of what is not logged, or goes together with nothing.

    Raises:
        TrainingError: a column of `monitor.pairs` is such a one.
    """
    logged = {each.name: each.type for each in inputs if each.logged}
    made_of = target_columns(material)
    for name in dict.fromkeys(name for pair in material.contract.monitor.pairs for name in pair):
        kind = logged.get(name)
        why = f"is {kind}, and pairs are of numbers and categories"
        if kind is None:
            why = "is no column that callers send and the log keeps"
        elif name in made_of:
            why = "makes the target, so callers do not send it"
        elif kind not in ("text", "time"):
            continue
        raise TrainingError(f"monitor.pairs: {name} {why}. Name another column in loopline.yaml.")


def _is_personal(contract: Contract, name: str) -> bool:
    column = contract.data.columns.get(name)
    return column is not None and column.personal == "direct"
