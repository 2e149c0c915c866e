"""The process that copies runs and versions to other tools, off everyone's critical path.

`start_mirror` starts it and returns at once; `python -m loopline.registry.mirror FOLDER`
is what it starts. One works at a time (a lease), and whoever finds it taken leaves: the one at
work looks again before it ends. What fails is written to `logs/mirror.log` in the home and tried
again next time.
"""

import importlib.util
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from loopline.contract.load import project_name
from loopline.errors import MissingExtraError
from loopline.settings import Settings

if TYPE_CHECKING:
    from loopline.registry.backends.base import Backend
    from loopline.registry.versions import Registry
    from loopline.store.database import Database
    from loopline.training.run import Run
    from loopline.training.trackers.base import Exhibit, Tracker

_LEASE = "mirror"
LEASE_SECONDS = 300.0
"""Renewed with each run; a mirror that was killed is replaced after this."""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


def start_mirror(root: Path, settings: Settings) -> str:
    """Start the mirror of the project in `root`, and return a line saying where it copies to."""
    places = _places(settings)
    if not places:
        return (
            "Runs are not mirrored: neither mlflow nor tensorboardX is installed. "
            'Install them with: pip install "loopline[mlflow,tensorboard]"'
        )
    log = settings.home / "logs" / "mirror.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # The child forks and ends at once, so that nobody has to wait for the one that works.
        subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(root.resolve())],
            cwd=root,
            env=dict(settings.environment) | _QUIET,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            check=True,
        )
    return f"Mirroring to {' and '.join(places)} in the background; its log is {log}."


def mirror(root: Path, settings: Settings) -> int:
    """Copy every run that is not copied yet, and all versions; return how many runs were.

    Returns 0 at once while another process is at it.
    """
    from loopline.store.database import Database

    database = Database(settings.database_url)
    holder, copied = uuid4().hex, 0
    try:
        while _lease(database, holder):
            work = _Work(settings, database, lambda: _lease(database, holder))
            waiting = _waiting(database)
            done = sum(work.copy(run) for run in waiting)
            work.copy_versions(project_name(root / "loopline.yaml"))
            copied += done
            database.give_lease(_LEASE, holder)
            # Asked again without the lease: whoever recorded a run meanwhile found it taken.
            if done < len(waiting) or not _waiting(database):
                break
        return copied
    finally:
        database.give_lease(_LEASE, holder)
        database.close()


def _places(settings: Settings) -> list[str]:
    places = []
    if settings.tracking_uri != "off" and importlib.util.find_spec("mlflow"):
        places.append(f"MLflow ({settings.tracking_uri})")
    if importlib.util.find_spec("tensorboardX"):
        places.append(f"TensorBoard ({settings.home / 'tensorboard'})")
    return places


def _lease(database: "Database", holder: str) -> bool:
    return database.take_lease(_LEASE, holder, now=datetime.now(UTC), seconds=LEASE_SECONDS)


def _waiting(database: "Database") -> "list[Run]":
    from sqlalchemy import select

    from loopline.store.database import mirrored, runs
    from loopline.training.run import Run

    left = (
        select(runs.c.payload)
        .where(runs.c.id.not_in(select(mirrored.c.run)))
        .order_by(runs.c.started_at, runs.c.id)
    )
    with database.read() as connection:
        return [msgspec.json.decode(raw, type=Run) for raw in connection.execute(left).scalars()]


class _Work:
    """Copies runs and versions to the trackers that are installed."""

    def __init__(self, settings: Settings, database: "Database", renew: Callable[[], bool]) -> None:
        from loopline.governance.signing import Keys
        from loopline.store.objects import Objects

        self._settings, self._database, self._renew = settings, database, renew
        self._objects, self._keys = Objects(settings.store_url), Keys(settings.home)
        self._trackers = list(_trackers(settings))

    def copy(self, run: "Run") -> bool:
        """Copy one run to every tracker, and remember that it is; False when one failed."""
        from loopline.store.database import mirrored

        self._renew()
        try:
            exhibit = self._exhibit(run)
            places = [tracker.mirror(exhibit) for tracker in self._trackers]
        except Exception:  # noqa: BLE001 - other tools' faults must not stop the other runs
            _say(f"{run.id} was not copied and will be tried again:")
            traceback.print_exc()
            return False
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        row = {"run": run.id, "where": " ".join(places), "at": moment}
        with self._database.begin() as connection:
            connection.execute(mirrored.insert().values(**row))
        _say(f"{run.id} copied to {row['where']}")
        return True

    def copy_versions(self, project: str) -> None:
        """Copy the project's versions, and say what each environment serves."""
        state = self._registry(project).state()
        versions = [state.version(number) for number in sorted(state.versions)]
        serving = {
            name: number for name in state.releases if (number := state.serving(name)) is not None
        }
        for backend in _backends(self._settings):
            try:
                backend.mirror(versions, serving, self._objects.uri)
            except Exception:  # noqa: BLE001 - another tool's fault; the runs are copied already
                _say("The versions were not copied and will be tried again:")
                traceback.print_exc()

    def _registry(self, project: str) -> "Registry":
        from loopline.registry.versions import Registry
        from loopline.store.ledger import Ledger

        ledger = Ledger(self._database, project, self._settings.actor)
        return Registry(ledger, self._objects, self._keys)

    def _exhibit(self, run: "Run") -> "Exhibit":
        """Return the run with the report of the version it became, where it became one."""
        from loopline.evaluation.page import html
        from loopline.evaluation.report import Report
        from loopline.training.trackers.base import Exhibit

        versions = self._registry(run.project).state().versions.values()
        version = next((each for each in versions if each.run == run.id), None)
        raw = None if version is None else self._objects.find(f"{version.bundle}/report.json")
        if version is None or raw is None:
            return Exhibit(run)
        report = msgspec.json.decode(raw, type=Report)
        own = {f"test.{name}": each.value for name, each in report.metrics.items()}
        simple = {f"baseline.{name}": each.value for name, each in report.baseline_metrics.items()}
        return Exhibit(
            run,
            figures=own | simple,
            files={"report.json": raw, "report.html": html(report).encode()},
            tags={"loopline.version": version.name, "loopline.gate": str(version.gate_passed)},
        )


def _trackers(settings: Settings) -> "Iterator[Tracker]":
    from loopline.training.trackers.mlflow import Mlflow
    from loopline.training.trackers.tensorboard import Tensorboard

    try:
        yield Tensorboard(settings.home / "tensorboard")
    except MissingExtraError as error:
        _say(str(error))
    if settings.tracking_uri == "off":
        return
    try:
        yield Mlflow(settings.tracking_uri, settings.home / "mlflow")
    except MissingExtraError as error:
        _say(str(error))


def _backends(settings: Settings) -> "Iterator[Backend]":
    from loopline.registry.backends.mlflow import Mlflow

    if settings.tracking_uri != "off" and importlib.util.find_spec("mlflow"):
        yield Mlflow(settings.tracking_uri)


def _say(line: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stdout.flush()


def _main() -> None:
    if hasattr(os, "fork") and os.fork():
        os._exit(0)  # whoever started this goes on; the child is nobody's to wait for
    if hasattr(os, "nice"):
        os.nice(10)  # training and serving come first
    root = Path(sys.argv[1])
    mirror(root, Settings.read(root))


if __name__ == "__main__":
    _main()
