"""What drives one prediction: how much each input adds to the answer, compared with what is usual.

A plan that adds up columns or trees is explained exactly, before its link: in log-odds where that
is a sigmoid (`kernels/explain.py`). What it adds up over is the columns of the signature, however
many columns its steps make of one; a feature of row SQL stands for itself. Any other plan, and an
original, is asked: permutation Shapley values (Strumbelj and Kononenko 2014) of the inputs, against
values each drawn on its own from those of training, with their standard errors.

A bundle keeps what that needs in `explanation.bin`: means and shares, or a hundred values of each
input that no row of the training data holds together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import msgspec
import numpy as np

from loopline.data.columns import Columns
from loopline.errors import BundleRefusedError
from loopline.kernels import explain
from loopline.kernels.explain import Usual
from loopline.kernels.score import Op, Program, Scorer, run_step
from loopline.model.plan import Plan
from loopline.model.runtimes.wire import pack, unpack
from loopline.model.signature import Signature, decide_places, matrix

KEPT = "explanation.bin"
"""The file of a bundle that holds it."""
FORMAT = 1
ROWS = 20_000
"""Of the training rows, so many at most say what is usual."""
TYPICAL = 300
"""Of those, so many are explained, to know what usually drives the model."""
DRAWS = 100
"""Values of each input that a sampled explanation draws from."""
PAIRS = 32
"""Orders in which a sampled explanation makes inputs known, each forwards and backwards."""
_DEEPEST = 512

Method = Literal["exact", "sampled"]
Score = Callable[[Columns], np.ndarray]


@dataclass(frozen=True)
class Contributions:
    """What each column adds to the answers to some rows: with `bases` it makes `values`."""

    method: Method
    unit: str
    """`log-odds`, `score` (of a class, before softmax), `log`, `probability` or `prediction`."""
    names: tuple[str, ...]
    added: np.ndarray
    """(rows, names), of the positive class, the answered one of several, or the prediction."""
    bases: np.ndarray
    """What is answered where nothing is known."""
    values: np.ndarray
    classes: tuple[str | None, ...]
    """Which class the answer is of; None for a regression."""
    errors: np.ndarray | None = None
    """The standard error of what is added; None where it is exact."""

    def reasons(self, row: int, count: int) -> dict[str, Any]:
        """Return one row's contributions as callers read them, the `count` largest by name."""
        added = self.added[row]
        order = np.argsort(-np.abs(added), kind="stable")
        told: dict[str, Any] = {"method": self.method, "unit": self.unit}
        if self.classes[row] is not None:
            told["class"] = self.classes[row]
        told |= {"base": float(self.bases[row]), "value": float(self.values[row])}
        told["reasons"] = [self._reason(row, place) for place in order[:count].tolist()]
        told["others"] = float(added[order[count:]].sum())
        return told

    def _reason(self, row: int, place: int) -> dict[str, Any]:
        told = {"column": self.names[place], "adds": float(self.added[row, place])}
        if self.errors is not None:
            told["error"] = float(self.errors[row, place])
        return told


class _Kept(msgspec.Struct):
    """What `explanation.bin` holds."""

    format: int
    exact: bool
    means: bytes = b""
    shares: bytes = b""
    values: bytes = b""
    usual: dict[str, float] = {}
    """What each column adds on average, without its sign."""


def background(plan: Plan | None, signature: Signature, columns: Columns, seed: int) -> bytes:
    """Return what explanations of a version need to know of the rows that trained it.

    At most `ROWS` of `columns` are looked at, chosen by `seed`.
    """
    generator = np.random.default_rng(seed)
    rows = len(next(iter(columns.values())))
    chosen = np.sort(generator.permutation(rows)[:ROWS])
    program = None if plan is None else plan.program
    steps = None if program is None else additive(program)
    if plan is None or program is None or steps is None:
        drawn = {
            each.name: _draw(columns[each.name], each.type, generator)
            for each in signature.inputs
            if each.required
        }
        return msgspec.msgpack.encode(_Kept(FORMAT, exact=False, values=pack(drawn)))
    seen = matrix(signature, {name: values[chosen] for name, values in columns.items()})
    scores = plan.score_what_can_be(seen)
    answered = np.isfinite(scores if scores.ndim == 1 else scores.sum(axis=1))
    seen = seen[answered]
    means, shares = _means(program, steps, seen), _shares(program, steps, seen)
    kept = _Kept(FORMAT, exact=True, means=means.tobytes(), shares=shares.tobytes())
    told = _Exact(_checked(plan, kept), signature)(seen[generator.permutation(len(seen))[:TYPICAL]])
    if len(told.values):
        kept.usual = dict(zip(told.names, np.abs(told.added).mean(axis=0).tolist(), strict=True))
    return msgspec.msgpack.encode(kept)


def _draw(values: np.ndarray, kind: str, generator: np.random.Generator) -> np.ndarray:
    if kind == "text":  # nobody's words are kept: a text is compared with none
        return np.array([None], dtype=object)
    return values[generator.permutation(len(values))[:DRAWS]]


class Explainer:
    """Explains predictions of one version; for one thread at a time."""

    def __init__(
        self, content: bytes, signature: Signature, plan: Plan | None, score: Score | None = None
    ) -> None:
        """Take a bundle's `explanation.bin`, and what answers: the plan, or `score`.

        Raises:
            BundleRefusedError: it is of another format, or does not fit the plan.
        """
        kept = msgspec.msgpack.decode(content, type=_Kept)
        if kept.format != FORMAT:
            raise BundleRefusedError(
                f"explanation.bin has format {kept.format}, and this Loopline reads {FORMAT}. "
                "Explain with the Loopline that made the version, or train the model again."
            )
        self._signature = signature
        self.method: Method = "exact" if kept.exact else "sampled"
        self.is_asked = plan is None and not kept.exact
        """Whether something else than a plan answers."""
        self.usual = kept.usual
        """What each column added on average at the training, without its sign."""
        if kept.exact:
            self._exact = _Exact(_checked(plan, kept), signature)
            return
        self._drawn = unpack(kept.values)
        self._score = score if plan is None else partial(_by_plan, plan, signature)

    def of_matrix(self, seen: np.ndarray) -> Contributions:
        """Explain rows of a plan, as the matrix it scores; where the method is exact."""
        return self._exact(seen)

    def __call__(self, columns: Columns, seed: int = 0) -> Contributions:
        """Explain rows; where it is sampled, the same `seed` gives the same answer.

        Raises:
            RequestError: the model cannot score such rows.
        """
        if self.method == "exact":
            return self._exact(matrix(self._signature, columns))
        assert self._score is not None  # noqa: S101 - without a plan something else answers
        return _sampled(self._signature, self._drawn, self._score, columns, seed)


def _by_plan(plan: Plan, signature: Signature, columns: Columns) -> np.ndarray:
    return plan.score(matrix(signature, columns))


# Exact: a plan that adds up.

_LINKS = {Op.SIGMOID: "log-odds", Op.SOFTMAX: "score", Op.EXP: "log", Op.NORMALISE: "score"}


class _Exact:
    def __init__(self, parts: tuple[Program, Usual], signature: Signature) -> None:
        program, usual = parts
        self._explain = explain.Explainer(program, usual)
        self._signature = signature
        self._names = tuple(feature.name for feature in signature.features)
        links = [Op(code) for code in program.steps["code"][usual.steps :].tolist()]
        plain = "prediction" if signature.task == "regression" else "probability"
        self._unit = next((_LINKS[link] for link in links if link in _LINKS), plain)

    def __call__(self, seen: np.ndarray) -> Contributions:
        added, values = self._explain(seen)
        rows = np.arange(len(seen))
        classes = self._signature.classes
        # Every link keeps the order of the classes, so the likeliest is the largest before it.
        places = values.argmax(axis=1)
        named: list[str | None] = [None] * len(rows)
        if self._signature.task == "multiclass":
            named = [classes[place] for place in places.tolist()]
        elif classes:
            named = [classes[1]] * len(rows)
        chosen, own = values[rows, places], added[rows, :, places]
        bases = chosen - own.sum(axis=1)
        return Contributions("exact", self._unit, self._names, own, bases, chosen, tuple(named))


def additive(program: Program) -> int | None:
    """Return how many steps come before the link, if what they make adds up; else None.

    Each column that is weighed or asked by a tree must be made of one input alone.
    """
    groups, used = _groups(program), [_asked(program.nodes)]
    end: int | None = None
    for place, step in enumerate(program.steps.tolist()):
        code, _, _, count, a, b = step[:6]
        if code == Op.KEEP:
            return None
        if code == Op.LINEAR:
            weights = program.numbers[a : a + count * program.outputs].reshape(-1, count)
            weighed = program.integers[b : b + count][weights.any(axis=0)]
            used.append(weighed)
            adds = bool(len(weighed))  # a guard of refused rows adds nothing
        else:
            adds = code in (Op.CONSTANT, Op.TREES, Op.DIVIDE)
        if adds and end is not None:
            return None
        if code in _LINKS and end is None:
            end = place
    columns = np.concatenate(used)
    if (groups[columns] < 0).any() or _levels(program)[0] > _DEEPEST:
        return None
    return len(program.steps) if end is None else end


def _asked(nodes: np.ndarray) -> np.ndarray:
    asked: np.ndarray = nodes["feature"][nodes["feature"] >= 0]
    return asked


def _groups(program: Program) -> np.ndarray:
    """Return the input each column of the workspace is made of, -1 where it is not one alone."""
    found = np.full(program.width, -1, np.int32)
    found[: program.inputs] = np.arange(program.inputs)
    for step in program.steps.tolist():
        code, to, source, count, _, b, kind, other = step
        if Op.CONSTANT <= code <= Op.KEEP or code == Op.NORMALISE:
            continue
        made, sources = 1, [source]
        if code == Op.ONE_HOT:
            made = int(program.integers[b])
        elif code == Op.DOT:
            made, sources = kind, program.integers[b : b + count].tolist()
        elif code == Op.PIECES:
            made = kind
        elif code == Op.PAIR:
            sources = [source, other]
        of = set(found[sources].tolist())
        found[to : to + made] = of.pop() if len(of) == 1 else -1
    return found


def _levels(program: Program) -> tuple[int, list[np.ndarray]]:
    """Return the depth of the deepest tree, and the inner nodes of each level from the roots."""
    nodes = program.nodes
    levels: list[np.ndarray] = []
    below = np.concatenate([np.empty(0, np.int64), *_roots(program, len(program.steps))])
    while len(below) and len(levels) <= _DEEPEST:
        inner = below[nodes["feature"][below] >= 0]
        levels.append(inner)
        below = np.concatenate([nodes["left"][inner], nodes["right"][inner]])
    return max(len(levels) - 1, 0), levels


def _roots(program: Program, steps: int) -> list[np.ndarray]:
    return [
        program.integers[step["b"] : step["b"] + step["count"]].astype(np.int64)
        for step in program.steps[:steps]
        if step["code"] == Op.TREES
    ]


def _means(program: Program, steps: int, seen: np.ndarray) -> np.ndarray:
    """Return the mean of each column that is made of the rows of `seen`."""
    if not len(seen) or not (program.steps["code"][:steps] == Op.LINEAR).any():
        return np.zeros(program.width)
    work = np.zeros((program.width, len(seen)))
    work[: program.inputs] = seen.T
    raw = np.zeros((program.outputs, len(seen)))
    with np.errstate(all="ignore"):
        for step in program.steps[:steps].tolist():
            if not Op.CONSTANT <= step[0] <= Op.KEEP:
                run_step(program, step, work, raw)
        means: np.ndarray = work.mean(axis=1)
    # A column with gaps is none that is weighed: such rows would have no answer.
    return np.where(np.isfinite(means), means, 0.0)


def _shares(program: Program, steps: int, seen: np.ndarray) -> np.ndarray:
    """Return which share of the rows at a node's parent goes on to it; half where none came."""
    nodes = program.nodes
    shares = np.ones(len(nodes))
    roots = np.concatenate([np.empty(0, np.int64), *_roots(program, steps)])
    if not len(roots):
        return shares
    reached = np.bincount(_leaves_of(program, steps, roots, seen), minlength=len(nodes)).astype(
        np.float64
    )
    _, levels = _levels(program)
    for inner in reversed(levels):
        left, right = nodes["left"][inner], nodes["right"][inner]
        reached[inner] = reached[left] + reached[right]
        for side in (left, right):
            whole = reached[inner]
            shares[side] = np.where(whole > 0, reached[side] / np.maximum(whole, 1.0), 0.5)
    return shares


def _leaves_of(program: Program, steps: int, roots: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the leaf that each row reaches in each tree: the same plan, its leaves numbered."""
    nodes = program.nodes.copy()
    nodes["value"] = np.where(nodes["feature"] < 0, np.arange(len(nodes)), nodes["value"])
    kept = [
        tuple(step)
        for step in program.steps[:steps].tolist()
        if not Op.CONSTANT <= step[0] <= Op.KEEP
    ]
    place = len(program.integers)
    kept.append((int(Op.TREES), 0, 0, len(roots), 0, place, 0, 0))
    integers = np.concatenate([program.integers, roots, np.arange(len(roots))]).astype(np.int32)
    numbered = program._replace(
        steps=np.array(kept, program.steps.dtype),
        integers=integers,
        nodes=nodes,
        outputs=len(roots),
    )
    leaves, _ = Scorer(numbered)(seen)
    return leaves.ravel().astype(np.int64)


def _checked(plan: Plan | None, kept: _Kept) -> tuple[Program, Usual]:
    """Return what explains the plan.

    Raises:
        BundleRefusedError: what was kept is of another plan.
    """
    steps = None if plan is None else additive(plan.program)
    means, shares = np.frombuffer(kept.means), np.frombuffer(kept.shares)
    if plan is None or steps is None:
        raise BundleRefusedError(
            "explanation.bin is of a plan that adds up, and this one does not."
        )
    program = plan.program
    if len(means) != program.width or len(shares) != len(program.nodes):
        raise BundleRefusedError(
            "explanation.bin does not fit the plan. The bundle is damaged: train the model again."
        )
    return program, Usual(steps, _groups(program), means, shares, _levels(program)[0])


# Sampled: a model that is asked.


def _sampled(
    signature: Signature, drawn: Columns, score: Score, columns: Columns, seed: int
) -> Contributions:
    names = tuple(drawn)
    rows = len(columns[names[0]])
    own = score(columns)
    multiclass = signature.task == "multiclass"
    places = decide_places(signature, own) if multiclass else None
    found = [
        _permuted(
            drawn,
            score,
            {name: columns[name][row : row + 1] for name in columns},
            None if places is None else int(places[row]),
            np.random.default_rng((seed, row)),
        )
        for row in range(rows)
    ]
    classes: Sequence[str | None] = [None] * rows
    if places is not None:
        classes = [signature.classes[place] for place in places.tolist()]
    elif signature.classes:
        classes = [signature.classes[1]] * rows
    values = own if places is None else own[np.arange(rows), places]
    added = np.stack([pair[0] for pair in found])
    return Contributions(
        "sampled",
        "prediction" if signature.task == "regression" else "probability",
        names,
        added,
        values - added.sum(axis=1),
        values,
        tuple(classes),
        np.stack([pair[1] for pair in found]),
    )


def _permuted(
    drawn: Columns,
    score: Score,
    row: Columns,
    place: int | None,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return one row's Shapley values and their standard errors.

    Each order starts from drawn values and makes one input after another known; what the answer
    moves by is that input's. Backwards the same order takes the same draw, which evens out much of
    the chance (Mitchell et al. 2022).
    """
    names, players = list(drawn), len(drawn)
    orders = np.stack([generator.permutation(players) for _ in range(PAIRS)])
    orders = np.stack([orders, orders[:, ::-1]], axis=1).reshape(2 * PAIRS, players)
    ranks = np.argsort(orders, axis=1)
    # (orders, steps, players): whether an input is known after so many steps.
    known = (ranks[:, None, :] < np.arange(players + 1)[None, :, None]).reshape(-1, players)
    asked: Columns = dict(row)
    for at, name in enumerate(names):
        chosen = generator.integers(0, len(drawn[name]), PAIRS).repeat(2 * (players + 1))
        asked[name] = np.where(known[:, at], row[name], drawn[name][chosen])
    for name in set(row) - set(names):
        asked[name] = row[name].repeat(len(known))
    scores = score(asked)
    answers = (scores if place is None else scores[:, place]).reshape(2 * PAIRS, players + 1)
    moved = np.diff(answers, axis=1)
    each = np.take_along_axis(moved, ranks, axis=1).reshape(PAIRS, 2, players).mean(axis=1)
    return each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(PAIRS)
