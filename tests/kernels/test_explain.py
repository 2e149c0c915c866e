"""The compiled kernel that explains, its numpy twin, and every set of inputs tried by hand."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest

import loopline.kernels.explain as kernel
from loopline.kernels.explain import Explainer, Usual, twin
from loopline.kernels.library import library
from loopline.kernels.score import NODE, STEP, Op, Program

VALUES = np.array([-1.0, 0.0, 0.5, 1.0, 3.0, 300.0, np.nan])

# Asks for column 0, then 3 (made of input 0 too) and 1; a set of codes; and a leaf nobody reached.
NODES = [
    (0.5, 0, 1, 2, 0),
    (0.25, 3, 3, 4, 1),
    (0.0, 1, 5, 6, 2),
    (1.0, -1, 0, 0, 0),
    (-2.0, -1, 0, 0, 0),
    (0.5, 2, 7, 8, 0),
    (4.0, -1, 0, 0, 0),
    (9.0, -1, 0, 0, 0),
    (0.125, -1, 0, 0, 0),
]
SHARES = np.array([1.0, 0.75, 0.25, 0.3, 0.7, 0.6, 0.4, 0.0, 1.0])
SETS = [0b1010, 0, 0, 0, 0, 0, 0, 0]
GROUPS = np.array([0, 1, 2, 0, -1], np.int32)


def _program(*steps, numbers=(), integers=(0, 0), outputs=1, nodes=NODES):
    shift = (Op.SHIFT, 3, 0, 0, 0, 0)
    return Program(
        np.array([(*step, *[0] * (8 - len(step))) for step in (shift, *steps)], STEP),
        np.array([2.0, -1.0, *numbers, 0.0, 0.0]),
        np.array(integers, np.int32),
        np.array(nodes, NODE),
        np.array(SETS, np.uint32),
        3,
        5,
        outputs,
    )


def _usual(steps, means=(0.0,) * 5):
    return Usual(steps, GROUPS, np.array(means), SHARES, depth=3)


def _matrix(rows=300):
    return np.random.default_rng(1).choice(VALUES, (rows, 3))


TREE = _program((Op.TREES, 0, 0, 1, 0, 0))


def _expected(node, row, known):
    """Return what the tree says where only some inputs are known."""
    value, column, left, right, kind = NODES[node]
    if column < 0:
        return value
    if int(GROUPS[column]) in known:
        asked = 2.0 * row[0] - 1.0 if column == 3 else row[column]
        if np.isnan(asked):
            goes = bool(kind & 1)
        elif kind < 2:
            goes = asked <= value
        else:
            goes = 0 <= asked < 256 and bool(SETS[0] >> int(asked) & 1)
        return _expected(left if goes else right, row, known)
    return SHARES[left] * _expected(left, row, known) + SHARES[right] * _expected(right, row, known)


def _by_every_set(row):
    """Return the Shapley values from their definition."""
    found = []
    for player in range(3):
        rest = [each for each in range(3) if each != player]
        total = 0.0
        for size in range(3):
            weight = factorial(size) * factorial(2 - size) / factorial(3)
            for known in combinations(rest, size):
                more = _expected(0, row, {*known, player}) - _expected(0, row, set(known))
                total += weight * more
        found.append(total)
    return found


@pytest.mark.parametrize("way", ["compiled", "numpy"])
def test_what_an_input_adds_to_a_tree_is_its_shapley_value(way, monkeypatch):
    if way == "numpy":
        monkeypatch.setattr(kernel, "library", lambda: None)
    rows = _matrix(60)

    added, values = Explainer(TREE, _usual(2))(rows)

    exact = np.array([_by_every_set(row) for row in rows.tolist()])
    np.testing.assert_allclose(added[:, :, 0], exact, atol=1e-14)
    nothing_known = _expected(0, rows[0], set())
    np.testing.assert_allclose(values[:, 0] - added.sum(axis=(1, 2)), nothing_known, atol=1e-14)


def test_of_a_weighted_sum_it_is_the_weight_times_the_distance_from_the_mean():
    program = _program(
        (Op.CONSTANT, 0, 0, 0, 2, 0),
        (Op.LINEAR, 0, 0, 3, 4, 0),
        (Op.DIVIDE, 0, 0, 0, 10, 0),
        (Op.SIGMOID,),
        # A guard of refused rows, made of no input alone, weighs nothing.
        (Op.LINEAR, 0, 0, 1, 11, 3),
        numbers=[7.0, -7.0, 1.0, 10.0, 0.5, -1.0, 0.0, 2.0, 4.0, 0.0, 0.0],
        integers=[0, 3, 1, 4],
        outputs=2,
    )

    added, values = Explainer(program, _usual(4, (1.0, 2.0, 0.0, 3.0, np.nan)))(
        np.array([[2.0, 5.0, 9.0]])
    )

    # Columns 0 and 3 = 2 x - 1 are both of input 0: (2 - 1) and 10 (3 - 3); then 0.5 (5 - 2).
    assert added[0].tolist() == [[0.25, -0.25], [0.375, 1.5], [0.0, 0.0]]
    assert values[0].tolist() == [(7 + 2 + 30 + 2.5) / 4, (-7 - 2 + 10) / 4]


FOREST = _program(
    (Op.TREES, 0, 0, 2, 0, 0),
    (Op.DIVIDE, 0, 0, 0, 2, 0),
    numbers=[2.0, *range(40)],
    integers=[0, 0, -1, 1],
    outputs=2,
    nodes=[(abs(v) if f < 0 else v, f, left, right, kind) for v, f, left, right, kind in NODES],
)


@pytest.mark.skipif(library() is None, reason="no compiled kernel; run make setup")
@pytest.mark.parametrize("program", [TREE, FOREST])
def test_the_compiled_kernel_and_the_twin_say_the_same(program):
    rows, usual = _matrix(), _usual(len(program.steps))

    added, values = Explainer(program, usual)(rows)
    again, answers = twin(program, usual, rows)

    np.testing.assert_allclose(added, again, rtol=0, atol=1e-14)
    assert values.tobytes() == answers.tobytes()
    assert np.abs(added).max() > 0.1


def test_rows_of_another_width_are_no_rows_of_the_plan():
    with pytest.raises(ValueError, match=r"\(rows, 3\)"):
        Explainer(TREE, _usual(2))(np.zeros((2, 4)))


def test_no_rows_are_no_contributions():
    for explained in (
        Explainer(TREE, _usual(2))(np.empty((0, 3))),
        twin(TREE, _usual(2), np.empty((0, 3))),
    ):
        assert [each.shape for each in explained] == [(0, 3, 1), (0, 1)]
