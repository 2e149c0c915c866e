"""Evaluate one run on rows that trained nothing, beside the baseline and the champion."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from loopline.contract.metrics import METRICS
from loopline.contract.money import has_costs
from loopline.contract.schema import Contract
from loopline.data.columns import Columns
from loopline.evaluation.diagnosis import calibration, confusion, distribution, slices
from loopline.evaluation.fairness import fairness
from loopline.evaluation.gates import gates
from loopline.evaluation.intervals import Resampled
from loopline.evaluation.metrics import Answer, Scorecard, primary
from loopline.evaluation.probing import importance, latency
from loopline.evaluation.report import Comparison, Report
from loopline.model.parity import Parity
from loopline.model.signature import Signature
from loopline.training.run import Run
from loopline.training.threads import one_thread

Score = Callable[[Columns], np.ndarray]

FEWEST_ROWS = 20
"""On fewer rows two models are not compared: chance would decide."""


@dataclass(frozen=True)
class Exam:
    """The rows, their truth, and what the contract asks of answers to them."""

    contract: Contract
    signature: Signature
    columns: Columns
    truth: np.ndarray

    @classmethod
    def of(
        cls, contract: Contract, signature: Signature, columns: Columns, truth: np.ndarray
    ) -> "Exam":
        """Leave out the rows whose truth is not known."""
        known = np.flatnonzero(np.isfinite(truth))
        kept = {name: values[known] for name, values in columns.items()}
        return cls(contract, signature, kept, truth[known])

    def card(self, answer: Answer) -> Scorecard:
        """Return the scorecard of one answer to every row."""
        return Scorecard(self.contract.problem, self.signature.classes, self.truth, answer)


@dataclass(frozen=True)
class Candidates:
    """The answers compared: each to the exam's rows, in their order."""

    own: Answer
    baseline: Answer
    champion: Answer | None = None
    taught: np.ndarray | None = None
    """Whether each row taught the champion, and so cannot judge it; None where none did."""


@dataclass(frozen=True)
class Proofs:
    """What was shown before the exam, and is judged with it."""

    parity: Parity | None = None
    behaviour: tuple[dict[str, Any], ...] = ()


def evaluate(
    exam: Exam, run: Run, answers: Candidates, score: Score, proofs: Proofs, now: datetime
) -> Report:
    """Measure everything the report holds, and judge it by the contract; on one thread.

    Args:
        exam: rows that neither fitted the model nor chose its threshold.
        run: which made the model.
        answers: of the model, the baseline and, where there is one, the champion.
        score: the runtime that will serve, for importance and latency.
        proofs: parity and behavioural tests.
        now: when.
    """
    with one_thread():
        draft = _measured(exam, run, answers, score, proofs)
    created_at = now.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return replace(draft, created_at=created_at, gates=gates(exam.contract, draft))


def _measured(exam: Exam, run: Run, answers: Candidates, score: Score, proofs: Proofs) -> Report:
    contract, seed = exam.contract, exam.contract.model.seed
    own = exam.card(answers.own)
    resampled = Resampled([own, exam.card(answers.baseline)], len(exam.truth), seed)
    comparisons = _comparisons(resampled, own.names, "baseline")
    champion, beside = answers.champion, _beside_champion(exam, answers)
    if champion is not None and beside is not None:
        comparisons += _comparisons(beside, own.names, champion.name)
    costs = contract.problem.costs
    return Report(
        run=run.id,
        project=contract.project,
        task=contract.problem.task,
        rows=len(exam.truth),
        threshold=answers.own.threshold,
        metrics=resampled.estimates(0),
        baseline=answers.baseline.name,
        baseline_metrics=resampled.estimates(1),
        champion=None if champion is None else champion.name,
        champion_metrics={} if beside is None else beside.estimates(1),
        champion_rows=0 if champion is None else len(_untaught(exam, answers)),
        comparisons=comparisons,
        gates=(),
        calibration=calibration(contract.problem.task, exam.truth, answers.own.scores),
        slices=slices(exam.columns, exam.signature, own, primary(contract)),
        fairness=fairness(contract, exam.columns, own),
        importance=importance(exam.columns, exam.truth, contract, exam.signature, score),
        behaviour=proofs.behaviour,
        currency=costs.currency if costs is not None and has_costs(contract.problem) else None,
        latency=latency(exam.columns, exam.signature, score, seed),
        primary=primary(contract),
        classes=exam.signature.classes,
        distribution=distribution(contract.problem.task, exam.truth, answers.own.scores),
        confusion=confusion(exam.signature.classes, exam.truth, answers.own),
        parity=_plain(proofs.parity),
    )


def _plain(parity: Parity | None) -> dict[str, Any]:
    """Return the record as JSON would give it back."""
    return {} if parity is None else asdict(parity) | {"refused": list(parity.refused)}


def _untaught(exam: Exam, answers: Candidates) -> np.ndarray:
    """Return the places of the rows that did not teach the champion."""
    taught = answers.taught
    return np.arange(len(exam.truth)) if taught is None else np.flatnonzero(~taught)


def _beside_champion(exam: Exam, answers: Candidates) -> Resampled | None:
    """Return own and champion on the rows that taught neither; None without enough of them."""
    rows = _untaught(exam, answers)
    if answers.champion is None or len(rows) < FEWEST_ROWS:
        return None
    cards = [exam.card(answer).on(rows) for answer in (answers.own, answers.champion)]
    return Resampled(cards, len(rows), exam.contract.model.seed)


def _comparisons(
    resampled: Resampled, names: tuple[str, ...], against: str
) -> tuple[Comparison, ...]:
    """Compare the first answer of `resampled` with its second."""
    found = []
    for name in names:
        difference = resampled.difference(0, 1, name)
        if difference is None:
            continue
        worth = {"higher": difference.low, "lower": -difference.high, "either": 0.0}
        found.append(
            Comparison(
                metric=name,
                against=against,
                own=resampled.values[0][name],
                other=resampled.values[1][name],
                difference=difference,
                better=worth[METRICS[name].direction] > 0,
            )
        )
    return tuple(found)
