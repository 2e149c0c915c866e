"""Try everything that a run will need, and change nothing.

Every part is looked at even where another one failed, unless it cannot be looked at without it;
so one call says all that is wrong.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeVar

from loopline import plugins
from loopline.contract.explain import nearest
from loopline.contract.load import FILE_NAME, idle, load
from loopline.contract.schema import Contract
from loopline.data.columns import from_frame
from loopline.data.conforming import Conformed, conform, infer_types, needed
from loopline.data.leakage import leakage
from loopline.data.row_sql import parse
from loopline.data.snapshots import Snapshot
from loopline.data.sources.base import describe, read
from loopline.data.splits import split
from loopline.data.target import Target, truth
from loopline.data.validation import validate
from loopline.errors import ContractError, LooplineError, RowSqlError, TrainingError
from loopline.settings import Settings
from loopline.training import baselines
from loopline.training.candidates.base import Task
from loopline.training.candidates.custom import Custom, blamed
from loopline.training.features import sign
from loopline.training.material import Material

if TYPE_CHECKING:
    import polars as pl

_CANDIDATES = "loopline.training.candidates"
_ROWS_TO_INFER = 10_000
_T = TypeVar("_T")


@dataclass(frozen=True)
class Verdict:
    """What one part of the project looks like."""

    part: str
    state: Literal["ok", "note", "fault", "skipped"]
    said: tuple[str, ...]
    """Of a fault, one sentence for each thing to put right; else what it is, then what to know."""


class _NotReachedError(Exception):
    """A part cannot be looked at without another, which failed."""


def check(root: Path, settings: Settings, now: datetime) -> list[Verdict]:
    """Look at every part of the project in `root`."""
    with _nothing_written():
        try:
            contract = load(root / FILE_NAME)
        except ContractError as error:
            verdicts = [Verdict("contract", "fault", tuple(error.faults))]
            skipped = "not looked at before loopline.yaml holds"
            verdicts += [Verdict(part, "skipped", (skipped,)) for part in ("data", "model")]
        else:
            look = _Look(root, contract, settings, now)
            verdicts = [_verdict(part, step) for part, step in look.steps().items()]
        verdicts.append(_verdict("tests", lambda: _tests(root)))
    return verdicts


def _verdict(part: str, step: Callable[[], Iterator[str]]) -> Verdict:
    try:
        said = tuple(step())
    except _NotReachedError as error:
        return Verdict(part, "skipped", (f"not looked at before the {error} can be used",))
    except LooplineError as error:
        return Verdict(part, "fault", tuple(str(error).splitlines()))
    return Verdict(part, "note" if len(said) > 1 else "ok", said)


class _Look:
    """Each step yields what it found, then what to know; it raises where something is wrong."""

    def __init__(self, root: Path, contract: Contract, settings: Settings, now: datetime) -> None:
        self._root, self._contract, self._settings, self._now = root, contract, settings, now
        self._raw: pl.DataFrame | None = None
        self._sql_holds = False
        self._conformed: Conformed | None = None
        self._target: Target | None = None
        self._material: Material | None = None

    def steps(self) -> dict[str, Callable[[], Iterator[str]]]:
        """Return every part's step, in the order they need each other."""
        return {
            "contract": self._promise,
            "data": self._read,
            "row SQL": self._row_sql,
            "columns": self._conform,
            "rows": self._validate,
            "split": self._split,
            "features": self._sign,
            "baseline": self._fit_baseline,
            "model": self._build,
        }

    def _promise(self) -> Iterator[str]:
        contract = self._contract
        yield (
            f"{contract.project}: {contract.problem.task}, {len(contract.goals)} goals, "
            f"{len(contract.data.columns)} columns"
        )
        for key in idle(contract):
            yield f"{key}: accepted, but nothing acts on it yet"

    def _read(self) -> Iterator[str]:
        self._raw = read(self._contract, self._root, self._settings)
        where = describe(self._contract.data.source)
        yield f"{self._raw.height:,} rows and {self._raw.width} columns from {where}"

    def _row_sql(self) -> Iterator[str]:
        raw = self._needed(self._raw, "data")
        data = self._contract.data
        types = infer_types(raw.head(_ROWS_TO_INFER), data.missing)
        types |= {name: column.type for name, column in data.columns.items() if column.type}
        faults = [
            f"data.features.{name} has the name of a column. Give the feature another name."
            for name in data.features
            if name in raw.columns
        ]
        made = dict(types)  # a baseline's rule may use features; features may not use each other
        answer = "prediction" if self._contract.problem.task == "regression" else "probability"
        for place, sql in _expressions(self._contract, raw.columns):
            known = made if place == "problem.baseline.rule" else types
            if place == "review.when":
                known = {**types, answer: "number"}
            try:
                found = parse(sql, known)
            except RowSqlError as error:
                faults.append(f"{place}: {error}")
            else:
                made[place.removeprefix("data.features.")] = found.type
        if faults:
            raise RowSqlError("\n".join(faults))
        self._sql_holds = True
        count = len(list(_expressions(self._contract, raw.columns)))
        yield f"{count} expression{'s' * (count != 1)}" if count else "none"

    def _conform(self) -> Iterator[str]:
        raw = self._needed(self._raw, "data")
        needed(_without_sql(self._contract), raw.columns)
        self._needed(self._sql_holds or None, "row SQL")
        self._conformed = conform(raw, self._contract)
        yield f"{len(self._conformed.types)} columns as the contract says"
        ignored = [name for name in raw.columns if name not in self._conformed.types]
        if ignored:
            yield f"the data has columns that loopline.yaml does not name: {_listed(ignored)}"
        for kind in ("text", "time"):
            unseen = [n for n in self._conformed.types if self._is_unseen(n, kind)]
            if unseen:
                yield f"no model sees a {kind}; make data.features of it: {_listed(unseen)}"

    def _is_unseen(self, name: str, kind: str) -> bool:
        """Whether a column asks to be a feature and cannot be one."""
        data, conformed = self._contract.data, self._needed(self._conformed, "columns")
        column = data.columns.get(name)
        if column is None or conformed.types[name] != kind or name in {data.key, data.time}:
            return False
        return column.feature and not column.leaks and column.personal != "direct"

    def _validate(self) -> Iterator[str]:
        conformed = self._needed(self._conformed, "columns")
        validation = validate(conformed, self._contract, self._now, self._root)
        good = validation.good
        yield f"{good.height:,} rows to use, {validation.quarantine.height:,} kept apart"
        yield from (str(result) for result in validation.checks if not result.passed)
        self._conformed = Conformed(good, conformed.types, conformed.failures)
        columns = from_frame(good, conformed.types)
        self._target = truth(self._contract, columns, conformed.types)

    def _split(self) -> Iterator[str]:
        target = self._needed(self._target, "rows")
        conformed, contract = self._needed(self._conformed, "columns"), self._contract
        columns = from_frame(conformed.frame, conformed.types)
        parts = split(conformed.frame, columns, contract, target.values, contract.model.seed)
        sizes = (len(parts.train), len(parts.validation), len(parts.test))
        yield "by {}: {:,} to train, {:,} to choose, {:,} to judge".format(
            contract.data.split.by, *sizes
        )
        yield from leakage(
            conformed.frame, columns, contract, conformed.types, target.values, parts
        )
        snapshot = _unfrozen(conformed)
        self._material = Material(contract, snapshot, columns, conformed.types, target, parts)

    def _sign(self) -> Iterator[str]:
        signature = sign(self._needed(self._material, "split"))
        needed_inputs = [each.name for each in signature.inputs if each.required]
        yield f"{len(signature.features)} features of {len(needed_inputs)} inputs"

    def _fit_baseline(self) -> Iterator[str]:
        yield baselines.fit(self._needed(self._material, "split")).name

    def _build(self) -> Iterator[str]:
        model = self._contract.model
        if model.train is not None:
            signature = sign(self._needed(self._material, "split"))
            estimator = Custom(self._root).build(Task(self._contract, signature), {})
            yield f"{model.train} gives a {type(estimator).__name__}"
            return
        known = [name for name in plugins.names(_CANDIDATES) if name != "custom"]
        unknown = [name for name in model.candidates if name not in known]
        if unknown:
            hints = (f"'{name}': {nearest(name, known, what='There are')}" for name in unknown)
            raise TrainingError("\n".join(f"There is no candidate {hint}" for hint in hints))
        yield f"{', '.join(model.candidates)}; {model.trials} trials"

    @staticmethod
    def _needed(value: _T | None, what: str) -> _T:
        if value is None:
            raise _NotReachedError(what)
        return value


def _tests(root: Path) -> Iterator[str]:
    """Load the behavioural tests, and call none."""
    files = sorted((root / "tests" / "model").glob("*.py"))
    found, faults = 0, []
    for path in files:
        module = ModuleType(path.stem)
        module.__file__ = str(path)
        try:
            with blamed(root, str(path.relative_to(root))):
                SourceFileLoader(path.stem, str(path)).exec_module(module)
        except TrainingError as error:
            faults.append(str(error))
        found += sum(
            name.startswith("test_") and callable(vars(module)[name]) for name in vars(module)
        )
    if faults:
        raise TrainingError("\n".join(faults))
    where = f"{len(files)} file{'s' * (len(files) != 1)}"
    yield f"{found} behavioural tests in {where}" if files else "none in tests/model/"


@contextmanager
def _nothing_written() -> Iterator[None]:
    """Keep Python from leaving compiled files beside the team's code."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _expressions(contract: Contract, columns: list[str]) -> Iterator[tuple[str, str]]:
    """Yield where the contract has row SQL, and that; the baseline's rule last."""
    data, problem = contract.data, contract.problem
    for name, sql in data.features.items():
        yield f"data.features.{name}", sql
    for index, rule in enumerate(data.checks):
        if rule.rule is not None:
            yield f"data.checks[{index}].rule", rule.rule
    if problem.target not in columns:
        yield "problem.target", problem.target
    if contract.review is not None and contract.review.when is not None:
        yield "review.when", contract.review.when
    if problem.baseline is not None and problem.baseline.rule is not None:
        yield "problem.baseline.rule", problem.baseline.rule


def _without_sql(contract: Contract) -> Contract:
    data = contract.data.model_copy(update={"features": {}, "checks": []})
    problem = contract.problem.model_copy(update={"baseline": None, "target": "1"})
    return contract.model_copy(update={"data": data, "problem": problem})


def _unfrozen(conformed: Conformed) -> Snapshot:
    """Return what stands for a snapshot where nothing is frozen."""
    rows = conformed.frame.height
    return Snapshot("snap-unfrozen", "", "", 0, rows, conformed.types, "", 0, "")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
