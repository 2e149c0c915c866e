"""The proof that a plan answers as its original does, on held-out and on hostile rows.

Hostile rows are where two implementations part: on a tree's threshold and one float step either
side of it, missing, unseen, far outside what was seen. Each is a held-out row with one value
changed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from loopline.data.columns import Columns
from loopline.errors import ParityError
from loopline.model.original import Original
from loopline.model.plan import Plan
from loopline.model.signature import Signature, decide, matrix

TOLERANCE = 1e-12
"""Largest difference allowed: of a probability absolutely, of a prediction relatively."""
_MOST_ROWS = 20_000
_THRESHOLDS = 40  # tried of each column; a seeded sample where there are more
_UNSEEN = "\x00 a value that no training row had"


@dataclass(frozen=True)
class Parity:
    """What was compared, and how far apart the two were."""

    rows: int
    """Held-out rows."""
    hostile_rows: int
    largest_difference: float
    flipped: int
    """Rows whose label differs at the version's threshold."""
    agreed: bool
    refused: tuple[str, ...] = ()
    """Kinds of hostile rows that the original cannot answer, and why."""


def prove(plan: Plan, original: Original, signature: Signature, columns: Columns) -> Parity:
    """Compare `plan` with `original` on the rows of `columns` and on hostile rows made from them.

    Raises:
        ParityError: there is no row to compare on.
    """
    seen = matrix(signature, columns)
    if len(seen) == 0:
        raise ParityError("There are no held-out rows to prove the plan on.")
    generator = np.random.default_rng(0)
    if len(seen) > _MOST_ROWS:
        chosen = np.sort(generator.choice(len(seen), _MOST_ROWS, replace=False))
        seen = seen[chosen]
        columns = {name: values[chosen] for name, values in columns.items()}
    found = [_compare(plan, signature, seen, original.scores(columns))]
    refused, tried = [], 0
    for kind, rows in _hostile(plan, signature, seen, generator).items():
        try:
            expected = original.answer(_inputs(original, signature, rows))
        except Exception as error:  # noqa: BLE001 - the team's estimator may raise anything
            refused.append(f"{kind}: {type(error).__name__}: {error}"[:300])
            continue
        tried += len(rows)
        found.append(_compare(plan, signature, rows, expected))
    largest = max(difference for difference, _ in found)
    flipped = sum(flips for _, flips in found)
    return Parity(
        rows=len(seen),
        hostile_rows=tried,
        largest_difference=largest,
        flipped=flipped,
        agreed=largest <= TOLERANCE and flipped == 0,
        refused=tuple(refused),
    )


def _compare(
    plan: Plan, signature: Signature, rows: np.ndarray, expected: np.ndarray
) -> tuple[float, int]:
    """Return the largest difference and the number of flipped labels."""
    answers = plan.score(np.ascontiguousarray(rows))
    apart = np.abs(answers - expected)
    if signature.task == "regression":
        flips = 0
        apart = apart / np.maximum(np.abs(expected), 1.0)
    else:
        flips = int((decide(signature, answers) != decide(signature, expected)).sum())
    # A NaN on one side alone is as far apart as can be.
    apart = np.where(np.isnan(apart), np.where(np.isnan(answers) & np.isnan(expected), 0, 1), apart)
    return float(apart.max()), flips


def _hostile(
    plan: Plan, signature: Signature, seen: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return rows by kind, each a held-out row with one value changed."""
    changes: dict[str, list[tuple[int, float]]] = {
        "on a threshold": [],
        "far outside": [],
        "missing": [],
        "unseen": [],
    }
    for column, feature in enumerate(signature.features):
        changes["missing"] += [(column, np.nan)] * 5
        if feature.kind == "category":
            changes["unseen"] += [(column, 0.0)] * 5
            continue
        values = seen[:, column]
        known = values[np.isfinite(values)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
        span = high - low + 1.0
        far = (0.0, -0.0, low - span, high + span, low - 10 * span, high + 10 * span)
        changes["far outside"] += [(column, value) for value in far]
        thresholds = plan.thresholds(column)
        if len(thresholds) > _THRESHOLDS:
            thresholds = generator.choice(thresholds, _THRESHOLDS, replace=False)
        for value in thresholds.tolist():
            near = (value, np.nextafter(value, -np.inf), np.nextafter(value, np.inf))
            changes["on a threshold"] += [(column, each) for each in near]
    made = {}
    for kind, listed in changes.items():
        if not listed:
            continue
        rows = seen[generator.integers(0, len(seen), len(listed))].copy()
        places = np.array([column for column, _ in listed])
        rows[np.arange(len(listed)), places] = [value for _, value in listed]
        made[kind] = rows
    return made


def _inputs(original: Original, signature: Signature, rows: np.ndarray) -> Any:
    """Return the rows of a matrix as the original takes them."""
    if original.takes == "matrix":
        return rows
    import pandas as pd

    seen = {}
    for place, feature in enumerate(signature.features):
        values: Any = rows[:, place]
        if feature.kind == "category":
            texts = [_UNSEEN, *feature.categories]
            values = pd.Series(
                [code if np.isnan(code) else texts[int(code)] for code in values.tolist()],
                dtype=object,
            )
        seen[feature.name] = values
    return pd.DataFrame(seen)
