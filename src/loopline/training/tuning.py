"""Search what the contract allows (Optuna), so that a killed search goes on as if it had not been.

Each trial's seed comes from the seed and its number, and each finished trial is one line of a
journal. What a later trial tries depends on the finished ones and its own seed alone, so a
search in two halves ends in the same model as one in a whole. The first trial of each candidate
is its defaults.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

import msgspec

from loopline.training.candidates.base import Candidate, Parameters, Range

_STARTUP = 4
"""Finished trials before the search learns from them."""

Evaluate = Callable[[str, Parameters], float]
"""A candidate's name and parameters to the loss on validation rows."""


@dataclass(frozen=True)
class Trial:
    """One point of a search."""

    number: int
    candidate: str
    parameters: Parameters
    value: float
    """What the search minimises, on validation rows."""
    seconds: float


@dataclass(frozen=True)
class Search:
    """How long to search, from which seed, and where finished trials are kept."""

    trials: int
    seed: int
    journal: Path


def search(
    plan: Search,
    candidates: Mapping[str, Candidate],
    evaluate: Evaluate,
    told: Callable[[Trial, int], None],
) -> list[Trial]:
    """Return the finished trials in order, those of an interrupted search included.

    Args:
        plan: how long, from which seed, journalled where.
        candidates: by name; each is tried with its defaults first.
        evaluate: fits and returns the loss, the same for the same arguments.
        told: called after each new trial with it and how many there will be.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = _Space(candidates)
    total = max(plan.trials, len(candidates)) if space.names else len(candidates)
    study = optuna.create_study(direction="minimize")
    done = _read(plan.journal)[:total]
    for trial in done:
        space.remember(study, trial)
    with _reopened(plan.journal, done) as journal:
        for number in range(len(done), total):
            asked = None
            if number < len(candidates):
                name = list(candidates)[number]
                parameters = dict(candidates[name].defaults)
            else:
                study.sampler = optuna.samplers.TPESampler(
                    seed=_seed(plan.seed, number), n_startup_trials=_STARTUP, constant_liar=False
                )
                asked = study.ask()
                name, parameters = space.suggest(asked)
            started = perf_counter()
            value = evaluate(name, parameters)
            trial = Trial(number, name, parameters, value, perf_counter() - started)
            if asked is None:
                space.remember(study, trial)
            else:
                study.tell(asked, value)
            journal.write(msgspec.json.encode(trial) + b"\n")
            journal.flush()
            done.append(trial)
            told(trial, total)
    return done


class _Space:
    """What the search may try: which candidate, and its parameters."""

    def __init__(self, candidates: Mapping[str, Candidate]) -> None:
        self.names = [name for name, candidate in candidates.items() if candidate.space]
        self._spaces = {name: candidates[name].space for name in self.names}

    def suggest(self, asked: Any) -> tuple[str, Parameters]:
        """Return a candidate and its parameters for one of Optuna's trials."""
        name = asked.suggest_categorical("candidate", self.names)
        suggested = {
            parameter: _ask(asked, f"{name}.{parameter}", span)
            for parameter, span in self._spaces[name].items()
        }
        return name, suggested

    def remember(self, study: Any, trial: Trial) -> None:
        """Tell Optuna of a trial it did not ask for, or asked for in another process."""
        import optuna

        if trial.candidate not in self.names:
            return
        ranges = self._spaces[trial.candidate].items()
        distributions = {f"{trial.candidate}.{name}": _distribution(each) for name, each in ranges}
        study.add_trial(
            optuna.trial.create_trial(
                value=trial.value,
                params={"candidate": trial.candidate}
                | {f"{trial.candidate}.{name}": trial.parameters[name] for name, _ in ranges},
                distributions={
                    "candidate": optuna.distributions.CategoricalDistribution(self.names),
                    **distributions,
                },
            )
        )


def _ask(asked: Any, name: str, span: Range) -> float:
    if span.whole:
        return int(asked.suggest_int(name, int(span.low), int(span.high), log=span.log))
    return float(asked.suggest_float(name, span.low, span.high, log=span.log))


def _distribution(span: Range) -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    if span.whole:
        return IntDistribution(int(span.low), int(span.high), log=span.log)
    return FloatDistribution(span.low, span.high, log=span.log)


def _seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _read(journal: Path) -> list[Trial]:
    """Return the finished trials; a line torn by a kill, and what follows, never happened."""
    trials: list[Trial] = []
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    for number, line in enumerate(lines):
        try:
            trial = msgspec.json.decode(line, type=Trial)
        except msgspec.DecodeError:
            break
        if trial.number != number:
            break
        trials.append(trial)
    return trials


def _reopened(journal: Path, done: list[Trial]) -> BinaryIO:
    """Return the journal open for writing after the trials that are done."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    draft = journal.with_suffix(".draft")
    draft.write_bytes(b"".join(msgspec.json.encode(trial) + b"\n" for trial in done))
    draft.replace(journal)
    return journal.open("ab")
