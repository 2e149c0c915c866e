"""A model's whole life on the flights of 2013, told as it happens.

Trained on January to March; April to December replayed month by month through the real server, in
order of departure; outcomes a month late. Every step is a call that a team would make too; only the
clock is the replay's. The one planted fault is said where it is planted.
"""

import socket
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import polars as pl

from loopline import processes
from loopline.demo.client import LATE_BY, Client
from loopline.demo.flights import flights, month, with_icao_codes
from loopline.errors import LooplineError
from loopline.monitoring import performance
from loopline.monitoring.reference import References
from loopline.monitoring.windows import HOUR, Window, microseconds
from loopline.pipeline.run import Outcome, run
from loopline.project import Project
from loopline.registry.mirror import start_mirror
from loopline.registry.promotion import promote
from loopline.response.rules import COOLING, DONE, Action
from loopline.response.watch import Pass

ENVIRONMENT = "production"
FIRST_MONTHS = (1, 2, 3)
LIVE_MONTHS = range(4, 13)
FAULTY_DAY = datetime(2013, 5, 13, tzinfo=UTC)
"""When the bad release goes out."""
STEP = timedelta(hours=4)
"""How often the watcher looks while a release is new."""
MARK = ".loopline-demo"
"""Says that a folder holds a demo, and so may be replaced by one."""

Say = Callable[[str], None]


@dataclass
class Month:
    """One row of the table."""

    number: int
    flights: int
    version: int
    """That answered most of them."""
    worst: str = ""
    psi: float = 0.0
    auc: float | None = None
    cost: float | None = None
    baseline_cost: float | None = None
    done: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`Apr`."""
        return f"{datetime(2013, self.number, 1, tzinfo=UTC):%b}"

    @property
    def window(self) -> Window:
        """The month's hours."""
        return Window(_first_hour(self.number), _first_hour(self.number + 1))


def tell(folder: Path, say: Say) -> None:
    """Tell the whole story in `folder`; the project stays there.

    Raises:
        LooplineError: the folder holds something already, or a step fails.
    """
    began = time.monotonic()
    _require_room(folder)
    say("Reading 336,776 flights that left New York in 2013, with their weather and planes.")
    every = flights()
    _make_project(folder, every)
    say(f"A project in {folder}: its contract loopline.yaml, and three months of flights.")
    project = Project.open(folder)
    first = _first_version(project, say)
    arguments = ["serve", "--env", ENVIRONMENT, "--port", str(_free_port()), "--replay"]
    say(f"\nloopline {' '.join(arguments)}")
    server = processes.start(
        arguments,
        root=project.root,
        environment=project.settings.environment,
        log=project.settings.home / "logs" / "serve.log",
    )
    client = Client(int(arguments[4]), project.contract.project)
    try:
        say(f"  It answered {client.wait_for(first.version.number):.1f} s after its start.")
        months = _Replay(project, client, every, say).run()
    finally:
        client.close()
        processes.stop(server)
    project.ledger.verify()
    _print_table(months, say)
    say(_LAST_WORDS.format(folder=folder, seconds=time.monotonic() - began))
    start_mirror(project.root, project.settings)


def _require_room(folder: Path) -> None:
    if (folder / MARK).is_file():
        raise LooplineError(
            f"{folder} holds a demo already. Look at it, make it anew with: loopline demo "
            f"--replace --dir {folder}, or name another folder: loopline demo --dir DIR"
        )
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise LooplineError(
            f"{folder} is there already, and is no demo, so it is left as it is. Name another "
            "folder: loopline demo --dir DIR"
        )


def _make_project(folder: Path, every: pl.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    template = resources.files("loopline.demo") / "loopline.yaml"
    (folder / "loopline.yaml").write_text(template.read_text())
    (folder / ".gitignore").write_text(".loopline/\nflights*/\n")
    for number in FIRST_MONTHS:
        _publish(folder / "flights", month(every, number), number)


def _publish(folder: Path, frame: pl.DataFrame, number: int) -> None:
    """Add a month whose outcomes are known to what a training reads."""
    folder.mkdir(exist_ok=True)
    frame.write_parquet(folder / f"2013-{number:02}.parquet")


def _first_version(project: Project, say: Say) -> Outcome:
    say("\nloopline run    (January to March)")
    now = datetime(2013, 4, 1, tzinfo=UTC)

    def stage(name: str, text: str) -> None:
        if not text.startswith("trial"):
            say(f"  {name:<10}{text}")

    outcome = run(project, now=now, progress=stage)
    for gate in outcome.report.gates:
        say(_wrapped(f"{'passed' if gate.passed else 'FAILED'}    {gate.reason}", "  "))
    for environment in ("staging", ENVIRONMENT):
        _promote(project, outcome, environment, "the first model", now)
    say(f"  {outcome.version.name} serves in {ENVIRONMENT}.")
    return outcome


def _promote(project: Project, outcome: Outcome, to: str, why: str, now: datetime) -> None:
    promote(
        project.registry,
        outcome.version.number,
        to,
        by=project.settings.actor,
        why=why,
        now=now,
        contract=project.contract,
    )


class _Replay:
    """April to December, through the server."""

    def __init__(self, project: Project, client: Client, every: pl.DataFrame, say: Say) -> None:
        self._project = project
        self._client = client
        self._every = every
        self._say = say
        self._watch = project.watcher()
        self._references = References(project.registry)
        self._months: list[Month] = []

    def run(self) -> list[Month]:
        """Replay every month; return what the table shows."""
        self._say("\nApril to December through the server, month by month; outcomes a month late.")
        for number in LIVE_MONTHS:
            frame = month(self._every, number)
            self._months.append(Month(number, frame.height, self._serving()))
            if number == FAULTY_DAY.month:
                frame = self._bad_release(frame)
            self._client.predict(frame)
            self._close(number)
        self._close(LIVE_MONTHS.stop)
        return self._months

    def _close(self, number: int) -> None:
        """End a month: the outcomes of the one before come in, and the watcher looks."""
        now = _moment(_first_hour(number + 1)) - timedelta(seconds=1)
        if number > LIVE_MONTHS.start:
            known = month(self._every, number - 1)
            self._client.tell(known)
            _publish(self._project.root / "flights", known, number - 1)
        found = self._watch.once(now)
        if number < LIVE_MONTHS.stop:
            self._note_drift(self._months[-1], found)
        if number > LIVE_MONTHS.start:
            self._note_outcomes(self._months[number - 1 - LIVE_MONTHS.start])
        self._note_actions(found)
        for one in self._months:
            if one.number == number - 1:
                self._say(f"  {_line(one)}")

    def _note_drift(self, row: Month, found: Pass) -> None:
        for seen in found.watched:
            inputs = [each for each in seen.drift if each.kind == "input"]
            if seen.environment == ENVIRONMENT and inputs:
                row.worst, row.psi = inputs[0].column, inputs[0].figures["psi"]

    def _note_outcomes(self, row: Month) -> None:
        """Judge a whole month of the version that answered most of it."""
        project = self._project
        reference = self._references(row.version)
        found = performance.measure(
            project.contract, reference, project.database, ENVIRONMENT, [row.window]
        )
        if found is not None:
            row.auc = found.metrics["roc_auc"]
            row.cost = found.metrics["cost_per_prediction"]
            row.baseline_cost = found.baseline_metrics["cost_per_prediction"]

    def _note_actions(self, found: Pass) -> None:
        for action in found.actions:
            if action.outcome == COOLING:
                continue
            if action.kind != "alert":
                self._say(_wrapped(f"{action.kind} {action.outcome}: {action.why}"))
                self._months[-1].done.append(_short(action))
        for release in (each for each in found.actions if each.outcome == DONE):
            if release.kind == "retrain":
                self._client.wait_for(int(release.detail["challenger"]))

    def _serving(self) -> int:
        return int(self._client.serving())

    def _bad_release(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Release a model made from a faulty extract; return what is left of the month."""
        is_before = pl.col("scheduled_departure") < FAULTY_DAY
        self._client.predict(frame.filter(is_before))
        good = self._serving()
        self._say(
            f"\n  {FAULTY_DAY:%d %B}: someone retrains on an extract in which an upstream system\n"
            "  writes airlines by their three-letter ICAO codes. Callers send two letters. The\n"
            "  fault is in all of the extract, so held-out rows do not show it."
        )
        faulty = self._project.root / "flights-faulty"
        known = self._every.filter(pl.col("scheduled_departure") < FAULTY_DAY - LATE_BY)
        for number in (2, 3, 4):
            _publish(faulty, with_icao_codes(month(known, number)), number)
        contract = self._project.contract
        data = contract.data.model_copy(update={"source": faulty.name})
        outcome = run(
            self._project,
            now=FAULTY_DAY,
            progress=lambda _stage, _text: None,
            contract=contract.model_copy(update={"data": data}),
            release=False,
        )
        for gate in outcome.report.gates:
            if gate.kind in ("goal", "champion", "baseline"):
                self._say(_wrapped(f"{'passed' if gate.passed else 'FAILED'}  {gate.reason}"))
        _promote(self._project, outcome, ENVIRONMENT, "retrained on a new extract", FAULTY_DAY)
        took = self._client.wait_for(outcome.version.number)
        name = outcome.version.name
        self._say(f"    {name} passed its gate; the server took it in {took:.1f} s.")
        self._months[-1].done.append(f"bad release {name}")
        return self._until_rolled_back(frame.filter(~is_before), outcome.version.number, good)

    def _until_rolled_back(self, frame: pl.DataFrame, bad: int, good: int) -> pl.DataFrame:
        began, answered, now = time.monotonic(), 0, FAULTY_DAY
        while now < FAULTY_DAY + timedelta(days=3):
            now += STEP
            is_now = pl.col("scheduled_departure") < now
            answered += self._client.predict(frame.filter(is_now))
            frame = frame.filter(~is_now)
            found = self._watch.once(now)
            self._note_actions(found)
            if any(each.kind == "rollback" and each.outcome == DONE for each in found.actions):
                self._client.wait_for(good)
                self._say(
                    f"    Rolled back from version {bad} to {good} after {answered:,} predictions, "
                    f"{(now - FAULTY_DAY) / timedelta(hours=1):.0f} hours of\n"
                    f"    flights and {time.monotonic() - began:.1f} s of this replay; no outcome "
                    "of them was known yet.\n"
                )
                return frame
        raise LooplineError(f"Version {bad} was not rolled back within three days of flights.")


def _wrapped(text: str, indent: str = "    ") -> str:
    return textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=f"{indent}          ")


def _short(action: Action) -> str:
    challenger = action.detail.get("challenger")
    if action.kind == "retrain" and challenger is not None:
        return f"challenger {challenger} {'accepted' if action.outcome == DONE else 'refused'}"
    return f"{action.kind} {action.outcome}"


def _line(row: Month) -> str:
    measured = ""
    if row.auc is not None and row.cost is not None and row.baseline_cost is not None:
        share = row.cost / row.baseline_cost - 1
        measured = f"{row.auc:>6.3f} {row.cost:>7.2f} {row.baseline_cost:>9.2f} {share:>+6.0%}"
    drift = f"{row.worst} {row.psi:.2f}"
    return (
        f"{row.name:<5} {row.flights:>7,}  v{row.version:<4} {drift:<16} {measured:<32} "
        f"{'; '.join(row.done)}"
    ).rstrip()


def _print_table(months: list[Month], say: Say) -> None:
    say(
        "\nmonth flights  model worst PSI            AUC    cost  baseline         what was done\n"
        "                                              USD per flight"
    )
    for row in months:
        say(_line(row))
    say("Outcomes come a month late, so what was done follows from the figures of a month before.")


def _first_hour(number: int) -> int:
    """Return the first hour of a month of 2013; 13 is January after it."""
    first = datetime(2013 + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=UTC)
    return microseconds(first) // HOUR


def _moment(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3600, UTC)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


_LAST_WORDS = """
That was nine months in {seconds:.0f} s. All of it is in {folder}, to look at and go on with:
  cd {folder}
  loopline status                       where the loop stands
  loopline model list                   every version, and which serves
  loopline model show latest            what was measured, and why its gate passed or failed
  loopline audit list                   who decided what, when, on which evidence
  loopline watch --report               one page of what became of its promises
  loopline audit verify                 the proof that nothing of it was changed
  loopline serve --env production       ask it about a flight
Your own data: loopline new NAME --data FILE --target COLUMN"""
