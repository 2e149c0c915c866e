"""What the server counts, as Prometheus reads it, or as one line of JSON where nothing can scrape.

Plain integers, rendered when somebody asks: prometheus-client takes a lock and several calls for
each counter, on every request. What is rendered is checked against its parser and promtool. The
figures of several processes add up: each sample says how.
"""

import resource
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from loopline.serving.limits import Intake

if TYPE_CHECKING:
    from loopline.serving.log import LogWriter
    from loopline.serving.router import Router
    from loopline.serving.upload import Uploader

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

# Upper bounds in microseconds: a plan answers one row in the first two, an original in the middle.
_BOUNDS = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
]  # fmt: skip
_SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 512]

Labels = tuple[tuple[str, str], ...]


class Sample(msgspec.Struct, frozen=True):
    """One figure of a family."""

    value: float
    labels: Labels = ()
    end: str = ""
    """What follows the family's name: `_bucket`, `_sum` or `_count`."""


class Family(msgspec.Struct, frozen=True):
    """One metric with all its figures, in one process or in all of them."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    samples: Sequence[Sample]
    adds: Literal["sum", "largest", "smallest"] = "sum"
    """How the figures of several processes become one."""


class Metrics:
    """The counters of one server process."""

    def __init__(self, intake: Intake | None = None) -> None:
        self.intake = Intake() if intake is None else intake
        self.others: Callable[[], list[list[Family]]] = list
        """Returns the figures of the other processes that answer for the same server."""
        self.uploader: Uploader | None = None
        self.requests: Counter[tuple[str, int]] = Counter()
        """Route and status to requests answered."""
        self.errors: Counter[str] = Counter()
        """Kind of error to prediction requests that failed."""
        self.predictions: Counter[int] = Counter()
        """Model version to rows scored."""
        self.unknown_columns = 0
        self.labels = 0
        self.releases_refused = 0
        self.shadowed: Counter[int] = Counter()
        """Model version to rows scored beside an answer."""
        self.shadows_skipped = 0
        self._latencies = _Histogram(_BOUNDS)
        self._sizes = _Histogram(_SIZES)
        self._started = time.time()

    def scored(self, version: int, rows: int, microseconds: int) -> None:
        """Count one prediction request that was answered."""
        self.predictions[version] += rows
        self._latencies.add(microseconds)

    def batched(self, rows: int) -> None:
        """Count one batch that an original scored."""
        self._sizes.add(rows)

    def render(self, router: "Router", log: "LogWriter") -> bytes:
        """Return the figures of every process in Prometheus' text format."""
        return render(total([self.families(router, log), *self.others()]))

    def families(self, router: "Router", log: "LogWriter") -> list[Family]:
        """Return the figures of this process."""
        return [*self._counted(), *self._logged(log), *_released(router), *self._working(router)]

    def _counted(self) -> list[Family]:
        return [
            _counter(
                "requests",
                "Requests answered, by route and status.",
                {(("route", r), ("status", str(s))): n for (r, s), n in self.requests.items()},
            ),
            _counter(
                "errors",
                "Prediction requests that failed, by kind.",
                {(("kind", kind),): n for kind, n in self.errors.items()},
            ),
            _counter("predictions", "Rows scored, by model version.", _versions(self.predictions)),
            _counter(
                "shadowed", "Rows scored by shadows, by model version.", _versions(self.shadowed)
            ),
            _counter(
                "shadows_skipped",
                "Requests that no shadow was asked, for want of time.",
                self.shadows_skipped,
            ),
            self._latencies.family(
                "prediction_seconds", "From the request read to its answer.", unit=1e6
            ),
            self._sizes.family("batch_rows", "Rows that an original scored together."),
            _counter("unknown_columns", "Columns sent that no model knows.", self.unknown_columns),
            _counter("labels", "Outcomes received.", self.labels),
            _counter("releases_refused", "Releases that could not be used.", self.releases_refused),
        ]

    def _logged(self, log: "LogWriter") -> list[Family]:
        return [
            _counter("log_frames", "Log frames on disk.", log.frames),
            _counter("log_lost", "Log frames lost: the disk full or slow.", log.lost),
            _gauge(
                "log_failing",
                "1 while the log cannot be written.",
                int(log.failure is not None),
                adds="largest",
            ),
            _gauge("log_lag_bytes", "Of the log, not on disk yet.", log.waiting_bytes),
            *self._uploads(),
        ]

    def _uploads(self) -> list[Family]:
        uploader = self.uploader
        failing = uploader is not None and uploader.failure is not None
        return [
            _counter(
                "log_uploaded",
                "Log segments that arrived in the store.",
                0 if uploader is None else uploader.uploaded,
            ),
            _gauge(
                "log_upload_failing",
                "1 while the store takes no log segments.",
                int(failing),
                adds="largest",
            ),
        ]

    def _working(self, router: "Router") -> list[Family]:
        intake = self.intake
        usage = resource.getrusage(resource.RUSAGE_SELF)
        models = {model.version: model for model in (*router.models, *router.shadows)}
        waiting = sum(
            model.batcher.waiting_rows for model in models.values() if model.batcher is not None
        )
        return [
            _gauge(
                "in_flight",
                "Requests read and not answered yet, and one for each further 4 KiB.",
                intake.in_flight,
            ),
            _gauge("in_flight_limit", "Where shedding begins.", intake.limits.in_flight),
            _gauge("queue_rows", "Rows that wait for an original.", waiting),
            _gauge("connections", "Open connections.", len(intake.connections)),
            _counter("shed", "Requests told to come back.", intake.shed),
            _counter(
                "connections_refused", "Connections past the limit.", intake.refused_connections
            ),
            _counter(
                "connections_cut",
                "Connections closed on slow or excessive callers.",
                intake.cut_off,
            ),
            _gauge("workers", "Processes that answer.", 1),
            Family(
                "process_cpu_seconds",
                "counter",
                "User and system time.",
                [Sample(usage.ru_utime + usage.ru_stime)],
            ),
            Family(
                "process_start_time_seconds",
                "gauge",
                "When the server started.",
                [Sample(self._started)],
                "smallest",
            ),
            Family(
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory.",
                [Sample(_resident_bytes())],
            ),
        ]


class _Histogram:
    """Counts by upper bounds."""

    def __init__(self, bounds: Sequence[int]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0

    def add(self, value: int) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, text: str, *, unit: float = 1) -> Family:
        samples, total_ = [], 0
        for bound, count in zip([*self._bounds, None], self._counts, strict=True):
            total_ += count
            limit = "+Inf" if bound is None else f"{bound / unit:g}"
            samples.append(Sample(total_, (("le", limit),), "_bucket"))
        samples += [Sample(self._sum / unit, end="_sum"), Sample(total_, end="_count")]
        return Family(f"loopline_{name}", "histogram", text, samples)


def total(processes: Iterable[Sequence[Family]]) -> list[Family]:
    """Return the figures of several processes as those of one server."""
    found: dict[str, list[Family]] = {}
    for families in processes:
        for family in families:
            found.setdefault(family.name, []).append(family)
    return [_added(same) for same in found.values()]


def lasting(families: Iterable[Family]) -> list[Family]:
    """Return what still counts of a process that has ended."""
    return [family for family in families if family.kind != "gauge"]


def render(families: Iterable[Family]) -> bytes:
    """Return `families` in Prometheus' text format."""
    lines = []
    for family in families:
        # The text format names a counter with its suffix, and a histogram without.
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        lines += [f"# HELP {name} {family.text}", f"# TYPE {name} {family.kind}"]
        for sample in sorted(family.samples, key=_order):
            labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels)
            braces = f"{{{labels}}}" if labels else ""
            lines.append(f"{name}{sample.end}{braces} {_written(sample.value)}")
    return "\n".join([*lines, ""]).encode()


def _escaped(value: str) -> str:
    """Return a label's value so that no column's name ends it."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def line(families: Iterable[Family], at: str) -> bytes:
    """Return `families` as one line of JSON, of the moment `at`."""
    said: dict[str, Any] = {"at": at}
    for family in families:
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        for sample in family.samples:
            if not sample.labels:
                said[name + sample.end] = sample.value
            else:
                entry = {**dict(sample.labels), "value": sample.value}
                said.setdefault(name + sample.end, []).append(entry)
    return msgspec.json.encode(said)


def _released(router: "Router") -> list[Family]:
    release = router.release
    answering = [served for served in release.serves if served.share > 0 and not served.shadow]
    whole = sum(served.share for served in answering)
    return [
        # The smallest: a worker that has not seen the newest yet holds the server back.
        _gauge(
            "release",
            "The number of the release that is followed.",
            release.number,
            adds="smallest",
        ),
        _gauge(
            "serving",
            "1 for each model version that answers now.",
            {(("version", str(served.version)),): 1 for served in answering},
            adds="largest",
        ),
        _gauge(
            "share",
            "The share of the requests that a version answers.",
            {(("version", str(served.version)),): served.share / whole for served in answering},
            adds="largest",
        ),
        _gauge(
            "shadow",
            "1 for each version that is asked too and answers nobody.",
            {(("version", str(served.version)),): 1 for served in release.serves if served.shadow},
            adds="largest",
        ),
    ]


def _added(same: Sequence[Family]) -> Family:
    first = same[0]
    if len(same) == 1:
        return first
    add: Callable[[list[float]], float]
    add = max if first.adds == "largest" else min if first.adds == "smallest" else sum
    values: dict[tuple[str, Labels], list[float]] = {}
    for family in same:
        for sample in family.samples:
            values.setdefault((sample.end, sample.labels), []).append(sample.value)
    samples = [Sample(add(found), labels, end) for (end, labels), found in values.items()]
    return msgspec.structs.replace(first, samples=samples)


def _order(sample: Sample) -> tuple[bool, Labels]:
    # A histogram's buckets stay in the order of their bounds.
    return bool(sample.end), () if sample.end else sample.labels


def _written(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _versions(counts: Mapping[int, int]) -> dict[Labels, float]:
    return {(("version", str(version)),): count for version, count in counts.items()}


def _counter(name: str, text: str, samples: Mapping[Labels, float] | float) -> Family:
    return Family(f"loopline_{name}", "counter", text, _samples(samples))


def _gauge(
    name: str,
    text: str,
    samples: Mapping[Labels, float] | float,
    *,
    adds: Literal["sum", "largest", "smallest"] = "sum",
) -> Family:
    return Family(f"loopline_{name}", "gauge", text, _samples(samples), adds)


def _samples(samples: Mapping[Labels, float] | float) -> list[Sample]:
    named = samples if isinstance(samples, Mapping) else {(): samples}
    return [Sample(value, labels) for labels, value in named.items()]


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - a kernel's file, not a path
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:  # not Linux: the peak is the nearest there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
