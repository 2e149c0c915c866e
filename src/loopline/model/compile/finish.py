"""The last two things done to a plan: trees and bins look behind functions, and the unused goes.

A logarithm of numpy's and one of C's library may differ in their last bit, which is nothing to a
weighted sum, but sends a value on a tree's threshold the other way. So a tree's or a bin's question
of a function's value is put as one of the value before it, at the very float64 where the library
that trained the model turns.
"""

from collections.abc import Callable, Mapping

import numpy as np

from loopline.kernels.functions import Function
from loopline.kernels.score import Op, Program, run_step
from loopline.model.turns import last_before

_INEXACT = {
    Function.LOG, Function.LOG1P, Function.LOG2, Function.LOG10, Function.EXP, Function.EXPM1,
    Function.CBRT, Function.ARCTAN, Function.ARCSINH, Function.TANH, Function.LOGISTIC,
    Function.YEO_JOHNSON, Function.BOX_COX,
}  # fmt: skip
"""Functions that never fall, or never rise, and that two libraries may round apart."""
_AFTER = {Op.FILL, Op.SCALE, Op.SHIFT, Op.CLIP, Op.FLOAT32}
Step = tuple[int, ...]
Chain = tuple[int, list[Step]]
"""The column to look at, and the steps from it to another column."""


def finished(program: Program, sources: Mapping[int, int]) -> Program:
    """Return the program as it will run; `sources` names what each function's column is made of."""
    chains = _chains(program, sources)
    return _without_unused(_bins_behind(_trees_behind(program, chains), chains))


def _bins_behind(program: Program, chains: Mapping[int, Chain]) -> Program:
    steps, numbers = program.steps.copy(), program.numbers.copy()
    for step in steps:
        code, _, place, count, a, _, _, degree = step.tolist()
        if code != Op.PIECES or degree or not count or place not in chains:
            continue
        seen, chain = chains[place]
        edges = numbers[a : a + count].copy()
        made = _maker(program, place, chain, count)
        turned, first, turns = last_before(_is_below(made, edges), count)
        if not np.isnan(made(np.full(count, np.nan))).all() or (turns & ~first).any():
            continue  # a gap has a bin, or the function falls
        begins = np.where(first, np.inf, -np.inf)
        numbers[a : a + count] = np.where(turns, np.nextafter(turned, np.inf), begins)
        step["from"] = seen
    return program._replace(steps=steps, numbers=numbers)


def _trees_behind(program: Program, chains: Mapping[int, Chain]) -> Program:
    nodes = program.nodes.copy()
    numeric = (nodes["feature"] >= 0) & (nodes["kind"] < 2)
    for place, (seen, chain) in chains.items():
        mine = np.flatnonzero(numeric & (program.nodes["feature"] == place))
        if not mine.size:
            continue
        thresholds = nodes["value"][mine]
        made = _maker(program, place, chain, len(mine))
        turned, first, turns = last_before(_is_at_most(made, thresholds), len(mine))
        always = np.where(first, np.inf, -np.inf)
        gap = made(np.full(len(mine), np.nan))
        left = np.where(np.isnan(gap), nodes["kind"][mine] & 1, gap <= thresholds)
        falls = turns & ~first
        nodes["value"][mine] = np.where(turns, turned, always)
        nodes["feature"][mine] = seen
        # Of a function that falls, what is above the turn goes left.
        nodes["kind"][mine] = np.where(falls, 1 - left, left)
        swapped = mine[falls]
        nodes["left"][swapped], nodes["right"][swapped] = (
            nodes["right"][swapped],
            nodes["left"][swapped],
        )
    return program._replace(nodes=nodes)


def _is_at_most(
    made: Callable[[np.ndarray], np.ndarray], thresholds: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: ~(made(values) > thresholds)


def _is_below(
    made: Callable[[np.ndarray], np.ndarray], edges: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: ~(made(values) >= edges)


def _chains(program: Program, sources: Mapping[int, int]) -> dict[int, Chain]:
    """Return the columns that are made of a function's values alone."""
    found: dict[int, Chain] = {}
    for step in program.steps.tolist():
        code, to, source, _, _, _, kind, _ = step
        known = code in _AFTER or (code == Op.FUNCTION and kind in _INEXACT)
        if known and source in found:
            seen, chain = found[source]
            found[to] = (seen, [*chain, step])
        elif known and code == Op.FUNCTION:
            found[to] = (sources[to], [step])
    return found


def _maker(
    program: Program, place: int, chain: list[Step], count: int
) -> Callable[[np.ndarray], np.ndarray]:
    work = np.empty((program.width, count))
    raw = np.empty((program.outputs, count))

    def made(values: np.ndarray) -> np.ndarray:
        work[chain[0][2]] = values
        with np.errstate(all="ignore"):
            for step in chain:
                if step[0] == Op.FUNCTION and step[6] in _SCIPY:
                    _of_scipy(program, step, work)
                else:
                    run_step(program, step, work, raw)
        return work[place]  # type: ignore[no-any-return]

    return made


_SCIPY = {Function.BOX_COX: "boxcox", Function.LOGISTIC: "expit"}
"""What scikit-learn takes from scipy, which rounds as it does and not as numpy."""


def _of_scipy(program: Program, step: Step, work: np.ndarray) -> None:
    from scipy import special

    _, to, source, _, a, _, kind, _ = step
    numbers = program.numbers[a : a + 1].tolist() if kind == Function.BOX_COX else []
    work[to] = getattr(special, _SCIPY[Function(kind)])(work[source], *numbers)


def _without_unused(program: Program) -> Program:
    """Return the program without the steps whose columns nobody looks at."""
    nodes = program.nodes
    used = set(nodes["feature"][nodes["feature"] >= 0].tolist())
    kept = []
    for step in reversed(program.steps.tolist()):
        code, to, source, count, _, b, kind, other = step
        made = kind if code in (Op.DOT, Op.PIECES) else 1
        if code == Op.ONE_HOT:
            made = int(program.integers[b])
        makes_columns = code < Op.CONSTANT or Op.DOT <= code <= Op.PAIR
        if makes_columns and used.isdisjoint(range(to, to + made)):
            continue
        kept.append(tuple(step))
        if code in (Op.LINEAR, Op.DOT):
            used.update(program.integers[b : b + count].tolist())
        elif makes_columns:
            used.add(source)
        if code == Op.PAIR:
            used.add(other)
    steps = np.array(kept[::-1], dtype=program.steps.dtype)
    return program._replace(steps=steps)
