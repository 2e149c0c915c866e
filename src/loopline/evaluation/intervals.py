"""95 % intervals by the paired bootstrap: every answer is measured on the same resamples.

Rows are drawn with replacement (Efron's percentile interval). Above `ROWS` rows a seeded sample of
them is resampled and the spread shrunk by the square root of the ratio (the m-out-of-n
bootstrap), so that a million rows cost no more than fifty thousand.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from loopline.contract.metrics import METRICS
from loopline.evaluation.metrics import Scorecard
from loopline.evaluation.report import Estimate

RESAMPLES = 400
ROWS = 50_000
_CELLS = 2_000_000
"""Weights held at a time."""


class Resampled:
    """The metrics of several answers on the same resamples of the same rows."""

    def __init__(self, cards: Sequence[Scorecard], rows: int, seed: int) -> None:
        self.values = [card.whole() for card in cards]
        generator = np.random.default_rng(seed)
        count = min(rows, ROWS)
        self._shrink = np.sqrt(count / rows)
        if count < rows:
            chosen = np.sort(generator.choice(rows, count, replace=False))
            cards = [card.on(chosen) for card in cards]
        self._centres = [card.whole() for card in cards]
        drawn = [[card.under(weights) for card in cards] for weights in _weights(generator, count)]
        self._drawn = [
            {name: np.concatenate([part[place][name] for part in drawn]) for name in card.names}
            for place, card in enumerate(cards)
        ]

    def estimate(self, place: int, name: str) -> Estimate | None:
        """Return one answer's metric with its interval; None where it is undefined."""
        value = self.values[place].get(name)
        if value is None:
            return None
        metric = METRICS[name]
        low, high = self._interval(value, self._drawn[place][name], self._centres[place].get(name))
        return Estimate(value, max(low, metric.low), min(high, metric.high))

    def difference(self, own: int, other: int, name: str) -> Estimate | None:
        """Return `own - other` with its paired interval; None where either is undefined."""
        value = _minus(self.values[own].get(name), self.values[other].get(name))
        if value is None:
            return None
        drawn = self._drawn[own][name] - self._drawn[other][name]
        centre = _minus(self._centres[own].get(name), self._centres[other].get(name))
        low, high = self._interval(value, drawn, centre)
        return Estimate(value, low, high)

    def estimates(self, place: int) -> dict[str, Estimate]:
        """Return every metric of one answer that is defined."""
        found = {name: self.estimate(place, name) for name in self.values[place]}
        return {name: estimate for name, estimate in found.items() if estimate is not None}

    def _interval(
        self, value: float, drawn: np.ndarray, centre: float | None
    ) -> tuple[float, float]:
        defined = drawn[np.isfinite(drawn)]
        if len(defined) == 0 or centre is None:
            return value, value
        low, high = np.quantile(defined, [0.025, 0.975])
        return (
            float(value + (low - centre) * self._shrink),
            float(value + (high - centre) * self._shrink),
        )


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _weights(generator: np.random.Generator, rows: int) -> Iterator[np.ndarray]:
    """Yield how often each row was drawn, a few resamples at a time."""
    at_once = max(1, _CELLS // rows)
    for start in range(0, RESAMPLES, at_once):
        weights = np.empty((min(at_once, RESAMPLES - start), rows))
        for resample in weights:
            resample[:] = np.bincount(generator.integers(0, rows, rows), minlength=rows)
        yield weights
