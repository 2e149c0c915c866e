"""The arrays of a plan while it is made, and what every compiled step says of its columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.functions import Function, Pair
from loopline.kernels.score import NODE, STEP, Op, Program
from loopline.model.compile.finish import finished
from loopline.model.compile.refused import REFUSED
from loopline.model.plan import Plan, Shape

Holds = Literal["anything", "gaps", "numbers"]
"""Also infinite numbers and missing ones; missing ones; neither."""
Wants = Literal["probability", "decision", "prediction"]
"""What a model is asked for: `predict_proba`, `decision_function` or `predict`."""
Values = list["Value"]
_STARTS = {Function.LOG: 0.0, Function.LOG2: 0.0, Function.LOG10: 0.0, Function.LOG1P: -1.0}
"""Where a function's numbers begin, of those that `finish.py` looks behind."""


@dataclass
class Value:
    """One column of the workspace while a plan is made: where it is, and what it holds."""

    place: int
    name: str | None = None
    codes: dict[Any, float] | None = None
    """For a text column of a frame: each text's code."""
    holds: Holds = "gaps"
    """In the rows that are answered."""


@dataclass(frozen=True)
class Known:
    """What compiles one kind of step or model, and what a person should know of it."""

    make: Callable[..., Any]
    note: str = ""


class Draft:
    """The arrays of a plan while it is made."""

    def __init__(
        self, inputs: int, outputs: int, steps: Mapping[str, Known], models: Mapping[str, Known]
    ) -> None:
        self.inputs = self.width = inputs
        self.outputs = outputs
        self.numbers: list[float] = []
        self.bits: list[np.ndarray] = []
        """A set of 256 categories each."""
        self.summary: list[str] = []
        self._known_steps, self._known_models = steps, models
        self._steps: list[tuple[int, ...]] = []
        self._integers: list[int] = []
        self._nodes: list[np.ndarray] = []
        self._node_count = 0
        self._guards: list[int] = []
        """Columns that are finite in every row that is answered."""
        self._made: dict[tuple[Any, ...], int] = {}
        """Where a column is that one step makes of another; the same is not made twice."""
        self._sources: dict[int, int] = {}
        """For a function's column, the one of which it is made, missing where it is."""

    # What steps are made of.

    def step(  # noqa: PLR0913 - a step of the kernel has so many fields
        self,
        op: Op,
        numbers: Sequence[float] | np.ndarray = (),
        *,
        source: int = 0,
        to: int = 0,
        count: int = 0,
        integers: Sequence[int] = (),
        kind: int = 0,
        other: int = 0,
    ) -> None:
        """Add a step with its numbers and integers."""
        a, b = len(self.numbers), len(self._integers)
        self.numbers += [float(number) for number in numbers]
        self._integers += [int(number) for number in integers]
        self._steps.append((int(op), to, source, count, a, b, int(kind), int(other)))

    def column(
        self,
        op: Op,
        source: Value,
        numbers: Sequence[float] | np.ndarray = (),
        *,
        count: int = 0,
        kind: int = 0,
        other: int = 0,
    ) -> Value:
        """Return the column that a step makes of `source`; it holds what its source does."""
        numbers = tuple(float(number) for number in numbers)
        key = (op, source.place, repr(numbers), count, kind, other)
        if key not in self._made:
            self._made[key] = self.room(1)
            self.step(
                op,
                numbers,
                source=source.place,
                to=self._made[key],
                count=count,
                kind=kind,
                other=other,
            )
        return Value(self._made[key], holds=source.holds)

    def room(self, columns: int) -> int:
        """Return where so many new columns begin."""
        self.width += columns
        return self.width - columns

    def apply(self, function: Function, value: Value, *numbers: float) -> Value:
        """Return a column of a function's values, which may be missing or infinite."""
        sees = value
        if function in _STARTS:  # below which it has no number
            sees = self.gap_where(value, -np.inf, float(np.nextafter(_STARTS[function], -np.inf)))
        made = self.column(Op.FUNCTION, value, numbers, kind=function)
        made.holds = "anything"
        self._sources[made.place] = sees.place
        return made

    def pair(self, what: Pair, value: Value, other: Value) -> Value:
        """Return what is made of two columns; it holds no more than the first does."""
        return self.column(Op.PAIR, value, kind=what, other=other.place)

    def pieces(
        self, value: Value, breaks: Sequence[float] | np.ndarray, powers: np.ndarray
    ) -> Values:
        """Return piecewise polynomials of a column: `powers` is (pieces, columns, degree + 1)."""
        _, made, length = powers.shape
        numbers = [*np.asarray(breaks, np.float64), *powers.ravel()]
        if made == 1:
            return [
                self.column(Op.PIECES, value, numbers, count=len(breaks), kind=1, other=length - 1)
            ]
        start = self.room(made)
        self.step(
            Op.PIECES,
            numbers,
            source=value.place,
            to=start,
            count=len(breaks),
            kind=made,
            other=length - 1,
        )
        return [Value(start + place, holds=value.holds) for place in range(made)]

    def dot(self, values: Values, weights: np.ndarray, added: Any) -> Values:
        """Return sums of `values` weighted by the rows of `weights`, each plus its `added`."""
        weights = np.atleast_2d(weights).astype(np.float64)
        start = self.room(len(weights))
        numbers = [*weights.ravel(), *np.broadcast_to(added, len(weights))]
        places = [value.place for value in values]
        self.step(Op.DOT, numbers, to=start, count=len(places), integers=places, kind=len(weights))
        return [Value(start + place, holds="numbers") for place in range(len(weights))]

    def gap_where(self, value: Value, low: float, high: float) -> Value:
        """Return a column that is missing also where `value` lies between two numbers, or on one.

        What it adds everywhere else is nothing.
        """
        powers = np.array([0.0, np.nan, 0.0]).reshape(3, 1, 1)
        [gap] = self.pieces(value, [low, np.nextafter(high, np.inf)], powers)
        return self.pair(Pair.ADD, value, gap)

    # What rows are refused.

    def refuse_infinite(self, values: Values) -> None:
        """Leave rows without an answer where one of `values` is infinite."""
        for value in values:
            if value.holds == "anything":
                self._guards.append(self.column(Op.FILL, value, [0.0]).place)
                value.holds = "gaps"

    def refuse_gaps(self, values: Values) -> None:
        """Leave rows without an answer where one of `values` is missing or infinite."""
        for value in values:
            if value.holds != "numbers":
                self._guards.append(value.place)
                value.holds = "numbers"

    def refuse_unknown(self, value: Value, keys: list[float], *, gaps: bool) -> None:
        """Leave rows without an answer where `value` is none of `keys`, nor a gap if those pass."""
        numbers = [*keys, *[0.0] * len(keys), 0.0 if gaps else np.nan, np.nan]
        self._guards.append(self.column(Op.LOOK_UP, value, numbers, count=len(keys)).place)

    def refuse_outside(self, value: Value, low: float, high: float) -> None:
        """Leave rows without an answer where `value` is not from `low` to `high`; gaps pass."""
        filled = self.column(Op.FILL, value, [low])
        powers = np.array([np.nan, 0.0, np.nan]).reshape(3, 1, 1)
        self._guards.append(self.pieces(filled, [low, np.nextafter(high, np.inf)], powers)[0].place)

    # What the outputs are made of.

    def linear(self, values: Values, weights: np.ndarray, constants: Any = None) -> None:
        """Add weighted sums of `values` to the outputs, a row of `weights` to each, and constants.

        Outputs beyond the rows of `weights` are left as they are.
        """
        weights = np.atleast_2d(weights).astype(np.float64)
        padded = np.zeros((self.outputs, len(values)))
        padded[: len(weights)] = weights
        places = [value.place for value in values]
        self.step(Op.LINEAR, padded.ravel(), count=len(places), integers=places)
        if constants is not None:
            self.constant(np.broadcast_to(constants, len(weights)))

    def constant(self, numbers: Any) -> None:
        """Add a number to each output, as far as there are some."""
        padded = np.zeros(self.outputs)
        padded[: len(numbers)] = numbers
        self.step(Op.CONSTANT, padded)

    def keep(self, count: int) -> Values:
        """Return the first outputs as columns; all outputs are 0 again."""
        start = self.room(count)
        self.step(Op.KEEP, to=start, kind=count)
        return [Value(start + place, holds="anything") for place in range(count)]

    def put(self, values: Values) -> None:
        """Add columns to the outputs, one to each."""
        self.linear(values, np.eye(len(values)))

    def tree(self, nodes: np.ndarray, columns: list[int]) -> int:
        """Add one tree, its children and columns counted from zero; return its root's place."""
        inner = nodes["feature"] >= 0
        placed = nodes.copy()
        placed["feature"][inner] = np.array(columns, np.int32)[nodes["feature"][inner]]
        for side in ("left", "right"):
            placed[side][inner] += self._node_count
        root = self._node_count
        self._nodes.append(placed)
        self._node_count += len(placed)
        return root

    # Steps and models within others.

    def transform(self, step: Any, values: Values) -> Values:
        """Add what a fitted transformer does to `values`; return its columns.

        Raises:
            PlanRefusedError: it has no exact plan.
        """
        if step is None or step == "passthrough":
            return values
        if step == "drop":
            return []
        name = type(step).__name__
        known = self._known_steps.get(_known_as(step))
        if known is None:
            raise _unknown(step, "steps")
        self.summary.append(f"{name} of {len(values)} columns")
        made: Values = known.make(self, step, values)
        return _named(step, made)

    def answer(self, model: Any, values: Values, wants: Wants) -> None:
        """Add what a fitted model answers to the outputs, which are 0 before.

        Raises:
            PlanRefusedError: it has no exact plan.
        """
        name = type(model).__name__
        known = self._known_models.get(_known_as(model))
        if known is None:
            raise _unknown(model, "models")
        if outputs_of(model) > self.outputs:
            raise PlanRefusedError(f"{name} has {outputs_of(model)} outputs for {self.outputs}")
        self.summary.append(f"{name} of {len(values)} columns")
        known.make(self, model, [replace(value) for value in values], wants)

    def member(self, model: Any, values: Values, wants: Wants) -> Values:
        """Return the answers of a model within another as columns: one, or one for each class."""
        self.answer(model, values, wants)
        return self.keep(outputs_of(model))

    def plan(self, shape: Shape) -> Plan:
        """Return the finished plan."""
        if self._guards:
            # Nothing times a finite number is nothing, and times any other it is NaN.
            guards = list(dict.fromkeys(self._guards))
            weights = np.zeros(len(guards) * self.outputs)
            self.step(Op.LINEAR, weights, count=len(guards), integers=guards)
        # A step reads two numbers from where its own begin, whether or not it has any.
        numbers = np.array([*self.numbers, 0.0, 0.0])
        program = Program(
            np.array(self._steps, dtype=STEP),
            numbers,
            np.array(self._integers, dtype=np.int32),
            np.concatenate(self._nodes) if self._nodes else np.empty(0, NODE),
            np.concatenate(self.bits) if self.bits else np.empty(0, np.uint32),
            self.inputs,
            self.width,
            self.outputs,
        )
        return Plan(finished(program, self._sources), shape, tuple(self.summary))


def outputs_of(model: Any) -> int:
    """Return how many outputs a model has: one for each class where there are more than two."""
    classes = getattr(model, "classes_", ())
    return len(classes) if len(classes) > 2 else 1


def numeric(step: Any, values: Values) -> Values:
    """Return `values`, none of which is a text.

    Raises:
        PlanRefusedError: one is.
    """
    texts = [value.name for value in values if value.codes is not None]
    if texts:
        raise PlanRefusedError(f"{type(step).__name__} is applied to the texts of {texts[0]}")
    return values


def _unknown(estimator: Any, kind: str) -> PlanRefusedError:
    name, why = type(estimator).__name__, REFUSED.get(_known_as(estimator))
    if why is None:
        return PlanRefusedError(f"{name} is not among the {kind} that have an exact plan")
    return PlanRefusedError(f"{name} has no exact plan: {why}")


def _known_as(estimator: Any) -> str:
    """Return the name by which the tables know an estimator: its class, and whose it is."""
    package = type(estimator).__module__.partition(".")[0]
    name = type(estimator).__name__
    return name if package == "sklearn" else f"{package}.{name}"


def _named(step: Any, made: Values) -> Values:
    """Name the columns of a step that hands on a frame, since the next may choose by name."""
    wanted = getattr(step, "_sklearn_output_config", {}).get("transform")
    if wanted in ("pandas", "polars"):
        names = step.get_feature_names_out()
        return [replace(value, name=str(name)) for value, name in zip(made, names, strict=True)]
    return made
