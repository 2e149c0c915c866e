"""What each input adds to a plan's answer, in numpy; and the compiled kernel that does the same.

The answer is the plan's before its link: log-odds where that is a sigmoid. Of a weighted sum an
input adds its weight times its distance from the mean. Of trees it adds its Shapley value in the
game in which an unknown input sends a row down every branch, by the share of the rows that took it
(Lundberg, Erion and Lee 2018, "Consistent Individualized Feature Attribution for Tree Ensembles").
All columns that are made of one input are known together: it is a player, its columns are not.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np

from loopline.kernels.library import library
from loopline.kernels.score import BLOCK, Op, Program, run_step

_AT_ONCE = 1024
"""Rows that the numpy twin takes together."""


class Usual(NamedTuple):
    """What a plan's rows are compared with, and how far its answer is a sum."""

    steps: int
    """The program's first steps, which end before the link: what they add to the outputs is the
    sum of what single inputs add."""
    groups: np.ndarray
    """int32: the input that each column of the workspace is made of, -1 where it is none alone."""
    means: np.ndarray
    """float64: of each column."""
    shares: np.ndarray
    """float64: of the rows that reach a node's parent, those that go on to the node."""
    depth: int
    """Of the deepest tree."""


class Explainer:
    """Explains the rows of one program; for one thread."""

    def __init__(self, program: Program, usual: Usual) -> None:
        self._program, self._usual = program, usual
        found = library()
        self._call = None
        if found is None:
            return
        stride = min(usual.depth, program.inputs) + 2
        shape = [usual.steps, program.inputs, program.outputs, stride]
        self._kept = (
            *program[:5],
            np.array(shape, np.int64),
            np.ascontiguousarray(usual.shares, np.float64),
            np.ascontiguousarray(usual.means, np.float64),
            np.ascontiguousarray(usual.groups, np.int32),
        )
        part = 4  # a part of a path has four fields of eight bytes
        self._work = (
            np.zeros(program.width * BLOCK),
            np.zeros(program.outputs * BLOCK),
            np.zeros((usual.depth + 3) * stride * part),
        )
        self._call = found.loopline_explain
        pointer = ctypes.c_void_p
        self._call.argtypes = [*[pointer] * 10, ctypes.c_int64, *[pointer] * 5]
        self._call.restype = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as what it was made of: addresses mean nothing in another process."""
        return Explainer, (self._program, self._usual)

    def __call__(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what each input adds to each output, (rows, inputs, outputs), and the outputs.

        Raises:
            ValueError: the matrix has another width.
        """
        program = self._program
        matrix = np.ascontiguousarray(matrix, np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != program.inputs:
            raise ValueError(f"the plan takes (rows, {program.inputs}), and got {matrix.shape}")
        if self._call is None:
            parts = [
                twin(program, self._usual, matrix[start : start + _AT_ONCE])
                for start in range(0, max(len(matrix), 1), _AT_ONCE)
            ]
            added, values = zip(*parts, strict=True)
            return np.concatenate(added), np.concatenate(values)
        added = np.zeros((len(matrix), program.inputs, program.outputs))
        values = np.empty((len(matrix), program.outputs))
        self._call(
            *[array.ctypes.data for array in self._kept],
            matrix.ctypes.data,
            len(matrix),
            *[array.ctypes.data for array in (*self._work, added, values)],
        )
        return added, values


def twin(program: Program, usual: Usual, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Explain a float64 matrix in numpy alone; returns what `Explainer` does."""
    rows = len(matrix)
    work = np.empty((program.width, rows))
    work[: program.inputs] = matrix.T
    raw = np.zeros((program.outputs, rows))
    added = np.zeros((program.inputs, program.outputs, rows))
    with np.errstate(all="ignore"):
        for step in program.steps[: usual.steps].tolist():
            run_step(program, step, work, raw)
            code, _, _, count, a, b = step[:6]
            if code == Op.LINEAR:
                _add_sum(program, usual, step, work, added)
            elif code == Op.TREES:
                listed = program.integers[b : b + 2 * count].reshape(2, count)
                for root, output in listed.T.tolist():
                    _Walk(program, usual, work, added, output).from_root(root)
            elif code == Op.DIVIDE:
                added /= program.numbers[a]
    return np.ascontiguousarray(added.transpose(2, 0, 1)), np.ascontiguousarray(raw.T)


def _add_sum(
    program: Program, usual: Usual, step: tuple[int, ...], work: np.ndarray, added: np.ndarray
) -> None:
    count, a, b = step[3:6]
    outputs = program.outputs
    weights = program.numbers[a : a + count * outputs].reshape(outputs, count)
    for place, column in enumerate(program.integers[b : b + count].tolist()):
        if weights[:, place].any():  # a guard of refused rows weighs nothing
            away = work[column] - usual.means[column]
            added[usual.groups[column]] += weights[:, place, None] * away


class _Walk:
    """The way through one tree, of all rows at once.

    A path is a list of parts: the share of rows that go its way where the input is not known,
    whether each row does where it is, the weight of the sets of so many known inputs, and the
    input. The weights and whether a row goes are arrays over the rows.
    """

    def __init__(
        self, program: Program, usual: Usual, work: np.ndarray, added: np.ndarray, output: int
    ) -> None:
        self._program, self._usual, self._work = program, usual, work
        self._added, self._output = added, output

    def from_root(self, root: int) -> None:
        """Add what every leaf below `root` adds."""
        rows = np.ones(self._work.shape[1])
        self._walk(root, [], [], 1.0, rows, -1)

    def _walk(
        self,
        at: int,
        path: list[tuple[float, np.ndarray, int]],
        weights: list[np.ndarray],
        zero: float,
        one: np.ndarray,
        group: int,
    ) -> None:
        path, weights = [*path, (zero, one, group)], _extended(weights, zero, one)
        nodes, usual = self._program.nodes, self._usual
        group = int(nodes["feature"][at])
        if group < 0:
            self._leaf(float(nodes["value"][at]), path, weights)
            return
        known, unknown = np.ones_like(one), 1.0
        mine = int(usual.groups[group])
        for place in range(1, len(path)):
            if path[place][2] == mine:
                unknown, known, _ = path[place]
                weights = _unwound(weights, unknown, known)
                path = path[:place] + path[place + 1 :]
                break
        goes_left = _goes_left(self._program, at, self._work[group])
        for side, goes in (("left", goes_left), ("right", ~goes_left)):
            child = int(nodes[side][at])
            share, follows = unknown * float(usual.shares[child]), known * goes
            if share or follows.any():
                self._walk(child, path, weights, share, follows, mine)

    def _leaf(
        self, value: float, path: list[tuple[float, np.ndarray, int]], weights: list[np.ndarray]
    ) -> None:
        said: np.ndarray | float = value
        places: slice | int = self._output
        if self._output < 0:
            outputs = self._program.outputs
            said = self._program.numbers[int(value) : int(value) + outputs, None]
            places = slice(None)
        for zero, one, group in path[1:]:
            rest = sum(_unwound(weights, zero, one), np.zeros_like(one))
            self._added[group, places] += rest * (one - zero) * said


def _extended(weights: list[np.ndarray], zero: float, one: np.ndarray) -> list[np.ndarray]:
    depth = len(weights)
    found = [*weights, np.zeros_like(one) if depth else np.ones_like(one)]
    for place in range(depth - 1, -1, -1):
        found[place + 1] = found[place + 1] + one * found[place] * (place + 1) / (depth + 1)
        found[place] = zero * found[place] * (depth - place) / (depth + 1)
    return found


def _unwound(weights: list[np.ndarray], zero: float, one: np.ndarray) -> list[np.ndarray]:
    """Return the weights without a part, whichever it is."""
    depth = len(weights) - 1
    found, following = list(weights[:-1]), weights[-1]
    goes = one != 0
    for place in range(depth - 1, -1, -1):
        with_one = following * (depth + 1) / ((place + 1) * np.where(goes, one, 1.0))
        # Where the row goes nowhere and no other does, what is divided by nothing is nothing.
        without = weights[place] * (depth + 1) / ((zero or 1.0) * (depth - place))
        found[place] = np.where(goes, with_one, without)
        following = weights[place] - with_one * zero * (depth - place) / (depth + 1)
    return found


def _goes_left(program: Program, at: int, values: np.ndarray) -> np.ndarray:
    """Return of each value of a node's column whether it goes left."""
    node = program.nodes[at]
    kind, missing = int(node["kind"]), bool(node["kind"] & 1)
    if kind < 2:
        return np.where(np.isnan(values), missing, values <= node["value"])
    known = (values >= 0) & (values < 256)
    codes = np.where(known, values, 0).astype(np.int64)
    words = program.bits[(kind // 2 - 1) * 8 + codes // 32]
    in_set = (words >> (codes % 32).astype(np.uint32) & 1).astype(bool)
    return np.where(known, in_set, missing)
