"""Rows of every hostile kind, and the proof of a plan over them."""

import warnings

import numpy as np
import pytest

from loopline.model.compile.estimator import compile_plan
from loopline.model.original import Original, frame
from loopline.model.parity import TOLERANCE, Parity, prove
from loopline.model.plan import Plan
from loopline.model.signature import Feature, Input, Signature, matrix

NUMBERS = ("plain", "positive", "whole", "holed")
TEXTS = ("colour", "size")
COLOURS = ("blue", "green", "grey", "red", "teal")
ROWS = 400


def _columns(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    holed = generator.normal(size=ROWS)
    holed[generator.random(ROWS) < 0.15] = np.nan
    colours = np.array([*COLOURS, None], dtype=object)
    sizes = np.array(["L", "M", "S"], dtype=object)
    return {
        "plain": generator.normal(size=ROWS).round(2),
        "positive": np.exp(generator.normal(size=ROWS)),
        "whole": generator.integers(0, 6, ROWS).astype(np.float64),
        "holed": holed,
        "colour": colours[generator.choice(6, ROWS, p=[0.4, 0.3, 0.15, 0.06, 0.04, 0.05])],
        "size": sizes[generator.choice(3, ROWS)],
    }


def _truth(columns: dict[str, np.ndarray], task: str) -> np.ndarray:
    score = columns["plain"] + np.log(columns["positive"])
    score = score + 0.4 * (np.nan_to_num(columns["whole"]) % 7)
    score = score + (columns["colour"] == "blue") - (columns["size"] == "L")
    score = score + np.random.default_rng(9).normal(size=ROWS)
    if task == "regression":
        return np.exp(score / 4)
    return np.searchsorted(np.quantile(score, [0.5] if task == "binary" else [0.3, 0.7]), score)


class Proving:
    """Fits an estimator, compiles it and proves the plan on rows that it has not seen."""

    def __init__(self) -> None:
        self.columns = _columns()
        self.closeness = 2e-14
        """How far the numpy twin may be from the compiled kernel, relatively."""

    def signature(self, task: str, names: tuple[str, ...]) -> Signature:
        known = {"colour": COLOURS, "size": ("L", "M", "S")}
        kinds = {name: "category" if name in known else "number" for name in names}
        return Signature(
            "test",
            task,
            tuple(Input(name, kind) for name, kind in kinds.items()),
            tuple(Feature(name, kind, known.get(name, ())) for name, kind in kinds.items()),
            {"binary": ("0", "1"), "multiclass": ("0", "1", "2")}.get(task, ()),
            0.4 if task == "binary" else None,
        )

    def plan(self, estimator, task, names, takes="matrix") -> tuple[Plan, Original]:
        """Fit on the even rows; return the plan and its original."""
        signature = self.signature(task, names)
        seen = (matrix if takes == "matrix" else frame)(signature, self.columns)
        train = np.arange(ROWS) % 2 == 0
        truth = _truth(self.columns, task)[train]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fits that few rows leave unfinished
            estimator.fit(seen[train], truth)
        return compile_plan(estimator, signature, takes), Original(estimator, takes, signature)

    def __call__(self, estimator, task, names=NUMBERS[:3], takes="matrix") -> Parity:
        """Return the proof, which holds; the numpy twin and a plan read back answer alike."""
        plan, original = self.plan(estimator, task, names, takes)
        held_out = {name: values[1::2] for name, values in self.columns.items()}
        found = prove(plan, original, original.signature, held_out)
        rows = matrix(original.signature, held_out)
        answers = plan.score_what_can_be(rows)
        again = Plan.from_files(plan.to_files())
        assert again.score_what_can_be(rows).tobytes() == answers.tobytes()
        np.testing.assert_allclose(
            plan.score_with_twin(rows), answers, rtol=self.closeness, atol=2e-15
        )
        assert np.isfinite(answers).any()
        assert (found.agreed, found.flipped) == (True, 0), found
        assert found.largest_difference <= TOLERANCE
        assert found.hostile_rows > 50
        return found


@pytest.fixture(scope="session")
def proving() -> Proving:
    return Proving()
