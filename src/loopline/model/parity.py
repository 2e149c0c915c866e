"""The proof that a plan answers as its original does, on held-out and on hostile rows.

Hostile rows are where two implementations part: on a tree's threshold and one float step either
side of it, missing, unseen, infinite, far outside what was seen. Each is a held-out row with one
value changed, or with several. Where the original refuses a row, the plan must refuse it too.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from loopline.data.columns import Columns
from loopline.errors import ParityError
from loopline.model.original import Original
from loopline.model.runtimes.onnx import UNSEEN, OnnxRuntime
from loopline.model.signature import Feature, Signature, decide, matrix

TOLERANCE = 1e-12
"""Largest difference allowed: of a probability absolutely, of a prediction relatively."""
_MOST_ROWS = 20_000
_THRESHOLDS = 20  # tried of each column; a seeded sample where there are more
_CATEGORIES = 20  # likewise
_MIXED_ROWS = 500
_REFUSED_ROWS = 10  # of a kind are shown to the original one by one


@dataclass(frozen=True)
class Parity:
    """What was compared, and how far apart the two were."""

    rows: int
    """Held-out rows."""
    hostile_rows: int
    largest_difference: float
    flipped: int
    """Rows whose label differs at the version's threshold, or that one of the two refuses."""
    agreed: bool
    refused: tuple[str, ...] = ()
    """Kinds of hostile rows of which both refuse some, and what the original says."""
    tolerance: float = TOLERANCE
    """Largest difference allowed."""


class Answers(Protocol):
    """What is proven: a plan, or a network."""

    def score_what_can_be(self, matrix: np.ndarray) -> np.ndarray:
        """Score a matrix; a row that is refused has NaN for its scores."""
        ...

    def thresholds(self, column: int) -> np.ndarray:
        """Return the values of an input column at which the answer turns."""
        ...


def prove(
    plan: Answers,
    original: Original,
    signature: Signature,
    columns: Columns,
    tolerance: float = TOLERANCE,
) -> Parity:
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
    hostile = _hostile(plan, signature, seen, generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of encoders, about the categories they do not know
        expected = original.scores(columns)
        proof = _Proof(plan, original, signature, float(np.median(np.abs(expected))))
        if isinstance(plan, OnnxRuntime):  # it sees texts, where a plan sees their codes
            proof.compare(plan.score_columns(columns), expected)
        else:
            proof.compare(plan.score_what_can_be(seen), expected)
        for kind, rows in hostile.items():
            proof.try_rows(kind, rows)
    return Parity(
        rows=len(seen),
        hostile_rows=sum(map(len, hostile.values())),
        largest_difference=proof.largest,
        flipped=proof.flipped,
        agreed=proof.largest <= tolerance and proof.flipped == 0,
        refused=tuple(proof.refused),
        tolerance=tolerance,
    )


class _Proof:
    """Compares, and keeps the worst."""

    def __init__(
        self, plan: Answers, original: Original, signature: Signature, usual: float
    ) -> None:
        self._plan, self._original, self._signature = plan, original, signature
        self._usual = usual
        """The size of an ordinary prediction, below which differences are not relative."""
        self.largest = 0.0
        self.flipped = 0
        self.refused: list[str] = []

    def try_rows(self, kind: str, rows: np.ndarray) -> None:
        """Compare the answers to hostile rows, and the refusals."""
        answers = self._plan.score_what_can_be(rows)
        refuses = np.isnan(answers.reshape(len(rows), -1)).any(axis=1)
        if not refuses.all():
            try:
                self.compare(answers[~refuses], self._ask(rows[~refuses]))
            except Exception as error:  # noqa: BLE001 - the team's estimator may raise anything
                self._differ(int((~refuses).sum()))
                self.refused.append(_said(kind, error))
        for row in rows[refuses][:_REFUSED_ROWS]:
            try:
                expected = self._ask(row[None])
            except Exception as error:  # noqa: BLE001 - as above
                if _said(kind, error) not in self.refused:
                    self.refused.append(_said(kind, error))
            else:
                self._differ(int(not np.isnan(expected).any()))

    def compare(self, answers: np.ndarray, expected: np.ndarray) -> None:
        """Take in the largest difference and the number of flipped labels."""
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where(answers == expected, 0.0, np.abs(answers - expected))
        if self._signature.task == "regression":
            apart = apart / np.maximum(np.abs(expected), self._usual or 1.0)
        else:
            said, meant = (decide(self._signature, scores) for scores in (answers, expected))
            self.flipped += int((said != meant).sum())
        both = np.isnan(answers) & np.isnan(expected)
        # A NaN on one side alone is as far apart as can be.
        apart = np.where(both, 0.0, np.where(np.isfinite(apart), apart, 1.0))
        self.largest = max(self.largest, float(apart.max()))

    def _ask(self, rows: np.ndarray) -> np.ndarray:
        return self._original.answer(_inputs(self._original, self._signature, rows))

    def _differ(self, rows: int) -> None:
        if rows:
            self.flipped += rows
            self.largest = max(self.largest, 1.0)


def _said(kind: str, error: Exception) -> str:
    first = str(error).split("\n", 1)[0]
    return f"{kind}: {type(error).__name__}: {first}"[:300]


def _hostile(
    plan: Answers, signature: Signature, seen: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return rows by kind."""
    changes: dict[str, list[tuple[int, float]]] = {}
    for column, feature in enumerate(signature.features):
        for kind, values in _values(plan, feature, column, seen[:, column], generator).items():
            changes.setdefault(kind, []).extend((column, value) for value in values)
    changes = {kind: listed for kind, listed in changes.items() if listed}
    made = {}
    for kind, listed in changes.items():
        rows = seen[generator.integers(0, len(seen), len(listed))].copy()
        places = np.array([column for column, _ in listed])
        rows[np.arange(len(listed)), places] = [value for _, value in listed]
        made[kind] = rows
    mixed = seen[generator.integers(0, len(seen), _MIXED_ROWS)].copy()
    for kind, listed in changes.items():
        if kind == "infinite":
            continue  # which may be refused, and would take its row's other values with it
        for at in generator.integers(0, len(listed), 2 * _MIXED_ROWS).tolist():
            column, value = listed[at]
            mixed[generator.integers(0, _MIXED_ROWS), column] = value
    made["mixed"] = mixed
    made["all missing"] = np.full((1, seen.shape[1]), np.nan)
    return made


def _values(
    plan: Answers, feature: Feature, column: int, values: np.ndarray, generator: np.random.Generator
) -> dict[str, list[float]]:
    """Return hostile values of one column, by kind."""
    if feature.kind == "category":
        codes = 1.0 + np.arange(len(feature.categories))
        return {
            "missing": [np.nan] * 5,
            "unseen": [0.0] * 5,
            "categories": _some(codes, _CATEGORIES, generator),
        }
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    span = high - low + 1.0
    turns = np.array(_some(plan.thresholds(column), _THRESHOLDS, generator))
    return {
        "missing": [np.nan] * 5,
        "infinite": [np.inf, -np.inf],
        "far outside": [
            0.0,
            -0.0,
            5e-324,
            low - span,
            high + span,
            low - 9 * span,
            high + 9 * span,
        ],
        "on a threshold": _around(turns),
    }


def _some(values: np.ndarray, count: int, generator: np.random.Generator) -> list[float]:
    chosen = generator.choice(values, count, replace=False) if len(values) > count else values
    return [float(value) for value in chosen]


def _around(turns: np.ndarray) -> list[float]:
    """Return each value and its neighbours, in float64 and in the float32 that some trees see."""
    with np.errstate(over="ignore"):
        narrow = turns.astype(np.float32)
        beside = [np.nextafter(narrow, np.float32(end)) for end in (-np.inf, np.inf)]
    wide = [each.astype(np.float64) for each in (narrow, *beside)]
    # Between two float32 values lies where rounding goes to the other one.
    exact = [turns, (wide[0] + wide[1]) / 2, (wide[0] + wide[2]) / 2]
    steps = [np.nextafter(each, end) for each in exact for end in (-np.inf, np.inf)]
    found = np.concatenate([*wide, *exact, *steps])
    return [float(value) for value in found[np.isfinite(found)]]


def _inputs(original: Original, signature: Signature, rows: np.ndarray) -> Any:
    """Return the rows of a matrix as the original takes them."""
    if original.takes == "matrix":
        return rows
    import pandas as pd

    seen = {}
    for place, feature in enumerate(signature.features):
        values: Any = rows[:, place]
        if feature.kind == "category":
            texts = [UNSEEN, *feature.categories]
            values = pd.Series(
                [code if np.isnan(code) else texts[int(code)] for code in values.tolist()],
                dtype=object,
            )
        seen[feature.name] = values
    return pd.DataFrame(seen)
