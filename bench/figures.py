"""What is said about one row and a hundred over HTTP: turns, ratios, spreads and goals."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.load import Load

SHAPES = tuple((rows, clients) for rows in (1, 100) for clients in (1, 32))
"""Rows of a request, and clients that ask."""
AGREES_WITHIN = 1e-12
FLOOR, OURS = "floor", "loopline-async"
OTHERS = ("mlflow", "mlserver", "bentoml", "litserve", "fastapi")


@dataclass(frozen=True)
class Turn:
    """One server under one load, in one round."""

    server: str
    rows: int
    clients: int
    round: int
    load: Load
    cpu_ms: float
    """For each request, over all processes of the server."""
    resident_mib: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of a request, and clients."""
        return self.rows, self.clients


@dataclass(frozen=True)
class Start:
    """What one server showed before any load."""

    first_answer_seconds: float
    difference: float | None
    """The largest from the estimator's probabilities; None for the floor, which has none."""


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(self.lowest)}..{short(self.highest)})"


@dataclass(frozen=True)
class Goal:
    """One thing to reach, and how far it is."""

    name: str
    found: float
    limit: float
    at_least: bool
    unit: str
    by_cpu: float | None = None
    """The same by CPU time of a request, which a busy machine and a second process disturb less."""

    @property
    def is_met(self) -> bool:
        """Whether it is reached."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    @property
    def wanted(self) -> str:
        """What is to be found."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"

    @property
    def verdict(self) -> str:
        """Met, or how far it is."""
        cpu = "" if self.by_cpu is None else f"; by CPU a request {short(self.by_cpu)} {self.unit}"
        if self.is_met:
            return f"met{cpu}"
        times = self.limit / self.found if self.at_least else self.found / self.limit
        return f"NOT MET, by a factor of {times:.2g}{cpu}"


def ratio(
    turns: Sequence[Turn], over: str, under: str, shape: tuple[int, int], *, cpu: bool = False
) -> Spread | None:
    """Return how many times the rate of `under` that of `over` is, taken within each round.

    With `cpu`, how many times the CPU time of a request of `over` that of `under` is.
    """
    found = {
        (turn.server, turn.round): 1 / turn.cpu_ms if cpu else turn.load.rate
        for turn in turns
        if turn.shape == shape and (turn.cpu_ms > 0 or not cpu)
    }
    rounds = sorted({number for server, number in found if server == over})
    times = [
        found[over, number] / found[under, number] for number in rounds if (under, number) in found
    ]
    return Spread.of(times) if times else None


def goals(turns: Sequence[Turn], starts: Mapping[str, Start]) -> list[Goal]:
    """Return what can be judged of the goals, from what was measured."""
    found = []

    def times(
        name: str, over: str, under: str | None, shape: tuple[int, int], limit: float
    ) -> None:
        spread = None if under is None else ratio(turns, over, under, shape)
        if under is None or spread is None:
            return
        cpu = ratio(turns, over, under, shape, cpu=True)
        by_cpu = None if cpu is None else cpu.median
        found.append(Goal(name, spread.median, limit, at_least=True, unit="times", by_cpu=by_cpu))

    others = [name for name in OTHERS if name in starts]
    durable = "loopline-durable"
    for shape, limit in (((1, 32), 15), ((100, 32), 5)):
        best = _best(turns, others, shape)
        rows = "1 row" if shape[0] == 1 else f"{shape[0]} rows"
        name = f"durable, {rows}, 32 clients, beside the best peer ({best})"
        times(name, durable, best, shape, limit)
    times("durable, 1 row, 32 clients, beside MLflow", durable, "mlflow", (1, 32), 100)
    times("log off, 1 row, 32 clients, beside the floor", "loopline-off", FLOOR, (1, 32), 0.5)
    for server, limit in (("loopline-off", 0.4), (durable, 0.8)):
        middle = [t.load.p50_ms for t in turns if (t.server, t.shape) == (server, (1, 1))]
        if middle:
            name = f"{server}, 1 row, one client, p50"
            found.append(Goal(name, statistics.median(middle), limit, at_least=False, unit="ms"))
    ours = [name for name in starts if name.startswith("loopline")]
    if ours:
        slowest = max(starts[name].first_answer_seconds for name in ours)
        found.append(Goal("start to first answer", slowest, 1.0, at_least=False, unit="s"))
        largest = max(turn.resident_mib for turn in turns if turn.server in ours)
        found.append(Goal("resident memory", largest, 80, at_least=False, unit="MiB"))
        furthest = max(starts[name].difference or 0.0 for name in ours)
        name = "difference from the original"
        found.append(Goal(name, furthest, AGREES_WITHIN, at_least=False, unit="of probability"))
    return found


def _best(turns: Sequence[Turn], names: Sequence[str], shape: tuple[int, int]) -> str | None:
    """Return which of `names` answered most requests in the median."""
    rates = {
        name: [t.load.rate for t in turns if (t.server, t.shape) == (name, shape)] for name in names
    }
    medians = {name: statistics.median(found) for name, found in rates.items() if found}
    return max(medians, key=medians.__getitem__) if medians else None


def told(shape: tuple[int, int]) -> str:
    """Return a load in words."""
    words = zip(shape, ("row", "client"), strict=True)
    return ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for number, what in words)


def shown(figure: Spread | float | None) -> str:
    """Return a figure as a cell of a table."""
    if figure is None:
        return ""
    return str(figure) if isinstance(figure, Spread) else short(figure)


def short(value: float) -> str:
    """Return about three digits, which is more than such figures are good for."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
