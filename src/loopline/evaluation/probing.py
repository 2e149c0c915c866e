"""What is learned by asking the model again: what it relies on, and how long an answer takes."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from loopline.contract.schema import Contract
from loopline.data.columns import Columns
from loopline.model.signature import Signature
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
    of one counts with it. Inputs that say the same share their importance.
    """
    needed = [each.name for each in signature.inputs if each.required]
    generator = np.random.default_rng(contract.model.seed)
    most = max(100, _ANSWERS // (REPEATS * max(len(needed), 1)))
    count = min(len(truth), ROWS, most)
    rows = generator.choice(len(truth), count, replace=False)
    sample = {name: values[rows] for name, values in columns.items()}
    usual = loss(contract.problem, truth[rows], score(sample))
    found = []
    for name in needed:
        losses = [
            loss(
                contract.problem,
                truth[rows],
                score(sample | {name: sample[name][generator.permutation(count)]}),
            )
            - usual
            for _ in range(REPEATS)
        ]
        found.append(
            {"name": name, "loss": float(np.mean(losses)), "spread": float(np.std(losses))}
        )
    return tuple(sorted(found, key=lambda each: (-each["loss"], each["name"])))


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
