"""Train one model from one snapshot, and record it."""

import hashlib
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from loopline import plugins
from loopline.contract.load import contract_hash
from loopline.errors import TrainingError
from loopline.model.original import Original, frame
from loopline.model.signature import Signature, matrix
from loopline.notebooks import Shown
from loopline.training.candidates.base import Candidate, Parameters, Task
from loopline.training.candidates.custom import Custom, blamed
from loopline.training.features import sign
from loopline.training.material import Material
from loopline.training.objective import loss, objective
from loopline.training.provenance import code, environment
from loopline.training.threads import one_thread
from loopline.training.tuning import Search, Trial, search

if TYPE_CHECKING:
    from loopline.store.database import Database

SEARCH_ROWS = 25_000
"""A search looks at no more rows than this, of training and of validation; the final fit at all."""

Progress = Callable[[str, str], None]
"""Called with a stage and what it is doing."""


@dataclass(frozen=True)
class Run(Shown):
    """One training: the third record of the chain."""

    id: str
    project: str
    snapshot: str
    """The snapshot's id."""
    contract: str
    """SHA-256 of loopline.yaml as it stood."""
    split: dict[str, Any]
    """How the parts were made, their sizes and their bounds."""
    candidate: str
    parameters: dict[str, Any]
    objective: str
    metrics: dict[str, float]
    """On validation rows."""
    trials: tuple[Trial, ...]
    seed: int
    code: dict[str, Any]
    """`commit` and `dirty`, or both None outside Git; `files`: hash of the team's own code."""
    environment: dict[str, str]
    """Python and package versions."""
    started_at: str
    seconds: float
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A run with what it made."""

    run: Run
    original: Original
    signature: Signature
    """Without a threshold: evaluation chooses it."""


def train(
    material: Material, *, root: Path, home: Path, now: datetime, progress: Progress
) -> Trained:
    """Search the candidates, and fit the best on all training rows.

    Interrupted or killed, the next call goes on at the trial it had reached; the same material and
    seed give the same model to the bit, in one go or in two.

    Raises:
        TrainingError: there is nothing to learn from, or the team's own code fails.
    """
    began = perf_counter()
    contract = material.contract
    _check(material)
    signature = sign(material)
    bench = _Bench(material, signature, root)
    provenance, packages = code(root), environment(custom="custom" in bench.candidates)
    name = objective(contract.problem)
    best = np.inf

    def told(trial: Trial, total: int) -> None:
        nonlocal best
        best = min(best, trial.value)
        progress(
            "train",
            f"trial {trial.number + 1} of {total}: {trial.candidate}, {name} {trial.value:.4g} "
            f"(best {best:.4g})",
        )

    journal = home / "studies" / f"{_study(material, provenance, packages)}.jsonl"
    plan = Search(contract.model.trials, contract.model.seed, journal)
    with one_thread(), _forgiving():
        trials = search(plan, bench.candidates, bench.evaluate, told)
        chosen = min(trials, key=lambda trial: (trial.value, trial.number))
        progress("train", f"fitting {chosen.candidate} on {len(material.training):,} rows")
        original = bench.fit(chosen.candidate, chosen.parameters, "all training")
        value = bench.judge(original, "all validation")
    journal.unlink(missing_ok=True)
    run = Run(
        id=f"run-{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        project=contract.project,
        snapshot=material.snapshot.id,
        contract=contract_hash(root / "loopline.yaml"),
        split=dict(material.parts.description),
        candidate=chosen.candidate,
        parameters=chosen.parameters,
        objective=name,
        metrics={name: value},
        trials=tuple(trials),
        seed=contract.model.seed,
        code=provenance,
        environment=packages,
        started_at=now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        seconds=perf_counter() - began,
    )
    return Trained(run, original, signature)


def record(run: Run, database: "Database") -> None:
    """Keep `run` as a row of the database."""
    from loopline.store.database import runs

    payload = msgspec.json.encode(run).decode()
    row = {"id": run.id, "project": run.project, "started_at": run.started_at, "payload": payload}
    with database.begin() as connection:
        connection.execute(runs.insert().values(**row))


def recorded(database: "Database", project: str) -> list[Run]:
    """Return the runs of `project`, oldest first."""
    from sqlalchemy import select

    from loopline.store.database import runs

    ordered = (
        select(runs.c.payload)
        .where(runs.c.project == project)
        .order_by(runs.c.started_at, runs.c.id)
    )
    with database.read() as connection:
        return [msgspec.json.decode(raw, type=Run) for raw in connection.execute(ordered).scalars()]


class _Bench:
    """Fits and judges candidates on one material."""

    def __init__(self, material: Material, signature: Signature, root: Path) -> None:
        self._material = material
        self._root = root.resolve()
        self.candidates = _candidates(material, root)
        self._task = Task(material.contract, signature)
        generator = np.random.default_rng(material.contract.model.seed)
        whole = {"training": material.training, "validation": material.validation}
        sampled = {name: _at_most(SEARCH_ROWS, rows, generator) for name, rows in whole.items()}
        self._parts = {"all " + name: rows for name, rows in whole.items()} | sampled
        self._prepared: dict[tuple[str, str], Any] = {}

    def evaluate(self, name: str, parameters: Parameters) -> float:
        """Return the validation loss of a fit on the search's rows."""
        return self.judge(self.fit(name, parameters, "training"), "validation")

    def fit(self, name: str, parameters: Parameters, part: str) -> Original:
        """Return the candidate fitted on the rows of `part`."""
        candidate = self.candidates[name]
        estimator = candidate.build(self._task, parameters)
        inputs, truth = self._inputs(candidate.takes, part), self._truth(part)
        wanted = truth if self._task.signature.task == "regression" else truth.astype(np.int64)
        # Once more: what a team's own code builds may have brought a library of its own.
        with one_thread(), blamed(self._root, self._material.contract.model.train or name):
            fitted = estimator.fit(inputs, wanted)
        return Original(fitted, candidate.takes, self._task.signature)

    def judge(self, original: Original, part: str) -> float:
        """Return the loss of a fitted model on the rows of `part`."""
        with blamed(self._root, self._material.contract.model.train or "the model"):
            scores = original.answer(self._inputs(original.takes, part))
        if not np.isfinite(scores).all():
            raise TrainingError(
                f"The model's answers to {len(scores):,} validation rows contain NaN or infinity."
            )
        return loss(self._material.contract.problem, self._truth(part), scores)

    def _truth(self, part: str) -> np.ndarray:
        truth: np.ndarray = self._material.target.values[self._parts[part]]
        return truth

    def _inputs(self, takes: str, part: str) -> Any:
        """Return what estimators see of these rows; made once, since every trial needs it."""
        if (takes, part) not in self._prepared:
            make = matrix if takes == "matrix" else frame
            rows = self._material.rows(self._parts[part])
            self._prepared[takes, part] = make(self._task.signature, rows)
        return self._prepared[takes, part]


def _candidates(material: Material, root: Path) -> dict[str, Candidate]:
    """Return the contract's candidates; `train` alone stands for itself."""
    model = material.contract.model
    found: dict[str, Candidate] = {}
    if model.train is not None:
        found["custom"] = Custom(root)
    if model.train is None or "candidates" in model.model_fields_set:
        for name in dict.fromkeys(model.candidates):
            found[name] = plugins.find("loopline.training.candidates", name)()
    return found


def _check(material: Material) -> None:
    """Refuse what no model can learn from.

    Raises:
        TrainingError: a part is empty, or a class does not occur among the training rows.
    """
    for name, rows in (("training", material.training), ("validation", material.validation)):
        if len(rows) == 0:
            raise TrainingError(
                f"None of the {name} rows has a known target. Check problem.target and data.split."
            )
    if material.contract.problem.task == "regression":
        return
    present = set(material.target.values[material.training].astype(int).tolist())
    absent = [label for place, label in enumerate(material.target.classes) if place not in present]
    if absent:
        raise TrainingError(
            f"No training row has the target {', '.join(absent)}, so no model can learn it. With "
            "`split: {by: stratified}` every part has every class."
        )


def _at_most(count: int, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if len(rows) <= count:
        return rows
    return np.sort(generator.choice(rows, count, replace=False))


def _study(material: Material, provenance: dict[str, Any], packages: dict[str, str]) -> str:
    """Return the name of the search: all that decides what its trials find, but their number."""
    contract = material.contract.model_dump(mode="json", include={"problem", "data", "model"})
    contract["model"].pop("trials")
    parts = [material.parts.train, material.parts.validation]
    digest = hashlib.sha256(
        msgspec.json.encode([contract, material.snapshot.hash, provenance["files"], packages])
    )
    for part in parts:
        digest.update(part.tobytes())
    return digest.hexdigest()[:32]


@contextmanager
def _forgiving() -> Iterator[None]:
    """A search tries weak regularisation too, which may not converge: its loss says so."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
