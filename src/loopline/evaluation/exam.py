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
    cards = [
        exam.card(answer)
        for answer in (answers.own, answers.baseline, answers.champion)
        if answer is not None
    ]
    resampled = Resampled(cards, len(exam.truth), seed)
    own = cards[0]
    champion = answers.champion
    comparisons = _comparisons(resampled, own.names, 1, "baseline")
    if champion is not None:
        comparisons += _comparisons(resampled, own.names, 2, champion.name)
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
        champion_metrics={} if champion is None else resampled.estimates(2),
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


def _comparisons(
    resampled: Resampled, names: tuple[str, ...], other: int, against: str
) -> tuple[Comparison, ...]:
    found = []
    for name in names:
        difference = resampled.difference(0, other, name)
        if difference is None:
            continue
        worth = {"higher": difference.low, "lower": -difference.high, "either": 0.0}
        found.append(
            Comparison(
                metric=name,
                against=against,
                own=resampled.values[0][name],
                other=resampled.values[other][name],
                difference=difference,
                better=worth[METRICS[name].direction] > 0,
            )
        )
    return tuple(found)
