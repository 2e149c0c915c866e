"""The compiled kernel and its numpy twin: one meaning, to the last bit."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import loopline.kernels.score as kernel
from loopline.kernels.library import library
from loopline.kernels.score import BLOCK, NODE, STEP, Op, Program, Scorer, twin

pytestmark = pytest.mark.skipif(library() is None, reason="no compiled kernel; run make setup")

INPUTS = 3
VALUES = np.array([0.0, -0.0, 1.0, 2.0, 2.5, -1.0, 255.0, 256.0, 1e300, 5e-324, np.nan])


def _matrix(rows, seed=0):
    generator = np.random.default_rng(seed)
    return generator.choice(VALUES, (rows, INPUTS)) + generator.choice([0.0, 0.25], (rows, INPUTS))


def _program(*steps, numbers=(), integers=(), width=8, outputs=1, nodes=(), bits=()):
    return Program(
        np.array([(*step, 0, 0) for step in steps], STEP),
        np.array([*numbers, 0.0, 0.0]),
        np.array(integers, np.int32),
        np.array(list(nodes), NODE),
        np.array(bits, np.uint32),
        INPUTS,
        width,
        outputs,
    )


def _shown(column=3):
    """A step that adds a column to the output, with weight 1 at numbers[0]."""
    return (Op.LINEAR, 0, 0, 1, 0, 0), [column]


def _on_column(op, *numbers):
    linear, integers = _shown()
    return _program((op, 3, 0, 0, 1, 0), linear, numbers=[1.0, *numbers], integers=integers)


# Codes 0 to 31 except 2 go left in the set.
TREE = [
    (1.0, 0, 1, 2, 1),
    (0.0, 1, 3, 4, 2),
    (7.5, -1, 0, 0, 0),
    (-1.5, -1, 0, 0, 0),
    (0.25, -1, 0, 0, 0),
]
SETS = [0xFFFFFFFB, 0, 0, 0, 0, 0, 0, 0]
PROGRAMS = {
    "FILL": _on_column(Op.FILL, 4.5),
    "MISSING": _on_column(Op.MISSING),
    "SCALE": _on_column(Op.SCALE, 0.1, 0.3),
    "SHIFT": _on_column(Op.SHIFT, 0.1, 0.3),
    "CLIP": _on_column(Op.CLIP, -0.5, 2.0),
    "FLOAT32": _on_column(Op.FLOAT32),
    "LOOK_UP": _program(
        (Op.LOOK_UP, 3, 0, 2, 1, 0), _shown()[0], numbers=[1, 0, 2.5, 7, 8, 9, 10], integers=[3]
    ),
    "ONE_HOT": _program(
        (Op.ONE_HOT, 3, 0, 2, 5, 4),
        (Op.LINEAR, 0, 0, 3, 0, 0),
        numbers=[2.0, 3.0, 5.0, 0.0, 0.0, 0.0, 2.5],
        integers=[3, 4, 5, 0, 3, 2, 0, 1, -1],
    ),
    "LINEAR of two outputs": _program(
        (Op.LINEAR, 0, 0, 3, 0, 0),
        (Op.CONSTANT, 0, 0, 0, 6, 0),
        numbers=[0.1, 0.2, 0.3, -0.1, 1e-3, 7.0, 0.5, 0.25],
        integers=[2, 0, 1],
        outputs=2,
    ),
    "TREES": _program(
        (Op.TREES, 0, 0, 3, 0, 0), integers=[0, 0, 1, 0, 0, 0], nodes=TREE, bits=SETS
    ),
    "TREES whose leaves are vectors, and DIVIDE": _program(
        (Op.TREES, 0, 0, 1, 0, 0),
        (Op.DIVIDE, 0, 0, 0, 6, 0),
        numbers=[0.5, 0.25, 0.125, 1, 2, 3, 3.0],
        integers=[0, -1],
        nodes=[(1.0, 0, 1, 2, 0), (0.0, -1, 0, 0, 0), (3.0, -1, 0, 0, 0)],
        outputs=3,
    ),
}


@pytest.mark.parametrize("rows", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_compiled_kernel_equals_its_twin_to_the_bit(name, rows):
    program, matrix = PROGRAMS[name], _matrix(rows)

    scores, unanswered = Scorer(program)(matrix)
    expected = twin(program, matrix)

    # NaN has many bit patterns; which one an operation gives is the processor's choice.
    assert np.where(np.isnan(scores), 0, scores).tobytes() == (
        np.where(np.isnan(expected), 0, expected).tobytes()
    )
    assert np.array_equal(np.isnan(scores), np.isnan(expected))
    assert unanswered == np.isnan(expected).any(axis=1).sum()


@pytest.mark.parametrize("op", [Op.SIGMOID, Op.SOFTMAX, Op.EXP])
def test_functions_of_e_differ_in_their_last_bits_alone(op):
    outputs = 1 if op == Op.SIGMOID else 3
    program = _program(
        (Op.LINEAR, 0, 0, 3, 0, 0),
        (op, 0, 0, 0, 0, 0),
        numbers=np.eye(3)[:outputs].ravel(),
        integers=[0, 1, 2],
        outputs=outputs,
    )
    matrix = np.random.default_rng(1).normal(size=(200, INPUTS)) * 50

    scores, _ = Scorer(program)(matrix)

    np.testing.assert_allclose(scores, twin(program, matrix), rtol=1e-15, atol=0)


def test_a_tree_turns_as_worked_out_by_hand():
    gap = np.nan
    rows = [[1.0, 3.0, 0], [1.0, 2.0, 0], [np.nextafter(1.0, 2.0), 3.0, 0]]
    rows += [[gap, 3.0, 0], [1.0, gap, 0], [1.0, 256.0, 0], [1.0, -1.0, 0], [-np.inf, 40.0, 0]]
    program = _program((Op.TREES, 0, 0, 1, 0, 0), integers=[0, 0], nodes=TREE, bits=SETS)

    scores, _ = Scorer(program)(np.array(rows))

    # Missing goes left at the first node and right at the second; so does no code at all there.
    assert scores[:, 0].tolist() == [-1.5, 0.25, 7.5, -1.5, 0.25, 0.25, 0.25, 0.25]


def test_without_a_compiler_the_twin_answers_the_same(monkeypatch):
    program, matrix = PROGRAMS["TREES"], _matrix(70)
    compiled = Scorer(program)(matrix)

    monkeypatch.setattr(kernel, "library", lambda: None)
    plain = Scorer(program)
    scores, run = plain.bind(matrix[:1])

    assert np.array_equal(plain(matrix)[0], compiled[0], equal_nan=True)
    assert (run(), scores.tolist()) == (0, compiled[0][:1].tolist())


def test_threads_that_score_at_once_do_not_disturb_each_other():
    scorer = Scorer(PROGRAMS["TREES"])
    matrices = [_matrix(500, seed) for seed in range(8)]
    expected = [twin(PROGRAMS["TREES"], matrix) for matrix in matrices]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda matrix: scorer(matrix)[0], matrices * 20))

    assert all(
        np.array_equal(scores, expected[place % 8], equal_nan=True)
        for place, scores in enumerate(found)
    )
