"""Judges what the callers of a soak wrote down, request by request.

What a release says is worked out here from its document: nothing is asked of the code that serves.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from bench.callers import LOST

SWITCH_SECONDS = 1.0
"""By when every worker is to follow a release."""
_NEAR_A_KILL_US = 2_000_000


@dataclass(frozen=True)
class Act:
    """One release: its document was written between two moments of the monotonic clock."""

    kind: str
    began: int
    done: int
    """Microseconds."""
    shares: tuple[tuple[int, float], ...]
    """Version and share, in the document's order."""

    def version(self, key: str) -> int:
        """Return the version that answers `key`: worked out here from what the documents say."""
        point = zlib.crc32(key.encode()) / 2**32
        ends = accumulate(share for _, share in self.shares)
        return next(
            (v for (v, _), end in zip(self.shares, ends, strict=True) if point < end),
            self.shares[-1][0],
        )


@dataclass(frozen=True)
class Kill:
    """One worker that was killed, and whose connections it held."""

    at: int
    process: int
    ports: frozenset[int]


@dataclass(frozen=True)
class Verdict:
    """What the requests to one server show."""

    asked: int
    answered: int
    in_flight: int
    """Cut off on a worker that was killed."""
    failed: Mapping[str, int]
    """Any other way not answered, by what came of it."""
    misrouted: int
    switch_seconds: tuple[float, ...]
    """For each release, until the last old answer was asked for."""
    processes: int
    """The fewest that answered between two releases."""
    p50_ms: float
    p99_ms: float
    longest_ms: float


def judge(asked: Any, acts: Sequence[Act], kills: Sequence[Kill], keys: Sequence[str]) -> Verdict:
    """Judge what callers wrote down (a polars frame of `COLUMNS`), request by request.

    An answer is right when it is that of a release that held while it was on its way, where one
    that is not older than `SWITCH_SECONDS` need not hold yet.
    """
    import numpy as np

    lost = asked.filter(asked["outcome"] == LOST)
    excused = sum(
        _is_excused(sent + taken, port, kills)
        for sent, taken, port in zip(
            *(lost[name].to_list() for name in ("sent", "taken", "port")), strict=True
        )
    )
    others = asked.filter(~asked["outcome"].is_in(["200", LOST]))
    failed = {str(what): count for what, count in others["outcome"].value_counts().iter_rows()}
    if len(lost) > excused:
        failed[LOST] = len(lost) - excused
    answered = asked.filter(asked["outcome"] == "200")
    sent, taken, place, version = (
        answered[name].cast(int).to_numpy() for name in ("sent", "taken", "place", "version")
    )
    wanted = np.array([[act.version(key) for key in keys] for act in acts])
    began, done = (np.array([getattr(act, name) for act in acts]) for name in ("began", "done"))
    first = np.searchsorted(done + SWITCH_SECONDS * 1e6, sent, "right") - 1
    last = np.searchsorted(began, sent + taken, "right") - 1
    is_right = np.zeros(len(sent), bool)
    for more in range(int((last - first).max(initial=0)) + 1):
        which = np.clip(first + more, 0, last)
        is_right |= wanted[which, place] == version
    holds = np.searchsorted(done, sent, "right") - 1
    is_old = wanted[holds, place] != version
    is_old &= (last == holds) | (wanted[last, place] != version)  # nor one that just came
    seconds, processes = [], []
    worker = answered["prediction"].str.slice(16, 8).to_numpy()
    for number in range(1, len(acts)):
        own = holds == number
        waited = (sent[own & is_old] - done[number]).max(initial=0)
        seconds.append(float(waited) / 1e6)
        processes.append(len(set(worker[own])))
    ms = np.quantile(taken, [0.5, 0.99, 1.0]) / 1000 if len(taken) else [0.0] * 3
    return Verdict(
        asked=len(asked),
        answered=len(answered),
        in_flight=excused,
        failed=failed,
        misrouted=int((~is_right).sum()),
        switch_seconds=tuple(seconds),
        processes=min(processes, default=0),
        p50_ms=float(ms[0]),
        p99_ms=float(ms[1]),
        longest_ms=float(ms[2]),
    )


def _is_excused(ended: int, port: int, kills: Sequence[Kill]) -> bool:
    return any(port in kill.ports and abs(ended - kill.at) < _NEAR_A_KILL_US for kill in kills)


def counted(acknowledged: Any, folded: Any) -> tuple[int, int]:
    """Return how many acknowledged predictions are missing from the table, and in it repeatedly."""
    import polars as pl

    times = folded.group_by("prediction_id").len()
    found = acknowledged.to_frame("prediction_id").join(times, on="prediction_id", how="left")
    return found["len"].null_count(), found.filter(pl.col("len") > 1).height
