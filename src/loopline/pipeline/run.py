"""Take data to a registered, proven version that dev serves.

Each stage hands the next its record; this file only calls them in their order. Killed anywhere, a
second call goes on where it matters: the snapshot is found by its hash, the search goes on at the
trial it had reached, and nothing is registered before its bundle is whole.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from loopline.contract.schema import Contract
from loopline.counts.kernel import Profile, count_arrays
from loopline.data import quality
from loopline.data.columns import Columns, from_frame
from loopline.data.conforming import conform
from loopline.data.leakage import leakage
from loopline.data.snapshots import Snapshot, freeze, load
from loopline.data.sources.base import describe, fields, read
from loopline.data.splits import split
from loopline.data.target import truth
from loopline.data.validation import CheckResult, examine
from loopline.errors import PlanRefusedError, ValidationError
from loopline.evaluation import behaviour, expectation, page
from loopline.evaluation.costs import choose_threshold
from loopline.evaluation.exam import Candidates, Exam, Proofs, evaluate
from loopline.evaluation.expectation import Expectation
from loopline.evaluation.metrics import Answer
from loopline.evaluation.report import Report
from loopline.model.bundle import version_digest, write
from loopline.model.card import card
from loopline.model.compile.estimator import compile_plan
from loopline.model.explanation import KEPT, background
from loopline.model.original import Original
from loopline.model.parity import Parity, prove
from loopline.model.plan import Plan
from loopline.model.runtimes.onnx import TOLERANCE, OnnxRuntime, exported
from loopline.model.runtimes.worker import dump_original
from loopline.model.signature import Signature, feature_values, matrix, outputs
from loopline.pipeline import cache
from loopline.pipeline.champion import champion, teachers
from loopline.pipeline.together import together
from loopline.pipeline.workspace import Workspace
from loopline.registry.promotion import release_to_dev
from loopline.registry.versions import ModelVersion
from loopline.training import baselines
from loopline.training.features import sign
from loopline.training.material import Material
from loopline.training.run import Run, Trained, record, train
from loopline.training.threads import one_thread

_FEATURE_ROWS = 20_000
"""Of the training rows, about so many are looked at as a model sees them."""

Progress = Callable[[str, str], None]
"""Called with a stage and what it says."""


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    version: ModelVersion
    report: Report
    run: Run
    snapshot: Snapshot
    checks: tuple[CheckResult, ...]
    warnings: tuple[str, ...]
    """What looks like a leak, has no plan, or was not compared."""
    page: Path
    """The evaluation as one HTML page."""

    def summary(self) -> dict[str, Any]:
        """Return what a person or a program wants to know first."""
        return {
            "version": self.version.name,
            "digest": self.version.digest,
            "snapshot": self.snapshot.id,
            "rows": self.snapshot.rows,
            "quarantined": self.snapshot.quarantined,
            "candidate": self.run.candidate,
            "runtime": self.version.runtime,
            "gate_passed": self.version.gate_passed,
            "reasons": list(self.version.reasons),
            "metrics": {name: each.value for name, each in self.report.metrics.items()},
            "baseline": self.report.baseline,
            "baseline_metrics": {
                name: each.value for name, each in self.report.baseline_metrics.items()
            },
            "champion": self.report.champion,
            "gates": [asdict(gate) for gate in self.report.gates],
            "findings": [str(check) for check in self.checks if not check.passed],
            "warnings": list(self.warnings),
            "page": str(self.page),
        }


def run(
    workspace: Workspace,
    *,
    now: datetime,
    progress: Progress,
    contract: Contract | None = None,
    release: bool = True,
) -> Outcome:
    """Run every stage once, and release the version to dev unless told not to.

    `contract` stands in for the workspace's own.

    Raises:
        DataError: the data cannot be read, or too little of it passes the blocking checks.
        TrainingError: no model can be trained.
    """
    contract = workspace.contract if contract is None else contract
    depends_on = cache.fingerprint(workspace.root, workspace.settings, fields(contract.data.source))
    material, checks, leaks = _data(workspace, contract, now, progress)
    baseline = baselines.fit(material)
    progress("baseline", baseline.name)
    trained = train(
        material, root=workspace.root, home=workspace.settings.home, now=now, progress=progress
    )
    with one_thread():
        made = _prove(trained, material, progress)
    report, note = _evaluate(workspace, material, made, baseline, now)
    progress("evaluate", f"{report.rows:,} test rows, beside {report.baseline}")
    version = _register(workspace, material, made, baseline, report, now)
    progress("register", f"{version.name}, {version.digest[:12]}, answers by {version.runtime}")
    if release:
        release_to_dev(
            workspace.registry, version.number, by=workspace.settings.actor, why="run", now=now
        )
    file = workspace.settings.home / "reports" / f"{version.project}-{version.number}.html"
    refusal = None if made.refusal is None else f"No exact plan: {made.refusal}."
    outcome = Outcome(
        version,
        report,
        trained.run,
        material.snapshot,
        checks,
        warnings=tuple(filter(None, (*leaks, refusal, note))),
        page=page.write(report, file),
    )
    if release and contract is workspace.contract:  # else dev serves what an earlier run made
        cache.keep(
            workspace.root,
            workspace.settings,
            depends_on,
            fields(contract.data.source),
            outcome.summary(),
        )
    return outcome


def _data(
    workspace: Workspace, contract: Contract, now: datetime, progress: Progress
) -> tuple[Material, tuple[CheckResult, ...], list[str]]:
    source = describe(contract.data.source)
    progress("data", f"reading {source}")
    conformed = conform(read(contract, workspace.root, workspace.settings), contract)
    validation = examine(conformed, contract, now, workspace.root)
    tallies = quality.of_source(validation.checks, conformed.frame.height)
    if validation.refusal is not None:
        quality.record(workspace.ledger, tallies, source, now)
        raise ValidationError(validation.refusal)
    failed = sum(not check.passed for check in validation.checks)
    progress(
        "check",
        f"{len(validation.good):,} rows kept, {len(validation.quarantine):,} in quarantine; "
        f"{len(validation.checks):,} checks, {failed:,} with findings",
    )
    snapshot = freeze(
        validation,
        conformed.types,
        workspace.tables,
        workspace.ledger,
        source=source,
        now=now,
    )
    progress("freeze", f"{snapshot.id}: {snapshot.rows:,} rows, {len(snapshot.columns)} columns")
    # From the table and not from memory: what trains is what was frozen.
    frame = load(snapshot, workspace.tables)
    columns = from_frame(frame, snapshot.columns)
    target = truth(contract, columns, snapshot.columns)
    parts = split(frame, columns, contract, target.values, contract.model.seed)
    sizes = ", ".join(
        f"{len(part):,} {name}"
        for name, part in (
            ("train", parts.train),
            ("validation", parts.validation),
            ("test", parts.test),
        )
    )
    progress("split", f"by {contract.data.split.by}: {sizes}")
    leaks = leakage(frame, columns, contract, snapshot.columns, target.values, parts)
    for leak in leaks:
        progress("split", leak)
    material = Material(contract, snapshot, columns, snapshot.columns, target, parts)
    tallies += quality.tally("snapshot", frame, snapshot.columns, contract)
    tallies += quality.tally("training", frame[parts.train], snapshot.columns, contract)
    tallies += quality.of_suites("snapshot", frame, contract, workspace.root)
    tallies += quality.of_suites("training", frame[parts.train], contract, workspace.root)
    tallies += _of_features(material, workspace.root)
    quality.record(workspace.ledger, tallies, snapshot.id, now)
    return material, validation.checks, leaks


def _of_features(material: Material, root: Path) -> list[quality.Tally]:
    """Check what a model sees of the training rows, or of many of them."""
    signature = sign(material)
    every = max(len(material.training) // _FEATURE_ROWS, 1)
    rows = material.rows(material.training[::every])
    names = [feature.name for feature in signature.features]
    if not names:
        return []
    found = quality.of_features(names, matrix(signature, rows))
    if any(check.suite is not None for check in material.contract.data.checks):
        seen = quality.as_frame(feature_values(signature, rows))
        found += quality.of_suites("features", seen, material.contract, root)
    return found


@dataclass(frozen=True)
class _Made:
    """A trained model with its threshold, its plan or why there is none, and the proof."""

    run: Run
    original: Original
    signature: Signature
    plan: Plan | None
    refusal: str | None
    parity: Parity | None
    network: OnnxRuntime | None = None
    """What the estimator exported, where it agrees and there is no plan."""

    def score(self, columns: Columns) -> np.ndarray:
        """Answer as the version will when it serves."""
        if self.plan is not None:
            return self.plan.score(matrix(self.signature, columns))
        if self.network is not None:
            return self.network.score(columns)
        return self.original.scores(columns)

    @property
    def runtime(self) -> str:
        """What answers: `plan`, `onnx` or `original`."""
        return "plan" if self.plan else "onnx" if self.network else "original"


def _prove(trained: Trained, material: Material, progress: Progress) -> _Made:
    """Choose the threshold on validation rows, and make and prove the plan on test rows."""
    signature, original, contract = trained.signature, trained.original, material.contract
    validation = material.validation
    if signature.task == "binary":
        scores = original.scores(material.rows(validation))
        chosen = choose_threshold(contract, material.target.values[validation], scores)
        signature = replace(signature, threshold=chosen)
        original = original.signed(signature)
    try:
        plan = compile_plan(original.estimator, signature, original.takes)
    except PlanRefusedError as error:
        made = _Made(trained.run, original, signature, None, str(error), None)
        return _prove_network(made, material, progress)
    parity = prove(plan, original, signature, material.rows(material.test))
    progress(
        "plan",
        f"exact: {parity.rows:,} held-out and {parity.hostile_rows:,} hostile rows, "
        f"{parity.flipped} labels flipped, largest difference {parity.largest_difference:.1g}",
    )
    if not parity.agreed:
        reason = (
            f"the plan differs from the original by {parity.largest_difference:.2g} and flips "
            f"{parity.flipped} labels"
        )
        made = _Made(trained.run, original, signature, None, reason, None)
        return _prove_network(made, material, progress)
    return _Made(trained.run, original, signature, plan, None, parity)


def _prove_network(made: _Made, material: Material, progress: Progress) -> _Made:
    """Prove the network that an estimator without a plan offers, if it offers one."""
    try:
        content = exported(made.original.estimator)
        if content is None:
            progress("plan", f"none: {made.refusal}; the original answers")
            return made
        network = OnnxRuntime(content, made.signature)
        test = material.rows(material.test)
        parity = prove(network, made.original, made.signature, test, TOLERANCE)
    except PlanRefusedError as error:
        progress("onnx", f"refused: {error}; the original answers")
        return replace(made, refusal=f"its network is refused: {error}")
    found = (
        f"{parity.flipped} labels flipped, largest difference {parity.largest_difference:.1g} "
        f"of {TOLERANCE:g} allowed"
    )
    progress("onnx", f"{parity.rows:,} held-out and {parity.hostile_rows:,} hostile rows, {found}")
    if not parity.agreed:
        return replace(made, refusal=f"its network differs: {found}")
    return replace(made, refusal=None, parity=parity, network=network)


def _evaluate(
    workspace: Workspace,
    material: Material,
    made: _Made,
    baseline: baselines.Baseline,
    now: datetime,
) -> tuple[Report, str | None]:
    """Return the report, and why the champion is not in it where it could not answer."""
    rows = material.rows(material.test)
    exam = Exam.of(material.contract, made.signature, rows, material.target.values[material.test])
    rival = champion(workspace, exam.columns, made.signature, material.parts.numbers[material.test])
    answers = Candidates(
        own=Answer("model", made.score(exam.columns), made.signature.threshold),
        baseline=Answer(baseline.name, baseline.scores(exam.columns), baseline.threshold),
        champion=rival.answer,
        taught=rival.taught,
    )
    tested = behaviour.run_tests(
        workspace.root, behaviour.Model(made.signature, made.score, exam.columns)
    )
    proofs = Proofs(made.parity, tested)
    return evaluate(exam, made.run, answers, made.score, proofs, now), rival.note


def _register(
    workspace: Workspace,
    material: Material,
    made: _Made,
    baseline: baselines.Baseline,
    report: Report,
    now: datetime,
) -> ModelVersion:
    encode, profile = msgspec.json.encode, _profile(material, made)
    files = {
        "signature.json": encode(made.signature),
        "original.pkl": dump_original(made.original),
        "profile.bin": profile.to_bytes(),
        "run.json": encode(made.run),
        "snapshot.json": encode(material.snapshot),
        "report.json": encode(report),
        "environment.json": encode(made.run.environment),
        "contract.yaml": (workspace.root / "loopline.yaml").read_bytes(),
        "card.md": _card(material, report, made),
        "taught.bin": teachers(material),
        KEPT: background(
            made.plan, made.signature, material.rows(material.training), made.run.seed
        ),
    }
    if made.plan is not None:
        files |= made.plan.to_files()
    if made.network is not None:
        files["model.onnx"] = made.network.content
    if made.parity is not None:
        files["parity.json"] = encode(made.parity)
    if baseline.kept is not None:
        files["baseline.json"] = encode(baseline.kept)
    files |= together(material, made.signature, profile)
    if (expected := _expectation(material, made)) is not None:
        files["expectation.json"] = encode(expected)
    record(made.run, workspace.database)
    workspace.ledger.append("run.finished", made.run.id, _event(made.run), now=now)
    prefix = f"bundles/{made.run.project}/{made.run.id}"
    return workspace.registry.register(
        digest=version_digest(files),
        bundle=prefix,
        bundle_digest=write(workspace.objects, workspace.keys, prefix, files),
        run=made.run.id,
        snapshot=material.snapshot.id,
        runtime=made.runtime,
        reasons=report.reasons,
        now=now,
    )


def _expectation(material: Material, made: _Made) -> Expectation | None:
    """Learn from validation rows what the version's answers say of its own errors."""
    rows, truth = material.rows(material.validation), material.target.values[material.validation]
    with one_thread():
        return expectation.fit(made.signature, rows, truth, made.score(rows))


def _card(material: Material, report: Report, made: _Made) -> bytes:
    plain = msgspec.to_builtins
    return card(
        material.contract.problem.model_dump(mode="json"),
        plain(material.snapshot),
        plain(made.run),
        plain(report),
        refusal=made.refusal,
    ).encode()


def _event(run: Run) -> dict[str, Any]:
    """Return the run without its trials, which its own row keeps."""
    known: dict[str, Any] = msgspec.to_builtins(run)
    return {name: value for name, value in known.items() if name not in ("trials", "environment")}


def _profile(material: Material, made: _Made) -> Profile:
    """Count the inputs of the training rows, and the answers to the test rows.

    Answers to rows that trained the model would be surer of themselves than it will be again.
    """
    train = material.rows(material.training)
    inputs = {
        each.name: train[each.name]
        for each in made.signature.inputs
        if each.logged and each.type != "text"
    }
    scores = made.score(material.rows(material.test))
    return count_arrays({**inputs, **outputs(made.signature, scores)})
