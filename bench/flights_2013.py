"""Nine months of real flights under watch: what is estimated, what comes true, what is found.

A model of January to March answers April to December of 2013; outcomes come thirty days late; the
watcher looks once a day. For each month the estimated AUC and cost stand beside the realised ones,
and every finding that opened is listed. Then three faults are planted in June, one at a time, and
it is said which finding named each, after how many predictions, and what else was found. Nothing
is retrained: a model that changes would hide what is measured.

    python -m bench.flights_2013 [--reference same_weekday] [--json FILE]
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.segments import write_segment
from loopline.data.columns import from_frame
from loopline.demo.client import LATE_BY
from loopline.demo.flights import flights, month
from loopline.model.bundle import open_bundle
from loopline.model.signature import decide, matrix
from loopline.monitoring import estimation, hours, performance
from loopline.monitoring.findings import Finding
from loopline.monitoring.held import Estimates, Held
from loopline.monitoring.reference import References
from loopline.monitoring.windows import HOUR, Window, microseconds
from loopline.pipeline.run import run
from loopline.project import Project
from loopline.registry.promotion import promote
from loopline.settings import Settings

ENVIRONMENT = "production"
START = datetime(2013, 4, 1, tzinfo=UTC)
FAULT = datetime(2013, 6, 12, 9, tzinfo=UTC)
LOOKS = timedelta(hours=2)
"""How often the watcher looks once a fault is there."""
DAY = timedelta(days=1)
GIVEN_UP = timedelta(days=7)
_ROWS = 500
_SHOWN = ("roc_auc", "cost_per_prediction")


@dataclass
class Month:
    """What became of one month."""

    number: int
    flights: int
    estimated: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Metric to value, low and high."""
    widened: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """The same widened by past misses known when the month ended: low, high and level."""
    realised: dict[str, float] = field(default_factory=dict)
    labels: int = 0
    opened: list[str] = field(default_factory=list)

    @property
    def held(self) -> dict[str, bool]:
        """Whether each realised figure lies in its interval."""
        return {
            name: self.estimated[name][1] <= value <= self.estimated[name][2]
            for name, value in self.realised.items()
            if name in self.estimated
        }

    @property
    def held_widened(self) -> dict[str, bool]:
        """Whether each lies in the widened one, where there is one."""
        return {
            name: low <= self.realised[name] <= high
            for name, (low, high, _) in self.widened.items()
            if name in self.realised
        }


@dataclass
class Fault:
    """One planted fault, and what was found of it."""

    name: str
    column: str
    found: str | None = None
    """The message of the finding that named the column; None if none did in a week."""
    since: str | None = None
    rows: int = 0
    """Predictions from the fault to the look that found it; of them, `affected` were changed."""
    affected: int = 0
    hours: float = 0.0
    others: list[str] = field(default_factory=list)
    """Findings that opened between and name other columns alone."""


def unit_changed(frame: pl.DataFrame) -> pl.DataFrame:
    """Miles become kilometres."""
    return frame.with_columns(pl.col("distance") * 1.609344)


def renamed(frame: pl.DataFrame) -> pl.DataFrame:
    """One airline is written by its three-letter code."""
    return frame.with_columns(pl.col("carrier").replace({"UA": "UAL"}))


def silenced(frame: pl.DataFrame) -> pl.DataFrame:
    """One airport's visibility is gone for two days."""
    is_there = (pl.col("origin") == "JFK") & (pl.col("scheduled_departure") < FAULT + 2 * DAY)
    return frame.with_columns(visib=pl.when(~is_there).then("visib"))


FAULTS: dict[str, tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]] = {
    "distance in kilometres": ("distance", unit_changed),
    "UA becomes UAL": ("carrier", renamed),
    "visibility gone at JFK for two days": ("visib", silenced),
}


class Replay:
    """One project, what it is asked, and its watcher."""

    def __init__(self, root: Path) -> None:
        self._project = _opened(root)
        self._references = References(self._project.registry)
        self._watch = self._project.watcher()
        self._segments = 0
        known = self._project.registry.get(1)
        self._bundle = open_bundle(
            self._project.objects, self._project.keys, known.bundle, known.bundle_digest
        )
        self._signature = self._bundle.signature

    def answer(self, asked: pl.DataFrame) -> int:
        """Score flights by the version's plan, and log them as the server does."""
        signature, plan = self._signature, self._bundle.plan
        if plan is None:
            raise SystemExit("The version has no plan.")
        types = {each.name: each.type for each in signature.inputs}
        rows = asked.select(list(types))
        scores = plan.score(matrix(signature, from_frame(rows, types)))
        said = decide(signature, scores)
        plain = rows.with_columns(pl.col("scheduled_departure").dt.epoch("us"))
        logged = [plain[each.name].to_list() for each in signature.inputs if each.logged]
        arrivals = asked["scheduled_departure"].dt.epoch("us").to_list()
        self._segment(
            [
                "p", f"r{self._segments}x{begin}", None, arrivals[begin], 1, False, 300, "bench",
                len(scores[begin : begin + _ROWS]),
                [values[begin : begin + _ROWS] for values in logged],
                [said[begin : begin + _ROWS].tolist(), scores[begin : begin + _ROWS].tolist()],
            ]
            for begin in range(0, len(scores), _ROWS)
        )  # fmt: skip
        return len(scores)

    def tell(self, arrived: pl.DataFrame) -> None:
        """Log how flights arrived."""
        known = arrived.filter(pl.col("arr_delay").is_not_null()).select(
            "flight_id",
            pl.col("arr_delay") > 15,
            (pl.col("scheduled_departure") + LATE_BY).dt.epoch("us"),
        )
        rows = [[None, key, label, at] for key, label, at in known.iter_rows()]
        if rows:
            self._segment([["f", rows[-1][3], rows]])

    def look(self, now: datetime) -> tuple[Finding, ...]:
        """Return what a look at `now` opened."""
        before = {one.id for one in self._watch._findings.open().values()}
        seen = self._watch.once(now)
        return tuple(one for one in seen.findings if one.id not in before)

    def whole(self, number: int) -> Month:
        """Return one month's estimates and what came true of it, by the known outcomes."""
        contract, database = self._project.contract, self._project.database
        first, last = (
            datetime(2013 + n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in (number - 1, number)
        )
        window = Window(microseconds(first) // HOUR, microseconds(last) // HOUR)
        reference = self._references(1)
        counted = hours.total(database, contract.project, ENVIRONMENT, 1, window)
        real = performance.measure(contract, reference, database, ENVIRONMENT, [window])
        share = 1.0 if real is None else real.coverage
        found = estimation.measure(contract, reference, counted, window, share)
        if found is not None:
            estimates = Estimates(self._project.ledger)
            found = estimates.stated(found, ENVIRONMENT, 1, at=window.end)
        return Month(
            number,
            0 if found is None else found.rows,
            {} if found is None else {
                name: (each.value, each.low, each.high)
                for name, each in found.metrics.items() if name in _SHOWN
            },
            {} if found is None else {
                name: (each.low, each.high, each.level)
                for name, each in found.widened.items() if name in _SHOWN
            },
            {} if real is None else {name: real.metrics[name] for name in _SHOWN},
            0 if real is None else real.labels,
        )  # fmt: skip

    def stretches(self) -> Held | None:
        """Return how well the weeks' estimates held, and how well they did when widened."""
        return Estimates(self._project.ledger).held(ENVIRONMENT, 1)

    def _segment(self, payloads: Any) -> None:
        self._segments += 1
        folder = self._project.settings.home / "log" / self._project.contract.project / ENVIRONMENT
        write_segment(folder, self._segments, payloads)


def _opened(root: Path) -> Project:
    settings = Settings.read(root.resolve(), {"LOOPLINE_ACTOR": "bench", "LOOPLINE_MLFLOW": "off"})
    return Project(root=root.resolve(), settings=settings)


def make(root: Path, every: pl.DataFrame, reference: str, *, light: bool = False) -> None:
    """Make the project: trained on January to March, in production since April.

    `light` is for a part of the flights: one linear model, whose gate has no fairness rule.
    """
    root.mkdir(parents=True)
    text = (resources.files("loopline.demo") / "loopline.yaml").read_text()
    monitor = (
        f"monitor: {{window: 7 days, reference: {reference}, drift: {{psi: 0.2}}, "
        "minimum_rows: 500, minimum_labels: 1000}"
    )
    text = re.sub(r"^monitor: .*$", monitor, text, flags=re.MULTILINE)
    text = re.sub(
        r"^respond:\n(  .*\n)*", "respond: [{when: drift, do: alert}]\n", text, flags=re.MULTILINE
    )
    text = text.replace("trials: 6", "trials: 2").replace(
        "rows_at_least: 10000", "rows_at_least: 1"
    )
    if light:
        text = re.sub(r"^fairness:\n(  .*\n)*", "", text, flags=re.MULTILINE)
        text = re.sub(r"below_baseline_by: 5%", "at_most: 1000", text)
        text = text.replace("[logistic, boosted_trees]", "[logistic]").replace(
            "trials: 2", "trials: 1"
        )
    (root / "loopline.yaml").write_text(text)
    (root / "flights").mkdir()
    for number in (1, 2, 3):
        month(every, number).write_parquet(root / "flights" / f"2013-{number:02}.parquet")
    project = _opened(root)
    outcome = run(project, now=START, progress=lambda *_: None)
    promote(
        project.registry, outcome.version.number, ENVIRONMENT,
        by="bench", why="the only model", now=START, contract=project.contract,
    )  # fmt: skip
    project.database.close()


def days(first: datetime, last: datetime, step: timedelta = DAY) -> Iterator[datetime]:
    """Yield the ends of the days between, or of longer steps."""
    now = first + step
    while now <= last:
        yield now
        now += step


def year(
    root: Path, every: pl.DataFrame, numbers: range, step: timedelta = DAY
) -> tuple[list[Month], Held | None]:
    """Replay whole months, looking once a day; then wait for the last outcomes."""
    replay, opened = Replay(root), {}
    at = pl.col("scheduled_departure")
    for number in numbers:
        replay.answer(month(every, number))
    first, last = (datetime(2013, numbers.start, 1, tzinfo=UTC), _end(numbers))
    for now in days(first, last + LATE_BY + step, step):
        late = now - LATE_BY
        replay.tell(every.filter((at >= late - step) & (at < late) & (at >= first)))
        for one in replay.look(now - timedelta(seconds=1)):
            opened.setdefault((now - timedelta(seconds=1)).month, []).append(told(one))
    found = [replay.whole(number) for number in numbers]
    for each in found:
        each.opened = opened.get(each.number, [])
    return found, replay.stretches()


def _end(numbers: range) -> datetime:
    return datetime(2013 + (numbers.stop - 1) // 12, (numbers.stop - 1) % 12 + 1, 1, tzinfo=UTC)


def told(one: Finding) -> str:
    """Return a finding in a few words."""
    columns = ", ".join(one.columns or (one.subject,))
    older = " or before" if one.evidence.get("is_older") else ""
    since = f" since {one.since[:16].replace('T', ' ')}{older}" if one.since else ""
    return f"{one.kind}: {columns} ({one.metric} {one.value:.2f}){since}"


def plant(root: Path, every: pl.DataFrame, name: str, step: timedelta = DAY) -> Fault:
    """Replay May and June up to a fault, then look every two hours until it is named."""
    column, change = FAULTS[name]
    fault, replay = Fault(name, column), Replay(root)
    at = pl.col("scheduled_departure")
    begin = datetime(2013, 5, 1, tzinfo=UTC)
    replay.answer(every.filter((at >= begin) & (at < FAULT)))
    good = every.filter((at >= FAULT) & (at < FAULT + GIVEN_UP))
    bad = change(good)
    replay.answer(bad)
    for now in days(begin, FAULT, step):
        replay.look(now - timedelta(seconds=1))
    now = FAULT
    while now < FAULT + GIVEN_UP:
        now += LOOKS
        # A look counts the whole hour that holds its moment: the one that has just ended.
        for one in replay.look(now - timedelta(seconds=1)):
            if column not in one.columns:
                fault.others.append(told(one))
                continue
            until = at < now
            fault.found, fault.since = one.message, one.since
            fault.rows = good.filter(until).height
            same = good[column].eq_missing(bad[column])
            fault.affected = good.filter(until & ~same).height
            fault.hours = (now - FAULT) / timedelta(hours=1)
            return fault
    return fault


def main(arguments: list[str] | None = None) -> int:
    """Run both parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", default="training", choices=["training", "same_weekday"])
    parser.add_argument("--json", type=Path, help="Write every figure there.")
    parser.add_argument("--months", type=int, default=9, help="How many, from April on.")
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    every = flights()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "made"
        make(root, every, chosen.reference)
        months, held = year(_copy(root, "year"), every, range(4, 4 + chosen.months))
        print_months(months, chosen.reference)
        print_held(held)
        faults = []
        for place, name in enumerate(FAULTS):
            faults.append(plant(_copy(root, f"fault-{place}"), every, name))
            print_fault(faults[-1])
    print(f"\n{time.monotonic() - began:.0f} s in all.")
    if chosen.json:
        found = {"reference": chosen.reference, "months": [asdict(each) for each in months]}
        found["weeks"] = None if held is None else asdict(held)
        found["faults"] = [asdict(each) for each in faults]
        chosen.json.write_text(json.dumps(found, indent=1))
    return 0


def _copy(root: Path, name: str) -> Path:
    return Path(shutil.copytree(root, root.parent / name))


def print_months(months: list[Month], reference: str) -> None:
    """Print estimated beside realised figures, and what was found."""
    print(f"Drift from {reference}; a model of January to March, never retrained.\n")
    heads = f"{'AUC: estimated':28}{'real':>7}   {'cost: estimated':26}{'real':>7}"
    print(f"{'':5}{'flights':>8}  {heads}")
    for each in months:
        parts = []
        for name in _SHOWN:
            value, low, high = each.estimated[name]
            digits = 3 if name == "roc_auc" else 2
            real = each.realised.get(name, np.nan)
            mark = " " if each.held.get(name) else "*"
            text = f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
            parts.append(f"{text:26}{real:7.{digits}f}{mark}")
        name = f"{datetime(2013, each.number, 1, tzinfo=UTC):%b}"
        print(f"{name:5}{each.flights:8,}  " + "   ".join(parts))
    print("* outside its 95 % interval.\n\nWidened by past misses, as known when the month ended:")
    for each in months:
        parts = [
            f"{name} {low:.3f} to {high:.3f} ({level:.0%}){'' if each.held_widened[name] else '*'}"
            for name, (low, high, level) in each.widened.items()
        ]
        text = ", ".join(parts) or "nothing yet"
        print(f"{datetime(2013, each.number, 1, tzinfo=UTC):%b}  {text}")
    print("\nFindings opened:")
    for each in months:
        name = f"{datetime(2013, each.number, 1, tzinfo=UTC):%b}"
        print(f"{name:5}{len(each.opened)}")
        for text in each.opened:
            print(f"       {text}")


def print_held(held: Held | None) -> None:
    """Print in how many weeks the realised figures lay in their intervals."""
    if held is None:
        return
    print(f"\nOf {held.windows} weeks, inside the interval, and inside the widened one:")
    for name in _SHOWN:
        hits, count = held.widened.get(name, (0, 0))
        print(f"  {name:20} {held.inside.get(name, 0)}, {hits} of {count}")


def print_fault(fault: Fault) -> None:
    """Print what was found of a fault."""
    print(f"\nFault at {FAULT:%Y-%m-%d %H:%M}: {fault.name}")
    if fault.found is None:
        print("  not named within a week")
    else:
        print(
            f"  named after {fault.hours:.0f} h, {fault.rows:,} predictions ({fault.affected:,} of "
            f"them changed), since {fault.since}\n  {fault.found}"
        )
    for text in fault.others:
        print(f"  besides: {text}")


if __name__ == "__main__":
    sys.exit(main())
