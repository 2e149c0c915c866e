"""A trained model as an exact float64 scoring plan: steps and plain arrays, no code.

`model/compile.py` makes one from an estimator, `model/parity.py` proves it, the kernels run it. A
plan read from a bundle is checked whole before it runs: no index in it can lead outside its arrays.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from loopline.errors import BundleRefusedError, RequestError
from loopline.kernels.functions import Function, Pair
from loopline.kernels.score import NODE, STEP, Op, Program, Scorer, run_step, twin
from loopline.model.turns import last_before

FORMAT = 1
Step = tuple[int, ...]
Shape = Literal["probability", "probabilities", "prediction"]
"""What comes out: binary (n,), multiclass (n, classes) or regression (n,)."""

_ARRAYS: dict[str, np.dtype[Any]] = {
    "steps": STEP,
    "numbers": np.dtype(np.float64),
    "integers": np.dtype(np.int32),
    "nodes": NODE,
    "bits": np.dtype(np.uint32),
}


@dataclass(frozen=True)
class Plan:
    """What turns the float64 matrix of a signature into scores."""

    program: Program
    shape: Shape
    summary: tuple[str, ...]
    """The steps as a person reads them."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without the scorer, which belongs to its process."""
        return Plan, (self.program, self.shape, self.summary)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.program)

    def score(self, matrix: np.ndarray) -> np.ndarray:
        """Score a matrix (rows, features); may be called from any thread.

        Raises:
            RequestError: a row has no answer, because the original refuses such a row.
        """
        scores, unanswered = self._scorer(matrix)
        if unanswered:
            raise _refusal(scores)
        return scores if self.shape == "probabilities" else scores[:, 0]

    def score_what_can_be(self, matrix: np.ndarray) -> np.ndarray:
        """Score a matrix; a row that the original refuses has NaN for its scores."""
        scores, _ = self._scorer(matrix)
        return scores if self.shape == "probabilities" else scores[:, 0]

    def bind(self, matrix: np.ndarray) -> Callable[[], np.ndarray]:
        """Return what scores `matrix` as it then is, into one array again and again.

        Spares a server's one row what costs as much as scoring it; for one thread. Calling it
        raises `RequestError` as `score` does.
        """
        scores, run = self._scorer.bind(matrix)
        answer = scores if self.shape == "probabilities" else scores[:, 0]

        def score() -> np.ndarray:
            if run():
                raise _refusal(scores)
            return answer

        return score

    def score_with_twin(self, matrix: np.ndarray) -> np.ndarray:
        """Score in numpy alone: the oracle of the compiled kernel."""
        scores = twin(self.program, matrix)
        return scores if self.shape == "probabilities" else scores[:, 0]

    def thresholds(self, column: int) -> np.ndarray:
        """Return the values of an input column at which the plan turns, sorted, each once.

        They are thresholds of trees, knots, edges of bins and numbers that have a code. Where they
        are of a column that was made of the input, as by scaling it, the value here is the last
        float64 before the turn.
        """
        found = [np.empty(0)]
        for place, chain in self._made_from(column).items():
            turns = self._turns(place)
            found.append(self._last_before(turns, column, place, chain) if chain else turns)
        return np.unique(np.concatenate(found))

    def _turns(self, place: int) -> np.ndarray:
        """Return the values at which a column of the workspace turns a tree or chooses a piece."""
        nodes = self.program.nodes
        mine = nodes[nodes["feature"] == place]
        found = [mine["value"][mine["kind"] < 2]]
        if (mine["kind"] >= 2).any():
            found.append(np.arange(-1.0, 258.0))
        for code, _, source, count, a, *_ in self.program.steps.tolist():
            if source == place and code in (Op.PIECES, Op.LOOK_UP, Op.ONE_HOT):
                found.append(self.program.numbers[a : a + count])
        return np.unique(np.concatenate(found))

    def _made_from(self, column: int) -> dict[int, list[Step]]:
        """Return the columns made of one input alone, each with the steps that make it."""
        made: dict[int, list[Step]] = {column: []}
        for step in self.program.steps.tolist():
            code, to, source, _, _, _, kind, other = step
            if source not in made:
                continue
            if code in _OF_ONE_COLUMN or (code == Op.PIECES and kind == 1):
                made[to] = [*made[source], step]
            elif code == Op.PAIR and other in made:
                made[to] = [*made[source], *made[other], step]
        return made

    def _last_before(
        self, turns: np.ndarray, column: int, place: int, chain: list[Step]
    ) -> np.ndarray:
        """Return the last input for which what `chain` makes of it is on its side of a turn."""
        work = np.empty((self.program.width, len(turns)))
        raw = np.empty((self.program.outputs, len(turns)))

        def before(inputs: np.ndarray) -> np.ndarray:
            work[column] = inputs
            with np.errstate(all="ignore"):
                for step in chain:
                    run_step(self.program, step, work, raw)
                return ~(work[place] > turns)  # type: ignore[no-any-return]

        found, _, crossed = last_before(before, len(turns))
        return found[crossed]  # type: ignore[no-any-return]

    def to_files(self) -> dict[str, bytes]:
        """Return the plan as `plan.json` and `plan.bin`; the same plan is the same bytes."""
        arrays = {name: getattr(self.program, name) for name in _ARRAYS}
        head = {
            "format": FORMAT,
            "shape": self.shape,
            "inputs": self.program.inputs,
            "width": self.program.width,
            "outputs": self.program.outputs,
            "summary": list(self.summary),
            "lengths": {name: len(array) for name, array in arrays.items()},
        }
        content = b"".join(array.astype(_ARRAYS[name]).tobytes() for name, array in arrays.items())
        return {"plan.json": json.dumps(head, indent=1).encode(), "plan.bin": content}

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> "Plan":
        """Read what `to_files` wrote.

        Raises:
            BundleRefusedError: it is of another format, or an index leads outside its arrays.
        """
        head = json.loads(files["plan.json"])
        if head.get("format") != FORMAT:
            raise BundleRefusedError(
                f"The plan has format {head.get('format')}, and this Loopline reads {FORMAT}. "
                "Serve it with the Loopline that made it, or train the model again."
            )
        arrays, start, content = {}, 0, files["plan.bin"]
        for name, kind in _ARRAYS.items():
            end = start + head["lengths"][name] * kind.itemsize
            # Copied, since a plan's arrays must be aligned for the compiled kernel.
            arrays[name] = np.frombuffer(content[start:end], kind).copy()
            start = end
        program = Program(
            **arrays, inputs=head["inputs"], width=head["width"], outputs=head["outputs"]
        )
        _check(program, whole=start == len(content))
        return cls(program, head["shape"], tuple(head["summary"]))


_OF_ONE_COLUMN = {Op.FILL, Op.SCALE, Op.SHIFT, Op.CLIP, Op.FLOAT32, Op.FUNCTION}


def _refusal(scores: np.ndarray) -> RequestError:
    unanswered = np.flatnonzero(np.isnan(scores).any(axis=1))
    more = (
        f", and {len(unanswered) - 1:,} more of {len(scores):,} rows" if len(unanswered) > 1 else ""
    )
    return RequestError(
        f"Row {unanswered[0]} (counted from 0{more}) cannot be scored: a value is missing, "
        "infinite or a category never seen, and the model takes none there. Send a value, or train "
        "with a step that fills gaps."
    )


def _check(program: Program, *, whole: bool) -> None:
    """Refuse a program that would read or write outside its arrays, or never end."""
    ok = whole and 0 < program.inputs <= program.width < 1 << 20 and 0 < program.outputs < 1 << 16
    ok = ok and _nodes_hold(program)
    if not (ok and all(_step_holds(program, *step) for step in program.steps.tolist())):
        raise BundleRefusedError(
            "The plan's arrays do not fit together. The bundle is damaged: train the model again."
        )


def _nodes_hold(program: Program) -> bool:
    nodes, places = program.nodes, np.arange(len(program.nodes))
    inner = nodes["feature"] >= 0
    held = np.ones(len(nodes), dtype=bool)
    for side in ("left", "right"):
        # Children come after their parent, so every walk ends.
        held &= ~inner | ((nodes[side] > places) & (nodes[side] < len(nodes)))
    held &= nodes["feature"] < program.width
    held &= (nodes["kind"] >= 0) & (nodes["kind"] // 2 <= len(program.bits) // 8)
    return bool(held.all())


def _step_holds(program: Program, *step: int) -> bool:
    code, to, source, count, a, b, c, d = step
    if code not in Op.__members__.values() or count < 0 or min(to, source, a, b, c, d) < 0:
        return False
    made = 1
    if code == Op.ONE_HOT:
        if b + count + 3 > len(program.integers):
            return False
        made, *hot = program.integers[b : b + count + 3].tolist()
        if made < 0 or not all(-1 <= place < made for place in hot):
            return False
    elif code in (Op.KEEP, Op.DOT, Op.PIECES):
        made = c
    if to + made > program.width or source >= program.width:
        return False
    numbers = {
        Op.ONE_HOT: count,
        Op.LOOK_UP: 2 * count + 2,
        Op.CONSTANT: program.outputs,
        Op.LINEAR: count * program.outputs,
        Op.DOT: (count + 1) * c,
        Op.PIECES: count + (count + 1) * c * (d + 1),
    }.get(Op(code), 2)
    return a + numbers <= len(program.numbers) and _places_hold(program, Op(code), *step[3:])


def _places_hold(program: Program, code: Op, *rest: int) -> bool:
    """Whether what a step names beside its column and its numbers exists."""
    count, _, b, c, d = rest
    if code in (Op.LINEAR, Op.DOT):
        listed = program.integers[b : b + count]
        return len(listed) == count and _within(listed, 0, program.width)
    if code == Op.TREES:
        return _trees_hold(program, count, b, lowest=0 if c else -1)
    return {
        Op.KEEP: 0 < c <= program.outputs,
        Op.PIECES: c > 0,
        Op.FUNCTION: c < len(Function),
        Op.PAIR: c < len(Pair) and d < program.width,
    }.get(code, True)


def _trees_hold(program: Program, count: int, b: int, *, lowest: int) -> bool:
    listed = program.integers[b : b + 2 * count]
    roots, outputs = listed[:count], listed[count:]
    if len(listed) != 2 * count or not _within(roots, 0, len(program.nodes)):
        return False
    if not _within(outputs, lowest, program.outputs):
        return False
    if count and int(outputs.min()) < 0:  # the leaves' values are places of vectors
        values = program.nodes["value"][_leaves(program.nodes, roots[outputs < 0])]
        return _within(values, 0, len(program.numbers) - program.outputs + 1)
    return True


def _leaves(nodes: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Return the places of the leaves that can be reached from `roots`."""
    reached = np.zeros(len(nodes), dtype=bool)
    here = roots
    while here.size:
        reached[here] = True
        inner = here[nodes["feature"][here] >= 0]
        below = np.unique(np.concatenate([nodes["left"][inner], nodes["right"][inner]]))
        here = below[~reached[below]]
    return np.flatnonzero(reached & (nodes["feature"] < 0))


def _within(values: np.ndarray, low: int, end: int) -> bool:
    return bool(((values >= low) & (values < end)).all())
