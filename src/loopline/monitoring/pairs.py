"""Inputs that the contract watches together: whether they still go together as in training.

Each column may be as it always was while what it says of another is not: a unit changed in one
source, a join upstream that slipped by a row. A change counts from `monitor.drift.correlation` on,
and only where chance does not explain it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loopline.contract.schema import Contract
from loopline.counts.pairs import LIMIT, Association, Moved, PairCounts, association, moved, spelled
from loopline.monitoring.findings import Finding, Subject
from loopline.monitoring.hours import PAIR, Counts
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import Window

KIND = "correlation"
_MEASURES = {
    "spearman": "their rank correlation",
    "correlation_ratio": "their correlation ratio",
    "cramers_v": "their Cramér's V",
}


@dataclass(frozen=True)
class Together:
    """How two inputs go together in a window, beside the version's training rows."""

    columns: tuple[str, str]
    rows: int
    """Predictions that have both."""
    moved: Moved

    @property
    def name(self) -> str:
        """Both columns as one name."""
        return spelled(self.columns)


def limit(contract: Contract) -> float:
    """Return from which change on a pair has moved."""
    return contract.monitor.drift.get("correlation", LIMIT)


def known(contract: Contract, reference: Reference) -> dict[tuple[str, str], PairCounts]:
    """Return the contract's pairs that a version was counted of."""
    asked = {frozenset(pair) for pair in contract.monitor.pairs}
    return {pair: each for pair, each in reference.pairs.items() if frozenset(pair) in asked}


def lacking(contract: Contract, reference: Reference) -> list[str]:
    """Return the contract's pairs that a version was not counted of: it was made before them."""
    had = {frozenset(pair) for pair in reference.pairs}
    return [spelled(pair) for pair in contract.monitor.pairs if frozenset(pair) not in had]


def measure(
    contract: Contract, reference: Reference, counted: Mapping[tuple[str, str], Counts]
) -> tuple[Together, ...]:
    """Compare each pair of the contract with the training rows, the largest change first.

    Pairs with fewer rows than `monitor.minimum_rows` are left out, and those with a constant.
    """
    found = [
        Together(pair, current.rows, change)
        for pair, before, current in _counted(contract, reference, counted)
        if (change := moved(before, current)) is not None
    ]
    return tuple(sorted(found, key=lambda one: (-abs(one.moved.change), one.columns)))


def now(
    contract: Contract, reference: Reference, counted: Mapping[tuple[str, str], Counts]
) -> dict[str, Association]:
    """Return how each of these pairs goes together in a window, by both columns as one name."""
    return {
        spelled(pair): found
        for pair, _, current in _counted(contract, reference, counted)
        if (found := association(current)) is not None
    }


def _counted(
    contract: Contract, reference: Reference, counted: Mapping[tuple[str, str], Counts]
) -> Iterator[tuple[tuple[str, str], PairCounts, PairCounts]]:
    """Yield the contract's pairs that have enough rows: as in training, and in the window."""
    for pair, before in known(contract, reference).items():
        current = counted.get((PAIR, spelled(pair)))
        if isinstance(current, PairCounts) and current.rows >= contract.monitor.minimum_rows:
            yield pair, before, current


def judge(
    contract: Contract, subject: Subject, together: tuple[Together, ...], window: Window
) -> list[Finding]:
    """Judge whether each pair goes together as it did."""
    return [_judge(subject, one, limit(contract), window) for one in together]


def _judge(subject: Subject, one: Together, most: float, window: Window) -> Finding:
    found = one.moved
    before, here = found.reference, found.current
    has_moved = found.is_beyond(most)
    first, second = one.columns
    state = "no longer go together as in training" if has_moved else "go together as in training"
    told = (
        f"{first} and {second} of {subject.name} {state}: {_MEASURES[here.measure]} is "
        f"{here.value:.3f}, and was {before.value:.3f} (a change of {found.change:+.3f}, 95 % "
        f"interval {found.low:+.3f} to {found.high:+.3f}; limit {most:g}) on {one.rows:,} "
        f"predictions, {window}."
    )
    if here.pearson is not None and before.pearson is not None:
        told += f" Pearson's correlation is {here.pearson:.3f}, and was {before.pearson:.3f}."
    evidence: dict[str, Any] = {
        "columns": list(one.columns),
        "measure": here.measure,
        "reference": before.value,
        "reference_bound": before.bound,
        "reference_rows": before.rows,
        "value": here.value,
        "bound": here.bound,
        "change": found.change,
        "interval": [found.low, found.high],
        "p_value": found.p_value,
        "pearson": here.pearson,
        "reference_pearson": before.pearson,
    }
    return subject.judge(
        KIND,
        one.name,
        holds=not has_moved,
        metric=here.measure,
        value=abs(found.change),
        limit=most,
        window=window.text,
        rows=one.rows,
        labels=None,
        message=told,
        evidence=evidence,
    )
