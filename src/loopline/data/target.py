"""What is to be predicted, as numbers: the class of a row, or its value."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from loopline.contract.schema import Contract
from loopline.data.columns import FALSE, TRUE, Columns, canonical_text
from loopline.data.row_sql import evaluate, parse
from loopline.errors import DataError

_PAIRS = (("0", "1"), ("false", "true"), ("no", "yes"))
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class Target:
    """The truth of every row."""

    values: np.ndarray
    """float64; binary 0 or 1, multiclass the place in `classes`, regression the value; NaN where
    it is not known."""
    classes: tuple[str, ...] = ()
    """Class labels as text; binary: (negative, positive); regression: none."""
    positive: str | None = None
    """Binary: the class the probability is of."""


def truth(contract: Contract, columns: Columns, types: Mapping[str, str]) -> Target:
    """Return the target of every row: a column of that name, or row SQL.

    Raises:
        DataError: it has too few or too many classes, or is no number where one is needed.
        RowSqlError: it is neither a column nor row SQL.
    """
    name, problem = contract.problem.target, contract.problem
    if name in types:
        values, kind = columns[name], types[name]
    else:
        expression = parse(name, types)
        rows = len(next(iter(columns.values())))
        values, kind = evaluate(expression.steps, columns, rows), expression.type
    if kind == "time":
        raise DataError(f"The target '{name}' is a time, which is not predicted.")
    if problem.task == "regression":
        if kind in {"category", "text"}:
            raise DataError(f"The target '{name}' is a text, and a regression predicts a number.")
        return Target(values)
    if kind == "boolean":
        texts = ["true" if value > 0 else "false" if value == 0 else None for value in values]
    else:
        texts = [canonical_text(value) for value in values.tolist()]
    counts = Counter(text for text in texts if text is not None)
    classes = _classes(contract, counts)
    codes: dict[str | None, float] = {text: float(place) for place, text in enumerate(classes)}
    codes[None] = np.nan
    coded = np.array([codes[text] for text in texts], dtype=np.float64)
    return Target(coded, classes, classes[1] if problem.task == "binary" else None)


def _classes(contract: Contract, counts: Counter[str]) -> tuple[str, ...]:
    problem = contract.problem
    shown = ", ".join(f"{text} ({rows})" for text, rows in counts.most_common(5)) or "none"
    if len(counts) < 2:
        raise DataError(
            f"The target '{problem.target}' needs two values to learn from; it has {shown}."
        )
    if problem.task == "multiclass":
        if len(counts) > _MOST_CLASSES:
            raise DataError(
                f"The target '{problem.target}' has {len(counts)} values, more than "
                f"{_MOST_CLASSES} classes. Predict a number (task: regression), or group them."
            )
        return tuple(sorted(counts, key=_by_number))
    if len(counts) > 2:
        raise DataError(
            f"The target '{problem.target}' has {len(counts)} values ({shown}), and a binary task "
            f"two. Write task: multiclass, or row SQL such as target: {problem.target} = "
            f"'{counts.most_common()[-1][0]}'."
        )
    positive = _positive(contract, counts)
    (negative,) = (text for text in counts if text != positive)
    return negative, positive


def _positive(contract: Contract, counts: Counter[str]) -> str:
    said = canonical_text(contract.problem.positive)
    if said is None:
        pairs = (pair for pair in _PAIRS if {text.lower() for text in counts} == set(pair))
        usual = next((pair[1] for pair in pairs), None)
        rarer = min(counts, key=lambda text: (counts[text], text))
        return next((text for text in counts if text.lower() == usual), rarer)
    if said not in counts and set(counts) == {"false", "true"} and said.lower() in TRUE | FALSE:
        said = "true" if said.lower() in TRUE else "false"
    if said not in counts:
        raise DataError(
            f"problem.positive is '{contract.problem.positive}', but the target "
            f"'{contract.problem.target}' has the values {', '.join(sorted(counts))}."
        )
    return said


def _by_number(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
