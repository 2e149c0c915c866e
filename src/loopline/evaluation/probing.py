"""What is learned by asking the model again: what it relies on, and how long an answer takes."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from loopline.contract.money import cost_matrix, has_costs, per_unit
from loopline.contract.schema import Contract, Problem
from loopline.data.columns import Columns
from loopline.model.signature import Signature, decide_places
from loopline.training.objective import loss

ROWS = 2_000
REPEATS = 3
_ANSWERS = 300_000
"""At most this many rows are scored for importance."""
_CALLS = 1_000
_SECONDS = 1.0
_WARM_UP = 10

Score = Callable[[Columns], np.ndarray]


def importance(
    columns: Columns, truth: np.ndarray, contract: Contract, signature: Signature, score: Score
) -> tuple[dict[str, Any], ...]:
    """Return how much the training's loss grows when one input is shuffled, the largest first.

    Permutation importance (Breiman 2001) of inputs as callers send them, so that a feature made
    of one counts with it. Inputs that say the same share their importance. Where the contract
    prices errors, `cost` says what a prediction would cost more.
    """
    needed = [each.name for each in signature.inputs if each.required]
    generator = np.random.default_rng(contract.model.seed)
    most = max(100, _ANSWERS // (REPEATS * max(len(needed), 1)))
    count = min(len(truth), ROWS, most)
    rows = generator.choice(len(truth), count, replace=False)
    sample = {name: values[rows] for name, values in columns.items()}
    known = truth[rows]

    def worth(name: str | None) -> tuple[float, float]:
        mixed = {} if name is None else {name: sample[name][generator.permutation(count)]}
        scores = score(sample | mixed)
        return loss(contract.problem, known, scores), _cost(
            contract.problem, signature, known, scores
        )

    usual = worth(None)
    found = []
    for name in needed:
        grown = np.array([worth(name) for _ in range(REPEATS)]) - usual
        row = {
            "name": name,
            "loss": float(grown[:, 0].mean()),
            "spread": float(grown[:, 0].std()),
        }
        if has_costs(contract.problem):
            row["cost"] = float(grown[:, 1].mean())
        found.append(row)
    return tuple(sorted(found, key=lambda each: (-each["loss"], each["name"])))


def _cost(problem: Problem, signature: Signature, truth: np.ndarray, scores: np.ndarray) -> float:
    """Return what a prediction costs by the contract, decided at the version's own threshold."""
    if problem.task == "regression":
        under, over = per_unit(problem)
        error = scores - truth
        return float(np.where(error < 0, -error * under, error * over).mean())
    costs = cost_matrix(problem, signature.classes)
    return float(costs[truth.astype(int), decide_places(signature, scores)].mean())


def latency(columns: Columns, signature: Signature, score: Score, seed: int) -> dict[str, float]:
    """Return p50, p95 and p99 of the seconds that the runtime takes for one row.

    Up to a thousand calls, for at most a second. The way through the server is watched in
    production.
    """
    needed = [each.name for each in signature.inputs if each.required]
    rows = len(columns[needed[0]])
    chosen = np.random.default_rng(seed).integers(0, rows, _CALLS + _WARM_UP)
    taken: list[float] = []
    began = perf_counter()
    for place in chosen.tolist():
        single = {name: columns[name][place : place + 1] for name in needed}
        start = perf_counter()
        score(single)
        end = perf_counter()
        taken.append(end - start)
        if end - began > _SECONDS and len(taken) > _WARM_UP:
            break
    p50, p95, p99 = np.quantile(taken[_WARM_UP:], [0.5, 0.95, 0.99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}
