"""Behavioural tests: what the team knows the model must do, whatever its figures.

Every function `test_...` in the project's `tests/model/*.py` is called with a `Model`. It passes
unless it raises; `stays`, `rises`, `falls` and `answers` raise with the row that shows it.
"""

import hashlib
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from loopline.data.columns import Columns, from_values
from loopline.errors import LooplineError
from loopline.model.signature import Signature, decide

Row = dict[str, Any]
Changes = Mapping[str, Any]
"""Column to its new value, or to a function from the old value to the new."""

EXAMPLE = '''"""What this model must do, whatever its figures: checked by every `loopline run`.

Each function gets the model. `model.rows(100)` gives held-out rows to start from, as
dictionaries; `model.score(rows)` and `model.label(rows)` answer any rows. Ready-made checks:

    model.stays(rows, {"sex": "female"}, within=0.01)           # invariance
    model.rises(rows, {"distance": lambda miles: miles * 2})    # direction; also: falls
    model.answers([{...}], "late")                              # minimum function
"""


def test_the_order_of_rows_does_not_matter(model):
    rows = model.rows(50)
    assert (model.score(rows)[::-1] == model.score(rows[::-1])).all()


def test_a_row_with_nothing_known_still_gets_an_answer(model):
    empty = dict.fromkeys(model.inputs)
    assert len(model.label([empty])) == 1
'''
"""What `loopline new` writes to `tests/model/test_behaviour.py`; it holds for any model."""


class Model:
    """The model under test, as its callers see it."""

    def __init__(
        self, signature: Signature, score: Callable[[Columns], np.ndarray], held_out: Columns
    ) -> None:
        self.inputs = [each.name for each in signature.inputs if each.required]
        """The columns that the model needs."""
        self._kinds = {each.name: each.type for each in signature.inputs}
        self._signature, self._score, self._held_out = signature, score, held_out

    def rows(self, count: int = 100) -> list[Row]:
        """Return up to `count` held-out rows, evenly spread; a missing value is None."""
        have = len(self._held_out[self.inputs[0]])
        places = np.unique(np.linspace(0, have - 1, min(count, have)).astype(int))
        plain = {
            name: [_plain(value, self._kinds[name]) for value in self._held_out[name][places]]
            for name in self.inputs
        }
        return [{name: plain[name][place] for name in plain} for place in range(len(places))]

    def score(self, rows: Sequence[Row]) -> np.ndarray:
        """Return the positive class's probability, a column per class, or the prediction."""
        absent = sorted({name for row in rows for name in self.inputs if name not in row})
        if absent:
            raise AssertionError(f"A row lacks {', '.join(absent)}. Write None where unknown.")
        return self._score(
            {
                name: from_values(
                    name, [row[name] for row in rows], self._kinds[name], self._signature.missing
                )
                for name in self.inputs
            }
        )

    def label(self, rows: Sequence[Row]) -> list[Any]:
        """Return what the model decides: classes as text, or predictions."""
        return list(decide(self._signature, self.score(rows)))

    def changed(self, rows: Sequence[Row], changes: Changes) -> list[Row]:
        """Return copies of the rows with these columns changed."""
        unknown = sorted(set(changes) - set(self.inputs))
        if unknown:
            raise AssertionError(
                f"The model has no input {', '.join(unknown)}. Inputs: {', '.join(self.inputs)}."
            )
        return [
            row | {name: to(row[name]) if callable(to) else to for name, to in changes.items()}
            for row in rows
        ]

    def stays(
        self, rows: Sequence[Row], changes: Changes, *, within: float = 0.0, share: float = 1.0
    ) -> None:
        """Invariance: for this share of rows the change moves no score by more than `within`."""
        before, after = self._both(rows, changes)
        moved = np.abs(after - before).reshape(len(rows), -1).max(axis=1)
        self._hold(rows, moved <= within, share, f"moved by more than {within:g}", (before, after))

    def rises(self, rows: Sequence[Row], changes: Changes, *, share: float = 1.0) -> None:
        """Direction: for this share of rows the change does not lower the score."""
        before, after = self._both(rows, changes)
        self._hold(rows, _of_one(after) >= _of_one(before), share, "fell", (before, after))

    def falls(self, rows: Sequence[Row], changes: Changes, *, share: float = 1.0) -> None:
        """Direction: for this share of rows the change does not raise the score."""
        before, after = self._both(rows, changes)
        self._hold(rows, _of_one(after) <= _of_one(before), share, "rose", (before, after))

    def answers(self, rows: Sequence[Row], label: object, *, share: float = 1.0) -> None:
        """Minimum function: this share of rows gets this label."""
        said = self.label(rows)
        scores = self.score(rows)
        right = np.array([answer == label for answer in said])
        self._hold(rows, right, share, f"did not get the label {label!r}", (scores, scores))

    def _both(self, rows: Sequence[Row], changes: Changes) -> tuple[np.ndarray, np.ndarray]:
        return self.score(rows), self.score(self.changed(rows, changes))

    @staticmethod
    def _hold(
        rows: Sequence[Row],
        held: np.ndarray,
        share: float,
        what: str,
        scores: tuple[np.ndarray, np.ndarray],
    ) -> None:
        if held.mean() >= share:
            return
        first = int(np.argmin(held))
        before, after = (np.round(each[first], 4) for each in scores)
        raise AssertionError(
            f"{int((~held).sum())} of {len(rows)} rows {what}. The first is row {first}, from "
            f"{before} to {after}: {rows[first]}"
        )


def run_tests(root: Path, model: Model) -> tuple[dict[str, Any], ...]:
    """Call every behavioural test of the project in `root`; never raises for what they do."""
    found: list[dict[str, Any]] = []
    for path in sorted((root / "tests" / "model").glob("*.py")):
        found += _run_file(path, root, model)
    return tuple(found)


def _run_file(path: Path, root: Path, model: Model) -> Iterator[dict[str, Any]]:
    # A name that no installed module has, and not one that `tests` might have elsewhere.
    name = f"loopline_behaviour_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    file = str(path.relative_to(root))
    message = _failure(path, lambda: SourceFileLoader(name, str(path)).exec_module(module))
    if message is not None:
        title = f"{path.stem} can be loaded"
        yield {"name": title, "file": file, "passed": False, "message": message}
        return
    for test, function in vars(module).items():
        if test.startswith("test_") and inspect.isfunction(function):
            message = _failure(path, partial(function, model))
            yield {
                "name": test.removeprefix("test_").replace("_", " "),
                "file": file,
                "passed": message is None,
                "message": message or "",
            }


def _failure(path: Path, call: Callable[[], object]) -> str | None:
    """Return why the call failed, with the line of the team's file, or None."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - a test may raise anything; the run goes on
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None)
        text = str(error) or (frames[-1].line if frames else None) or ""
        if not isinstance(error, AssertionError | LooplineError):
            text = f"{type(error).__name__}: {text}"
        return f"line {line}: {text}" if line else text
    return None


def _of_one(scores: np.ndarray) -> np.ndarray:
    if scores.ndim > 1:
        raise AssertionError("rises and falls need one score a row; use score() for classes.")
    return scores


def _plain(value: Any, kind: str) -> object:
    """Return a value of a column as JSON would carry it."""
    if kind in {"category", "text"}:
        return value
    if kind == "time":
        return None if np.isnat(value) else f"{value}Z"
    if np.isnan(value):
        return None
    return bool(value) if kind == "boolean" else int(value) if kind == "integer" else float(value)
