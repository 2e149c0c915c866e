"""How the service did: errors and latency, by the hour of arrival, from counts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from loopline.counts.figure import Z, wilson
from loopline.counts.kernel import ColumnCounts
from loopline.counts.statistics import quantiles
from loopline.monitoring.findings import Finding, Subject
from loopline.monitoring.hours import ERRORS, LATENCY, NOTES, Counts
from loopline.monitoring.windows import Window
from loopline.serving.log import LOG_LOST, RELEASE_REFUSED

_SERVER_ERROR = 500
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Service:
    """One version's service in one window."""

    window: Window
    requests: int
    """Answered or not; shadows left out."""
    failed: int
    """Requests that the service owed an answer and gave none: status 500 and above."""
    refused: int
    """Requests that could not be answered as they stood: status 400 to 499."""
    errors: dict[str, int]
    """Status and kind to requests."""
    latency: dict[str, float]
    """Seconds: `p50`, `p95`, `p99`, within 0.2 % of their value; empty without an answer."""
    notes: dict[str, int] = field(default_factory=dict)
    """What servers said of themselves, by the names that rules use, to how often."""
    texts: tuple[str, ...] = ()
    """Why releases could not be used."""
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Each figure's 95 % interval: latencies between order statistics, errors by Wilson, 1927."""

    def margin(self, name: str, short: float) -> float | None:
        """Return how far a figure may be towards its limit, which it misses by `short`."""
        if name not in self.spread:
            return None
        low, high = self.spread[name]
        value = self.figures[name]
        return value - low if short > 0 else high - value

    @property
    def error_rate(self) -> float:
        """The share of requests that failed."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def figures(self) -> dict[str, float]:
        """By the names that goals and rules use."""
        found = {f"latency_{share}": seconds for share, seconds in self.latency.items()}
        return {"error_rate": self.error_rate, **found} if self.requests else found


def measure(counted: Mapping[tuple[str, str], Counts], window: Window) -> Service:
    """Read the service's figures off the sum of a window's counts."""
    errors = counted.get((ERRORS, ""), Counter())
    latencies = counted.get((LATENCY, ""))
    assert isinstance(errors, Counter)  # noqa: S101 - what is stored in this slice
    by_status = [(int(name.split()[0]), number) for name, number in errors.items()]
    latency: dict[str, float] = {}
    spread: dict[str, tuple[float, float]] = {}
    answered = 0
    if isinstance(latencies, ColumnCounts):
        answered = latencies.rows
        found = zip(_SHARES, quantiles(latencies, list(_SHARES.values())), strict=True)
        latency = {share: seconds for share, seconds in found if seconds is not None}
        spread = _between(latencies, answered)
    notes = counted.get((NOTES, ""), Counter())
    assert isinstance(notes, Counter)  # noqa: S101 - as above
    noted = dict.fromkeys((LOG_LOST, RELEASE_REFUSED), 0)
    for name, number in notes.items():
        noted[name.split(" ", 1)[0]] += number
    failed = sum(number for status, number in by_status if status >= _SERVER_ERROR)
    requests = answered + errors.total()
    if requests:
        spread["error_rate"] = wilson(failed / requests, requests)
    return Service(
        window=window,
        requests=requests,
        failed=failed,
        refused=sum(number for status, number in by_status if status < _SERVER_ERROR),
        errors=dict(errors),
        latency=latency,
        notes=noted,
        texts=tuple(sorted(name.partition(" ")[2] for name in notes if " " in name)),
        spread=spread,
    )


def _between(latencies: ColumnCounts, answered: int) -> dict[str, tuple[float, float]]:
    """Return between which order statistics each latency lies (David and Nagaraja, 2003)."""
    found = {}
    for name, share in _SHARES.items():
        off = Z * (share * (1 - share) / answered) ** 0.5
        low, high = quantiles(latencies, [max(share - off, 0.0), min(share + off, 1.0)])
        if low is not None and high is not None:
            found[f"latency_{name}"] = (low, high)
    return found


def judge(subject: Subject, found: Service) -> list[Finding]:
    """Judge what no contract has to say: that everything is logged, and every release followed."""
    lost = found.notes.get(LOG_LOST, 0)
    told = {
        LOG_LOST: (
            f"{lost:,} frames of the log of {subject.name} were not kept, {found.window}: the disk "
            "was full, slow or read-only. Callers were answered; no figure knows of it."
        ),
        RELEASE_REFUSED: (
            f"Servers of {subject.environment} could not use a release and stayed with "
            f"{subject.name}, {found.window}: {' '.join(found.texts)}"
        ),
    }
    return [
        subject.judge(
            "log" if name == LOG_LOST else "release",
            name,
            holds=not found.notes.get(name),
            metric=name,
            value=float(found.notes.get(name, 0)),
            limit=0.0,
            window=found.window.text,
            rows=found.requests,
            labels=None,
            message=message,
            evidence={"texts": list(found.texts)},
        )
        for name, message in told.items()
    ]
