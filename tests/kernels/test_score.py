"""The compiled kernel and its numpy twin: one meaning, to the last bit."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.special import boxcox
from scipy.stats import yeojohnson

import loopline.kernels.score as kernel
from loopline.kernels.functions import NUMBERS, Function, Pair
from loopline.kernels.library import library
from loopline.kernels.score import BLOCK, NODE, STEP, Op, Program, Scorer, twin

pytestmark = pytest.mark.skipif(library() is None, reason="no compiled kernel; run make setup")

INPUTS = 3
CPU = Path("/proc/cpuinfo")
HAS_WIDE_REGISTERS = CPU.exists() and " avx512f " in CPU.read_text()
VALUES = np.array([0.0, -0.0, 1.0, 2.0, 2.5, -1.0, 255.0, 256.0, 1e300, 5e-324, np.nan])


def _matrix(rows, seed=0):
    generator = np.random.default_rng(seed)
    return generator.choice(VALUES, (rows, INPUTS)) + generator.choice([0.0, 0.25], (rows, INPUTS))


def _program(*steps, numbers=(), integers=(), width=8, outputs=1, nodes=(), bits=()):
    return Program(
        np.array([(*step, *[0] * (8 - len(step))) for step in steps], STEP),
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
    "TREES in float32": _program(
        (Op.TREES, 0, 0, 3, 0, 0, 1), integers=[0, 0, 1, 0, 0, 0], nodes=TREE, bits=SETS
    ),
    "SIGMOID of nothing, in float32": _program(
        (Op.CONSTANT, 0, 0, 0, 0, 0), (Op.SIGMOID, 0, 0, 0, 0, 0, 1), numbers=[0.0]
    ),
    "KEEP": _program(
        (Op.LINEAR, 0, 0, 3, 0, 0),
        (Op.KEEP, 4, 0, 0, 0, 0, 2),
        (Op.LINEAR, 0, 0, 2, 6, 3),
        numbers=[0.1, 0.2, 0.3, -0.1, 1e-3, 7.0, 0.5, 2.0, -3.0, 0.25],
        integers=[2, 0, 1, 4, 5],
        outputs=2,
    ),
    "DOT": _program(
        (Op.DOT, 4, 0, 2, 2, 2, 2),
        (Op.LINEAR, 0, 0, 2, 0, 0),
        numbers=[1.0, 10.0, 0.1, 0.2, 0.3, -0.1, 5.0, 0.7],
        integers=[4, 5, 2, 0],
    ),
    "PIECES of two columns": _program(
        (Op.PIECES, 4, 1, 2, 2, 0, 2, 1),
        (Op.LINEAR, 0, 0, 2, 0, 0),
        numbers=[1.0, 0.5, 0.0, 2.0, *[0.1 * k - 0.4 for k in range(12)]],
        integers=[4, 5],
    ),
    "PIECES without a break": _program(
        (Op.PIECES, 4, 1, 0, 1, 0, 1, 2),
        (Op.LINEAR, 0, 0, 1, 0, 0),
        numbers=[1.0, 0.1, -0.3, 0.7],
        integers=[4],
    ),
    "NORMALISE": _program(
        (Op.LINEAR, 0, 0, 3, 0, 0),
        (Op.NORMALISE, 0, 0, 0, 6, 0),
        numbers=[0.1, 0.2, 0.3, -0.1, 1e-3, 7.0, 0.5],
        integers=[2, 0, 1],
        outputs=2,
    ),
    **{
        f"PAIR {pair.name}": _program(
            (Op.PAIR, 3, 0, 0, 1, 0, pair, 1), _shown()[0], numbers=[1.0], integers=[3]
        )
        for pair in Pair
    },
    **{
        f"FUNCTION {function.name}": _program(
            (Op.FUNCTION, 3, 0, 0, 1, 0, function),
            _shown()[0],
            numbers=[1.0, -1.0, 2.5],
            integers=[3],
        )
        for function in (
            Function.SQRT,
            Function.ABS,
            Function.SIGN,
            Function.RECIPROCAL,
            Function.FLOOR,
            Function.CEIL,
            Function.RINT,
            Function.PERIOD,
        )
    },
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


@pytest.mark.parametrize("function", Function)
def test_functions_of_a_column_differ_in_their_last_bits_alone(function):
    numbers = [0.3, 2.0][: NUMBERS.get(function, 0)]
    program = _program(
        (Op.FUNCTION, 3, 0, 0, 1, 0, function),
        _shown()[0],
        numbers=[1.0, *numbers],
        integers=[3],
    )
    matrix = np.random.default_rng(1).normal(size=(400, INPUTS)) * 3
    matrix[:40, 0] = np.linspace(0, 1, 40)  # the shares that a normal quantile takes

    scores, _ = Scorer(program)(matrix)

    expected = twin(program, matrix)
    assert np.array_equal(np.isnan(scores), np.isnan(expected))
    np.testing.assert_allclose(scores, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0, 2.0, -1.7])
def test_powers_are_those_of_scipy(power):
    values = np.array([-3.5, -1e-9, 0.0, 1e-9, 0.7, 4.0, 1e5])
    matrix = np.column_stack([values, values, values])

    def made(function):
        step = (Op.FUNCTION, 3, 0, 0, 1, 0, function)
        program = _program(step, _shown()[0], numbers=[1.0, power], integers=[3])
        return Scorer(program)(matrix)[0][:, 0]

    with np.errstate(all="ignore"):
        np.testing.assert_allclose(made(Function.BOX_COX), boxcox(values, power), rtol=1e-15)
        expected = yeojohnson(values, power)
    np.testing.assert_allclose(made(Function.YEO_JOHNSON), expected, rtol=1e-14)


@pytest.mark.parametrize("op", [Op.SIGMOID, Op.SOFTMAX, Op.EXP])
def test_functions_in_float32_differ_in_their_last_digit_alone(op):
    program = _program(
        (Op.LINEAR, 0, 0, 3, 0, 0),
        (op, 0, 0, 0, 0, 0, 1),
        numbers=np.eye(3).ravel(),
        integers=[0, 1, 2],
        outputs=3,
    )
    matrix = np.random.default_rng(1).normal(size=(200, INPUTS)) * 20

    scores, _ = Scorer(program)(matrix)

    assert np.array_equal(scores, scores.astype(np.float32))
    np.testing.assert_allclose(scores, twin(program, matrix), rtol=3e-7, atol=1e-44)


def test_pieces_and_periods_are_as_worked_out_by_hand():
    # Below 0 it is -1, from there 10 + 2 x, and from 2 on 7.
    program = _program(
        (Op.PIECES, 3, 0, 2, 1, 0, 1, 1),
        _shown()[0],
        numbers=[1.0, 0.0, 2.0, 0.0, -1.0, 2.0, 10.0, 0.0, 7.0],
        integers=[3],
    )
    rows = np.zeros((5, INPUTS))
    rows[:, 0] = [-5.0, 0.0, 1.5, 2.0, 1e9]

    assert Scorer(program)(rows)[0][:, 0].tolist() == [-1.0, 10.0, 13.0, 7.0, 7.0]

    period = _program(
        (Op.FUNCTION, 3, 0, 0, 1, 0, Function.PERIOD),
        _shown()[0],
        numbers=[1.0, 1.0, 3.0],
        integers=[3],
    )
    rows[:, 0] = [1.0, 4.0, -0.5, 3.5, -8.0]
    assert Scorer(period)(rows)[0][:, 0].tolist() == [1.0, 1.0, 2.5, 3.5, 1.0]


def test_a_tree_turns_as_worked_out_by_hand():
    gap = np.nan
    rows = [[1.0, 3.0, 0], [1.0, 2.0, 0], [np.nextafter(1.0, 2.0), 3.0, 0]]
    rows += [[gap, 3.0, 0], [1.0, gap, 0], [1.0, 256.0, 0], [1.0, -1.0, 0], [-np.inf, 40.0, 0]]
    program = _program((Op.TREES, 0, 0, 1, 0, 0), integers=[0, 0], nodes=TREE, bits=SETS)

    scores, _ = Scorer(program)(np.array(rows))

    # Missing goes left at the first node and right at the second; so does no code at all there.
    assert scores[:, 0].tolist() == [-1.5, 0.25, 7.5, -1.5, 0.25, 0.25, 0.25, 0.25]


def _grown(generator, leaves, *, chain=False, sets=False):
    """Nodes of one random tree, children after their parent, as offsets from its root."""
    nodes, ends = [[0.0, -1, 0, 0, 0]], [0]
    while len(ends) < leaves:
        at = ends.pop(-1 if chain else generator.integers(len(ends)))
        kind = generator.integers(2) + 2 * (sets and generator.random() < 0.2)
        threshold = generator.choice(VALUES[:-1])
        nodes[at] = [threshold, generator.integers(INPUTS), len(nodes), len(nodes) + 1, kind]
        ends += [len(nodes), len(nodes) + 1]
        nodes += [[0.0, -1, 0, 0, 0], [0.0, -1, 0, 0, 0]]
    for at in ends:
        nodes[at][0] = generator.normal()
    return nodes


@pytest.mark.parametrize("rows", [1, 3, 4, 8, 9, BLOCK - 1, BLOCK, BLOCK + 5, 300])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("narrow", [0, 1])
def test_small_trees_are_asked_all_at_once_as_the_twin_walks_them(rows, outputs, narrow):
    generator = np.random.default_rng(rows)
    nodes, roots, small = [], [], 0
    kinds = [{}, {}, {}, {"chain": True}, {"sets": True}]
    for size in (1, 2, 3, 31, 63, 64, 65, 66, 120):
        for options in kinds:
            grown = _grown(generator, size, **options)
            small += size <= 64
            roots.append(len(nodes))
            nodes += [
                (value, feature, left + roots[-1], right + roots[-1], kind)
                for value, feature, left, right, kind in grown
            ]
    shared = len(nodes)  # both children of its root are one node
    nodes += [(1.0, 0, shared + 1, shared + 1, 0), (0.5, -1, 0, 0, 0)]
    roots += [shared, roots[10]]
    adds = generator.integers(outputs, size=len(roots)).tolist()
    step = (Op.TREES, 0, 0, len(roots), 0, 0, narrow)
    program = _program(step, integers=[*roots, *adds], nodes=nodes, bits=SETS, outputs=outputs)
    scorer, matrix = Scorer(program), _matrix(rows, seed=rows)

    scores, _ = scorer(matrix)

    assert scores.tobytes() == twin(program, matrix).tobytes()
    assert scorer._kept[4].tree_count == (small + 1 if HAS_WIDE_REGISTERS else 0)


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
