"""What each step of a scoring plan does, in numpy; and the compiled kernel that does the same.

A plan is a list of steps over columns, then over the outputs. The compiled kernel (`score.c`) and
the numpy twin here do the same float64 operations in the same order; they may differ in the last
bits of functions such as `exp` and `log` alone. The twin is what answers without a compiler, and
the oracle in the tests.
"""

import ctypes
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from loopline.kernels.functions import FUNCTIONS, NUMBERS, PAIRS, Function, Pair
from loopline.kernels.library import library

BLOCK = 64
"""Rows the compiled kernel takes at a time."""


class Op(IntEnum):
    """The steps, numbered as in `score.c`."""

    FILL = 0
    """Missing becomes numbers[a]."""
    MISSING = 1
    """1 where missing, else 0."""
    SCALE = 2
    """(x - numbers[a]) / numbers[a+1]."""
    SHIFT = 3
    """x * numbers[a] + numbers[a+1]."""
    CLIP = 4
    """Between numbers[a] and numbers[a+1]; missing stays."""
    FLOAT32 = 5
    """Rounded to float32, as scikit-learn's forests do with what they are given."""
    ONE_HOT = 6
    """`count` sorted keys at numbers[a]. At integers[b]: how many columns to make, then which of
    them is 1 for each key, for missing, and for any other value; -1 is none."""
    LOOK_UP = 7
    """`count` sorted keys at numbers[a], then a number for each, for missing, for any other."""
    CONSTANT = 8
    """Adds numbers[a + k] to output k."""
    LINEAR = 9
    """Adds the weighted sum of `count` columns, listed at integers[b]; weights at numbers[a]."""
    TREES = 10
    """`count` roots at integers[b], then the output each adds to; -1 adds the vector that starts
    at numbers[value of the leaf] to all outputs. With c = 1 in float32, as XGBoost adds up."""
    DIVIDE = 11
    """All outputs by numbers[a]."""
    SIGMOID = 12
    """Of every output; with c = 1 in float32, as the next two."""
    SOFTMAX = 13
    EXP = 14
    KEEP = 15
    """The first c outputs become columns, and all outputs are 0 again."""
    DOT = 16
    """Makes c columns: weighted sums as LINEAR's, and the number after the weights added."""
    PIECES = 17
    """`count` sorted breaks at numbers[a], then for each of the `count` + 1 pieces between them c
    polynomials of degree d, highest power first, in the distance from the piece's start; makes c
    columns. The piece of a value follows the last break that is at most the value."""
    FUNCTION = 18
    """Function c of a column."""
    PAIR = 19
    """What c says of a column and column d."""
    NORMALISE = 20
    """All outputs by their sum; where that is 0 each is numbers[a]."""


STEP = np.dtype([(name, np.int32) for name in ("code", "to", "from", "count", "a", "b", "c", "d")])
NODE = np.dtype(
    [("value", np.float64), *[(name, np.int32) for name in ("feature", "left", "right", "kind")]]
)
"""A node of a tree. `feature` is a column, or -1 at a leaf. `kind` is 1 where missing goes left,
plus twice the place (from one) of a set of 256 category codes that go left, if it is such a split;
else what is at most `value` goes left."""


class Program(NamedTuple):
    """A plan's arrays."""

    steps: np.ndarray
    numbers: np.ndarray
    integers: np.ndarray
    nodes: np.ndarray
    bits: np.ndarray
    """Eight uint32 for each set of categories."""
    inputs: int
    width: int
    """Columns in all: the inputs and what the steps make."""
    outputs: int


class _Turns(ctypes.Structure):
    _fields_ = (
        *[(name, ctypes.c_void_p) for name in ("of", "trees", "turns", "leaves")],
        *[
            (name, ctypes.c_int64)
            for name in (
                "tree_count",
                "turn_count",
                "leaf_count",
                "most_trees",
                "most_turns",
                "most_leaves",
            )
        ],
    )


class Scorer:
    """Runs one program; may be called from several threads."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._lock = threading.Lock()
        found = library()
        if found is None:
            return
        self._call = found.loopline_score
        pointer = ctypes.c_void_p
        self._call.argtypes = [*[pointer] * 8, ctypes.c_int64, *[pointer] * 3]
        self._call.restype = ctypes.c_int64
        shape = np.array([len(program.steps), program.inputs, program.outputs], np.int64)
        work = np.zeros(program.width * BLOCK)
        raw = np.zeros(program.outputs * BLOCK)
        turns, *arrays = _prepare_trees(found, program)
        self._kept = (program, shape, work, raw, turns, arrays)
        self._addresses = [array.ctypes.data for array in (*program[:5], shape)]
        self._addresses.append(ctypes.addressof(turns))
        self._work, self._raw = work.ctypes.data, raw.ctypes.data

    def __call__(self, matrix: np.ndarray) -> tuple[np.ndarray, int]:
        """Score a matrix (rows, inputs) to (rows, outputs); also say how many rows hold a NaN.

        Raises:
            ValueError: the matrix has another width.
        """
        matrix = np.ascontiguousarray(matrix, np.float64)
        self._check(matrix)
        if library() is None:
            scores = twin(self._program, matrix)
            return scores, _unanswered(scores)
        scores = np.empty((len(matrix), self._program.outputs))
        with self._lock:
            unanswered: int = self._call(
                *self._addresses,
                matrix.ctypes.data,
                len(matrix),
                self._work,
                self._raw,
                scores.ctypes.data,
            )
        return scores, unanswered

    def bind(self, matrix: np.ndarray) -> tuple[np.ndarray, Callable[[], int]]:
        """Return an array, and what scores `matrix` as it then is into it; for one thread.

        For a server's one row, where finding the arrays' addresses costs as much as scoring. The
        call returns how many rows hold a NaN.

        Raises:
            ValueError: the matrix has another width, or is not float64 row by row in memory.
        """
        if matrix.dtype != np.float64 or not matrix.flags.c_contiguous:
            raise ValueError("a plan is bound to a C-contiguous float64 matrix")
        self._check(matrix)
        rows = len(matrix)
        scores = np.empty((rows, self._program.outputs))
        if library() is None:

            def answer() -> int:
                scores[:] = twin(self._program, matrix)
                return _unanswered(scores)

            return scores, answer
        work, raw = (np.zeros_like(kept) for kept in self._kept[2:4])
        ends = [array.ctypes.data for array in (work, raw, scores)]
        arguments = (*self._addresses, matrix.ctypes.data, rows, *ends)
        call, kept = self._call, (matrix, work, raw)

        def score(_kept: object = kept) -> int:
            unanswered: int = call(*arguments)
            return unanswered

        return scores, score

    def _check(self, matrix: np.ndarray) -> None:
        # The kernel reads what lies at these places, whatever it is.
        if matrix.ndim != 2 or matrix.shape[1] != self._program.inputs:
            raise ValueError(
                f"the plan takes (rows, {self._program.inputs}), and got {matrix.shape}"
            )


def _prepare_trees(found: ctypes.CDLL, program: Program) -> tuple[Any, ...]:
    """Return what `turns.c` makes of the trees that are small enough, and the arrays it lies in."""
    count = len(program.nodes)
    of = np.zeros(count, np.int32)
    trees = np.empty((count, 6), np.int32)
    turns = np.empty((count, 3), np.int64)
    leaves = np.empty(count)
    ends = [array.ctypes.data for array in (of, trees, turns, leaves)]
    made = _Turns(*ends, 0, 0, 0, count, count, count)
    prepare = found.loopline_turns
    prepare.argtypes = [*[ctypes.c_void_p] * 3, ctypes.c_int64]
    prepare.restype = None
    for code, _, _, some, _, b, *_ in program.steps.tolist():
        if code == Op.TREES:
            roots = np.ascontiguousarray(program.integers[b : b + some])
            prepare(
                ctypes.addressof(made), program.nodes.ctypes.data, roots.ctypes.data, len(roots)
            )
    return made, of, trees, turns, leaves


def _unanswered(scores: np.ndarray) -> int:
    return int(np.isnan(scores).any(axis=1).sum())


def twin(program: Program, matrix: np.ndarray) -> np.ndarray:
    """Score a float64 matrix (rows, inputs) to (rows, outputs), in numpy alone."""
    work = np.empty((program.width, len(matrix)))
    work[: program.inputs] = matrix.T
    raw = np.zeros((program.outputs, len(matrix)))
    with np.errstate(all="ignore"):
        for step in program.steps.tolist():
            run_step(program, step, work, raw)
    return np.ascontiguousarray(raw.T)


def run_step(program: Program, step: tuple[int, ...], work: np.ndarray, raw: np.ndarray) -> None:
    """Run one step over columns `work` (width, rows) and outputs `raw` (outputs, rows)."""
    code, (to, source, count, a, b, narrow, _) = Op(step[0]), step[1:]
    if code in _ON_COLUMNS:
        work[to] = _ON_COLUMNS[code](work[source], *program.numbers[a : a + 2].tolist())
    elif code == Op.ONE_HOT:
        made, *hot = program.integers[b : b + count + 3].tolist()
        which = np.array(hot)[_places(work[source], program.numbers[a : a + count])]
        work[to : to + made] = which == np.arange(made)[:, None]
    elif code == Op.LOOK_UP:
        values = program.numbers[a + count : a + 2 * count + 2]
        work[to] = values[_places(work[source], program.numbers[a : a + count])]
    elif code == Op.CONSTANT:
        raw += program.numbers[a : a + len(raw), None]
    elif code == Op.LINEAR:
        raw += _weighted(program, step, work, len(raw))
    elif code == Op.TREES:
        _add_trees(program, step, work, raw)
    elif code in _MAKES_COLUMNS:
        _MAKES_COLUMNS[code](program, step, work, raw)
    elif code == Op.DIVIDE:
        raw /= program.numbers[a]
    elif code == Op.NORMALISE:
        total = _sum(raw)
        raw[:] = np.where(total == 0, program.numbers[a], raw / total)
    else:
        raw[:] = _ON_OUTPUTS[code](raw) if narrow == 0 else _narrow(code, raw.astype(np.float32))


def _weighted(program: Program, step: tuple[int, ...], work: np.ndarray, sums: int) -> np.ndarray:
    count, a, b = step[3:6]
    weights = program.numbers[a : a + count * sums].reshape(sums, count)
    total = np.zeros((sums, work.shape[1]))
    for place, column in enumerate(program.integers[b : b + count].tolist()):
        total += weights[:, place, None] * work[column]
    return total


def _add_trees(program: Program, step: tuple[int, ...], work: np.ndarray, raw: np.ndarray) -> None:
    count, b, narrow = step[3], step[5], step[6]
    roots, adds_to = program.integers[b : b + 2 * count].reshape(2, count).tolist()
    for root, output in zip(roots, adds_to, strict=True):
        values = _leaves(program, root, work)
        if narrow:
            raw[output] = raw[output].astype(np.float32) + values.astype(np.float32)
        elif output >= 0:
            raw[output] += values
        else:
            raw += program.numbers[values.astype(np.int64) + np.arange(len(raw))[:, None]]


def _keep(program: Program, step: tuple[int, ...], work: np.ndarray, raw: np.ndarray) -> None:
    to, kept = step[1], step[6]
    work[to : to + kept] = raw[:kept]
    raw[:] = 0.0


def _dot(program: Program, step: tuple[int, ...], work: np.ndarray, raw: np.ndarray) -> None:
    to, count, a, sums = step[1], step[3], step[4], step[6]
    added = program.numbers[a + count * sums : a + (count + 1) * sums]
    work[to : to + sums] = _weighted(program, step, work, sums) + added[:, None]


def _pieces(program: Program, step: tuple[int, ...], work: np.ndarray, raw: np.ndarray) -> None:
    _, to, source, count, a, _, made, degree = step
    x = work[source]
    breaks = program.numbers[a : a + count]
    length = (count + 1) * made * (degree + 1)
    powers = program.numbers[a + count : a + count + length]
    piece = np.where(np.isnan(x), 0, np.searchsorted(breaks, x, side="right"))
    along = x - breaks[np.maximum(piece - 1, 0)] if count else x
    chosen = powers.reshape(count + 1, made, degree + 1)[piece]
    value = chosen[:, :, 0]
    for power in range(1, degree + 1):
        value = value * along[:, None] + chosen[:, :, power]
    work[to : to + made] = np.where(np.isnan(x), x, value.T)


def _function(program: Program, step: tuple[int, ...], work: np.ndarray, raw: np.ndarray) -> None:
    _, to, source, _, a, _, kind, _ = step
    numbers = program.numbers[a : a + NUMBERS.get(Function(kind), 0)]
    work[to] = FUNCTIONS[Function(kind)](work[source], *numbers.tolist())


def _pair(program: Program, step: tuple[int, ...], work: np.ndarray, raw: np.ndarray) -> None:
    _, to, source, _, _, _, kind, other = step
    work[to] = PAIRS[Pair(kind)](work[source], work[other])


_MAKES_COLUMNS = {
    Op.KEEP: _keep,
    Op.DOT: _dot,
    Op.PIECES: _pieces,
    Op.FUNCTION: _function,
    Op.PAIR: _pair,
}


def _sum(rows: np.ndarray) -> np.ndarray:
    """Return the sums over the first axis, added up in order as the compiled kernel does."""
    total = np.zeros(rows.shape[1])
    for row in rows:
        total += row
    return total


def _softmax(raw: np.ndarray) -> np.ndarray:
    grown = np.exp(raw - raw.max(axis=0))
    return grown / _sum(grown)  # type: ignore[no-any-return]


def _narrow(code: Op, raw: np.ndarray) -> np.ndarray:
    """Return SIGMOID, SOFTMAX or EXP of float32 outputs, as XGBoost works them out."""
    one = np.float32(1.0)
    if code == Op.SIGMOID:
        grown = np.exp(np.minimum(-raw, np.float32(88.7)))
        return one / (grown + one + np.float32(1e-16))  # type: ignore[no-any-return]
    if code == Op.EXP:
        return np.exp(raw)  # type: ignore[no-any-return]
    grown = np.exp(raw - raw.max(axis=0))
    return grown / _sum(grown).astype(np.float32)  # type: ignore[no-any-return]


_ON_COLUMNS: dict[Op, Callable[..., np.ndarray]] = {
    Op.FILL: lambda x, a, *_: np.where(np.isnan(x), a, x),
    Op.MISSING: lambda x, *_: np.isnan(x).astype(np.float64),
    Op.SCALE: lambda x, a, b: (x - a) / b,
    Op.SHIFT: lambda x, a, b: x * a + b,
    Op.CLIP: lambda x, a, b: np.where(x < a, a, np.where(x > b, b, x)),
    Op.FLOAT32: lambda x, *_: x.astype(np.float32).astype(np.float64),
}
_ON_OUTPUTS: dict[Op, Callable[[np.ndarray], np.ndarray]] = {
    Op.SIGMOID: lambda raw: 1.0 / (1.0 + np.exp(-raw)),
    Op.SOFTMAX: _softmax,
    Op.EXP: np.exp,
}


def _places(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return each value's place among sorted `keys`; after them missing, then any other."""
    if len(keys) == 0:
        return np.where(np.isnan(values), 0, 1)
    places = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
    places = np.where(keys[places] == values, places, len(keys) + 1)
    return np.where(np.isnan(values), len(keys), places)


def _leaves(program: Program, root: int, work: np.ndarray) -> np.ndarray:
    """Return the value of the leaf that each row reaches."""
    nodes, rows = program.nodes, np.arange(work.shape[1])
    at = np.full(len(rows), root)
    while (inner := np.flatnonzero(nodes["feature"][at] >= 0)).size:
        here = nodes[at[inner]]
        values = work[here["feature"], rows[inner]]
        kind = here["kind"]
        is_set = kind >= 2
        known = is_set & (values >= 0) & (values < 256)
        codes = np.where(known, values, 0).astype(np.int64)
        start = np.where(is_set, (kind // 2 - 1) * 8, 0)
        words = program.bits[start + codes // 32] if len(program.bits) else codes
        in_set = (words >> (codes % 32).astype(np.uint32) & 1).astype(bool)
        left = np.where(known, in_set, np.where(is_set, kind & 1, values <= here["value"]))
        left = np.where(np.isnan(values), kind & 1, left).astype(bool)
        at[inner] = np.where(left, here["left"], here["right"])
    return nodes["value"][at]  # type: ignore[no-any-return]
