"""What the server counts, as Prometheus reads it.

Plain integers, rendered when somebody asks: prometheus-client takes a lock and several calls for
each counter, on every request. What is rendered is checked against its parser.
"""

import resource
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

# Upper bounds in microseconds: a plan answers one row in the first two, an original in the middle.
_BOUNDS = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
]  # fmt: skip


class Metrics:
    """The counters of one server process."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """Route and status to requests answered."""
        self.predictions: Counter[int] = Counter()
        """Model version to rows scored."""
        self.unknown_columns = 0
        self.labels = 0
        self.releases_refused = 0
        self.shadowed: Counter[int] = Counter()
        """Model version to rows scored beside an answer."""
        self.shadows_skipped = 0
        self._latencies = [0] * (len(_BOUNDS) + 1)
        self._microseconds = 0
        self._started = time.time()

    def scored(self, version: int, rows: int, microseconds: int) -> None:
        """Count one prediction request that was answered."""
        self.predictions[version] += rows
        self._latencies[bisect_left(_BOUNDS, microseconds)] += 1
        self._microseconds += microseconds

    def render(self, *, release: int, serving: Iterable[int], log: Mapping[str, int]) -> bytes:
        """Return everything in Prometheus' text format.

        `log` is what the log says of itself: frames, lost and failing.
        """
        usage = resource.getrusage(resource.RUSAGE_SELF)
        requests = {
            f'{{route="{route}",status="{status}"}}': count
            for (route, status), count in sorted(self.requests.items())
        }
        predictions = {f'{{version="{name}"}}': n for name, n in sorted(self.predictions.items())}
        families = [
            _counter("loopline_requests", "Requests answered, by route and status.", requests),
            _counter("loopline_predictions", "Rows scored, by model version.", predictions),
            _counter(
                "loopline_shadowed",
                "Rows scored by shadows, by model version.",
                {f'{{version="{name}"}}': n for name, n in sorted(self.shadowed.items())},
            ),
            _counter(
                "loopline_shadows_skipped",
                "Requests that no shadow was asked, for want of time.",
                self.shadows_skipped,
            ),
            *self._histogram(),
            _counter(
                "loopline_unknown_columns",
                "Columns sent that no model knows.",
                self.unknown_columns,
            ),
            _counter("loopline_labels", "Outcomes received.", self.labels),
            _counter("loopline_log_frames", "Log frames on disk.", log["frames"]),
            _counter("loopline_log_lost", "Log frames lost: the disk full or slow.", log["lost"]),
            _gauge("loopline_log_failing", "1 while the log cannot be written.", log["failing"]),
            _counter(
                "loopline_releases_refused",
                "Releases that could not be used.",
                self.releases_refused,
            ),
            _gauge("loopline_release", "The number of the release that is followed.", release),
            _gauge(
                "loopline_serving",
                "1 for each model version that answers now.",
                {f'{{version="{version}"}}': 1 for version in serving},
            ),
            _counter(
                "process_cpu_seconds", "User and system time.", usage.ru_utime + usage.ru_stime
            ),
            _gauge("process_start_time_seconds", "When the server started.", self._started),
            _gauge("process_resident_memory_bytes", "Resident memory.", _resident_bytes()),
        ]
        return "".join(families).encode()

    def _histogram(self) -> list[str]:
        name, total = "loopline_prediction_seconds", 0
        buckets = {}
        for bound, count in zip([*_BOUNDS, None], self._latencies, strict=True):
            total += count
            limit = "+Inf" if bound is None else f"{bound / 1e6:g}"
            buckets[f'_bucket{{le="{limit}"}}'] = total
        samples = {**buckets, "_sum": self._microseconds / 1e6, "_count": total}
        return [_family(name, "histogram", "From the request read to its answer.", samples)]


def _counter(name: str, text: str, samples: Mapping[str, float] | float) -> str:
    named = samples if isinstance(samples, Mapping) else {"": samples}
    return _family(
        name, "counter", text, {f"_total{labels}": value for labels, value in named.items()}
    )


def _gauge(name: str, text: str, samples: Mapping[str, float] | float) -> str:
    return _family(name, "gauge", text, samples if isinstance(samples, Mapping) else {"": samples})


def _family(
    name: str,
    kind: Literal["counter", "gauge", "histogram"],
    text: str,
    samples: Mapping[str, float],
) -> str:
    # The text format names a counter with its suffix, and a histogram without.
    title = f"{name}_total" if kind == "counter" else name
    lines = [f"# HELP {title} {text}", f"# TYPE {title} {kind}"]
    return "\n".join([*lines, *[f"{name}{end} {value}" for end, value in samples.items()], ""])


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - a kernel's file, not a path
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:  # not Linux: the peak is the nearest there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
